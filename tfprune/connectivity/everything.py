"""The barrier of connectivity: an operation of which nothing is known, so that every output depends on every input."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf
from keras import tree

from tfprune.connectivity.own_call import own_call
from tfprune.layers.rule_table import NoRule


def everything(walk, operation: keras.Operation, *args, **kwargs):
    """The rule of an operation that no rule knows.

    Each entry of its outputs depends on all entries of all tensors that it is called with, masks among them, and can be
    other than 0 whatever these are. Each weight of its kernels, and of layers of the model that it holds, is effective
    where one of these entries is reached and one of its outputs needed. In the linear network it is its own call, if
    that can be run (`tfprune.connectivity.own_call`), or the mean of its inputs, with those of its kernels.

    Raises:
        NoRule: the shapes of its outputs cannot be told.
    """
    specs = _specs(operation, args, kwargs)
    tensors = [x for x in tree.flatten((args, kwargs)) if tf.is_tensor(x)]
    given = [x for x in tensors if not walk.is_kernel(x)]
    kernels = [*walk.kernels_in(operation).values(), *(walk.kernel_of(x) for x in tensors if walk.is_kernel(x))]
    if not walk.boolean:
        return _linear(walk, operation, args, kwargs, given, kernels, specs)
    amount = total(walk, given)
    amount += walk.read(kernels, amount)
    return tree.map_structure(lambda spec: walk.lift(tf.ones(spec.shape) * amount), specs)


def _linear(walk, operation: keras.Operation, args, kwargs, given: Sequence[tf.Tensor], variables, specs):
    kernels = [(variable, walk.kernel(variable)) for variable in variables]

    def mean(flat: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        amount = total(walk, flat[: len(given)])
        amount *= 1 + tf.add_n([tf.zeros([]), *map(tf.reduce_mean, flat[len(given) :])])
        return [tf.ones(spec.shape) * amount for spec in tree.flatten(specs)]

    if kernels and isinstance(operation, keras.layers.Layer):
        try:
            return own_call(operation, args, kwargs, types_of(operation, args, kwargs), kernels, mean)
        except Exception:  # code of the layer's author
            pass
    return tree.pack_sequence_as(specs, mean([*given, *(kernel for _, kernel in kernels)]))


def is_tensor(x) -> bool:
    """Whether it is a tensor of a walk; TensorFlow takes Keras's variables for tensors, too."""
    return tf.is_tensor(x) and not isinstance(x, keras.Variable)


def total(walk, given: Sequence[tf.Tensor]) -> tf.Tensor:
    """Scalar: the sum of all entries of some tensors, of their means where the walk does not count."""
    reduce = tf.reduce_sum if walk.boolean else tf.reduce_mean
    return tf.add_n([tf.zeros([]), *(reduce(x) for x in given)])


def _specs(operation: keras.Operation, args, kwargs):
    """KerasTensors of what comes out of one example."""
    types = types_of(operation, args, kwargs)

    def symbolic(x):
        return keras.KerasTensor(x.shape, next(types) or keras.config.floatx()) if tf.is_tensor(x) else x

    args, kwargs = tree.map_structure(symbolic, (args, kwargs))
    try:
        specs = operation.compute_output_spec(*args, **kwargs)
        closed = all(None not in spec.shape for spec in tree.flatten(specs))
    except Exception:  # code of the operation's author
        closed = False
    if not closed:
        specs = _as_built(operation)
    if specs is None:
        raise NoRule(f"{operation.name!r}: nothing says which shape the outputs of {type(operation).__name__} have")
    return specs


def types_of(operation: keras.Operation, args, kwargs):
    """An iterator of the type of every tensor that an operation was called with when the graph was built.

    None where nobody knows.
    """
    leaves = tree.flatten((args, kwargs))
    for node in operation._inbound_nodes:
        built = tree.flatten((node.arguments.args, node.arguments.kwargs))
        pairs = list(zip(built, leaves, strict=False))
        if len(built) == len(leaves) and all(isinstance(x, keras.KerasTensor) for x, y in pairs if tf.is_tensor(y)):
            return iter([x.dtype for x, y in pairs if tf.is_tensor(y)])
    return iter([None] * len(leaves))


def _as_built(operation: keras.Operation):
    """What came out when the graph was built, with one example; None where a size is open or calls differ."""
    found = {tuple(x.shape for x in node.output_tensors) for node in operation._inbound_nodes}
    shapes = [(1, *shape[1:]) for shape in next(iter(found), ())]
    if len(found) != 1 or any(None in shape for shape in shapes):
        return None
    specs = [keras.KerasTensor(shape, "float32") for shape in shapes]
    return specs[0] if len(specs) == 1 else specs
