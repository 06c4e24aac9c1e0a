"""Rules of Keras operations used directly in a functional graph: `x + y`, `keras.ops.relu(x)` and so on.

An operation that has no rule here keeps all channels: it has no weights, so it works on as before.
"""

from __future__ import annotations

import numpy as np

from tfprune.surgery.activations import on_constants
from tfprune.surgery.channels import Signal
from tfprune.surgery.rules_layers import concatenated, merged, product, product_uses
from tfprune.surgery.trace import Trace, register_rule


@register_rule(
    *("Relu", "Relu6", "Sigmoid", "Softplus", "Softsign", "SoftShrink", "Silu", "LogSigmoid", "LeakyRelu", "Gelu"),
    *("HardSigmoid", "HardSilu", "Elu", "Selu", "Celu", "TanhShrink", "HardTanh", "HardShrink", "Threshold", "Tanh"),
    *("Absolute", "Abs", "Negative", "Square", "Sqrt", "Exp", "Clip", "Cast", "StopGradient", "Copy", "Sin", "Cos"),
    *("Erf", "Sign", "Floor", "Ceil", "Round", "SparsePlus", "SparseSigmoid", "Squareplus", "Arctan", "Expm1"),
)
def _elementwise(trace: Trace, operation, spec, x, *args, **kwargs):
    if args or kwargs:
        return trace.keep(operation, spec, x)
    return trace.slotwise([x], spec, on_constants(operation.call))


@register_rule("Add")
def _add(trace: Trace, operation, spec, x1, x2):
    return _merged(trace, operation, spec, x1, x2, np.add)


@register_rule("Subtract")
def _subtract(trace: Trace, operation, spec, x1, x2):
    return _merged(trace, operation, spec, x1, x2, np.subtract)


@register_rule("Maximum")
def _maximum(trace: Trace, operation, spec, x1, x2):
    return _merged(trace, operation, spec, x1, x2, np.maximum)


@register_rule("Minimum")
def _minimum(trace: Trace, operation, spec, x1, x2):
    return _merged(trace, operation, spec, x1, x2, np.minimum)


@register_rule("Divide", "TrueDivide")
def _divide(trace: Trace, operation, spec, x1, x2):
    # A divisor that nothing needs any more could become 0, and the quotient infinite: then 0 times it is no 0.
    if isinstance(x2, Signal):
        return trace.keep(operation, spec, x1, x2)
    return _merged(trace, operation, spec, x1, x2, np.divide)


@register_rule("Multiply")
def _multiply(trace: Trace, operation, spec, x1, x2):
    return _merged(trace, operation, spec, x1, x2, product, product_uses)


@register_rule("Mean", "Max", "Min", "Amax", "Amin")
def _reduce(trace: Trace, operation, spec, x, **kwargs):
    return _reduced(trace, operation, spec, x, np.copy, **kwargs)


@register_rule("Sum")
def _sum(trace: Trace, operation, spec, x, **kwargs):
    return _reduced(trace, operation, spec, x, lambda constants: np.where(constants == 0, constants, np.nan), **kwargs)


@register_rule("Var", "Std")
def _spread(trace: Trace, operation, spec, x, **kwargs):
    return _reduced(trace, operation, spec, x, lambda constants: 0 * constants, **kwargs)


def _reduced(trace: Trace, operation, spec, x, function, **kwargs) -> Signal:
    """Over positions only; `function` says what a constant becomes."""
    rank = len(x.spec.shape)
    axes = operation.axis if isinstance(operation.axis, (tuple, list)) else [operation.axis]
    axes = {axis % rank for axis in axes if axis is not None}
    if kwargs or not axes or x.axis is None or axes & {0, x.axis}:
        return trace.keep(operation, spec, x)
    axis = x.axis if operation.keepdims else x.axis - sum(reduced < x.axis for reduced in axes)
    return trace.slotwise([x], spec, function, axis=axis)


@register_rule("Concatenate")
def _concatenate(trace: Trace, operation, spec, xs):
    if not all(isinstance(x, Signal) for x in xs):
        return trace.keep(operation, spec, xs)
    return concatenated(trace, operation, spec, xs, operation.axis)


@register_rule("Where")
def _where(trace: Trace, operation, spec, condition, x1=None, x2=None):
    """Entry by entry; the condition's channels stay."""
    if not isinstance(x1, Signal) and not isinstance(x2, Signal):
        return trace.keep(operation, spec, condition, x1, x2)
    signals = [x for x in (x1, x2) if isinstance(x, Signal)]
    given = [x for x in (condition, *signals) if isinstance(x, Signal)]
    numbers = all(isinstance(x, (Signal, int, float)) for x in (x1, x2))
    if len(given) == len(signals) or not numbers or len({len(x.spec.shape) for x in given}) > 1:
        return trace.keep(operation, spec, condition, x1, x2)
    if condition.spec.shape[signals[0].axis or 0] == 1 and signals[0].axis is not None:
        output = merged(trace, operation, spec, signals, lambda *constants: np.full_like(constants[0], np.nan))
        trace.depend([output], condition)
        return output
    return merged(trace, operation, spec, given, lambda *constants: np.full_like(constants[0], np.nan))


def _merged(trace: Trace, operation, spec, x1, x2, function, uses=None):
    signals = [x for x in (x1, x2) if isinstance(x, Signal)]
    if len(signals) == 2:
        # NumPy's broadcasting puts the last axes on each other, but not the batch axes of different ranks.
        if len(x1.spec.shape) != len(x2.spec.shape):
            return trace.keep(operation, spec, x1, x2)
        return merged(trace, operation, spec, signals, function, uses)
    number = x2 if signals[0] is x1 else x1
    if not isinstance(number, (int, float)):
        return trace.keep(operation, spec, x1, x2)
    if signals[0] is x1:
        return trace.slotwise(signals, spec, lambda constants: function(constants, np.full_like(constants, number)))
    return trace.slotwise(signals, spec, lambda constants: function(np.full_like(constants, number), constants))
