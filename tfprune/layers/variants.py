"""The same network in another precision, or for several devices."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import keras

from tfprune.errors import InputError
from tfprune.layers.convert import rebuilt

PRECISIONS = "float32", "mixed_float16", "mixed_bfloat16"
HALF = "float16", "bfloat16"


def with_precision(model: keras.Model, precision: str) -> keras.Model:
    """A copy of a model whose layers compute in another precision; weights stay float32, masks bool, as they are.

    The outputs are of that precision: cast logits to float32 before a loss is taken of them. Gradients in float16 need
    a scaled loss (`keras.optimizers.LossScaleOptimizer`; Micikevicius et al. 2018, arXiv 1710.03740).

    Args:
        model: built Sequential or Functional model, plain or masked.
        precision: `float32`, `mixed_float16` or `mixed_bfloat16`, Keras's names of dtype policies.

    Raises:
        InputError: another precision, or a model that cannot be copied.
    """
    if precision not in PRECISIONS:
        raise InputError(f"precision must be one of {', '.join(PRECISIONS)}. Received: {precision!r}")
    return rebuilt(model, lambda layer, config: {**config, "dtype": precision})


@contextlib.contextmanager
def in_full_precision(model: keras.Model) -> Iterator[None]:
    """Meanwhile, the layers of a model that compute in half precision compute in float32: for tracing, without a copy.

    Variables keep their type. Layers that are float64 or quantized stay as they are.

    Args:
        model: built Sequential or Functional model, plain or masked; afterwards as it was.
    """
    # Keras has no public list of a layer's own layers, such as those within attention or around recurrent cells.
    halves = [layer for layer in model._flatten_layers() if _is_half(layer)]
    policies = [layer._dtype_policy for layer in halves]  # set as a property, a map of policies would be written into
    try:
        for layer in halves:
            layer._dtype_policy = keras.DTypePolicy("float32")
        yield
    finally:
        for layer, policy in zip(halves, policies, strict=True):
            layer._dtype_policy = policy


def _is_half(layer: keras.layers.Layer) -> bool:
    return layer.quantization_mode is None and layer.compute_dtype in HALF


def with_synchronized_norm(model: keras.Model) -> keras.Model:
    """A copy of a model whose batch normalisation takes its statistics of the batches of all replicas together.

    On one device it computes what `model` does, up to rounding.

    Args:
        model: built Sequential or Functional model, plain or masked.

    Raises:
        InputError: a model that cannot be copied.
    """

    def change(layer, config):
        return {**config, "synchronized": True} if isinstance(layer, keras.layers.BatchNormalization) else config

    return rebuilt(model, change)
