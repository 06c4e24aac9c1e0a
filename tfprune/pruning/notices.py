"""What a pruning call says in a line: layers that stay dense, frozen kernels, kernels without weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import keras

from tfprune.errors import InputError
from tfprune.layers.masks import Masks
from tfprune.layers.prunable import frozen_kernels, share_of_parameters, unsupported
from tfprune.layers.topology import named_layers


def dense_layers(model: keras.Model) -> str | None:
    """Which layers with weights stay dense, and what share of the parameters that is; None if there are none."""
    paths = unsupported(model)
    if not paths:
        return None
    layers = dict(named_layers(model))
    share = share_of_parameters(model, [layers[path] for path in paths])
    verb = "layer with weights stays" if len(paths) == 1 else "layers with weights stay"
    return f"{len(paths)} {verb} dense, {100 * share:.3g} % of the parameters: {_some(paths)}"


def frozen_layers(model: keras.Model, masks: Masks) -> str | None:
    """That frozen kernels are pruned like all others; None if no kernel of the masks is frozen."""
    paths = [path for path in frozen_kernels(model) if path in masks]
    if not paths:
        return None
    return (
        f"{len(paths)} of {len(masks)} kernels are frozen (trainable=False) and pruned like the others: "
        f'{_some(paths)}; frozen="keep" leaves them out, frozen="prune" is the same without this line'
    )


def layer_collapse(masks: Masks, before: Masks, effective: Callable[[Masks], Masks]) -> str | None:
    """Which kernels lost all their weights, and whether anything still reaches the output; None if none did."""
    empty = [path for path, mask in masks.items() if before[path].any() and not mask.any()]
    if not empty:
        return None
    lost = f"{len(empty)} of {len(masks)} kernels have no weights left: {_some(empty)}"
    return f"layer collapse at sparsity {masks.sparsity:.6g}: {lost}{_left(masks, effective)}"


def _left(masks: Masks, effective: Callable[[Masks], Masks]) -> str:
    try:
        left = effective(masks).kept
    except InputError:  # a layer of which nothing is known, or open sizes: the masks are right without
        return ""
    return f"; {left:,} of the {masks.kept:,} kept are effective" if left else "; nothing reaches the output any more"


def _some(paths: Iterable[str]) -> str:
    paths = list(paths)
    return ", ".join(map(repr, paths[:3])) + (", ..." if len(paths) > 3 else "")
