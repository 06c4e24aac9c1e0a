"""Which kernels compete: all but those that are ignored or, where that is asked for, frozen."""

from __future__ import annotations

from collections.abc import Iterable

import keras

from tfprune.errors import InputError
from tfprune.layers.masks import Masks
from tfprune.layers.prunable import frozen_kernels
from tfprune.pruning.kernel_names import KernelNames, Named


def competing(
    model: keras.Model,
    masks: Masks,
    ignore: Named | Iterable[Named],
    frozen: str | None,
    only: Named | Iterable[Named] | None = None,
) -> Masks:
    """The masks of the kernels that compete.

    Args:
        model: whose kernels they are.
        masks: of all prunable kernels.
        ignore, frozen, only: as for `tfprune.prune`.

    Raises:
        InputError: nothing is left, or `ignore` or `only` cannot be understood.
    """
    ignores = not (isinstance(ignore, (tuple, list)) and not ignore)
    out = set(KernelNames(model, "ignore=").all_of(ignore)) if ignores else set()
    if only is not None:
        out |= set(masks) - set(KernelNames(model, "only=").all_of(only))
    if frozen == "keep":
        out |= set(frozen_kernels(model))
    left = {path: mask for path, mask in masks.items() if path not in out}
    if not left:
        given = [name for name, is_given in (("only=", only is not None), ("ignore=", ignores)) if is_given]
        which = " with ".join(['frozen="keep"', *given] if frozen == "keep" else given)
        raise InputError(f"{which} leaves no kernel to prune")
    return Masks(left) if out else masks
