"""Rules of Keras operations used directly in a functional graph: `x + y`, `keras.ops.reshape(x, ...)` and so on.

A constant that multiplies counts as 1, or as 0 where it is exactly 0.
"""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf
from keras import ops, tree

from tfprune.connectivity.graph import Walk, register_rule
from tfprune.connectivity.rules_layers import INTERPOLATION
from tfprune.connectivity.rules_lookup import constant_rows, looked_up
from tfprune.layers.rule_table import NoRule


@register_rule(
    *("Relu", "Relu6", "Sigmoid", "SparseSigmoid", "Softplus", "Softsign", "SoftShrink", "SparsePlus", "Silu"),
    *("Squareplus", "LogSigmoid", "LeakyRelu", "HardSigmoid", "HardSilu", "Elu", "Selu", "Gelu", "Celu", "TanhShrink"),
    *("HardTanh", "HardShrink", "Threshold", "Tanh", "Absolute", "Abs", "Negative", "Square", "Sqrt", "Rsqrt", "Exp"),
    *("Expm1", "Log", "Log1p", "Erf", "Sin", "Cos", "Clip", "Reciprocal", "Sign", "Cast", "Copy", "StopGradient"),
    *(
        "LogicalNot",
        "Floor",
        "Ceil",
        "Round",
        "Trunc",
        "Exp2",
        "Log2",
        "Log10",
        "Sinh",
        "Cosh",
        "Tan",
        "Arcsin",
        "Arccos",
    ),
    *("Arctan", "Arcsinh", "Arctanh", "Erfinv", "Cbrt", "NanToNum", "Isnan", "Isfinite", "Isinf", "Identity"),
)
def _pass_on(walk: Walk, operation, x, *args, **kwargs):
    if any(map(tf.is_tensor, tree.flatten((args, kwargs)))):
        raise NoRule(f"{operation.name!r}: nothing says what {type(operation).__name__} by other tensors does")
    if not walk.boolean:
        return x
    with tf.init_scope():  # now, while the walk may be traced
        at_zero = np.asarray(operation.call(tf.zeros((1,)), *args, **kwargs))
    return walk.lift(x) if at_zero.any() else x


@register_rule("Softmax", "LogSoftmax", "Sparsemax")
def _softmax(walk: Walk, operation, x):
    return walk.lift(walk.mix(x, _axes(operation.axis, x)))


@register_rule("Normalize", "RMSNorm")
def _norm(walk: Walk, operation, x, scale=None):
    return walk.mix(x, _axes(operation.axis, x), keeps_zero=True)


@register_rule("LayerNorm")
def _layer_norm(walk: Walk, operation, x, gamma=None, beta=None):
    outputs = walk.mix(x, _axes(operation.axis, x), keeps_zero=operation.rms_scaling)
    return outputs if beta is None or operation.rms_scaling else walk.lift(outputs)


@register_rule("Add", "Subtract", "Maximum", "Minimum")
def _add(walk: Walk, operation, x1, x2):
    """A difference or a maximum is a sum here: two paths must not cancel."""
    kernels = [walk.is_kernel(x) for x in (x1, x2)]
    if kernels[0] != kernels[1] and tf.is_tensor(x1) and tf.is_tensor(x2):
        x, rows = (x2, x1) if kernels[0] else (x1, x2)
        return walk.linear(ops.add, x, constant_rows(walk, rows, [x]))
    constant = [not tf.is_tensor(x) for x in (x1, x2)]
    if not any(constant):
        return ops.add(x1, x2)
    x, other = (x2, x1) if constant[0] else (x1, x2)
    other = ops.convert_to_numpy(other)
    # Adding may still spread x over the constant's shape.
    x = x if np.ndim(other) == 0 else ops.add(x, np.zeros(np.shape(other), np.float32))
    return walk.lift(x, np.broadcast_to(other, x.shape)) if np.any(other) else x


@register_rule("Equal", "NotEqual", "Greater", "GreaterEqual", "Less", "LessEqual", "LogicalOr", "LogicalXor")
def _compare(walk: Walk, operation, x1, x2):
    return walk.lift(_add(walk, operation, x1, x2))


@register_rule("Where")
def _where(walk: Walk, operation, condition, x1=None, x2=None):
    if tf.is_tensor(condition):
        return _add(walk, operation, _add(walk, operation, x1, x2), condition)
    first = np.float32(ops.convert_to_numpy(condition) != 0)
    parts = [(x1, first), (x2, 1 - first)]
    moved = [walk.linear(lambda x, at=at: x * at, x) for x, at in parts if tf.is_tensor(x)]
    total = moved[0] if len(moved) == 1 else walk.linear(ops.add, *moved)
    for x, at in parts:
        if not tf.is_tensor(x):
            total = walk.lift(total, np.broadcast_to(_nonzero(x) * at, total.shape))
    return total


@register_rule("Multiply", "LogicalAnd")
def _multiply(walk: Walk, operation, x1, x2):
    return walk.product(ops.multiply, _nonzero(x1), _nonzero(x2))


@register_rule("Divide", "TrueDivide", "DivideNoNan", "FloorDivide", "Mod")
def _divide(walk: Walk, operation, x1, x2):
    """A product whose second factor is never 0."""
    return _multiply(walk, operation, x1, _lifted(walk, x2))


@register_rule("Power")
def _power(walk: Walk, operation, x1, x2):
    outputs = _multiply(walk, operation, x1, _lifted(walk, x2))
    if tf.is_tensor(x2):
        return outputs if tf.is_tensor(x1) else walk.lift(outputs)
    exponent = np.broadcast_to(ops.convert_to_numpy(x2), outputs.shape)
    return walk.lift(outputs, exponent <= 0) if (exponent <= 0).any() else outputs


@register_rule("Matmul", "Dot", "Tensordot", "Einsum", "Inner", "Outer")
def _product(walk: Walk, operation, *operands, **kwargs):
    outputs = walk.product(lambda *factors: operation.call(*factors, **kwargs), *map(_nonzero, operands))
    kernels = [walk.kernel_of(operand) for operand in operands if walk.is_kernel(operand)]
    if len(kernels) == 1 and len(operands) == 2:
        for kernel in kernels:
            walk.use(kernel, _terms(operation, operands, outputs) // math.prod(kernel.shape))
    return outputs


def _terms(operation, operands, outputs) -> int:
    """Number of products of single numbers."""
    if type(operation).__name__ == "Einsum":
        given = operation.subscripts.replace(" ", "").split("->")[0].split(",")
        sizes = {}
        for labels, operand in zip(given, operands, strict=True):
            head, _, tail = labels.partition("...")
            shape = list(operand.shape)
            sizes |= dict(zip(head, shape, strict=False)) | dict(zip(reversed(tail), reversed(shape), strict=False))
            if "..." in labels:
                sizes[None] = math.prod(shape[len(head) : len(shape) - len(tail)])
        return math.prod(sizes.values())
    ones = [tf.ones(operand.shape) for operand in operands]
    with tf.init_scope():
        return math.prod(outputs.shape) * int(np.max(operation.call(*(np.ones(x.shape, np.float32) for x in ones))))


@register_rule("Sum")
def _sum(walk: Walk, operation, x):
    return operation.call(x)


@register_rule("Cumsum")
def _cumsum(walk: Walk, operation, x):
    return operation.call(x)


@register_rule("Mean", "Max", "Min", "Amax", "Amin", "Median", "Any", "All", "Prod", "CountNonzero")
def _reduce(walk: Walk, operation, x):
    reduce = ops.sum if walk.boolean else ops.mean
    return reduce(x, axis=operation.axis, keepdims=operation.keepdims)


@register_rule("Logsumexp")
def _logsumexp(walk: Walk, operation, x):
    return walk.lift(_reduce(walk, operation, x))


@register_rule("Argmax", "Argmin")
def _place_of(walk: Walk, operation, x):
    if operation.axis is None:
        raise NoRule(f"{operation.name!r}: {type(operation).__name__} over the batch has no rule")
    return ops.sum(x, axis=operation.axis, keepdims=operation.keepdims)


@register_rule("Sort", "Argsort")
def _sort(walk: Walk, operation, x):
    return walk.lift(walk.mix(x, _axes(operation.axis, x)))


@register_rule("TopK")
def _top(walk: Walk, operation, x):
    total = walk.lift(ops.repeat(_reduced(walk, x, -1), operation.k, axis=-1))
    return total, tf.identity(total)


@register_rule("OneHot")
def _one_hot(walk: Walk, operation, x):
    axis = operation.axis % (len(x.shape) + 1)
    return walk.lift(ops.repeat(ops.expand_dims(x, axis), operation.num_classes, axis=axis))


@register_rule("Glu")
def _glu(walk: Walk, operation, x):
    values, gates = (walk.linear(lambda x, at=at: ops.split(x, 2, axis=operation.axis)[at], x) for at in (0, 1))
    return walk.product(ops.multiply, values, walk.lift(gates))


@register_rule("ZerosLike", "OnesLike", "FullLike")
def _constant(walk: Walk, operation, x, fill_value=None):
    """It takes nothing but a shape."""
    zeros = walk.linear(lambda x: x * 0, x)
    kind = type(operation).__name__
    is_zero = kind == "ZerosLike" or (kind == "FullLike" and not tf.is_tensor(fill_value) and not np.any(fill_value))
    return zeros if is_zero else walk.lift(zeros)


@register_rule("MaxPool", "AveragePool")
def _pool(walk: Walk, operation, x):
    size, rank = operation.pool_size, len(x.shape) - 2
    outputs = ops.average_pool(x, size, operation.strides, operation.padding, operation.data_format)
    area = size**rank if isinstance(size, int) else math.prod(size)
    return outputs * area if walk.boolean else outputs


@register_rule("Resize")
def _resize(walk: Walk, operation, x):
    if operation.interpolation not in ("nearest", "bilinear") or operation.antialias:
        raise NoRule(f"{operation.name!r}: {operation.interpolation} interpolation has no rule")
    outputs = operation.call(x)
    return outputs * INTERPOLATION if walk.boolean else outputs


def _reduced(walk: Walk, x, axis):
    return (ops.sum if walk.boolean else ops.mean)(x, axis=axis, keepdims=True)


@register_rule("Var", "Std")
def _spread(walk: Walk, operation, x):
    return _reduce(walk, operation, walk.mix(x, _axes(operation.axis, x)))


@register_rule(
    *("Reshape", "Transpose", "Swapaxes", "Moveaxis", "ExpandDims", "Squeeze", "Ravel", "Flip", "Roll", "Rot90"),
    *("Concatenate", "Stack", "Hstack", "Vstack", "Dstack", "Split", "ArraySplit", "Hsplit", "Vsplit", "Unstack"),
    *("Repeat", "Tile", "BroadcastTo", "GetItem", "Slice", "Take", "Diagonal", "Tril", "Triu"),
    *("DepthToSpace", "SpaceToDepth", "ExtractPatches", "Diag", "Trace"),
)
def _move(walk: Walk, operation, *args, **kwargs):
    if type(operation).__name__ == "Take" and walk.is_kernel(args[0]) and operation.axis == 0:
        return looked_up(walk, args[0], args[1] if len(args) > 1 else kwargs["indices"])
    if any(map(tf.is_tensor, tree.flatten((args[1:], kwargs)))):
        raise NoRule(
            f"{operation.name!r}: nothing says where {type(operation).__name__} by other tensors moves entries"
        )
    return operation.call(*args, **kwargs)


@register_rule("Pad")
def _pad(walk: Walk, operation, x, constant_values=None):
    # Padding with a constant is no input, whatever its value; reflected and repeated edges are.
    outputs = operation.call(x, constant_values=None)
    if not constant_values:
        return outputs
    with tf.init_scope():
        padding = np.asarray(operation.call(tf.ones(x.shape))) == 0
    return walk.lift(outputs, padding)


def _nonzero(x):
    return x if tf.is_tensor(x) else np.asarray(ops.convert_to_numpy(x) != 0, np.float32)


def _lifted(walk: Walk, x):
    return walk.lift(x) if tf.is_tensor(x) else x


def _axes(axis, x) -> list[int]:
    given = range(1, len(x.shape)) if axis is None else axis if isinstance(axis, (list, tuple)) else [axis]
    return [one % len(x.shape) for one in given]
