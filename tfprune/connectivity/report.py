"""How sparse a model is, directly and effectively: weights and floating-point operations, in total and per kernel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import keras
import numpy as np

from tfprune.connectivity.reachability import Reachability
from tfprune.layers.barriers import EFFECTIVE, barriers
from tfprune.layers.convert import masks_of
from tfprune.layers.kept import with_masks
from tfprune.layers.kernel_masks import masked_kernels
from tfprune.layers.masks import Masks
from tfprune.layers.prunable import prunable, unsupported
from tfprune.records.extras import extra
from tfprune.records.text_table import text_table

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, repr=False)
class Counts:
    """Weights of one kernel or of all of them, or what they cost; prints as a sentence.

    Attributes:
        dense: with nothing pruned.
        kept: what the masks keep.
        effective: what lies on a path from an input to an output.
    """

    dense: int
    kept: int
    effective: int

    def __repr__(self) -> str:
        return (
            f"{self.kept:,} of {self.dense:,} kept (sparsity {self.direct_sparsity:.6g}), "
            f"{self.effective:,} effective (sparsity {self.effective_sparsity:.6g})"
        )

    @property
    def direct_sparsity(self) -> float:
        """Fraction pruned, in [0, 1]."""
        return 1 - self.kept / self.dense if self.dense else 0.0

    @property
    def effective_sparsity(self) -> float:
        """Fraction pruned or disconnected, in [0, 1], never below the direct one."""
        return 1 - self.effective / self.dense if self.dense else 0.0

    @property
    def direct_compression(self) -> float:
        """1 / density; infinite if nothing is kept."""
        return self.dense / self.kept if self.kept else np.inf

    @property
    def effective_compression(self) -> float:
        """1 / effective density; infinite if no weight is effective."""
        return self.dense / self.effective if self.effective else np.inf


@dataclass(frozen=True, repr=False)
class SparsityReport:
    """What `sparsity` found; prints as a table.

    Attributes:
        weights: `Counts` of prunable weights in total.
        weights_of: path -> `Counts` of the kernel's weights.
        flops: `Counts` of floating-point operations for one example in total: two (multiply, add) for each weight and
            position, positions in padding included. Prunable kernels only.
        flops_of: path -> `Counts` of the kernel's operations.
        parameters: number of all weights of the model, prunable or not, masks excluded.
        unsupported: paths of layers with weight matrices that cannot be pruned here and stay dense.
        effective_masks: the masks of the effective weights.
        barriers: paths or names of operations that no rule knows; all outputs of these depend on all inputs, so that
            effective counts are upper bounds.
    """

    weights: Counts
    weights_of: dict[str, Counts]
    flops: Counts
    flops_of: dict[str, Counts]
    parameters: int
    unsupported: list[str]
    effective_masks: Masks
    barriers: tuple[str, ...] = ()

    @property
    def direct(self) -> float:
        """Direct sparsity of all prunable weights: the fraction pruned, in [0, 1]."""
        return self.weights.direct_sparsity

    @property
    def effective(self) -> float:
        """Effective sparsity of all prunable weights: the fraction pruned or disconnected, in [0, 1]."""
        return self.weights.effective_sparsity

    @property
    def table(self) -> pd.DataFrame:
        """One row per kernel and a last one, `total`."""
        return extra("pandas", "the table of a report").DataFrame.from_dict(self._rows, orient="index")

    def __repr__(self) -> str:
        lines = [
            text_table(self._rows),
            f"{self.parameters:,} parameters in all, {self.weights.dense:,} of them prunable; compression "
            f"{self.weights.direct_compression:.4g} direct, {self.weights.effective_compression:.4g} effective",
        ]
        if self.unsupported:
            lines.append(f"dense, because this type of layer cannot be pruned: {', '.join(self.unsupported)}")
        if self.barriers:
            lines.append(f"effective counts are upper bounds, because no rule knows: {', '.join(self.barriers)}")
        return "\n".join(lines)

    @property
    def _rows(self) -> dict[str, dict]:
        rows = {path: _row(self.weights_of[path], self.flops_of[path]) for path in self.weights_of}
        return {**rows, "total": _row(self.weights, self.flops)}


def sparsity(
    model: keras.Model,
    masks: Mapping[str, np.ndarray] | None = None,
    input_shape=None,
    *,
    convention: str = "influence",
    unknown: str = "barrier",
) -> SparsityReport:
    """Direct and effective sparsity of a model.

    Args:
        model: built Sequential or Functional model, plain or masked.
        masks: path -> bool array for every path of `prunable(model)`; None for the model's own: the masks of masked
            layers, and in plain layers (of a stripped model, say) the weights that are not 0.
        input_shape, convention, unknown: as for `Reachability`, and so is what it warns of.

    Raises:
        InputError: masks that do not fit, a model without weights, or an operation that no rule knows and that is to be
            refused; names it.

    Reference: Vysogorets & Kempe 2021, arXiv 2107.02306, section 3.
    """
    model = with_masks(model)
    masks = own_masks(model) if masks is None else (masks if isinstance(masks, Masks) else Masks(masks)).check(model)
    with barriers(model, unknown) as met:
        reachability = Reachability(model, input_shape, convention=convention, unknown=unknown)
    met.tell(EFFECTIVE)
    effective = reachability(masks)
    kept, alive = masks.counts, effective.counts
    weights = {path: Counts(masks[path].size, kept[path], alive[path]) for path in masks}
    flops = {path: _times(counts, 2 * reachability.uses[path]) for path, counts in weights.items()}
    return SparsityReport(
        weights=_sum(weights.values()),
        weights_of=weights,
        flops=_sum(flops.values()),
        flops_of=flops,
        parameters=_parameters(model),
        unsupported=unsupported(model),
        effective_masks=effective,
        barriers=reachability.barriers,
    )


def own_masks(model: keras.Model) -> Masks:
    """The masks of masked layers; in other layers a kernel's weights that are not 0."""
    found, known = dict(masks_of(model)), {id(kernel) for kernel, _ in masked_kernels(model)}
    for path, kernel in prunable(model).items():
        if id(kernel) not in known:
            found[path] = kernel.numpy() != 0
    return Masks(found)


def _parameters(model: keras.Model) -> int:
    masks = {id(mask) for _, mask in masked_kernels(model)}
    return sum(int(np.prod(weight.shape)) for weight in model.weights if id(weight) not in masks)


def _times(counts: Counts, factor: int) -> Counts:
    return Counts(counts.dense * factor, counts.kept * factor, counts.effective * factor)


def _sum(counts) -> Counts:
    counts = list(counts)
    return Counts(sum(c.dense for c in counts), sum(c.kept for c in counts), sum(c.effective for c in counts))


def _row(weights: Counts, flops: Counts) -> dict:
    return {
        "weights": weights.dense,
        "kept": weights.kept,
        "effective": weights.effective,
        "direct sparsity": weights.direct_sparsity,
        "effective sparsity": weights.effective_sparsity,
        "FLOPs dense": flops.dense,
        "FLOPs kept": flops.kept,
        "FLOPs effective": flops.effective,
    }
