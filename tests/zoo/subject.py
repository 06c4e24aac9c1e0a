"""A network under test: its weights as after training, inputs that it reads, and its outputs as numbers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import keras
import numpy as np
from keras import tree
from zoo.networks import NETWORKS

import tfprune

BATCH, OPEN, VOCABULARY = 4, 16, 20


class Subject:
    """One network, and what its tests share.

    Attributes:
        name: as in `NETWORKS`.
        model: with seeded weights, none of which is still at 0 or 1 because it was initialised so.
        x: a batch of inputs in the structure that the model reads.
        input_shape: what `input_shape=` of `tfprune` takes; None where the model knows all its sizes.
        masks: see `sparse`.
    """

    def __init__(self, name: str):
        keras.utils.clear_session()
        keras.utils.set_random_seed(0)
        self.name, self._rng = name, np.random.default_rng(0)
        self.model = NETWORKS[name].make()
        self._stir()
        example = NETWORKS[name].example
        read = [keras.KerasTensor((None, *example))] if example else self.model.inputs
        self.x = tree.map_structure(self._values, read[0] if example else self.model.input)
        shapes = [_filled(tensor)[1:] for tensor in read]
        is_open = example or any(None in tensor.shape[1:] for tensor in read)
        self.input_shape = (shapes if len(shapes) > 1 else shapes[0]) if is_open else None
        self._sparse = None

    @property
    def sparse(self) -> keras.Model:
        """The masked model: 70 % of each kernel and about a third of its output channels are out, `masks` tells which.

        Kept weights are scaled and averages are those of the batch, in the plain model too, so that signals reach the
        outputs. Made once; a failure comes again at each use.
        """
        if self._sparse is None:
            masks = tfprune.prune(self.model, "magnitude/uniform", sparsity=0.7, seed=0)
            self.masks = tfprune.Masks({path: self._without_channels(mask) for path, mask in masks.items()})
            self._scale()
            with self._with_zeros():
                self.average()
            self._sparse = tfprune.masked(self.model, self.masks)
        return self._sparse

    def zeroed(self) -> list[np.ndarray]:
        """Outputs of the plain model with zeros written into its kernels; its weights are as before afterwards."""
        with self._with_zeros():
            return self.outputs(self.model)

    @contextmanager
    def _with_zeros(self) -> Iterator[None]:
        before = {path: kernel.numpy() for path, kernel in tfprune.prunable(self.model).items()}
        for path, kernel in tfprune.prunable(self.model).items():
            kernel.assign(before[path] * self.masks[path])
        try:
            yield
        finally:
            for path, kernel in tfprune.prunable(self.model).items():
                kernel.assign(before[path])

    def outputs(self, model: keras.Model) -> list[np.ndarray]:
        """All outputs for `x`, in inference, as float64."""
        return [np.asarray(y, np.float64) for y in tree.flatten(model(self.x, training=False))]

    def targets(self) -> object:
        """Something to learn, in the structure of the outputs."""
        return tree.map_structure(
            lambda y: self._rng.normal(size=y.shape).astype("float32"), self.model(self.x, training=False)
        )

    def rounding(self, model: keras.Model) -> float:
        """How far outputs move, in parts of their scale, when each weight does by one part in 10 million."""
        expected, weights = self.outputs(model), model.get_weights()
        floats = [np.issubdtype(value.dtype, np.floating) for value in weights]
        noise = [
            1e-7 * self._rng.normal(size=value.shape) if one else 0 for value, one in zip(weights, floats, strict=True)
        ]
        model.set_weights([(value * (1 + by)).astype(value.dtype) for value, by in zip(weights, noise, strict=True)])
        moved = difference(expected, self.outputs(model))
        model.set_weights(weights)
        return moved

    def _stir(self) -> None:
        """Biases, shifts, scales and averages, which are all alike in a new model, become different numbers.

        Not what `Normalization` holds: that takes effect when it is adapted alone.
        """
        layers = [one for one in self.model._flatten_layers() if isinstance(one, keras.layers.Normalization)]
        adapted = {id(variable) for layer in layers for variable in layer.variables}
        for variable in self.model.weights:
            if "float" not in variable.dtype or len(variable.shape) != 1 or id(variable) in adapted:
                continue
            value = variable.numpy()
            if "gamma" in variable.name or "scale" in variable.name or "variance" in variable.name:
                variable.assign((value + (value == 0)) * self._rng.uniform(0.7, 1.4, value.shape))
            else:
                variable.assign(value + self._rng.normal(0, 0.1, value.shape))

    def average(self) -> None:
        """Batch normalisation has the averages that its inputs have in training: with others, signals may die."""
        norms = [one for one in self.model._flatten_layers() if isinstance(one, keras.layers.BatchNormalization)]
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.momentum = 0.0
        if norms:
            self.model(self.x, training=True)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum

    def _values(self, tensor: keras.KerasTensor) -> np.ndarray:
        shape = _filled(tensor)
        if "mask" in tensor.name or "padding" in tensor.name:
            return np.ones(shape, tensor.dtype)
        if "int" in tensor.dtype:
            high = 2 if "segment" in tensor.name else VOCABULARY
            return self._rng.integers(0, high, shape).astype(tensor.dtype)
        return self._rng.normal(size=shape).astype(tensor.dtype)

    def _without_channels(self, mask: np.ndarray) -> np.ndarray:
        """A third of the last axis, for most layers their outputs, goes as well; the first one stays."""
        gone = self._rng.random(mask.shape[-1]) < 1 / 3
        gone[0] = False
        return mask & ~gone

    def _scale(self) -> None:
        """What goes through a kernel from inputs of mean square 1 gets one of about 2."""
        for path, kernel in tfprune.prunable(self.model).items():
            kept = kernel.numpy() * self.masks[path]
            width = kept.shape[-1] if kept.shape[-1] > 1 else kept.shape[-2]  # of depthwise kernels the inputs
            square = np.square(kept, dtype=np.float64).sum() / width
            kernel.assign(kernel.numpy() * np.sqrt(2 / square if square else 1.0))


def difference(expected: list[np.ndarray], found: list[np.ndarray]) -> float:
    """The largest difference of two lists of outputs, in parts of the largest value of each; infinite if not alike."""
    if [y.shape for y in expected] != [y.shape for y in found] or not all(np.isfinite(y).all() for y in found):
        return np.inf
    pairs = zip(expected, found, strict=True)
    return max(float(np.abs(one - other).max() / (np.abs(one).max() or 1.0)) for one, other in pairs)


def variation(outputs: list[np.ndarray]) -> float:
    """How far outputs of several inputs differ from each other, in parts of their scale."""
    return max(float(np.ptp(y, axis=0).max() / (np.abs(y).max() or 1.0)) for y in outputs)


def _filled(tensor: keras.KerasTensor) -> tuple[int, ...]:
    """A shape with numbers where it is open."""
    batch, *sizes = tensor.shape
    return (batch or BATCH, *(size or OPEN for size in sizes))
