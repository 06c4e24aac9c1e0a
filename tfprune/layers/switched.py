"""Masked layers that compute by their kept weights alone while that pays; their kernels stay whole.

For training in which masks change: variables, optimizer slots and what is saved are those of masked layers, and what is
compiled holds both products, between which a variable switches. With kernels also stay their passes, by the optimizer
above all, so that this gains less than layers that hold kept weights alone (`tfprune.layers.kept`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import keras
import numpy as np
import tensorflow as tf

from tfprune.layers.copying import layer_like
from tfprune.layers.kept_geometry import pays_for
from tfprune.layers.kept_layers import KEPT, kept_class_of, why_not_kept
from tfprune.layers.kernel_masks import masks_of_layer
from tfprune.layers.topology import named_layers

_BATCHES = tuple(2**power for power in range(6, 13))  # in smaller ones, passes over whole kernels are what costs
_NEVER = np.iinfo(np.int32).max


def switchable(model: keras.Model) -> dict[str, keras.layers.Layer]:
    """Name -> layer of those of a masked model that can compute by kept weights, if they are few enough."""
    return {
        path: layer
        for path, layer in named_layers(model)
        if masks_of_layer(layer)
        and kept_class_of(layer) in KEPT.values()
        and why_not_kept(layer) is None
        and _least_batch(layer, 0) != _NEVER
    }


class Switches:
    """Those of some layers of a model, which have them within `on`; functions that are compiled in it keep them.

    Args:
        layers: from `switchable`.
    """

    def __init__(self, layers: Mapping[str, keras.layers.Layer]):
        self._switches = {path: _Switch(layer) for path, layer in layers.items()}

    @property
    def kept(self) -> list[str]:
        """Names of the layers that compute by their kept weights alone now, given batches that are large enough."""
        return [path for path, switch in self._switches.items() if switch.least.numpy() != _NEVER]

    def choose(self) -> None:
        """By the masks as they are now, and the engine's rule."""
        for switch in self._switches.values():
            kept = int(np.count_nonzero(switch.mask.numpy()))
            switch.least.assign(_least_batch(switch.layer, kept))

    @contextlib.contextmanager
    def on(self) -> Iterator[None]:
        """The layers have their switches in it, and are what they were after it, however it ends."""
        for switch in self._switches.values():
            vars(switch.layer)["call"] = switch.call
        try:
            yield
        finally:
            for switch in self._switches.values():
                vars(switch.layer).pop("call", None)


class _Switch:
    """The two ways of a layer: that by kept weights is taken in batches of `least` examples or more."""

    def __init__(self, layer: keras.layers.Layer):
        self.layer, self.mask = layer, masks_of_layer(layer)["kernel"]
        self.least = tf.Variable(_NEVER, trainable=False)
        self._known, self._indices = np.empty(0, bool), np.empty(0, np.int32)
        # Is given all of the layer's for a call; so it is never built.
        self._twin = layer_like(layer, kept_class_of(layer), lambda config: {**_plain(config), "kept": 0})
        vars(self._twin)["kernel_shape"] = tuple(layer.kernel.shape)

    def call(self, inputs, training=None):
        return tf.cond(
            tf.shape(inputs)[0] >= self.least,
            lambda: self._by_kept(inputs),
            lambda: type(self.layer).call(self.layer, inputs),
        )

    def _by_kept(self, inputs):
        layer = self.layer
        mask = tf.convert_to_tensor(self.mask)
        indices = tf.numpy_function(self._places, [mask], tf.int32, stateful=False)
        indices.set_shape([None])
        values = _gathered(tf.convert_to_tensor(layer.kernel), indices)
        given = {"kernel_values": values, "kernel_indices": indices, "bias": layer.bias, "activation": layer.activation}
        vars(self._twin).update(given)
        return self._twin.call(inputs)

    def _places(self, mask: np.ndarray) -> np.ndarray:
        """Of what a mask keeps, found anew where the mask is another one than before."""
        if not np.array_equal(self._known, mask):
            self._known, self._indices = mask.copy(), np.flatnonzero(mask).astype(np.int32)
        return self._indices


def _least_batch(layer: keras.layers.Layer, kept: int) -> int:
    """The batch size from which on the engine's rule says that kept weights pay; `_NEVER` where it is beyond all."""
    return next((size for size in _BATCHES if pays_for(layer, kept, size)), _NEVER)


@tf.custom_gradient
def _gathered(kernel, indices):
    """The weights at some places of a flattened kernel; that of the others has no gradient."""

    def gradient(upstream):
        whole = tf.math.unsorted_segment_sum(upstream, indices, tf.size(kernel))
        return tf.reshape(whole, kernel.shape), None

    return tf.gather(tf.reshape(kernel, [-1]), indices), gradient


def _plain(config: dict) -> dict:
    return {key: value for key, value in config.items() if key != "product_dtype"}
