"""Rules of what moves, cuts and pools entries: Keras operations, and layers that do the same."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from keras import layers, tree

from tfprune.layers.kinds import channel_axis
from tfprune.surgery.channels import Signal
from tfprune.surgery.links import Slotwise
from tfprune.surgery.rules_layers import common
from tfprune.surgery.trace import Trace, register_rule

_SIZE = 4  # what stands for an open length


def moves(operation) -> Callable:
    """What an operation that moves axes does to an array."""
    return {
        "Transpose": lambda array: array.transpose(operation.axes),
        "Swapaxes": lambda array: array.swapaxes(operation.axis1, operation.axis2),
        "Moveaxis": lambda array: np.moveaxis(array, operation.source, operation.destination),
        "ExpandDims": lambda array: np.expand_dims(array, operation.axis),
        "Squeeze": lambda array: array.squeeze(operation.axis),
    }[type(operation).__name__]


@register_rule("Transpose", "Swapaxes", "Moveaxis", "ExpandDims", "Squeeze")
def _move(trace: Trace, operation, spec, x):
    return _moved(trace, operation, spec, x, moves(operation))


@register_rule("GetItem")
def _get_item(trace: Trace, operation, spec, x, key):
    parts = list(key) if isinstance(key, (tuple, list)) else [key]
    if not all(part is None or part is ... or isinstance(part, (int, slice)) for part in parts):
        return trace.keep(operation, spec, x, key)
    place = _place(parts, x)
    if place is None or not isinstance(parts[place], slice) or parts[place].step not in (None, 1):
        return _moved(trace, operation, spec, x, lambda array: array[tuple(parts)])
    start, stop, _ = parts[place].indices(len(x.channels))
    whole = [*parts[:place], slice(None), *parts[place + 1 :]]
    if stop - start == len(x.channels):
        return _moved(trace, operation, spec, x, lambda array: array[tuple(whole)])

    def edit(config, count, biased):
        ends = (count(x.channels[:end]) for end in (start, stop))
        config["key"] = (*parts[:place], slice(*ends), *parts[place + 1 :])

    trace.edit(operation, edit)
    return _moved(trace, operation, spec, x, lambda array: array[tuple(whole)], np.arange(start, stop))


def _place(parts: list, x: Signal) -> int | None:
    """Which part of a key says what becomes of the channels' axis; None where none does."""
    axis, named = 0, sum(part is not None and part is not ... for part in parts)
    for place, part in enumerate(parts):
        if part is ...:
            axis += len(x.spec.shape) - named
        elif part is not None:
            if axis == x.axis:
                return place
            axis += 1
    return None


def _moved(trace: Trace, operation, spec, x: Signal, function: Callable, index=None) -> Signal:
    """Where the channels all go to one other axis; NumPy's view of an array that differs along theirs says which.

    Args:
        function: what the operation does to an array, but for leaving out channels.
        index: of the channels that come out; None for all.
    """
    width = len(x.channels)
    if x.axis is None or width < 2:
        return trace.keep(operation, spec, x)
    shape = [_SIZE if size is None else size for size in x.spec.shape]
    along = np.arange(width).reshape([-1 if axis == x.axis else 1 for axis in range(len(shape))])
    try:
        array = function(np.broadcast_to(along, shape))
    except (IndexError, ValueError, TypeError):
        return trace.keep(operation, spec, x)
    axes = [axis for axis, stride in enumerate(array.strides) if stride and array.shape[axis] > 1]
    whole = len(axes) == 1 and array.shape[axes[0]] == width and array.strides[axes[0]] > 0
    if not whole or axes[0] == 0 or len(spec.shape) != array.ndim or (index is not None and not len(index)):
        return trace.keep(operation, spec, x)
    return trace.slotwise([x], spec, np.copy, axis=axes[0], index=index)


@register_rule("Softmax", "LogSoftmax", "Cumsum", "Cumprod", "Sort", "Normalize", "Flip", "Roll", layers.Softmax)
def _along_others(trace: Trace, operation, spec, x, *args, **kwargs):
    """What mixes entries along other axes than that of the channels."""
    axes = operation.axis if isinstance(operation.axis, (tuple, list)) else [operation.axis]
    others = {None if axis is None else axis % len(x.spec.shape) for axis in axes}
    masked = any(isinstance(one, Signal) for one in tree.flatten((args, kwargs)))
    if masked or x.axis is None or others & {None, 0, x.axis}:
        return trace.keep(operation, spec, x, *args, **kwargs)
    moves = type(operation).__name__ in ("Flip", "Roll")
    return trace.slotwise([x], spec, np.copy if moves else lambda constants: np.full_like(constants, np.nan))


@register_rule("Split")
def _split(trace: Trace, operation, spec, x):
    """Parts of the channels that are equal by their number go together: as many stay in each."""
    if x.axis is None or operation.axis % len(x.spec.shape) == 0:
        return trace.keep(operation, spec, x)
    if operation.axis % len(x.spec.shape) != x.axis:
        return [trace.slotwise([x], part, np.copy) for part in spec]
    sections, width = operation.indices_or_sections, len(x.channels)
    if not isinstance(sections, int) and list(sections) != sorted({*sections} & {*range(1, width)}):
        return trace.keep(operation, spec, x)
    index = np.split(np.arange(width), sections)
    if isinstance(sections, int):
        for part in index[1:]:
            trace.channels.couple(x.channels[index[0]], x.channels[part])
    else:

        def edit(config, count, biased):
            config["indices_or_sections"] = tuple(count(x.channels[:end]) for end in sections)

        trace.edit(operation, edit)
    outputs = [trace.signal(one, x.axis, x.channels[part]) for one, part in zip(spec, index, strict=True)]
    for output, part in zip(outputs, index, strict=True):
        trace.links.append(Slotwise([(x, part)], output, np.copy))
    return outputs


@register_rule("Stack")
def _stack(trace: Trace, operation, spec, xs):
    rank = len(spec.shape)
    axis = operation.axis % rank
    if not all(isinstance(x, Signal) for x in xs) or len({(x.axis, len(x.channels)) for x in xs}) > 1:
        return trace.keep(operation, spec, xs)
    if xs[0].axis is None or axis == 0:
        return trace.keep(operation, spec, xs)
    return trace.slotwise(list(xs), spec, common, axis=xs[0].axis + (axis <= xs[0].axis))


@register_rule("Pad")
def _pad(trace: Trace, operation, spec, x, constant_values=None):
    widths = [tuple(map(int, width)) for width in operation.pad_width]
    rank = len(x.spec.shape)
    if x.axis is None or len(widths) != rank or any(any(widths[axis]) for axis in (0, x.axis)):
        return trace.keep(operation, spec, x)
    if operation.mode != "constant":
        return trace.slotwise([x], spec, np.copy)
    if isinstance(constant_values, Signal):
        return trace.keep(operation, spec, x, constant_values)
    fill = constant_values or 0
    return trace.slotwise([x], spec, lambda constants: np.where(constants == fill, constants, np.nan))


@register_rule("MaxPool", "AveragePool", "AdaptiveMaxPool", "AdaptiveAveragePool")
def _pool(trace: Trace, operation, spec, x):
    return trace.slotwise([trace.along(x, channel_axis(operation))], spec, np.copy)


@register_rule("Resize", layers.Resizing)
def _resize(trace: Trace, operation, spec, x, **_):
    if not isinstance(x, Signal) or len(x.spec.shape) < 4:
        return trace.keep(operation, spec, x)
    x = trace.along(x, channel_axis(operation))
    return trace.slotwise([x], spec, lambda constants: np.full_like(constants, np.nan))


@register_rule("DepthToSpace", "SpaceToDepth")
def _blocks(trace: Trace, operation, spec, x):
    if operation.data_format != "channels_last":
        return trace.keep(operation, spec, x)
    return reshaped(trace, operation, spec, trace.along(x, -1))


@register_rule("Reshape")
def _reshape(trace: Trace, operation, spec, x):
    shape = operation.newshape
    numbers = isinstance(shape, (tuple, list)) and all(isinstance(size, int) for size in shape)
    if not numbers or len(shape) < 2 or not _fits(spec, x):
        return trace.keep(operation, spec, x)
    output = reshaped(trace, operation, spec, x)
    if shape[-1] != -1:

        def edit(config, count, biased):
            config["newshape"] = (*shape[:-1], count(output.channels))

        trace.edit(operation, edit)
    return output


@register_rule(layers.Reshape)
def _reshape_layer(trace: Trace, layer, spec, inputs, **_):
    x = trace.along(inputs, -1)
    if x.axis is None or layer.target_shape.count(-1) > 1 or not _fits(spec, x):
        return trace.keep(layer, spec, inputs)
    output = reshaped(trace, layer, spec, x)
    target = trace.bind(layer, "target_shape", len(spec.shape) - 1, output.channels)

    def edit(config, count, biased):
        if config["target_shape"][-1] != -1:
            config["target_shape"] = (*config["target_shape"][:-1], count(target))

    trace.edit(layer, edit)
    return output


def reshaped(trace: Trace, operation, spec, x: Signal) -> Signal:
    """Entries in another shape, or moved so that the last axis of both stays the fastest to change.

    A wider last axis has each channel several times. A narrower one has several channels at each slot, as those of a
    pixel shuffle: these go together.
    """
    if not _fits(spec, x):
        return trace.keep(operation, spec, x)
    width, count = spec.shape[-1], len(x.channels)
    if width % count == 0:
        return trace.slotwise([x], spec, np.copy, axis=-1, index=np.tile(np.arange(count), width // count))
    parts = np.arange(count).reshape(-1, width)
    for part in parts[1:]:
        trace.channels.couple(x.channels[parts[0]], x.channels[part])
    output = trace.signal(spec, -1, x.channels[parts[0]])
    trace.links.append(Slotwise([(x, part) for part in parts], output, common))
    return output


def _fits(spec, x: Signal) -> bool:
    width = spec.shape[-1] if len(spec.shape) > 1 else None
    last = x.axis is not None and x.axis == len(x.spec.shape) - 1
    return width is not None and last and (width % len(x.channels) == 0 or len(x.channels) % width == 0)


# Of these, numbers of another kind come out, for which no channels stand: masks, places, shapes.
register_rule(
    *("Equal", "NotEqual", "Greater", "GreaterEqual", "Less", "LessEqual", "LogicalAnd", "LogicalOr", "LogicalNot"),
    *("LogicalXor", "Any", "All", "Argmax", "Argmin", "Argsort", "Isfinite", "Isinf", "Isnan", "OneHot", "Arange"),
)(Trace.keep)
