"""A pattern on the kernels of a model: groups of weights, their scores, and the masks that keep to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

import keras
import numpy as np

from tfprune.errors import InputError, did_you_mean
from tfprune.layers.axes import kernel_axes
from tfprune.layers.masks import Masks
from tfprune.pruning.group_values import best, counted, reduced
from tfprune.pruning.patterns import Pattern
from tfprune.pruning.ranking import Alive, Ranking, require_finite
from tfprune.pruning.selection import order_keys
from tfprune.pruning.shares import Floors, Share
from tfprune.pruning.spine import spine
from tfprune.pruning.weighted_order import WeightedOrder

GROUP_SCORES = ("mean", "sum", "max")
REMAINDERS = ("error", "dense")


class Grid:
    """A pattern on the kernels that compete.

    Args:
        pattern: which.
        model: has the kernels.
        start: masks of the kernels that compete, to begin with.
        group_score: how a group's score comes of its living members': `"mean"`, `"sum"` or `"max"`.
        remainder: what becomes of weights in no group: an `"error"`, or they stay `"dense"`.
        highest: whether scores come negated, so that the maximum is the minimum.

    Raises:
        InputError: the pattern does not fit a kernel (names it), or an unknown word.
    """

    def __init__(
        self,
        pattern: Pattern,
        model: keras.Model,
        start: Masks,
        group_score: str = "mean",
        remainder: str = "error",
        highest: bool = False,
    ):
        for name, value, allowed in (
            ("group_score", group_score, GROUP_SCORES),
            ("pattern_remainder", remainder, REMAINDERS),
        ):
            if value not in allowed:
                near = did_you_mean(value, allowed)
                raise InputError(f"{name} must be one of {', '.join(allowed)}; received {value!r}{near}")
        self.pattern, self._start = pattern, start
        self._reduce = "min" if highest and group_score == "max" else group_score
        axes = kernel_axes(model)
        self._axes = {path: axes[path] for path in start}
        self._left_over = {}  # of kernels that have any
        for path, mask in start.items():
            if self._folded(path, mask).size < mask.size:
                self._left_over[path] = mask & ~self._spread(path, np.True_, mask.shape)
        if self._left_over and remainder == "error":
            path, *others = self._left_over
            shape, plural = start[path].shape, "s" if len(others) > 1 else ""
            more = f" (and {len(others)} other kernel{plural})" if others else ""
            raise InputError(
                f"pattern {pattern.text} does not fit kernel {path!r} of shape {shape}: "
                f'{pattern.misfit(axes[path], shape)}{more}; leave it out by ignore=, or pattern_remainder="dense" '
                "keeps what is left over"
            )

    @property
    def kept(self) -> dict[str, int]:
        """Path -> number of weights that N:M keeps in all."""
        return {
            path: int(np.minimum(self._living(path, mask), self.pattern.kept).sum()) + self._left(path)
            for path, mask in self._start.items()
        }

    def floors(self, least: int) -> Floors:
        """Path -> weights that a kernel keeps in any case: groups that hold so many, and what is left over."""
        if self.pattern.of is not None:  # which keeps more anyway
            return Floors({path: min(least, count) for path, count in self._start.counts.items()} if least else {})
        found = {}
        for path, groups in self._needed(least).items():
            sizes = self._sizes(path)
            largest = np.partition(sizes, len(sizes) - groups)[len(sizes) - groups :] if groups else sizes[:0]
            found[path] = self._left(path) + int(largest.sum())
        floors, text = Floors({path: count for path, count in found.items() if count}), self.pattern.text
        if any(map(self._left, self._start)):
            left = f"what pattern {text} leaves over"
            floors.why = f"min_weights and {left} keep" if least else f"{left} is"
        else:
            floors.why = f"min_weights, in groups of pattern {text}, keeps"
        return floors

    def slack(self, layerwise: bool) -> int:
        """How many weights more than were asked for whole groups may hold."""
        folded = [self._folded(path, mask) for path, mask in self._start.items()]
        largest = [one.shape[-2] * one.shape[-1] for one in folded if one.size]
        return sum(largest) if layerwise else max(largest, default=0)

    def spine(self, scores: Mapping[str, np.ndarray], start: Masks, masks_of: Callable, *, count, effective, seed):
        """As `tfprune.pruning.spine.spine`, of whole groups: enough of each kernel to hold `count` weights."""
        if self.pattern.of is not None:
            return spine(scores, start, masks_of, count=count, effective=effective, seed=seed)

        def part(masks: Mapping[str, np.ndarray]) -> Masks:
            return Masks({path: self._living(path, masks[path]) > 0 for path in start})

        def expanded(chosen: Mapping[str, np.ndarray]) -> Masks:
            return Masks({path: self._whole(path, chosen[path], mask) for path, mask in start.items()})

        found = spine(
            {path: self._reduced(path, scores[path], start[path])[0] for path in start},
            part(start),
            lambda kept: part(masks_of(kept)),
            count=self._needed(count),
            effective=None if effective is None else lambda masks: part(effective(expanded(masks))),
            seed=seed,
        )
        return dict(expanded(found))

    def ranking(
        self,
        scores: dict[str, np.ndarray],
        before: Mapping[str, np.ndarray],
        share: Share,
        seed: int,
        first: Mapping[str, np.ndarray] = MappingProxyType({}),
    ) -> Ranking | GroupRanking:
        """The masks that keep to the pattern, in the order of scores: what has `.masks(counts)`.

        Args:
            scores: path -> float32 array of the kernel's shape, higher is kept.
            before: nothing else can be kept.
            share: who competes.
            seed: breaks ties.
            first: path -> bool array: what comes before all others.
        """
        if self.pattern.of is None:
            return GroupRanking(self, scores, before, share, seed, first)
        kept = self._best_of_each(scores, before, seed, first)
        return Ranking(scores, Alive(before), share.groups, seed, kept)

    def _best_of_each(self, scores, before, seed: int, first) -> dict[str, np.ndarray]:
        """The N best of every M, and what is left over. Of what lives beyond, whole networks on the way have some."""
        found, start = {}, 0
        for path, mask in before.items():
            score = scores[path]
            require_finite(path, score)
            if path in first:
                score = np.where(first[path], np.float32(np.inf), score)
            folded, keys = self._folded(path, score), partial(self._keys, path, score, start, seed)
            kept = best(folded, self._folded(path, mask), self.pattern.kept, keys)
            found[path] = self._spread(path, kept, mask.shape) | self._left_over.get(path, False)
            start += mask.size
        return found

    def _keys(self, path: str, scores: np.ndarray, start: int, seed: int, groups: np.ndarray) -> np.ndarray:
        """(groups, members): the order of all weights, in some groups."""
        positions = self.pattern.groups(self._axes[path], scores.shape)[groups]
        return order_keys(scores.ravel()[positions], positions.astype(np.int64) + start, seed)

    def _sizes(self, path: str) -> np.ndarray:
        """Living members of the groups that have any, to begin with."""
        alive = self._living(path, self._start[path])
        return alive[alive > 0]

    def _needed(self, least: int) -> dict[str, int]:
        """Path -> number of groups that hold so many weights, whichever they are; all where no number does."""
        if not least:
            return dict.fromkeys(self._start, 0)
        found = {}
        for path in self._start:
            sizes = self._sizes(path)
            smallest = np.sort(np.partition(sizes, least)[:least] if least < len(sizes) else sizes)
            found[path] = min(int(np.searchsorted(np.cumsum(smallest), least)) + 1, len(sizes))
        return found

    def _folded(self, path: str, array: np.ndarray) -> np.ndarray:
        """The groups of a kernel, see `Pattern.folded`."""
        axes = self._axes[path]
        return self.pattern.folded(axes.arranged(array), axes.spatial)

    def _spread(self, path: str, groups: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """The mask that has these values in its groups, and nothing in what is left over."""
        axes = self._axes[path]
        mask, placed = axes.blank(shape)
        self.pattern.folded(placed, axes.spatial)[...] = groups
        return np.ascontiguousarray(mask)

    def _left(self, path: str) -> int:
        """Living weights in no group, to begin with."""
        return int(np.count_nonzero(self._left_over.get(path, False)))

    def _living(self, path: str, mask: np.ndarray) -> np.ndarray:
        """int (groups,): how many of each live."""
        return counted(self._folded(path, mask))

    def _reduced(self, path: str, scores: np.ndarray, alive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """float32 (groups,): of the living members, 0 for groups without; int (groups,): how many."""
        require_finite(path, scores)
        return reduced(self._folded(path, scores), self._folded(path, alive), self._reduce)

    def _whole(self, path: str, chosen: np.ndarray, before: np.ndarray) -> np.ndarray:
        """Mask of some groups, bool (groups,), and of what is left over, as far as it lived before."""
        outer = self._folded(path, before).shape[:-2]
        mask = self._spread(path, chosen.reshape(*outer, 1, 1), before.shape)
        return (mask | self._left_over.get(path, False)) & before


class GroupRanking:
    """The living groups in the order of their scores; see `Grid.ranking`.

    Kernels that all compete keep the fewest groups that hold as many weights as are asked for, so that of equal groups
    it is `kept_count` of their number. Where a quota gives each kernel its share, it is the number that comes nearest.
    """

    def __init__(self, grid: Grid, scores: dict[str, np.ndarray], before, share: Share, seed: int, first):
        self._grid, self._before, self._nearest = grid, before, share.nearest
        self._sets = [self._set(group, scores, seed, first) for group in share.groups]

    def _set(self, paths: list[str], scores: dict[str, np.ndarray], seed: int, first):
        """Paths; of each its number of groups and which of them live; the order of all that do."""
        grid, values, sizes, living, left = self._grid, [], [], [], 0
        for path in paths:
            score, size = grid._reduced(path, scores.pop(path), self._before[path])
            require_finite(path, score)  # a sum may overflow
            if path in first:
                score[grid._living(path, first[path]) > 0] = np.inf
            number = np.flatnonzero(size)
            values.append(score[number])
            sizes.append(size[number])
            living.append((len(size), number))
            left += grid._left(path)
        flat = np.concatenate(values)
        keys = order_keys(flat, np.arange(len(flat), dtype=np.uint32), seed)
        return paths, living, WeightedOrder(keys, np.concatenate(sizes), left)

    def masks(self, counts) -> Masks:
        """Masks of the best groups, see the class; of all where there are fewer."""
        found = {}
        for (paths, living, order), count in zip(self._sets, counts, strict=True):
            chosen, start = order.holding(count, self._nearest), 0
            for path, (number, alive) in zip(paths, living, strict=True):
                groups = np.zeros(number, bool)
                groups[alive] = chosen[start : start + len(alive)]
                found[path] = self._grid._whole(path, groups, self._before[path])
                start += len(alive)
        return Masks({path: found[path] for path in self._before})
