"""What a finished network counts: weights, parameters and operations, as trained, as masked, and really compacted."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from itertools import zip_longest
from typing import Any

import keras
import numpy as np

from tfprune.connectivity.compaction import size_of
from tfprune.connectivity.report import own_masks, sparsity
from tfprune.layers.masks import Masks
from tfprune.layers.topology import named_layers
from tfprune.records.reading import one_line
from tfprune.records.result import COUNTED, LAYER
from tfprune.surgery.compact import compact


def measured(
    model: keras.Model,
    masks: Mapping[str, np.ndarray] | None = None,
    input_shape=None,
    *,
    plain: keras.Model | None = None,
    unpruned: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The fields `COUNTED` and `layers` of a `Result`, as keyword arguments for it; see there for what each one means.

    Compaction is done, not estimated: the small model is built and counted. A training that has ended is worth more
    than its counts: what cannot be counted is None, and a warning says why; nothing is raised.

    Args:
        model: built Sequential or Functional model, masked or plain; is left as it is.
        masks: path -> bool array for every path of `prunable(model)`; None for the model's own: the masks of masked
            layers, in plain layers the weights that are not 0. `Masks.dense(model)` where nothing is masked.
        input_shape: of an input without the batch axis, where the model leaves sizes open.
        plain: for layers that `tfprune.compact` cannot copy: a model in plain Keras with the outputs of the masked
            `model`, its pruned weights and biases 0, which is compacted in its place.
        unpruned: for a model that has lost its channels already: `weights`, `parameters`, `flops` and `layers` of the
            network that it was made from, as this function counted them; missing ones are unknown.

    Returns:
        Name -> number, or None where it cannot be counted.
    """
    found: dict[str, Any] = dict.fromkeys((*COUNTED, "layers"))
    try:
        masks = own_masks(model) if masks is None else (masks if isinstance(masks, Masks) else Masks(masks))
        masks = masks.check(model)
        parameters = parameters_of(model)
        gone = masks.size - masks.kept + _masked_biases(model)
        found |= {"weights": masks.size, "kept": masks.kept, "parameters": parameters}
        found["parameters_masked"] = parameters - gone
        kept = masks.counts
        found["layers"] = {path: _layer(mask.size, kept[path]) for path, mask in masks.items()}
    except Exception as error:
        return _given_up(found, "nothing of this network", error)
    try:
        report = sparsity(model, masks, input_shape, unknown="refuse")
        found |= {"effective": report.weights.effective, "flops": report.flops.dense, "flops_masked": report.flops.kept}
        counts = report.weights_of
        found["layers"] = {path: _layer(each.dense, each.kept, each.effective) for path, each in counts.items()}
    except Exception as error:
        _given_up(found, "effective weights and FLOPs", error)
    try:
        given = (model, masks) if plain is None else (plain,)
        small = compact(*given, verify=False, unknown="refuse")
        found["parameters_compacted"] = parameters_of(small)
        found["flops_compacted"] = (
            None if found["flops"] is None else size_of(small, input_shape, unknown="refuse").flops
        )
    except Exception as error:
        _given_up(found, "parameters and FLOPs of the compacted network", error)
    if unpruned is not None:
        found |= {name: unpruned.get(name) for name in ("weights", "parameters", "flops")}
        found["layers"] = _of_whole(found["layers"], unpruned.get("layers"))
    return found


def _layer(*counts: int) -> dict[str, int | None]:
    return dict(zip_longest(LAYER, counts))


def _of_whole(layers: Mapping | None, whole: Mapping | None) -> dict | None:
    """The kernels of a network that has lost channels, as shares of those that it was made from."""
    if layers is None or whole is None or set(layers) != set(whole):
        return None
    return {path: {**layers[path], "weights": whole[path]["weights"]} for path in whole}


def parameters_of(model: keras.Model) -> int:
    """Weights, biases and scales and shifts of normalisation, frozen or not; no running averages, no masks."""
    # A layer's public list of trainable variables is empty where it is frozen.
    inner = (part for _, layer in named_layers(model) for part in layer._flatten_layers())
    variables = {id(variable): variable for layer in inner for variable in layer._trainable_variables}
    return sum(int(np.prod(variable.shape)) for variable in variables.values())


def _masked_biases(model: keras.Model) -> int:
    """Number of biases that layers mask themselves."""
    found = [getattr(layer, "bias_mask", None) for _, layer in named_layers(model)]
    return sum(int(np.count_nonzero(~mask.numpy())) for mask in found if mask is not None)


def _given_up(found: dict, what: str, error: Exception) -> dict:
    warnings.warn(f"not counted: {what} ({one_line(error)})", stacklevel=3)
    return found
