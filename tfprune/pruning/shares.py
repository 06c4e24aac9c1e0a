"""Who competes with whom for the weights that are kept, and how many each group keeps at a density.

A share has `groups`, lists of kernel paths that compete among themselves, and `counts(density)`, the number of kept
weights of each group. Counts never fall when the density rises, so that masks can be nested. `nearest` says what comes
of a count where weights stay in groups (`tfprune.pruning.patterns`): the number of groups that comes nearest, or that
holds enough.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from tfprune.errors import InputError
from tfprune.pruning.quotas import get_quota
from tfprune.pruning.selection import kept_count


class OutOfReach(InputError):
    """A quota, or the weights that every kernel keeps, cannot serve a density.

    Attributes:
        too_sparse: whether a higher density could be served; else a lower one.
    """

    def __init__(self, message: str, too_sparse: bool):
        super().__init__(message)
        self.too_sparse = too_sparse


class Floors(dict):
    """Path -> number of weights that a kernel keeps in any case.

    Attributes:
        why: who keeps them, for messages.
    """

    why = "min_weights keeps"

    @property
    def least(self) -> int:
        """All together."""
        return sum(self.values())

    def refuse(self, least: int, size: int, sparsity: float, where: str = "") -> OutOfReach:
        """The refusal of a sparsity at which kernels would keep fewer weights than they must."""
        most = 1 - least / size
        return OutOfReach(
            f"{self.why} {least:,} of the {size:,} weights{where}, so sparsity is at most {most:.6g}; received "
            f"{sparsity:.6g}",
            too_sparse=True,
        )


NO_FLOORS = Floors()


class GlobalShare:
    """All weights compete; `kept_count` of them are kept.

    Args:
        shapes: path -> kernel shape.
        floors: path -> number of weights that the kernel keeps in any case.
    """

    nearest = False

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], floors: Floors = NO_FLOORS):
        self.groups = [list(shapes)]
        self._floors = floors
        self._size = sum(int(np.prod(shape)) for shape in shapes.values())

    def counts(self, density: float) -> list[int]:
        """Kept weights of the one group.

        Raises:
            OutOfReach: fewer than the floors.
        """
        kept = kept_count(self._size, density)
        if kept < self._floors.least:
            raise self._floors.refuse(self._floors.least, self._size, 1 - density)
        return [kept]


class QuotaShare:
    """Each layer keeps what a quota gives it, `size − round((1 − density_l) · size)` of its weights.

    Args:
        shapes: path -> kernel shape.
        quota: name of a quota.
        rule: see `tfprune.pruning.quotas`.
        floors: path -> number of weights that the kernel keeps in any case. The others give them up: what the quota
            gives them is that of a lower density, at which the total is right.

    Raises:
        InputError: an unknown name or rule, or a quota that does not fit such shapes.
    """

    nearest = True

    def __init__(
        self,
        shapes: Mapping[str, tuple[int, ...]],
        quota: str,
        rule: str = "valid",
        floors: Floors = NO_FLOORS,
    ):
        self.groups = [[path] for path in shapes]
        self._floors = floors
        self._least = np.array([floors.get(path, 0) for path in shapes], float)
        self._name, self._rule = quota, rule
        self._quota = get_quota(quota)
        self._shapes = list(shapes.values())
        self._sizes = [int(np.prod(shape)) for shape in self._shapes]
        # Any network can be kept whole; what is refused here is the network or the rule, not the density.
        self._quota(self._shapes, 1.0, "valid")
        self._quota(self._shapes, 1.0, rule)

    def counts(self, density: float) -> list[int]:
        """Kept weights per layer.

        Raises:
            OutOfReach: the quota refuses the density, the published rule leaves [0, 1], or it is below the floors.
        """
        densities = self._quota_at(density)
        if (densities * self._sizes < self._least).any():
            densities = self._raised(density)
        for (path,), layer in zip(self.groups, densities, strict=True):
            if not -1e-9 <= layer <= 1 + 1e-9:
                raise OutOfReach(
                    f"the {self._rule} rule of quota {self._name} asks for density {layer:.6g} of kernel {path!r} at "
                    f"density {density:.6g}: no mask has it",
                    too_sparse=layer < 0,
                )
        return [size - round((1 - layer) * size) for size, layer in zip(self._sizes, densities, strict=True)]

    def _quota_at(self, density: float) -> np.ndarray:
        try:
            return self._quota(self._shapes, density, self._rule)
        except InputError as error:
            raise OutOfReach(str(error), too_sparse=True) from error

    def _raised(self, density: float) -> np.ndarray:
        """Densities of at least the floors whose total is that of `density`: the quota of a lower one, raised."""
        sizes = np.array(self._sizes, float)
        if density * sizes.sum() < self._least.sum() - 1e-6:
            raise self._floors.refuse(self._floors.least, int(sizes.sum()), 1 - density)

        def raised(other: float) -> np.ndarray | None:
            try:
                return np.maximum(self._quota_at(other), self._least / sizes)
            except OutOfReach:
                return None

        low, high = 0.0, density
        for _ in range(60):
            middle = 0.5 * (low + high)
            found = raised(middle)
            too_few = found is None or (found * sizes).sum() < density * sizes.sum()
            low, high = (middle, high) if too_few else (low, middle)
        found = raised(high)
        if (found * sizes).sum() > density * sizes.sum() + 0.5:
            raise OutOfReach(
                f"quota {self._name} and min_weights together keep more than density {density:.6g}", too_sparse=True
            )
        return found


class BorrowedShare:
    """Each layer keeps as many weights as another pruner keeps there at the same density.

    Args:
        shapes: path -> kernel shape.
        kept: the other pruner: number of kept weights in all -> kept weights per layer.
    """

    nearest = True

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], kept: Callable[[int], list[int]]):
        self.groups = [[path] for path in shapes]
        self._kept = kept
        self._size = sum(int(np.prod(shape)) for shape in shapes.values())

    def counts(self, density: float) -> list[int]:
        return self._kept(kept_count(self._size, density))


class LayerShare:
    """Each layer keeps a number of its own; on the way there, and beyond, all have gone the same part of their way.

    Args:
        shapes: path -> kernel shape.
        kept: path -> weights that the kernel keeps in the end.
        floors: path -> number of weights that the kernel keeps in any case.

    Raises:
        OutOfReach: a kernel would end with fewer than it must keep.
    """

    nearest = False

    def __init__(
        self,
        shapes: Mapping[str, tuple[int, ...]],
        kept: Mapping[str, int],
        floors: Floors = NO_FLOORS,
    ):
        self.groups = [[path] for path in shapes]
        self._sizes = np.array([int(np.prod(shape)) for shape in shapes.values()])
        self._gone = self._sizes - [kept[path] for path in shapes]
        self._floors = floors
        self.counts(1 - self._gone.sum() / self._sizes.sum())

    def counts(self, density: float) -> list[int]:
        """Kept weights per layer.

        Raises:
            OutOfReach: a layer would keep fewer than none, or than its floor.
        """
        way = (1 - density) * self._sizes.sum() / max(1, self._gone.sum())
        counts = self._sizes - np.round(self._gone * way).astype(int)
        for (path,), count, size in zip(self.groups, counts, self._sizes, strict=True):
            if count < (least := self._floors.get(path, 0)):
                raise self._floors.refuse(least, size, 1 - count / size, f" of kernel {path!r}")
        return counts.tolist()


Share = GlobalShare | QuotaShare | BorrowedShare | LayerShare
