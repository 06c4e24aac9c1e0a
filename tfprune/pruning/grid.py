"""A pattern on the kernels of a model: groups of weights, their scores, and the masks that keep to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import keras
import numpy as np

from tfprune.errors import InputError, did_you_mean
from tfprune.layers.axes import kernel_axes
from tfprune.layers.masks import Masks
from tfprune.pruning.patterns import Pattern
from tfprune.pruning.ranking import Alive, Ranking, require_finite
from tfprune.pruning.selection import order_keys
from tfprune.pruning.shares import Floors, Share
from tfprune.pruning.spine import spine

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
        self._groups = {path: pattern.groups(axes[path], mask.shape) for path, mask in start.items()}
        misfits = [path for path, groups in self._groups.items() if groups.size < start[path].size]
        if misfits and remainder == "error":
            path, others = misfits[0], len(misfits) - 1
            shape = start[path].shape
            more = f" (and {others} other kernel{'s' if others > 1 else ''})" if others else ""
            raise InputError(
                f"pattern {pattern.text} does not fit kernel {path!r} of shape {shape}: "
                f'{pattern.misfit(axes[path], shape)}{more}; leave it out by ignore=, or pattern_remainder="dense" '
                "keeps what is left over"
            )
        self._left_over = {}
        for path, groups in self._groups.items():
            left = start[path].flatten()
            left[groups] = False
            self._left_over[path] = left

    @property
    def kept(self) -> dict[str, int]:
        """Path -> number of weights that N:M keeps in all."""
        found = {}
        for path, groups in self._groups.items():
            alive = self._start[path].ravel()[groups].sum(1)
            found[path] = int(np.minimum(alive, self.pattern.kept).sum()) + np.count_nonzero(self._left_over[path])
        return found

    def floors(self, least: int) -> Floors:
        """Path -> weights that a kernel keeps in any case: groups that hold so many, and what is left over."""
        if self.pattern.of is not None:  # which keeps more anyway
            return Floors({path: min(least, count) for path, count in self._start.counts.items()} if least else {})
        found = {path: int(np.count_nonzero(left)) for path, left in self._left_over.items()}
        for path, groups in self._needed(least).items():
            sizes = np.sort(self._sizes(path))[::-1]
            found[path] += int(sizes[:groups].sum())
        floors, text = Floors({path: count for path, count in found.items() if count}), self.pattern.text
        if any(left.any() for left in self._left_over.values()):
            left = f"what pattern {text} leaves over"
            floors.why = f"min_weights and {left} keep" if least else f"{left} is"
        else:
            floors.why = f"min_weights, in groups of pattern {text}, keeps"
        return floors

    def slack(self, layerwise: bool) -> int:
        """How many weights more than were asked for whole groups may hold."""
        largest = [groups.shape[1] for groups in self._groups.values() if groups.size]
        return sum(largest) if layerwise else max(largest, default=0)

    def spine(self, scores: Mapping[str, np.ndarray], start: Masks, masks_of: Callable, *, count, effective, seed):
        """As `tfprune.pruning.spine.spine`, of whole groups: enough of each kernel to hold `count` weights."""
        if self.pattern.of is not None:
            return spine(scores, start, masks_of, count=count, effective=effective, seed=seed)

        def part(masks: Mapping[str, np.ndarray]) -> Masks:
            return Masks({path: masks[path].ravel()[groups].any(1) for path, groups in self._groups.items()})

        def expanded(chosen: Mapping[str, np.ndarray]) -> Masks:
            return Masks({path: self._whole(path, np.flatnonzero(chosen[path]), mask) for path, mask in start.items()})

        found = spine(
            {path: self._reduced(path, scores[path], start[path]) for path in start},
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
        kept, start = {}, 0
        for path, groups in self._groups.items():
            require_finite(path, scores[path])
            values = scores[path].ravel()[groups]
            if path in first:
                values = np.where(first[path].ravel()[groups], np.float32(np.inf), values)
            keys = order_keys(values, groups.astype(np.int64) + start, seed)
            alive = before[path].ravel()[groups]
            keys[~alive] = np.iinfo(np.int64).max
            worst = np.partition(keys, self.pattern.kept - 1, axis=1)[:, self.pattern.kept - 1]
            mask = self._left_over[path].copy()
            mask[groups] = alive & (keys <= worst[:, None])
            kept[path], start = mask.reshape(before[path].shape), start + mask.size
        return kept

    def _sizes(self, path: str) -> np.ndarray:
        """Living members of the groups that have any, to begin with."""
        alive = self._start[path].ravel()[self._groups[path]].sum(1)
        return alive[alive > 0]

    def _needed(self, least: int) -> dict[str, int]:
        """Path -> number of groups that hold so many weights, whichever they are; all where no number does."""
        if not least:
            return dict.fromkeys(self._groups, 0)
        return {
            path: min(int(np.searchsorted(np.cumsum(np.sort(sizes)), least)) + 1, len(sizes))
            for path, sizes in ((path, self._sizes(path)) for path in self._groups)
        }

    def _reduced(self, path: str, scores: np.ndarray, alive: np.ndarray) -> np.ndarray:
        """float32 (groups,): of the living members; 0 for groups without."""
        groups = self._groups[path]
        require_finite(path, scores)
        values, alive = scores.ravel()[groups].astype(np.float64), alive.ravel()[groups]
        if self._reduce in ("max", "min"):
            sign = 1 if self._reduce == "max" else -1
            found = sign * (sign * values).max(1, where=alive, initial=-np.inf)
        else:
            found = values.sum(1, where=alive)
        sizes = alive.sum(1)
        if self._reduce == "mean":
            found /= np.maximum(sizes, 1)
        return np.where(sizes > 0, found, 0).astype(np.float32)

    def _whole(self, path: str, chosen: np.ndarray, before: np.ndarray) -> np.ndarray:
        """Mask of some groups and of what is left over, as far as it lived before."""
        mask = self._left_over[path].copy()
        mask[self._groups[path][chosen]] = True
        return mask.reshape(before.shape) & before


class GroupRanking:
    """The living groups in the order of their scores; see `Grid.ranking`.

    Kernels that all compete keep the fewest groups that hold as many weights as are asked for, so that of equal groups
    it is `kept_count` of their number. Where a quota gives each kernel its share, it is the number that comes nearest.
    """

    def __init__(self, grid: Grid, scores: dict[str, np.ndarray], before, share: Share, seed: int, first):
        self._grid, self._before, self._nearest = grid, before, share.nearest
        self._orders = [self._order(group, scores, seed, first) for group in share.groups]

    def _order(self, paths: list[str], scores: dict[str, np.ndarray], seed: int, first):
        """(path, group) of all groups, best first, and how many weights the first k of them hold, k from 0."""
        grid, values, sizes, numbers, left = self._grid, [], [], [], 0
        for path in paths:
            groups, alive = grid._groups[path], self._before[path]
            score = grid._reduced(path, scores.pop(path), alive)
            require_finite(path, score)  # a sum may overflow
            if path in first:
                score[first[path].ravel()[groups].any(1)] = np.inf
            size = alive.ravel()[groups].sum(1)
            number = np.flatnonzero(size)
            values.append(score[number])
            sizes.append(size[number])
            numbers.append(number)
            left += np.count_nonzero(grid._left_over[path])
        flat = np.concatenate(values)
        order = np.argsort(order_keys(flat, np.arange(len(flat)), seed))
        held = left + np.concatenate([[0], np.cumsum(np.concatenate(sizes)[order])])
        return paths, numbers, order, held

    def masks(self, counts) -> Masks:
        """Masks of the best groups, see the class; of all where there are fewer."""
        found = {}
        for (paths, numbers, order, held), count in zip(self._orders, counts, strict=True):
            chosen = np.zeros(len(order), bool)
            chosen[order[: self._number(held, count)]] = True
            start = 0
            for path, number in zip(paths, numbers, strict=True):
                own = number[chosen[start : start + len(number)]]
                found[path] = self._grid._whole(path, own, self._before[path])
                start += len(number)
        return Masks({path: found[path] for path in self._before})

    def _number(self, held: np.ndarray, count: int) -> int:
        number = min(int(np.searchsorted(held, count)), len(held) - 1)
        if self._nearest and number and count - held[number - 1] < held[number] - count:
            return number - 1
        return number
