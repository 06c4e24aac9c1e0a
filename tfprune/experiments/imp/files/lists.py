"""The structure inside the pickles of an iterative-magnitude-pruning run: lists from records, and records from lists.

The lists are those of Pellegrini & Biroli's code (2021, arXiv 2104.13343): the original notebook reads ours, we read
the original's. What is read is checked against its own architecture, because the files come from others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfprune.experiments.imp.arch import LayerSpec, weight_path
from tfprune.experiments.imp.files.records import FinalRecord, IterationRecord, Weights
from tfprune.layers.masks import Masks

_AVERAGES = ("running_mean", "running_variance")
_NO_AVERAGES = np.zeros((2, 0), np.float32)
_PARAMETER_COUNTS = {"f": 2, "x": 2, "c": 5, "p": 2}


def iteration_to_list(record: IterationRecord) -> list:
    """The list of 10 that an iteration's pickle holds."""
    return [
        architecture_to_list(record.layers),
        np.asarray(record.ratios, np.float64),
        _plain_ints(record.recorded_steps),
        _plain_ints(record.steps),
        _plain_ints(record.validation_steps),
        list(np.asarray(record.train_errors, np.float32)),
        list(np.asarray(record.validation_errors, np.float32)),
        [_by_layer(weights, record.layers) for weights in record.weights],
        [_averages_by_layer(averages, record.layers) for averages in record.running_averages],
        _by_layer(record.masks, record.layers),
    ]


def final_to_list(record: FinalRecord) -> list:
    """The list of 3 that the final pickle holds."""
    return [
        architecture_to_list(record.layers),
        [np.asarray(ratios, np.float64) for ratios in record.ratios],
        list(np.asarray(record.best_validation_errors, np.float32)),
    ]


def architecture_to_list(layers: Sequence[LayerSpec]) -> list[list]:
    """`[kind, parameters, prunable]` per layer."""
    return [[layer.kind, _plain_ints(layer.params), bool(layer.prunable)] for layer in layers]


def iteration_from_list(content: Any) -> IterationRecord:
    """The record in an iteration's list of 10.

    Accepts what the original wrote for networks with convolutions too: running averages of the dense layers alone
    (the others get shape (2, 0)), a convolution's mask as a bare array and, where it isn't pruned, with a leading 1.

    Raises:
        ValueError: wrong lengths, types or shapes; says which entry.
    """
    _need(isinstance(content, list | tuple) and len(content) == 10, f"a list of 10 is needed, not {_told(content)}")
    layers = layers_from_list(content[0])
    pruned = sum(layer.prunable for layer in layers)
    recorded, steps, validated = (
        _ints(content[i], name) for i, name in ((2, "recorded steps"), (3, "steps"), (4, "validation steps"))
    )
    _need(bool(validated) and set(validated) <= set(steps), "the validation steps are not among the steps")
    _need(len(content[7]) == len(recorded), f"weights of {len(content[7])} steps, but {len(recorded)} recorded steps")
    _need(len(content[8]) == len(recorded), f"averages of {len(content[8])} steps, but {len(recorded)} recorded steps")
    return IterationRecord(
        layers,
        _ratios(content[1], pruned),
        recorded,
        steps,
        validated,
        _errors(content[5], len(steps), "train errors"),
        _errors(content[6], len(validated), "validation errors"),
        [weights_from_list(arrays, layers) for arrays in _sequence(content[7], "weights")],
        [averages_from_list(arrays, layers) for arrays in _sequence(content[8], "running averages")],
        masks_from_list(content[9], layers),
    )


def final_from_list(content: Any) -> FinalRecord:
    """The record in the final list of 3.

    Raises:
        ValueError: wrong lengths, types or shapes; says which entry.
    """
    _need(isinstance(content, list | tuple) and len(content) == 3, f"a list of 3 is needed, not {_told(content)}")
    layers = layers_from_list(content[0])
    pruned = sum(layer.prunable for layer in layers)
    ratios = [_ratios(entry, pruned) for entry in _sequence(content[1], "ratios")]
    return FinalRecord(layers, ratios, _errors(content[2], len(ratios), "best validation errors"))


def layers_from_list(content: Any) -> tuple[LayerSpec, ...]:
    """The architecture from its list form.

    Raises:
        ValueError: an unknown kind, or parameters that don't belong to the kind.
    """
    layers = []
    for i, entry in enumerate(_sequence(content, "architecture")):
        name = f"layer {i} of the architecture"
        _need(isinstance(entry, list | tuple) and len(entry) == 3, f"{name} is {_told(entry)}, not a list of 3")
        kind, params, prunable = entry
        _need(isinstance(kind, str) and kind in _PARAMETER_COUNTS, f"{name} has kind {_shown(kind)}, not f, x, c or p")
        sizes = tuple(_ints(params, f"the parameters of {name}"))
        _need(len(sizes) == _PARAMETER_COUNTS[kind] and min(sizes) > 0, f"{name} ({kind}) has parameters {sizes!r:.60}")
        _need(isinstance(prunable, bool | np.bool_), f"{name} is neither pruned nor not: {_shown(prunable)}")
        layers.append(LayerSpec(kind, sizes, bool(prunable)))
    _need(bool(layers), "the architecture has no layers")
    return tuple(layers)


def weights_from_list(content: Any, layers: Sequence[LayerSpec]) -> Weights:
    """Path -> float32 array, of per layer [W, b, γ, β] (dense), [K] (convolution) or [] (max-pool).

    Raises:
        ValueError: wrong lengths, types or shapes; says of which layer.
    """
    content = _sequence(content, "weights")
    _need(len(content) == len(layers), f"weights of {len(content)} layers, but {len(layers)} in the architecture")
    result = {}
    for i, (arrays, layer) in enumerate(zip(content, layers, strict=True)):
        arrays = _sequence(arrays, f"weights of layer {i}")
        count = len(layer.shapes)
        _need(len(arrays) == count, f"layer {i} ({layer.kind}) has {len(arrays)} weights, not {count}")
        for array, (name, shape) in zip(arrays, layer.shapes.items(), strict=True):
            _need_array(array, shape, f"a weight of layer {i}")
            result[weight_path(i, name)] = array
    return result


def averages_from_list(content: Any, layers: Sequence[LayerSpec]) -> Weights:
    """Path -> float32 array, of per layer mean and variance (2, in), also where the original left layers out.

    Raises:
        ValueError: wrong lengths, types or shapes; says of which layer.
    """
    widths = [layer.params[0] if layer.kind in "fx" else 0 for layer in layers]
    content = _sequence(content, "running averages")
    if len(content) != len(layers):  # the original's: dense layers alone
        _need(len(content) == np.count_nonzero(widths), f"running averages of {len(content)} layers, not {len(layers)}")
        dense = iter(content)
        content = [next(dense) if width else _NO_AVERAGES for width in widths]
    result = {}
    for i, (array, width) in enumerate(zip(content, widths, strict=True)):
        _need_array(array, (2, width), f"the running average of layer {i}")
        if width:
            result |= {weight_path(i, name): row for name, row in zip(_AVERAGES, array, strict=True)}
    return result


def masks_from_list(content: Any, layers: Sequence[LayerSpec]) -> Masks:
    """Masks of per layer [mW, mb] (dense), [mK] or a bare mK (convolution) or [] (max-pool).

    Raises:
        ValueError: wrong lengths, types, shapes or entries; says of which layer.
    """
    content = _sequence(content, "masks")
    _need(len(content) == len(layers), f"masks of {len(content)} layers, but {len(layers)} in the architecture")
    result = {}
    for i, (arrays, layer) in enumerate(zip(content, layers, strict=True)):
        arrays = [arrays] if isinstance(arrays, np.ndarray) and layer.kind == "c" else arrays
        arrays = _sequence(arrays, f"masks of layer {i}")
        count = len(layer.masked)
        _need(len(arrays) == count, f"layer {i} ({layer.kind}) has {len(arrays)} masks, not {count}")
        for array, name in zip(arrays, layer.masked, strict=True):
            result[weight_path(i, name)] = _mask(array, layer.shapes[name], f"a mask of layer {i}")
    return Masks(result)


def _by_layer(arrays: Weights, layers: Sequence[LayerSpec]) -> list[list[np.ndarray]]:
    paths = [[weight_path(i, name) for name in layer.shapes] for i, layer in enumerate(layers)]
    return [[np.asarray(arrays[path], np.float32) for path in each if path in arrays] for each in paths]


def _averages_by_layer(averages: Weights, layers: Sequence[LayerSpec]) -> list[np.ndarray]:
    paths = [[weight_path(i, name) for name in _AVERAGES] for i in range(len(layers))]
    return [
        np.stack([np.asarray(averages[path], np.float32) for path in both]) if both[0] in averages else _NO_AVERAGES
        for both in paths
    ]


def _mask(array: Any, shape: tuple[int, ...], name: str) -> np.ndarray:
    _need(isinstance(array, np.ndarray) and array.dtype.kind in "bf", f"{name} is {_told(array)}, not an array of 0, 1")
    array = array[0] if array.shape == (1, *shape) else array
    _need(array.shape == shape, f"{name} has shape {array.shape}, the architecture says {shape}")
    mask = array.astype(bool)
    _need(bool((mask == array).all()), f"{name} has values other than 0 and 1")
    return mask


def _ratios(array: Any, pruned: int) -> np.ndarray:
    _need(isinstance(array, np.ndarray) and array.dtype.kind == "f", f"the ratios are {_told(array)}, not an array")
    _need(array.shape == (pruned,), f"ratios of shape {array.shape}, but {pruned} pruned layers")
    _need(bool(((array >= 0) & (array <= 1)).all()), "a ratio is outside [0, 1]")
    return array.astype(np.float64)


def _errors(content: Any, count: int, name: str) -> np.ndarray:
    content = _sequence(content, name)
    _need(all(isinstance(error, float | np.floating) for error in content), f"the {name} are not all floats")
    _need(len(content) == count, f"{len(content)} {name}, {count} expected")
    errors = np.array(content, np.float32)
    _need(bool(((errors >= 0) & (errors <= 1)).all()), f"the {name} are not all within [0, 1]")
    return errors


def _need_array(array: Any, shape: tuple[int, ...], name: str) -> None:
    good = isinstance(array, np.ndarray) and array.dtype == np.float32
    _need(good, f"{name} is {_told(array)}, not an array of float32")
    _need(array.shape == shape, f"{name} has shape {array.shape}, the architecture says {shape}")


def _ints(content: Any, name: str) -> list[int]:
    content = _sequence(content, name)
    good = all(isinstance(n, int | np.integer) and not isinstance(n, bool) and n >= 0 for n in content)
    _need(good, f"the {name} are not all whole numbers")
    return _plain_ints(content)


def _sequence(content: Any, name: str) -> list:
    _need(isinstance(content, list | tuple), f"the {name} are {_told(content)}, not a list")
    return list(content)


def _shown(value: Any) -> str:
    # Not repr alone: of a list whose parts are shared it has no end.
    return f"{value!r:.20}" if isinstance(value, str | bool | int | float | None) else _told(value)


def _told(value: Any) -> str:
    if isinstance(value, list | tuple | dict):
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype}"
    return f"{type(value).__name__}"


def _need(good: bool, message: str) -> None:
    if not good:
        raise ValueError(message)


def _plain_ints(values: Sequence[int]) -> list[int]:
    return [int(value) for value in values]
