"""How a level is pruned: by the magnitudes of all weights that are left, whatever their layer."""

from __future__ import annotations

from collections.abc import Collection
from math import ceil

import keras

from tfprune.errors import InputError
from tfprune.layers.masks import Masks
from tfprune.layers.prunable import prunable
from tfprune.models.freezing import tensor_name
from tfprune.pruning.pruner import prune


def ignored_kernels(model: keras.Model, names: str | None, flag: str = "--pruning_layers_to_ignore") -> list[str]:
    """Paths of the kernels that a flag names.

    Args:
        model: the network.
        names: separated by commas: kernels by our path, `fc/kernel`, or by the published code's name, `fc.weight`.
        flag: for messages.

    Raises:
        InputError: a name is no kernel of the network; lists them.
    """
    paths = list(prunable(model))
    known = {name: path for path in paths for name in (path, tensor_name(path))}
    wanted = [name.strip() for name in (names or "").split(",") if name.strip()]
    for name in wanted:
        if name not in known:
            raise InputError(f"{flag} must name kernels of {model.name}: {', '.join(paths)}. Received: {name!r}")
    return [known[name] for name in wanted]


def check_levels_possible(
    model: keras.Model, levels: int, fraction: float, ignore: Collection[str] = (), published: bool = False
) -> None:
    """Refuses a number of prunings after which no weights would be left, before anything is trained.

    Args:
        model: the network.
        levels: number of prunings.
        fraction: see `prune_magnitudes`, as for the others.

    Raises:
        InputError: says how many are possible.
    """
    sizes = {path: mask.size for path, mask in Masks.dense(model).items()}
    left = sum(size for path, size in sizes.items() if path not in ignore)
    ignored = sum(sizes.values()) - left
    if levels and not left:
        raise InputError("--pruning_layers_to_ignore leaves no kernel to prune")
    for level in range(1, levels + 1):
        gone = _count(left, left + ignored, fraction, published)
        if gone >= left:
            raise InputError(
                f"--levels={levels}: level {level} would prune {gone} of the {left} weights that are left; at most "
                f"--levels={level - 1}, or a smaller --pruning_fraction"
            )
        left -= gone


def _count(left: int, left_with_ignored: int, fraction: float, published: bool) -> int:
    # In floating point 0.1 · 30 is a little more than 3; the published count has that, too.
    return ceil(fraction * left_with_ignored) + 1 if published else ceil(round(fraction * left, 6))


def prune_magnitudes(
    model: keras.Model, masks: Masks, fraction: float, ignore: Collection[str] = (), published: bool = False
) -> Masks:
    """Prunes the smallest of the weights that are left, all layers competing.

    Args:
        model: holds the weights, pruned ones of any value.
        masks: what is left.
        fraction: of it to prune: `ceil(fraction · n)` of the n weights left in kernels that are not ignored.
        ignore: paths of kernels that are not pruned.
        published: prune `ceil(fraction · n) + 1` with n counting the ignored kernels, too, as the published code does.

    Raises:
        InputError: there are not so many weights to prune.

    Reference: Frankle & Carbin 2019, arXiv 1803.03635, section 2; the published code is OpenLTH.
    """
    competing = Masks({path: mask for path, mask in masks.items() if path not in ignore})
    left = competing.kept
    gone = _count(left, masks.kept, fraction, published)
    if gone >= left:
        raise InputError(
            f"{gone} weights are to be pruned of the {left} that are left in {', '.join(competing)}: use fewer levels, "
            "a smaller --pruning_fraction or ignore fewer layers"
        )
    return prune(model, "magnitude", 1 - (left - gone) / competing.size, masks=masks, ignore=ignore, frozen="prune")
