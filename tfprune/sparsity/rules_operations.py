"""Rules of Keras operations used directly in a functional graph: `x + y`, `keras.ops.reshape(x, ...)` and so on.

A constant that is added is a bias and is dropped; one that multiplies counts as 1, or as 0 where it is exactly 0.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from keras import ops

from tfprune.sparsity.graph import Walk, register_rule


@register_rule(
    *("Relu", "Relu6", "Sigmoid", "Softplus", "Softsign", "SoftShrink", "Silu", "LogSigmoid", "LeakyRelu"),
    *("HardSigmoid", "HardSilu", "Elu", "Selu", "Gelu", "Celu", "TanhShrink", "HardTanh", "HardShrink", "Threshold"),
    *("Softmax", "LogSoftmax", "Tanh", "Absolute", "Abs", "Negative", "Square", "Sqrt", "Rsqrt", "Exp", "Expm1", "Log"),
    *("Log1p", "Erf", "Sin", "Cos", "Clip", "Reciprocal", "Sign", "Cast", "Copy", "StopGradient", "Normalize"),
)
def _pass_on(walk: Walk, operation, x, *args, **kwargs):
    return x


@register_rule("Power", "FloorDivide", "Mod")
def _power(walk: Walk, operation, x1, x2):
    return _multiply(walk, operation, x1, x2)


@register_rule("Add", "Subtract", "Maximum", "Minimum")
def _add(walk: Walk, operation, x1, x2):
    """A difference or a maximum is a sum here: two paths must not cancel."""
    constant = [not tf.is_tensor(x) for x in (x1, x2)]
    if not any(constant):
        return ops.add(x1, x2)
    x, other = (x2, x1) if constant[0] else (x1, x2)
    # Adding may still spread x over the constant's shape.
    return x if np.ndim(other) == 0 else ops.add(x, np.zeros(np.shape(other), np.float32))


@register_rule("Multiply", "Divide", "TrueDivide", "DivideNoNan")
def _multiply(walk: Walk, operation, x1, x2):
    """Reachable where both factors are; a quotient counts as a product."""
    return ops.multiply(_nonzero(x1), _nonzero(x2))


@register_rule("Matmul", "Dot", "Tensordot", "Einsum")
def _product(walk: Walk, operation, *operands, **kwargs):
    return operation.call(*[_nonzero(operand) for operand in operands], **kwargs)


@register_rule("Sum")
def _sum(walk: Walk, operation, x):
    return operation.call(x)


@register_rule("Mean", "Max", "Min", "Amax", "Amin", "Logsumexp")
def _reduce(walk: Walk, operation, x):
    reduce = ops.sum if walk.boolean else ops.mean
    return reduce(x, axis=operation.axis, keepdims=operation.keepdims)


@register_rule(
    *("Reshape", "Transpose", "Swapaxes", "Moveaxis", "ExpandDims", "Squeeze", "Ravel", "Flip", "Roll", "Rot90"),
    *("Concatenate", "Stack", "Hstack", "Vstack", "Dstack", "Split", "ArraySplit", "Hsplit", "Vsplit", "Unstack"),
    *("Repeat", "Tile", "BroadcastTo", "GetItem", "Slice", "Take", "Diagonal", "Tril", "Triu"),
    *("DepthToSpace", "SpaceToDepth"),
)
def _move(walk: Walk, operation, *args, **kwargs):
    return operation.call(*args, **kwargs)


@register_rule("Pad")
def _pad(walk: Walk, operation, x, constant_values=None):
    # Padding with a constant is no input, whatever its value; reflected and repeated edges are.
    return operation.call(x, constant_values=None)


def _nonzero(x):
    return x if tf.is_tensor(x) else np.asarray(ops.convert_to_numpy(x) != 0, np.float32)
