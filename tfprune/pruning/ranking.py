"""One round of pruning: the weights that are alive, in the order of their scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tfprune.errors import InputError
from tfprune.layers.masks import Masks
from tfprune.pruning.selection import TopSets


class Alive:
    """The weights that are not pruned, held so that work on them costs what they are, not what the network is.

    Per kernel a flat mask and the positions of its ones, int32; None where the kernel is whole.

    Args:
        masks: path -> bool array.
    """

    def __init__(self, masks: Masks):
        self._shapes = {path: mask.shape for path, mask in masks.items()}
        self._flat = {path: mask.ravel().copy() for path, mask in masks.items()}
        self._positions = {
            path: None if mask.all() else np.flatnonzero(mask).astype(np.int32) for path, mask in self._flat.items()
        }

    def arrays(self) -> dict[str, np.ndarray]:
        """Path -> bool array of the kernel's shape: views, which change when more is pruned."""
        return {path: mask.reshape(self._shapes[path]) for path, mask in self._flat.items()}

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
                mask = np.zeros(self._flat[path].size, bool)
                mask[positions[chosen[path]]] = True
            masks[path] = mask.reshape(shape)
        return Masks(masks)

    def keep(self, chosen: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Prunes all but the chosen, in place.

        Returns:
            Path -> positions of those that were pruned.
        """
        pruned = {}
        for path, mask in chosen.items():
            positions = self._positions[path]
            gone = np.flatnonzero(~mask) if positions is None else positions[~mask]
            if gone.size:
                self._positions[path] = np.flatnonzero(mask).astype(np.int32) if positions is None else positions[mask]
                self._flat[path][gone] = False
            pruned[path] = gone
        return pruned


class Ranking:
    """The living in the order of their scores.

    Args:
        scores: path -> float32 array of the kernel's shape, higher is kept.
        alive: nothing else can be kept.
        groups: lists of paths that compete.
        seed: breaks ties.

    Raises:
        InputError: a score is not finite; names the kernel.
    """

    def __init__(self, scores: Mapping[str, np.ndarray], alive: Alive, groups: list[list[str]], seed: int):
        self._alive, self._groups = alive, groups
        self._sizes: dict[str, int] = {}
        self._sets = []
        for group in groups:
            values = [alive.of(path, scores[path]) for path in group]
            for path, part in zip(group, values, strict=True):
                if part.size and not np.isfinite([part.min(), part.max()]).all():  # both pass NaN on
                    raise InputError(f"scores of kernel {path!r} are not finite (NaN or infinite)")
                self._sizes[path] = part.size
            self._sets.append(TopSets(values[0] if len(values) == 1 else np.concatenate(values), seed))

    def best(self, counts: Sequence[int]) -> dict[str, np.ndarray]:
        """Path -> flat bool array over the living: the best `counts` of every group, or all where there are fewer."""
        found = {}
        for group, sets, count in zip(self._groups, self._sets, counts, strict=True):
            flat, start = sets.top(min(count, sets.size)), 0
            for path in group:
                found[path] = flat[start : start + self._sizes[path]]
                start += self._sizes[path]
        return found

    def masks(self, counts: Sequence[int]) -> Masks:
        """The same as masks."""
        return self._alive.chosen(self.best(counts))
