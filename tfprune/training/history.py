"""What the renewals of masks in a training did, in all and kernel by kernel. Loads no TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tfprune.records.extras import extra

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class KernelRenewal:
    """What a renewal of masks did to one kernel.

    Attributes:
        weights: number of its weights.
        kept: of these, afterwards.
        density: the part that is kept, in [0, 1].
        effective: number of its effective weights; None where that was not asked for.
        dropped, grown: as of `Renewal`.
    """

    weights: int
    kept: int
    density: float
    effective: int | None
    dropped: int
    grown: int


@dataclass(frozen=True)
class Renewal:
    """What a renewal of masks did.

    Attributes:
        step: the step that was due, from 1; 0 for masks to start from.
        sparsity: afterwards, of the weights that compete.
        effective_sparsity: the same of effective weights; None where it was not asked for.
        dropped: number of weights that were kept and are not.
        grown: number of weights that were pruned and are kept.
        seconds: that it took.
        kernels: path -> the same of each kernel that can be pruned, also of those that do not compete.
    """

    step: int
    sparsity: float
    effective_sparsity: float | None
    dropped: int
    grown: int
    seconds: float
    kernels: Mapping[str, KernelRenewal] = field(repr=False, compare=False)


class History(list):
    """The renewals of a training, a list of `Renewal`."""

    @property
    def table(self) -> pd.DataFrame:
        """One row per renewal and kernel: step, kernel and what `KernelRenewal` holds."""
        names = KernelRenewal.__slots__
        rows = [
            (renewal.step, path, *(getattr(kernel, name) for name in names))
            for renewal in self
            for path, kernel in renewal.kernels.items()
        ]
        return extra("pandas", "the table of a history").DataFrame(rows, columns=["step", "kernel", *names])
