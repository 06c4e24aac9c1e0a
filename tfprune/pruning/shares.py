"""Who competes with whom for the weights that are kept, and how many each group keeps at a density.

A share has `groups`, lists of kernel paths that compete among themselves, and `counts(density)`, the number of kept
weights of each group. Counts never fall when the density rises, so that masks can be nested.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from tfprune.errors import InputError
from tfprune.pruning.quotas import get_quota
from tfprune.pruning.selection import kept_count


class OutOfReach(InputError):
    """A quota cannot serve a density.

    Attributes:
        too_sparse: whether a higher density could be served; else a lower one.
    """

    def __init__(self, message: str, too_sparse: bool):
        super().__init__(message)
        self.too_sparse = too_sparse


class GlobalShare:
    """All weights compete; `kept_count` of them are kept.

    Args:
        shapes: path -> kernel shape.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]):
        self.groups = [list(shapes)]
        self._size = sum(int(np.prod(shape)) for shape in shapes.values())

    def counts(self, density: float) -> list[int]:
        return [kept_count(self._size, density)]


class QuotaShare:
    """Each layer keeps what a quota gives it, `size − round((1 − density_l) · size)` of its weights.

    Args:
        shapes: path -> kernel shape.
        quota: name of a quota.
        rule: see `tfprune.pruning.quotas`.

    Raises:
        InputError: an unknown name or rule, or a quota that does not fit such shapes.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], quota: str, rule: str = "valid"):
        self.groups = [[path] for path in shapes]
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
            OutOfReach: the quota refuses the density, or the published rule leaves [0, 1].
        """
        try:
            densities = self._quota(self._shapes, density, self._rule)
        except InputError as error:
            raise OutOfReach(str(error), too_sparse=True) from error
        for (path,), layer in zip(self.groups, densities, strict=True):
            if not -1e-9 <= layer <= 1 + 1e-9:
                raise OutOfReach(
                    f"the {self._rule} rule of quota {self._name} asks for density {layer:.6g} of kernel {path!r} at "
                    f"density {density:.6g}: no mask has it",
                    too_sparse=layer < 0,
                )
        return [size - round((1 - layer) * size) for size, layer in zip(self._sizes, densities, strict=True)]


class BorrowedShare:
    """Each layer keeps as many weights as another pruner keeps there at the same density.

    Args:
        shapes: path -> kernel shape.
        kept: the other pruner: number of kept weights in all -> kept weights per layer.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], kept: Callable[[int], list[int]]):
        self.groups = [[path] for path in shapes]
        self._kept = kept
        self._size = sum(int(np.prod(shape)) for shape in shapes.values())

    def counts(self, density: float) -> list[int]:
        return self._kept(kept_count(self._size, density))


Share = GlobalShare | QuotaShare | BorrowedShare
