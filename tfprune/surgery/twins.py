"""Models with the same weights that LiteRT can hold, where it cannot hold the model itself."""

from __future__ import annotations

from collections.abc import Callable

import keras
from keras import layers

from tfprune.layers.convert import rebuilt
from tfprune.layers.topology import named_layers

_OTHER = ("float16", "bfloat16", "float64")
_POLICIES = (*_OTHER, "mixed_float16", "mixed_bfloat16")


def in_float32(model: keras.Model) -> keras.Model:
    """The model itself, or a copy that computes in float32 where layers compute in half or double precision.

    Raises:
        InputError: a layer that cannot be copied; names it.
    """
    if not any(inner.compute_dtype in _OTHER for inner in _inner_layers(model)):
        return model
    return rebuilt(model, lambda layer, config: _changed(config, _single))


def unrolled(model: keras.Model) -> keras.Model:
    """The model itself, or a copy whose recurrent layers are a chain of steps in place of a loop.

    Raises:
        InputError: a layer that cannot be copied; names it.
    """
    if not any(isinstance(inner, layers.RNN) and not inner.unroll for inner in _inner_layers(model)):
        return model
    return rebuilt(model, lambda layer, config: _changed(config, _chain))


def steps_back_over_masks(model: keras.Model) -> bool:
    """Whether a recurrent layer goes backwards over steps that are masked and gives zeros for these.

    Unrolled, Keras 3.15 puts these zeros in the order of the input, not in that of the steps.
    """
    inner = list(_inner_layers(model))
    masks = any(isinstance(one, layers.Masking) or getattr(one, "mask_zero", False) for one in inner)
    return masks and any(
        isinstance(one, layers.RNN) and one.go_backwards and one.zero_output_for_mask and one.return_sequences
        for one in inner
    )


def _inner_layers(model: keras.Model):
    """Layers, and layers within them."""
    for _, layer in named_layers(model):
        yield from layer._flatten_layers()  # Keras has no public way to see them


def _changed(config, change: Callable[[dict], dict]):
    """A configuration with every dictionary in it changed, from the inside out."""
    if isinstance(config, (list, tuple)):
        return type(config)(_changed(part, change) for part in config)
    if not isinstance(config, dict):
        return config
    return change({key: _changed(part, change) for key, part in config.items()})


def _single(config: dict) -> dict:
    policy = config.get("dtype")
    name = policy.get("config", {}).get("name") if isinstance(policy, dict) else policy
    return {**config, "dtype": "float32"} if name in _POLICIES else config


def _chain(config: dict) -> dict:
    return {**config, "unroll": True} if {"unroll", "return_sequences"} <= config.keys() else config
