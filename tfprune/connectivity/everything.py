"""The barrier of connectivity: an operation of which nothing is known, so that every output depends on every input."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf
from keras import tree

from tfprune.layers.prunable import kernels_of
from tfprune.layers.rule_table import NoRule


def everything(walk, operation: keras.Operation, *args, **kwargs):
    """The rule of an operation that no rule knows.

    Each entry of its outputs depends on all entries of all tensors that it is called with, masks among them, and can be
    other than 0 whatever these are. In the linear network it is their mean. Its own weights take no part, but those of
    layers of the model that it holds as well do.

    Raises:
        NoRule: it has kernels that can be pruned, or the shapes of its outputs cannot be told.
    """
    if kernels_of(operation):
        raise NoRule(f"{operation.name!r}: nothing says which of its kernels' weights do anything")
    given = [x for x in tree.flatten((args, kwargs)) if tf.is_tensor(x)]
    amount = total(walk, given)
    amount += walk.read(operation, amount)
    specs = _specs(operation, args, kwargs)
    return tree.map_structure(lambda spec: walk.lift(tf.ones(spec.shape) * amount), specs)


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
