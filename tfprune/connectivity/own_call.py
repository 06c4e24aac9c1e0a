"""What a layer that nobody knows does in the linear network: its own `call`, with the walk's kernels for its own.

That is SynFlow's published procedure: every weight is taken by its absolute value, and the layer computes as it does.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence

import keras
import tensorflow as tf
from keras import tree

from tfprune.layers.kinds import plain_type

_NOTHING = 1e-6  # of the other flow: what is left of a gradient whose parts cancel

Flow = Callable[[Sequence[tf.Tensor]], list[tf.Tensor]]


def own_call(layer: keras.layers.Layer, args, kwargs, types: Sequence, kernels: Sequence, otherwise: Flow):
    """The outputs of a layer's own call in inference: float32 tensors, none negative, in the call's structure.

    A gradient that comes back is taken by its absolute value, too: what `call` takes off counts as what it adds. Where
    numbers are not finite, or nothing flows back (from a normalisation of equal entries), the other flow takes over.

    Args:
        layer: any.
        args, kwargs: of the call, with float32 tensors (1, ...).
        types: type of every tensor among them, None for floats. For whole numbers, as tokens, ones are given.
        kernels: pairs of a variable of the layer and the float32 tensor that takes its place; of the layer's other
            variables those that can be trained are taken by their absolute value.
        otherwise: the other flow: tensors of the call and kernels, in a list -> flat outputs.

    Raises:
        Exception: whatever the layer's author lets happen.
    """
    tensors = [x for x in tree.flatten((args, kwargs)) if tf.is_tensor(x)]
    flow, structure = _flow(layer, args, kwargs, list(types), [variable for variable, _ in kernels])
    outputs = _guarded(flow, otherwise)(*tensors, *(kernel for _, kernel in kernels))
    return tree.pack_sequence_as(structure[0], outputs)


def _flow(layer, args, kwargs, types: list, variables: list) -> tuple[Flow, list]:
    """The call as a function of flat tensors, and a list that has the structure of its outputs once it has run."""
    replaced, trained = set(map(id, variables)), set(map(id, layer.trainable_variables))
    others = [
        (one, tf.abs(one.value) if id(one) in trained and "float" in one.dtype else one.value)
        for one in layer.variables
        if id(one) not in replaced and one.dtype != "string"
    ]
    takes_training = "training" in inspect.signature(plain_type(layer).call).parameters
    structure: list = []

    def flow(flat: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        left = iter([_as(x, kind or keras.config.floatx()) for x, kind in zip(flat, types, strict=False)])
        mine, named = tree.map_structure(lambda x: next(left) if tf.is_tensor(x) else x, (args, kwargs))
        if takes_training:
            named = {**named, "training": False}
        kernels = zip(variables, flat[len(flat) - len(variables) :], strict=True)
        with keras.StatelessScope([*others, *kernels]):
            structure[:] = [layer(*mine, **named)]
        return [tf.abs(tf.cast(x, tf.float32)) for x in tree.flatten(structure[0])]

    return flow, structure


def _as(x: tf.Tensor, kind: str) -> tf.Tensor:
    return tf.cast(x, kind) if "float" in kind else tf.ones(x.shape, kind)


def _guarded(flow: Flow, otherwise: Flow) -> Callable:
    @tf.custom_gradient
    def guarded(*flat):
        outputs, others = flow(flat), otherwise(flat)
        fine = _all_finite(outputs)

        def gradient(*upstream):
            own = [tf.abs(x) for x in _back(flow, flat, upstream)]
            other = _back(otherwise, flat, upstream)
            flows = _all_finite(own) & (_largest(own) > _NOTHING * _largest(other)) & fine
            return [tf.where(flows, mine, theirs) for mine, theirs in zip(own, other, strict=True)]

        return [tf.where(fine, mine, theirs) for mine, theirs in zip(outputs, others, strict=True)], gradient

    return guarded


def _back(flow: Flow, flat: Sequence[tf.Tensor], upstream) -> list[tf.Tensor]:
    with tf.GradientTape() as tape:
        tape.watch(flat)
        outputs = flow(flat)
    return tape.gradient(outputs, list(flat), list(upstream), unconnected_gradients="zero")


def _all_finite(tensors: Sequence[tf.Tensor]) -> tf.Tensor:
    return tf.reduce_all([tf.reduce_all(tf.math.is_finite(x)) for x in tensors])


def _largest(tensors: Sequence[tf.Tensor]) -> tf.Tensor:
    return tf.reduce_max([tf.reduce_max(tf.abs(x)) for x in tensors])
