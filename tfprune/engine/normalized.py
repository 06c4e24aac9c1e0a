"""Dense layers of kept weights that normalise their own inputs, inside TensorFlow's graphs, with their gradients.

Several that follow one another are computed at once: one operation forward and one back, and what is between them never
leaves the kernels (see `tfprune.engine.normalized_pass`).
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfprune.engine.compiling import kernels, threads
from tfprune.engine.normalized_pass import Connections, NormalizedLayer, Pass
from tfprune.engine.products import apart, operation, unchanged
from tfprune.engine.updates import Rule


class NormalizedProducts:
    """What layers make, each of what the one before it made.

    Args:
        layers: at least one.
        pixels: mean and scale, float32 (inputs,) or a number: inputs are bytes, for the first layer (bytes − mean) ·
            scale.
        images: with pixels uint8 (N, inputs or more): inputs are numbers of rows of these.
    """

    def __init__(
        self,
        layers: Sequence[NormalizedLayer],
        pixels: tuple[np.ndarray, np.ndarray | float] | None = None,
        images: np.ndarray | None = None,
    ):
        self._layers, self._images = list(layers), images
        self._pixels = pixels and tuple(
            np.ascontiguousarray(np.broadcast_to(np.float32(values), self._layers[0].inputs)) for values in pixels
        )
        self._connections: list[Connections] = []
        self._lock = threading.Lock()
        self._pass: Pass | None = None
        self._number = self._back_number = 0  # of the batch that the pass holds, and of the gradients

    def __call__(self, inputs, weights, indices, averages, measured: bool):
        """Outputs of inputs.

        Args:
            inputs: float32 (B, inputs) of the first layer; with pixels uint8, with images int32 (B,): no gradients.
            weights: of each layer float32 (n,) kept weights, (inputs,) γ, (inputs,) β, (outputs,) b.
            indices: of each layer int32 or int64 (n,), where the kept weights are in the flattened W, ascending.
            averages: of each layer float32 running mean (inputs,), running variance (inputs,), and whether these hold
                anything yet, 0 or 1.
            measured: whether mean and variance are those of the batch; else the running ones.

        Returns:
            float32 (B, outputs) of the last layer, and of each layer the running mean and variance after this batch:
            with a momentum of 0 where they held nothing yet.
        """
        this, count = weakref.proxy(self), len(self._layers)
        kernels("normalized_kernels")  # compiled now, not in the first step

        def made(inputs, *arrays):
            return this._made(inputs, arrays[: 4 * count], arrays[4 * count : -count], arrays[-count:], measured)

        flat = [array for arrays in (*weights, *averages) for array in arrays]
        outputs, *found = apart(self, made, inputs, *flat, *indices)
        return outputs, list(zip(found[:count], found[count:], strict=True))

    def take_steps(self, examples, labels, taken, rate, rule: Rule, free, weights, slots, averages, indices):
        """Training steps of a classifier by the mean cross-entropy of its batches, one after the other.

        The last layer makes logits; inputs are bytes, normalised by mean and variance of their batch. What belongs to
        the layers is flat here.

        Args:
            examples: int32 (steps, B), which of the images make a batch; without images their bytes, uint8
                (steps, B, inputs or more).
            labels: int32 (steps, B), what they are.
            taken: int64, steps before these.
            rate: float32, the learning rate.
            rule: what becomes of the weights by their gradients.
            free: float32 (n,), of each weight 1, or 0 where it stays as it is.
            weights: float32 (n,), of each layer kept weights, γ, β and b.
            slots: float32 (the rule's, n).
            averages: float32 running means of all layers, running variances, and for each layer whether these hold
                anything yet, 0 or 1.
            indices: as for a call.

        Returns:
            Weights, slots and averages after the steps, shaped as those given; float32 (steps,) fractions of the
            batches misclassified, and losses, both before each update.
        """
        kernels("normalized_steps")  # compiled now, not in the first step
        given = [weights, slots, averages]
        known = [examples, labels, taken, rate, free, *given, *indices]
        found = operation(self._stepped, known, 5 * [tf.float32], rule)
        for made, shape in zip(found, [*(array.shape for array in given), *2 * [labels.shape[:1]]], strict=True):
            made.set_shape(shape)
        return found

    def _made(self, inputs, weights, averages, indices, measured):
        this, first, last = weakref.proxy(self), self._layers[0].inputs, self._layers[-1].outputs
        sizes = 2 * [layer.inputs for layer in self._layers]  # of means, then of variances
        averages = tf.concat([*averages[::3], *averages[1::3], tf.stack(averages[2::3])], 0)

        @tf.custom_gradient
        def made(inputs, *weights):
            given = [inputs, tf.concat(weights, 0), averages, *indices]
            outputs, found, number = operation(this._forward, given, [tf.float32, tf.float32, tf.int64], measured)
            outputs.set_shape([inputs.shape[0], last])

            def gradient(upstream, *_):
                known = [upstream, number, *given]
                of_weights, back_number = operation(this._of_weights, known, [tf.float32, tf.int64], measured)
                of_weights = _parts(of_weights, [weight.shape[0] for weight in weights])
                if this._pixels:
                    return None, *of_weights
                # Left out where nobody needs it; it takes up where the other one ends.
                of_inputs = operation(this._of_inputs, [back_number, *known], tf.float32, measured)
                of_inputs.set_shape([inputs.shape[0], first])
                return of_inputs, *of_weights

            return (outputs, *_parts(found, sizes)), gradient

        return made(inputs, *weights)

    def _forward(self, measured, inputs, weights, averages, *indices):
        with self._lock:
            return *self._passed(measured, inputs, weights, averages, indices), np.int64(self._number)

    def _of_weights(self, measured, upstream, number, *given):
        with self._lock:
            return self._gone_back(measured, upstream, number, *given), np.int64(self._back_number)

    def _of_inputs(self, measured, back_number, upstream, number, *given):
        with self._lock:
            if (number, back_number) != (self._number, self._back_number):
                self._gone_back(measured, upstream, number, *given)
            return self._pass.of_inputs()

    def _stepped(self, rule, examples, labels, taken, rate, free, weights, slots, averages, *indices):
        weights, slots, averages = (np.array(array) for array in (weights, slots, averages))
        steps, batch = labels.shape
        rates = rule.rates(int(taken), steps, float(rate))
        if not steps:
            return weights, slots, averages, rates, rates
        images = self._images
        if images is None:
            images, examples = examples.reshape(steps * batch, -1), np.arange(steps * batch, dtype=np.int32)
            examples = examples.reshape(steps, batch)
        self._check(examples, len(images), "numbers of images")
        self._check(labels, self._layers[-1].outputs, "labels")
        with self._lock:
            given = images, examples, labels, rates, rule, free, weights, averages, slots
            measures = self._pass_for(batch, indices, awake=self._images is not None).take_steps(*given)
        return weights, slots, averages, *measures

    def _passed(self, measured, inputs, weights, averages, indices) -> tuple[np.ndarray, np.ndarray]:
        batch = self._pass_for(len(inputs), indices)
        if self._images is None:
            return batch.forward(inputs, weights, averages, measured)
        self._check(inputs, len(self._images), "numbers of images")
        return batch.forward(self._images, weights, averages, measured, inputs)

    def _pass_for(self, size: int, indices, awake: bool = False) -> Pass:
        """What a batch of a size goes through."""
        if not self._known(indices):
            self._connections = [
                Connections(layer.inputs, layer.outputs, given)
                for layer, given in zip(self._layers, indices, strict=True)
            ]
            self._pass = None
        if self._pass is None or not self._pass.fits(size, threads(), awake):
            self._pass = Pass(self._layers, self._connections, size, threads(), self._pixels, awake)
        self._number += 1
        return self._pass

    @staticmethod
    def _check(numbers: np.ndarray, end: int, what: str) -> None:
        if numbers.size and numbers.view(np.uint32).max() >= end:
            raise IndexError(f"{what} must be in [0, {end})")

    def _gone_back(self, measured, upstream, number, inputs, weights, averages, *indices) -> np.ndarray:
        if number != self._number:  # another batch came between
            self._passed(measured, inputs, weights, averages, indices)
        self._back_number += 1
        return self._pass.back(upstream)

    def _known(self, indices: Sequence[np.ndarray]) -> bool:
        pairs = zip(self._connections, indices, strict=False)
        return bool(self._connections) and all(unchanged(known.indices, given) for known, given in pairs)


def _parts(packed, sizes: list[int]):
    return tf.split(tf.ensure_shape(packed, [sum(sizes)]), sizes)
