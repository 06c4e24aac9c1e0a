"""How a density is shared out over layers, as a function of nothing but the kernels' shapes.

Every quota is a function `(shapes, density, rule="valid") -> densities`:

* shapes: the prunable kernels' shapes in network order, each a tuple of positive integers.
* density: the fraction of all those weights to keep, in [0, 1].
* rule: `"valid"` gives densities that a mask can have, in [0, 1] and never falling when `density` rises, so that the
  masks of two densities can be nested. `"published"` gives the numbers of Vysogorets & Kempe's code, faults included:
  they may leave [0, 1].
* returns: float64 array, one density per layer, with Σ densities·sizes = density·Σ sizes.

References: Evci et al. 2020, arXiv 1911.11134 (ERK); Gale et al. 2019, arXiv 1902.09574 (uniform+); Vysogorets & Kempe
2021, arXiv 2107.02306 (IGQ, and the code of the published rule).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tfprune.errors import InputError, did_you_mean
from tfprune.records.registry import Parts, Registry

Shapes = Sequence[tuple[int, ...]]
Quota = Callable[..., np.ndarray]
RULES = ("valid", "published")
LAST_LAYER_SPARSITY = 0.8  # uniform+ prunes the last layer no further


def uniform(shapes: Shapes, density: float, rule: str = "valid") -> np.ndarray:
    """The same density everywhere. Arguments and result as in the module's docstring; both rules agree."""
    sizes = _checked_sizes(shapes, density, rule)
    return np.full(len(sizes), float(density))


def erk(shapes: Shapes, density: float, rule: str = "valid") -> np.ndarray:
    """Erdős-Rényi-Kernel: kept weights ∝ the sum of the shape's entries, `density_l = F · Σ shape_l / Π shape_l`.

    Where that exceeds 1 the layer is kept whole and F is found again for the rest, until all are valid. The published
    rule instead makes one pass from the last layer to the first, handing what exceeds a layer's size to the layer
    before it; what arrives at the first layer stays there.

    Raises:
        InputError: see the module's arguments.
    """
    sizes = _checked_sizes(shapes, density, rule)
    weights = np.array([sum(shape) for shape in shapes], np.float64)
    budget = density * sizes.sum()
    if rule == "published":
        return _excess_moved_forward(weights * (budget / weights.sum()), sizes) / sizes
    return _in_proportion(weights, sizes, budget)


def _in_proportion(weights: np.ndarray, sizes: np.ndarray, budget: float) -> np.ndarray:
    """Densities ≤ 1 that keep `budget` weights, in proportion to `weights` wherever a layer isn't kept whole."""
    whole = np.zeros(len(sizes), bool)
    while not whole.all():
        factor = max(budget - sizes[whole].sum(), 0.0) / weights[~whole].sum()
        too_many = ~whole & (factor * weights > sizes)
        if not too_many.any():
            return np.where(whole, 1.0, factor * weights / sizes)
        whole |= too_many
    return np.ones(len(sizes))


def _excess_moved_forward(kept: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    kept = kept.copy()
    for layer in range(len(kept) - 1, 0, -1):
        excess = max(kept[layer] - sizes[layer], 0.0)
        kept[layer] -= excess
        kept[layer - 1] += excess
    return kept


def igq(shapes: Shapes, density: float, rule: str = "valid") -> np.ndarray:
    """Ideal gas quotas: `kept_l = N_l / (F · N_l + 1)`, with the F ≥ 0 for which the total is right.

    F is the exact root, to float64; the published code stops its bisection within one weight of the total, so that the
    kept counts of a layer differ by less than one weight. Both rules therefore give the same numbers here.

    Raises:
        InputError: see the module's arguments.
    """
    sizes = _checked_sizes(shapes, density, rule)
    budget = density * sizes.sum()
    if budget == 0:
        return np.zeros(len(sizes))
    # kept_l < 1 / F, so the total is below the budget from F = layers / budget on.
    low, high = 0.0, len(sizes) / budget
    while low < (middle := 0.5 * (low + high)) < high:
        low, high = (middle, high) if (sizes / (middle * sizes + 1)).sum() > budget else (low, middle)
    return 1 / (high * sizes + 1)


def uniform_plus(shapes: Shapes, density: float, rule: str = "valid") -> np.ndarray:
    """Uniform, but the first layer stays whole and the last keeps at least 20 %.

    Raises:
        InputError: no layer has a convolution's kernel (the quota protects a first convolution, and a network of dense
            layers would spend its whole budget there), or the first and the last layer alone exceed the budget; the
            published rule gives negative densities in that second case.
    """
    sizes = _checked_sizes(shapes, density, rule)
    if len(sizes) < 3 or all(len(shape) < 3 for shape in shapes):
        raise InputError(
            "quota uniform_plus needs at least three prunable layers and a convolution among them; received kernels of "
            f"shapes {', '.join(map(str, shapes))}; use uniform, erk or igq"
        )
    total, least_last = sizes.sum(), 1 - LAST_LAYER_SPARSITY
    rest = (density * total - sizes[0]) / (total - sizes[0])
    last = rest
    if rest < least_last:
        last = least_last
        rest = (density * total - sizes[0] - last * sizes[-1]) / sizes[1:-1].sum()
    # A budget at the limit itself may come out a rounding error below it.
    if rule == "valid" and -1e-12 < rest < 0:
        rest = 0.0
    if rule == "valid" and rest < 0:
        reachable = (sizes[0] + least_last * sizes[-1]) / total
        raise InputError(
            f"quota uniform_plus keeps the first layer and {least_last:.0%} of the last, so density must be at least "
            f"{reachable:.6g} (sparsity at most {1 - reachable:.6g}); received density {density:.6g}"
        )
    return np.array([1.0, *np.full(len(sizes) - 2, rest), last])


QUOTAS: Registry = Registry("quota", {"uniform": uniform, "uniform_plus": uniform_plus, "erk": erk, "igq": igq})


def get_quota(name: str) -> Quota:
    """The quota of that name.

    Raises:
        InputError: there is none.
    """
    return QUOTAS.named(name)


def quotas() -> Parts:
    """The quotas that there are, one's own among them: name -> what it is, in a line. Prints as a table."""
    return QUOTAS.parts()


def register_quota(name: str) -> Callable[[Callable], Callable]:
    """A decorator that gives a quota of one's own a name, for `prune(quota=...)` and `Pruner`.

        @tfprune.register_quota("root")
        def root(shapes, density):
            return [np.prod(shape) ** -0.5 for shape in shapes]

    Args:
        name: not taken.

    Returns:
        The decorator; the function stays what it is. It is called as `(shapes, density)`: shapes of the kernels that
        compete, in network order; the fraction of all their weights to keep. It returns a number ≥ 0 for each kernel:
        its density, or what that is in proportion to. All are scaled so that together they keep what is asked for;
        where that is more than a kernel has, it stays whole, as with ERK. Proportions that do not depend on the density
        give masks that are nested.

    Raises:
        InputError: the name is taken or is none, no function.
    """

    QUOTAS.check_name(name)

    def register(function: Callable) -> Callable:
        QUOTAS.register(name, function, _Own(name, function))
        return function

    return register


class _Own:
    """A quota of a user's own, which is called as ours are."""

    def __init__(self, name: str, function: Callable):
        self._name, self.function = name, function

    def __call__(self, shapes: Shapes, density: float, rule: str = "valid") -> np.ndarray:
        sizes = _checked_sizes(shapes, density, rule)
        found = np.asarray(self.function(list(shapes), density), np.float64)
        if found.shape != sizes.shape:
            raise InputError(f"quota {self._name} must give {len(sizes)} numbers; received an array of {found.shape}")
        if not (np.isfinite(found) & (found >= 0)).all() or not found.any():
            raise InputError(f"quota {self._name} must give finite numbers ≥ 0, and not 0 alone; received {found}")
        found = np.maximum(found, 1e-12 * found.max())  # where all others are whole, layers at 0 get something, too
        return _in_proportion(found * sizes, sizes, density * sizes.sum())


def _checked_sizes(shapes: Shapes, density: float, rule: str) -> np.ndarray:
    if rule not in RULES:
        near = did_you_mean(rule, RULES)
        raise InputError(f"rule of a quota must be one of {', '.join(RULES)}; received {rule!r}{near}")
    if not 0 <= density <= 1:
        raise InputError(f"density must lie in [0, 1]; received {density}")
    if not len(shapes) or any(len(shape) == 0 or min(shape) < 1 for shape in shapes):
        raise InputError(f"a quota needs at least one layer and positive shapes; received {list(shapes)}")
    return np.array([np.prod(shape, dtype=np.float64) for shape in shapes])
