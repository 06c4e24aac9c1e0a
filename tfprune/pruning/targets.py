"""How much of each kernel is to be kept: what `sparsity=` and `pattern=` of a call mean together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import keras
import numpy as np

from tfprune.errors import InputError
from tfprune.layers.masks import Masks
from tfprune.pruning.grid import Grid
from tfprune.pruning.kernel_names import KernelNames, Named
from tfprune.pruning.layer_fractions import check_fraction, check_fractions
from tfprune.pruning.patterns import Pattern
from tfprune.pruning.selection import kept_count
from tfprune.pruning.shares import Floors, LayerShare
from tfprune.pruning.specs import Pruner

Sparsity = float | Mapping[Named, float]


@dataclass(frozen=True)
class Target:
    """What is asked for.

    Attributes:
        start: masks of the kernels that compete, to begin with.
        sparsity: of all of them, in the end.
        kept: path -> number of weights that each keeps in the end; None where they compete for them.
        grid: the pattern that masks keep to; None for none.
    """

    start: Masks
    sparsity: float
    kept: Mapping[str, int] | None = None
    grid: Grid | None = None

    def floors(self, min_weights: int) -> Floors:
        """What every kernel keeps where it keeps `min_weights`, or all it has."""
        if self.grid is not None:
            return self.grid.floors(min_weights)
        return Floors(
            {path: min(min_weights, count) for path, count in self.start.counts.items()} if min_weights else {}
        )

    def require(self, min_weights: int) -> Floors:
        """What every kernel keeps, where direct masks can have it.

        Raises:
            OutOfReach: they would keep fewer.
        """
        floors = self.floors(min_weights)
        if floors.least > kept_count(self.start.size, 1 - self.sparsity):
            raise floors.refuse(floors.least, self.start.size, self.sparsity)
        if self.kept is not None:
            LayerShare({path: mask.shape for path, mask in self.start.items()}, self.kept, floors)
        return floors

    def rounding(self, pruner: Pruner) -> int:
        """How many weights more than are asked for masks may hold."""
        layerwise = not (self.kept is None and pruner.quota is None and pruner.like is None)
        rounded = len(self.start) if layerwise else 0
        return max(rounded, 0 if self.grid is None else self.grid.slack(layerwise))


def target_of(
    model: keras.Model,
    start: Masks,
    sparsity: Sparsity | None,
    pruner: Pruner,
    pattern: Pattern | None = None,
    **options,
) -> Target:
    """The target of a call.

    Args:
        model: has the kernels.
        start: masks of those that compete, to begin with.
        sparsity: as for `tfprune.prune`.
        pruner: its quota must leave room for sparsities that are fixed.
        pattern: what masks keep to.
        **options: of `Grid`.

    Raises:
        InputError: arguments that do not fit one another, a name that means no kernel, or masks to start from that are
            too sparse.
    """
    if pattern is None:
        _refuse_options(options)
    if sparsity is None and (pattern is None or pattern.sparsity is None):
        raise InputError("sparsity must be given, a fraction in [0, 1) or one for each layer; received None")
    if isinstance(sparsity, Mapping):
        sparsity = layer_sparsities(model, start, sparsity)
        refuse_quota(pruner, "sparsity= says what each kernel keeps")
    elif sparsity is not None:
        check_fraction(sparsity, "sparsity")
    if pattern is not None and pattern.sparsity is not None:
        return _by_numbers(model, start, sparsity, pruner, pattern, options)
    grid = None if pattern is None else Grid(pattern, model, start, **options)
    if isinstance(sparsity, dict):
        kept = {path: _kept(path, mask, sparsity[path]) for path, mask in start.items()}
        return Target(start, 1 - sum(kept.values()) / start.size, kept, grid)
    if start.kept < start.size * (1 - sparsity) * (1 - 1e-12):
        raise InputError(f"sparsity {sparsity:.6g} is below that of the masks to start from, {start.sparsity:.6g}")
    return Target(start, float(sparsity), None, grid)


def _refuse_options(options: Mapping) -> None:
    for name, called, plain in (("group_score", "group_score", "mean"), ("remainder", "pattern_remainder", "error")):
        if options.get(name, plain) != plain:
            raise InputError(f"{called} is for a pattern; received {options[name]!r} without pattern=")


def _by_numbers(model, start: Masks, sparsity, pruner: Pruner, pattern: Pattern, options: Mapping) -> Target:
    """Of N:M, which gives every kernel its sparsity."""
    refuse_quota(pruner, f"pattern {pattern.text} says what each kernel keeps")
    given = sparsity if isinstance(sparsity, dict) else {} if sparsity is None else {None: sparsity}
    for path, value in given.items():
        if abs(value - pattern.sparsity) > 1e-6 and not (value == 0 and path is not None):
            where = "" if path is None else f" of kernel {path!r} (0 leaves it as it is)"
            raise InputError(
                f"pattern {pattern.text} is sparsity {pattern.sparsity:.6g}: leave sparsity out or give that; received "
                f"{value:.6g}{where}"
            )
    part = Masks({path: mask for path, mask in start.items() if not isinstance(sparsity, dict) or sparsity[path]})
    if not part:
        raise InputError("sparsity= is 0 for every kernel that competes: there is nothing to prune")
    grid = Grid(pattern, model, part, **options)
    kept = grid.kept
    layerwise = pruner.quota is not None or isinstance(sparsity, dict)
    return Target(part, 1 - sum(kept.values()) / part.size, kept if layerwise else None, grid)


def refuse_quota(pruner: Pruner, why: str) -> None:
    """Refuses a pruner that says what each kernel keeps, where something else does.

    Args:
        pruner: the one that prunes.
        why: what else, for the message.

    Raises:
        InputError: it has a quota, not the uniform one, or takes the counts of another pruner.
    """
    if pruner.like is not None or pruner.quota not in (None, "uniform"):
        other = f"quota {pruner.quota}" if pruner.like is None else f"the counts of pruner {pruner.like}"
        raise InputError(f"{why}, and so does {other}: take a pruner without one, as magnitude, and no quota=")


def layer_sparsities(model: keras.Model, start: Masks, given: Mapping[Named, float]) -> dict[str, float]:
    """Path of every kernel that competes -> its sparsity; see `tfprune.prune`.

    Args:
        model: has the kernels.
        start: masks of those that compete.
        given: name -> fraction.

    Raises:
        InputError: a fraction outside [0, 1), a name that means no kernel or one that does not compete, or nothing.
    """
    check_fractions(given)
    names = KernelNames(model, "sparsity=")
    entries = []
    for order, (one, value) in enumerate(given.items()):
        paths = names.of(one)
        if value and one != "*" and not any(path in start for path in paths):
            raise InputError(f"sparsity= holds {one!r}, which ignore=, only= or frozen= takes out")
        # Names before patterns, and what names few kernels before what names many.
        rank = (2, 0) if one == "*" else (0, len(paths)) if names.is_exact(one) else (1, 0)
        entries.append((rank, order, paths, float(value)))
    found: dict[str, float] = {}
    for _, _, paths, value in sorted(entries, key=lambda entry: entry[:2]):
        for path in paths:
            found.setdefault(path, value)
    return {path: found.get(path, 0.0) for path in start}


def _kept(path: str, mask: np.ndarray, sparsity: float) -> int:
    asked, alive = kept_count(mask.size, 1 - sparsity), int(np.count_nonzero(mask))
    if sparsity and alive < asked:
        raise InputError(
            f"sparsity {sparsity:.6g} of kernel {path!r} is below that of the masks to start from, "
            f"{1 - alive / mask.size:.6g}"
        )
    return min(asked, alive)
