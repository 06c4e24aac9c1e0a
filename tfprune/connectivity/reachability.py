"""Effective masks: which kept weights lie on a path along which the input can influence an output.

Boolean reachability by automatic differentiation. The graph runs once, forward and backward, with masks for kernels;
after each layer the output is cut to 0 or 1 on its way forward, and so is the gradient on its way back. A weight is
effective if its gradient is positive and its mask keeps it. What only ever moves constants is not: they could be part
of a bias. Every spatial position is its own node, so padding, strides
and weights that only ever meet padding count exactly. Between two cuts there are only sums of whole numbers up to the
fan-in of one layer: nothing overflows, underflows or needs a scale.

Convention `"influence"` holds for any network: a factor is open where it can be other than 0, path or not (the gate
sigmoid(b) is), and a normalisation or softmax over several entries makes each of them depend on all. Convention
`"paper"` counts paths through kernels alone, as the paper does: a factor without a path from the input is 0, and
normalisation and activations connect nothing. Without products of tensors and without normalisation over features, as
in the paper's networks, the two agree.

Reference: effective sparsity, Vysogorets & Kempe 2021, arXiv 2107.02306, section 3.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from tfprune.connectivity.graph import known_rules, ones_input
from tfprune.connectivity.influence import Fact, InfluenceWalk, LeanWalk, LiveNeeded
from tfprune.errors import InputError
from tfprune.layers.barriers import EFFECTIVE, barriers, meet
from tfprune.layers.kept import with_masks
from tfprune.layers.masks import Masks
from tfprune.layers.prunable import prunable
from tfprune.layers.subclassed import as_graph
from tfprune.layers.traced import traced

CONVENTIONS = ("influence", "paper")


class Reachability:
    """Effective masks of one model: one compiled function for any masks.

    Args:
        model: built Sequential or Functional model, plain or masked; only its graph is read, never its weights.
        input_shape: shape of an input without the batch axis, needed where the model leaves sizes open; a list of
            shapes if the model has several inputs. Paths can depend on the image size.
        convention: `"influence"` or `"paper"`, see the top of this module.
        unknown: what becomes of operations that no rule knows. `"barrier"`: layers that are made of others are looked
            into, see `tfprune.layers.inside`; of any other, each output depends on every entry of every input and
            can be other than 0, so what is called effective is an upper bound. `"refuse"`.

    Attributes:
        barriers: paths of such layers, and names of such operations that are none.
        uses: path -> number of multiply-adds per example in which each weight of the kernel takes part: the positions
            of a convolution's output, padded or not; summed over all uses of a shared kernel.

    Warns:
        UserWarning: once, in a line: the operations that are barriers, and their share of the parameters.

    Raises:
        InputError: a model without weights, open sizes, another convention, or an operation that no rule knows and that
            is to be refused; names it.
    """

    def __init__(
        self,
        model: keras.Model,
        input_shape: tuple | list | None = None,
        *,
        convention: str = "influence",
        unknown: str = "barrier",
    ):
        if convention not in CONVENTIONS:
            raise InputError(f"convention must be one of {', '.join(CONVENTIONS)}. Received: {convention!r}")
        self._model = model = as_graph(with_masks(model))
        self._shapes = {path: tuple(variable.shape) for path, variable in prunable(model).items()}
        own, key = weakref.ref(model), (repr(input_shape), convention, unknown, keras.config.floatx(), known_rules())
        # Traced now, so that an unknown layer is met here and the first call costs what the others cost.
        with barriers(model, unknown) as met:
            found = traced(model, ("effective", *key), lambda: _trace(own, input_shape, convention, unknown))
            for operation in found.met.values():
                meet(operation)  # each use names them, whoever traced
        self._function, self.uses = found.function, dict(found.uses)
        self.barriers = met.names
        met.tell(EFFECTIVE)

    def __repr__(self) -> str:
        return f"Reachability of model {self._model.name!r}: {len(self._shapes)} kernels, called with masks"

    def __call__(self, masks: Mapping[str, np.ndarray]) -> Masks:
        """The masks of the weights that are kept and effective.

        Args:
            masks: path -> bool array, for every path of `prunable(model)`.

        Raises:
            InputError: the masks do not fit the model.
        """
        masks = masks if isinstance(masks, Masks) else Masks(masks)
        if [(path, mask.shape) for path, mask in masks.items()] != list(self._shapes.items()):
            masks = masks.check(self._model)
        effective = self._function(*(tf.constant(mask) for mask in masks.values()))
        return Masks({path: array.numpy() for path, array in zip(masks, effective, strict=True)})


def effective_masks(
    model: keras.Model,
    masks: Mapping[str, np.ndarray],
    input_shape=None,
    *,
    convention: str = "influence",
    unknown: str = "barrier",
) -> Masks:
    """The effective masks for one set of masks; for several of them, keep a `Reachability`."""
    return Reachability(model, input_shape, convention=convention, unknown=unknown)(masks)


@dataclass(frozen=True)
class _Trace:
    """A compiled function of flat masks, what `Reachability` says of uses, and the barriers that the walk met."""

    function: Callable
    uses: dict[str, int]
    met: weakref.WeakValueDictionary[int, keras.Operation]


def _trace(own: weakref.ref, input_shape, convention: str, unknown: str) -> _Trace:
    model, uses = own(), {}
    shapes = {path: tuple(variable.shape) for path, variable in prunable(model).items()}
    signature = [tf.TensorSpec(shape, tf.bool) for shape in shapes.values()]

    def function(live: bool) -> Callable:
        def effective(*masks: tf.Tensor) -> list[tf.Tensor]:
            model = own()
            found, of_kernels = _effective(model, dict(zip(shapes, masks, strict=True)), input_shape, convention, live)
            uses.update(of_kernels)
            return found

        return tf.function(effective, autograph=False).get_concrete_function(*signature)

    with barriers(model, unknown) as here:
        try:
            compiled = function(live=False)
        except LiveNeeded:
            compiled = function(live=True)
    return _Trace(compiled, uses, weakref.WeakValueDictionary(here.met))


def _effective(model: keras.Model, masks: Mapping[str, tf.Tensor], input_shape, convention: str, live: bool):
    """The effective masks, in order, and the walk's `uses`."""
    reached = {}

    def take(path: str, kernel: tf.Tensor, gradient: tf.Tensor) -> None:
        found = tf.logical_and(masks[path], gradient > 0.5)
        reached[path] = tf.logical_or(reached[path], found) if path in reached else found

    def make(path: str) -> tf.Tensor:
        return tf.cast(masks[path], tf.float32)

    # The gradient of the sum of all outputs: every output is an end of paths.
    inputs = ones_input(model, input_shape)
    if convention == "paper":
        walk = LeanWalk(model, make, take, step=_cut, boolean=True)
        walk.there_and_back(lambda: walk.run(model, inputs))
    else:
        walk = InfluenceWalk(model, make, take, _cut, live)
        facts = [Fact(x, x if live else None) for x in inputs]
        walk.there_and_back(lambda: [fact.depends for fact in walk.run(model, facts)])
    return [reached[path] if path in reached else tf.zeros_like(masks[path]) for path in masks], walk.uses


@tf.custom_gradient
def _cut(x: tf.Tensor):
    # Whole numbers are expected. Cutting at a half, not at 0, forgives convolution algorithms (Winograd, FFT) whose
    # zeros are only nearly zero.
    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        return tf.cast(upstream > 0.5, upstream.dtype)

    return tf.cast(x > 0.5, x.dtype), gradient
