"""Which patterns masks keep to, whatever made them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import keras
import numpy as np

from tfprune.connectivity.report import own_masks
from tfprune.layers.axes import Axes, kernel_axes
from tfprune.layers.kept import with_masks
from tfprune.layers.masks import Masks
from tfprune.layers.subclassed import as_graph
from tfprune.pruning.patterns import Pattern, as_pattern

PATTERNS = ("1:4", "2:4", "4x1", "1x4", "16x1", "row", "column", "kernel")


@dataclass(frozen=True, repr=False)
class PatternCounts:
    """The groups of a pattern in one kernel; prints as a sentence.

    Attributes:
        groups: their number.
        kept: those that have weights left.
        cut: those that break the pattern: neither whole nor gone or, of N:M, with more than N weights.
        left_over: weights in no group.
    """

    groups: int
    kept: int
    cut: int
    left_over: int

    @property
    def holds(self) -> bool:
        """Whether there are groups, and none breaks the pattern; weights in no group may be as they are."""
        return self.groups > 0 and self.cut == 0

    def __repr__(self) -> str:
        left = f", {self.left_over:,} weights in none" if self.left_over else ""
        return f"{self.kept:,} of {self.groups:,} groups kept, {self.cut:,} break the pattern{left}"


@dataclass(frozen=True, repr=False)
class PatternReport:
    """What `pattern_report` found; prints as a table.

    Attributes:
        counts: pattern -> path of the kernel -> `PatternCounts`.
        kept: path -> number of weights kept.
        weights: path -> number of weights.
    """

    counts: dict[str, dict[str, PatternCounts]]
    kept: dict[str, int]
    weights: dict[str, int]

    @property
    def holding(self) -> dict[str, tuple[str, ...]]:
        """Path of each kernel that lost weights -> patterns that it keeps to."""
        return {
            path: tuple(pattern for pattern, found in self.counts.items() if found[path].holds)
            for path, kept in self.kept.items()
            if kept < self.weights[path]
        }

    def __repr__(self) -> str:
        rows = [["", "kept", *self.counts]]
        for path, kept in self.kept.items():
            cells = [_cell(found[path]) for found in self.counts.values()]
            rows.append([path, f"{kept:,} of {self.weights[path]:,}", *cells])
        wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join([row[0].ljust(wide[0]), *map(str.rjust, row[1:], wide[1:])]) for row in rows]
        legend = "groups kept of all, where the pattern holds; -: it does not; +: weights in no group"
        return "\n".join([*lines, legend])


def pattern_report(
    model: keras.Model, masks: Mapping[str, np.ndarray] | None = None, patterns: str | Sequence[str] = PATTERNS
) -> PatternReport:
    """Counts the groups of patterns in the kernels of a model.

    Args:
        model: built Sequential or Functional model, or subclassed; plain or masked.
        masks: path -> bool array for every path of `prunable(model)`; None for the model's own: the masks of masked
            layers, and in plain layers the weights that are not 0.
        patterns: one or several, as `tfprune.prune` takes them.

    Raises:
        InputError: no such pattern, or masks that do not fit.
    """
    wanted = [as_pattern(text) for text in ([patterns] if isinstance(patterns, str) else patterns)]
    model = as_graph(with_masks(model))
    masks = own_masks(model) if masks is None else (masks if isinstance(masks, Masks) else Masks(masks)).check(model)
    axes = kernel_axes(model)
    counts = {
        pattern.text: {path: _counts(mask, pattern, axes[path]) for path, mask in masks.items()} for pattern in wanted
    }
    return PatternReport(counts, masks.counts, {path: mask.size for path, mask in masks.items()})


def _counts(mask: np.ndarray, pattern: Pattern, axes: Axes) -> PatternCounts:
    groups = pattern.groups(axes, mask.shape)
    kept = mask.ravel()[groups].sum(1)
    cut = kept > pattern.kept if pattern.of is not None else (kept > 0) & (kept < groups.shape[1])
    return PatternCounts(len(groups), int(np.count_nonzero(kept)), int(np.count_nonzero(cut)), mask.size - groups.size)


def _cell(counts: PatternCounts) -> str:
    left = [f"+{counts.left_over:,}"] if counts.left_over else []
    groups = [f"{counts.kept:,} of {counts.groups:,}" if counts.holds else "-"] if counts.groups else []
    return " ".join([*groups, *left])
