"""States: bits that switch filters of a network on and off, and what a state makes of its kernels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from tfprune.errors import InputError
from tfprune.layers.barriers import CHANNELS, barriers
from tfprune.layers.masks import Masks
from tfprune.layers.prunable import prunable
from tfprune.layers.subclassed import as_graph
from tfprune.layers.weights import weights_of
from tfprune.surgery.filter_sets import filter_sets
from tfprune.surgery.trace import Trace


@dataclass(frozen=True)
class Stretch:
    """Bits that belong together, one after the other.

    Attributes:
        name: of the layer, or what else they are of.
        start: the first of them.
        size: how many they are.
    """

    name: str
    start: int
    size: int


@dataclass(frozen=True)
class Site:
    """Where bits act: an axis of a kernel; a bit that is off makes the slices there 0 that follow it.

    Attributes:
        path: of the kernel, as in `prunable(model)`.
        axis: of the kernel.
        bits: int array, for every index along the axis the bit that it follows, -1 for none: always on.
    """

    path: str
    axis: int
    bits: np.ndarray


class StateSpace:
    """All states of a model's filters: vectors of bits, 1 for on.

    Args:
        model: built Sequential or Functional model, plain or masked.
        stretches: of the bits, in their order, without gaps; bits that no site has change nothing.
        sites: where they act.

    Attributes:
        size: number of bits, D.
        stretches: see above.
        sites: see above.
        kernels: path -> variable, for every kernel of the model.

    Raises:
        InputError: there are no bits.
    """

    def __init__(self, model: keras.Model, stretches: Sequence[Stretch], sites: Sequence[Site]):
        self.stretches, self.sites = tuple(stretches), tuple(sites)
        self.size = sum(stretch.size for stretch in self.stretches)
        self.kernels = prunable(model)
        if not self.size:
            raise InputError(f"model {model.name!r} has no filters that could be pruned")
        self._weights = sum(int(np.prod(kernel.shape)) for kernel in self.kernels.values())

    def masks(self, state: np.ndarray) -> Masks:
        """What a state keeps of every kernel.

        Args:
            state: (D,) of bool, or of 0 and 1.

        Raises:
            InputError: a state of another size, one of another network for example.
        """
        state = np.append(self._checked(state), True)  # -1 finds the last
        masks = {path: np.ones(kernel.shape, bool) for path, kernel in self.kernels.items()}
        for site in self.sites:
            np.moveaxis(masks[site.path], site.axis, -1)[..., ~state[site.bits]] = False
        return Masks(masks)

    def counts(self, state: np.ndarray) -> dict[str, int]:
        """Name of a stretch -> number of its bits that are on."""
        state = self._checked(state)
        return {each.name: int(state[each.start : each.start + each.size].sum()) for each in self.stretches}

    def _checked(self, state: np.ndarray) -> np.ndarray:
        state = np.asarray(state, bool)
        if state.shape != (self.size,):
            raise InputError(f"a state of this model has {self.size} bits. Received: an array of shape {state.shape}")
        return state

    def factors(self, state: tf.Tensor) -> dict[str, list[tf.Tensor]]:
        """What a state multiplies kernels by.

        Args:
            state: bool (D,).

        Returns:
            Path of every kernel that bits act on -> float32 tensors of zeros and ones that broadcast to its shape.
        """
        ends = tf.concat([tf.cast(state, tf.float32), [1.0]], 0)
        found: dict[str, list[tf.Tensor]] = {}
        for site in self.sites:
            shape = np.ones(len(self.kernels[site.path].shape), int)
            shape[site.axis] = -1
            along = tf.gather(ends, np.where(site.bits < 0, self.size, site.bits))
            found.setdefault(site.path, []).append(tf.reshape(along, shape))
        return found

    def masked(self, state: tf.Tensor) -> list[tuple[keras.Variable, tf.Tensor]]:
        """Kernels and what they are in a state, for a `keras.StatelessScope`; differentiable.

        Args:
            state: bool (D,).
        """
        found = []
        for path, factors in self.factors(state).items():
            kernel = self.kernels[path]
            found.append((kernel, tf.math.multiply(kernel.value, tf.cast(math.prod(factors), kernel.dtype))))
        return found

    def kept(self, state: tf.Tensor) -> tf.Tensor:
        """Fraction of all kernels' weights that a state keeps; float32 scalar.

        Args:
            state: bool (D,).
        """
        # In whole numbers: sums of floats may differ in their last digit from one run to the next.
        ends = tf.cast(tf.concat([state, [True]], 0), tf.int64)
        counts: dict[str, list[tf.Tensor]] = {}
        rest = {
            path: int(np.prod(self.kernels[path].shape)) for path in dict.fromkeys(site.path for site in self.sites)
        }
        kept = tf.constant(self._weights - sum(rest.values()), tf.int64)
        for site in self.sites:
            along = tf.gather(ends, np.where(site.bits < 0, self.size, site.bits))
            counts.setdefault(site.path, []).append(tf.reduce_sum(along))
            rest[site.path] //= len(site.bits)
        for path, found in counts.items():
            kept += math.prod(found) * rest[path]
        return tf.cast(tf.cast(kept, tf.float64) / self._weights, tf.float32)


def channel_states(model: keras.Model, *, unknown: str = "barrier") -> StateSpace:
    """One bit for each channel that can leave a model; coupled channels have one bit.

    A bit that is off makes 0 what makes its channel in every kernel, and what reads it: the outputs no longer depend on
    the channel, also where normalisation would make a constant of it.

    Args:
        model: built model, plain or masked.
        unknown: as for `tfprune.compact`, and so is what it warns of.

    Raises:
        InputError: a model without weights, a layer that no rule of `tfprune.surgery` knows and that is to be refused,
            or no channel that can leave (says what keeps them).
    """
    model = as_graph(model)
    with barriers(model, unknown) as met:
        trace = Trace(model, weights_of(model))
    met.tell(CHANNELS)
    classes, bit = trace.channels.classes, np.full(len(trace.channels.classes), -1)
    stretches, start = [], 0
    for one in filter_sets(trace):
        if not one.fixed:
            bit[one.channels] = np.arange(start, start + len(one.channels))
            stretches.append(Stretch(_layer_of(next(iter(one.members))), start, len(one.channels)))
            start += len(one.channels)
    if not stretches and trace.kernels:
        made = np.concatenate([kernel.made for kernel in trace.kernels.values()])
        kept = trace.keepers(made) or "the model's inputs or outputs"
        raise InputError(f"model {model.name!r} has no filters that could be pruned: all are kept by {kept}")
    return StateSpace(model, _told_apart(stretches), list(_sites(trace.axes, bit[classes], prunable(model))))


def _sites(axes: Mapping[str, Mapping[int, np.ndarray]], bit: np.ndarray, kernels: Mapping):
    for path in kernels:
        for axis, channels in axes.get(path, {}).items():
            if (bits := bit[channels]).max(initial=-1) >= 0:
                yield Site(path, axis, bits)


def _layer_of(path: str) -> str:
    return path.rpartition("/")[0]


def _told_apart(stretches: list[Stretch]) -> list[Stretch]:
    """The filters of one layer may be in several sets: `conv`, `conv (2)`."""
    seen: dict[str, int] = {}
    found = []
    for each in stretches:
        seen[each.name] = number = seen.get(each.name, 0) + 1
        found.append(each if number == 1 else Stretch(f"{each.name} ({number})", each.start, each.size))
    return found
