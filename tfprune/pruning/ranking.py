"""One round of pruning: the weights that are alive, in the order of their scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from types import MappingProxyType

import numpy as np

from tfprune.errors import InputError
from tfprune.layers.masks import Masks
from tfprune.pruning.selection import TopSets, lowest


class Alive:
    """The weights that are not pruned, held so that work on them costs what they are, not what the network is.

    Per kernel the positions of its ones, int32; None where the kernel is whole.

    Args:
        masks: path -> bool array.
    """

    def __init__(self, masks: Mapping[str, np.ndarray]):
        self._shapes = {path: mask.shape for path, mask in masks.items()}
        self._positions = {
            path: None if mask.all() else np.flatnonzero(mask).astype(np.int32) for path, mask in masks.items()
        }

    def of(self, path: str, array: np.ndarray) -> np.ndarray:
        """The entries of an array of the kernel's shape that are alive, flat."""
        positions = self._positions[path]
        return array.ravel() if positions is None else array.ravel().take(positions)

    def chosen(self, chosen: Mapping[str, np.ndarray]) -> Masks:
        """Masks of some of the living: path -> flat bool array with one entry for each."""
        masks = {}
        for path, shape in self._shapes.items():
            positions, mask = self._positions[path], chosen[path]
            if positions is not None:
                mask = np.zeros(prod(shape), bool)
                mask[positions[chosen[path]]] = True
            masks[path] = mask.reshape(shape)
        return Masks(masks)


class Ranking:
    """The living in the order of their scores.

    Args:
        scores: path -> float32 array of the kernel's shape, higher is kept; emptied, to hold no score twice.
        alive: nothing else can be kept.
        groups: lists of paths that compete.
        seed: breaks ties.
        first: path -> bool array: weights that come before all others, whatever their scores.

    Raises:
        InputError: a score is not finite; names the kernel.
    """

    def __init__(
        self,
        scores: dict[str, np.ndarray],
        alive: Alive,
        groups: list[list[str]],
        seed: int,
        first: Mapping[str, np.ndarray] = MappingProxyType({}),
    ):
        self._alive, self._groups = alive, groups
        self._sizes: dict[str, int] = {}
        self._sets = []
        for group in groups:
            values = []
            for path in group:
                own = alive.of(path, scores.pop(path))
                require_finite(path, own)
                values.append(_raised(own, alive.of(path, first[path])) if path in first else own)
                self._sizes[path] = own.size
            self._sets.append(TopSets(values, seed))

    def masks(self, counts: Sequence[int]) -> Masks:
        """Masks of the best `counts` of every group, or of all where there are fewer."""
        found = {}
        for group, sets, count in zip(self._groups, self._sets, counts, strict=True):
            flat, start = sets.top(min(count, sets.size)), 0
            for path in group:
                found[path] = flat[start : start + self._sizes[path]]
                start += self._sizes[path]
        return self._alive.chosen(found)


def pruned(
    scores: Mapping[str, np.ndarray],
    masks: Mapping[str, np.ndarray],
    groups: list[list[str]],
    counts: Sequence[int],
    seed: int,
    first: Mapping[str, np.ndarray] = MappingProxyType({}),
) -> dict[str, np.ndarray]:
    """Path -> flat positions of what leaves the masks where each group keeps its best `counts`; as `Ranking` has it."""
    gone = {}
    for group, count in zip(groups, counts, strict=True):
        values = [scores[path].ravel() for path in group]
        for path, part in zip(group, values, strict=True):
            require_finite(path, part)
        values = [
            _raised(part, first[path].ravel()) if path in first else part
            for path, part in zip(group, values, strict=True)
        ]
        flat = [masks[path].ravel() for path in group]
        gone.update(zip(group, lowest(values, flat, count, seed), strict=True))
    return gone


def _raised(scores: np.ndarray, first: np.ndarray) -> np.ndarray:
    """The scores, with those of the first above all others."""
    return np.where(first, np.float32(np.inf), scores)


def require_finite(path: str, scores: np.ndarray) -> None:
    """Refuses NaN and infinite scores; names the kernel."""
    with np.errstate(all="ignore"):
        finite = np.isfinite(scores.sum())  # one pass that NaN and infinity come through; so does an overflow
    if not finite and not np.isfinite(scores).all():
        raise InputError(f"scores of kernel {path!r} are not finite (NaN or infinite)")
