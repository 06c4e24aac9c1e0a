"""Rules of what a layer's call does with its own variables before, and besides, products with them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tfprune.surgery.channels import Signal
from tfprune.surgery.links import Weights
from tfprune.surgery.own_layers import Weight
from tfprune.surgery.rules_shapes import moves
from tfprune.surgery.trace import Trace, register_on_weights


@register_on_weights("Transpose", "Swapaxes", "Moveaxis", "ExpandDims", "Squeeze")
def _move(trace: Trace, operation, spec, x):
    return _moved(x, spec, moves(operation))


@register_on_weights("GetItem")
def _get_item(trace: Trace, operation, spec, x, key):
    key = tuple(key) if isinstance(key, list) else key
    return _moved(x, spec, lambda array: array[key])


@register_on_weights("Reshape")
def _reshape(trace: Trace, operation, spec, x):
    """Where axes of size 1 come or go only."""
    long = [axis for axis, size in zip(x.axes, x.spec.shape, strict=True) if size != 1]
    if [x.variable.shape[axis] for axis in long] != [size for size in spec.shape if size != 1]:
        return None
    left = iter(long)
    return _as(x, spec, [None if size == 1 else next(left) for size in spec.shape])


@register_on_weights("Cast", "Copy", "StopGradient")
def _same(trace: Trace, operation, spec, x):
    return _as(x, spec, x.axes)


@register_on_weights("Add", "Subtract", "Multiply", "Maximum", "Minimum")
def _entrywise(trace: Trace, operation, spec, x1, x2):
    given = next((x for x in (x1, x2) if isinstance(x, Signal)), None)
    if given is None or given.axis is None:
        return None
    factors = [_as_signal(trace, x, given) if isinstance(x, Weight) else x for x in (x1, x2)]
    return None if None in factors else trace.call(operation, *factors)


def _moved(x: Weight, spec, function: Callable) -> Weight | None:
    """NumPy's views of arrays that differ along one axis each say where the axes go."""
    shape, axes = x.spec.shape, [None] * len(spec.shape)
    for place, axis in enumerate(x.axes):
        if axis is None:
            continue
        along = np.arange(shape[place]).reshape([-1 if one == place else 1 for one in range(len(shape))])
        try:
            array = function(np.broadcast_to(along, shape))
        except (IndexError, ValueError, TypeError):
            return None
        there = [one for one, stride in enumerate(array.strides) if stride and array.shape[one] > 1]
        if len(there) != 1 or array.shape[there[0]] != shape[place] or array.strides[there[0]] < 0:
            return None
        axes[there[0]] = axis
    return _as(x, spec, axes)


def _as(x: Weight, spec, axes) -> Weight:
    return Weight(x.layer, x.variable, spec, tuple(axes))


def _as_signal(trace: Trace, weight: Weight, beside: Signal) -> Signal | None:
    """A variable that lies on a signal, of the same rank; the same for all examples."""
    rank, missing = len(beside.spec.shape), len(beside.spec.shape) - len(weight.axes)
    axes = (*[None] * missing, *weight.axes)
    if missing < 0 or axes[0] is not None:
        return None
    axis = axes[beside.axis]
    for other in {*axes} - {None, axis}:
        trace.channels.fix(trace.outputs_of(weight.layer, weight.variable, other))
    spec = type(weight.spec)((*[1] * missing, *weight.spec.shape), weight.spec.dtype)
    if axis is None:
        channels = trace.channels.new(1, fixed=True)
    else:
        channels = trace.outputs_of(weight.layer, weight.variable, axis)
    signal = trace.signal(spec, beside.axis - rank, channels)
    trace.links.append(_Constant(trace.weights, trace.path_of(weight.variable), axis, signal))
    return signal


class _Constant:
    """A variable as a signal: a channel is constant where it is the same along all other axes.

    Args:
        weights: path -> array.
        path: of the variable.
        axis: of its channels; None where it has one.
        output: the signal.
    """

    def __init__(self, weights: Weights, path: str, axis: int | None, output: Signal):
        self._weights, self._path, self._axis, self._output = weights, path, axis, output

    def forward(self) -> None:
        value = self._weights[self._path]
        flat = np.moveaxis(value, self._axis, 0) if self._axis is not None else value[None]
        flat = flat.reshape(len(flat), -1)
        self._output.constant[:] = np.where((flat == flat[:, :1]).all(1), flat[:, 0], np.nan)

    def backward(self) -> None:
        """Nothing else is needed for it."""
