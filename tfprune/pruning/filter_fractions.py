"""What fraction of its filters each layer is to lose, and how many that leaves."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from tfprune.errors import InputError, did_you_mean, did_you_mean_fraction
from tfprune.surgery.filter_sets import FilterSet

NEEDED = "the model's outputs or an operation that mixes features need all of them"
Keepers = Callable[[np.ndarray], str]

Fractions = float | Sequence[float] | Mapping[str, float]


def kept_filters(count: int, fraction: float) -> int:
    """⌊(1 − fraction)·count⌋, where a product meant to be whole is whole: 0.9 of 10 leaves 1."""
    return int((1 - fraction) * count + 1e-9)


def fractions_of_sets(
    fractions: Fractions, convolutions: Mapping[str, str], sets: Sequence[FilterSet], keepers: Keepers
) -> list[float]:
    """The fraction of every filter set.

    Args:
        fractions: as for `tfprune.prune_filters`.
        convolutions: path of a layer -> path of its kernel.
        sets: all filter sets of the model.
        keepers: channels -> which operations need them all, in words, as `Trace.keepers`.

    Raises:
        InputError: see `tfprune.prune_filters`.
    """
    if isinstance(fractions, np.ndarray):
        fractions = fractions.tolist()
    losing = [
        [] if one.fixed else [layer for layer, kernel in convolutions.items() if kernel in one.members] for one in sets
    ]
    able = list(dict.fromkeys(layer for layers in losing for layer in layers))
    if not able:
        needed = f"{NEEDED}{_by(sets, convolutions.values(), keepers)}" if convolutions else "there is none"
        raise InputError(f"no convolution of the model can lose filters: {needed}")
    if isinstance(fractions, Mapping):
        given = _by_layer(fractions, convolutions)
    elif isinstance(fractions, (list, tuple)):
        given = _in_order(fractions, convolutions)
    else:
        given = dict.fromkeys(able, _checked(fractions, "fractions"))
        losing = _without_single(losing, sets, given[able[0]])
    for layer, fraction in given.items():
        if fraction and layer not in able:
            needed = f"{NEEDED}{_by(sets, [convolutions[layer]], keepers)}"
            raise InputError(f"layer {layer!r} cannot lose filters, received fraction {fraction:g}: {needed}")
    return [_agreed(given, layers, len(one.channels)) for one, layers in zip(sets, losing, strict=True)]


def _by(sets: Sequence[FilterSet], kernels: Iterable[str], keepers: Keepers) -> str:
    """What needs the filters of these kernels, for the end of a message."""
    kernels = set(kernels)
    channels = [one.channels for one in sets if one.fixed and kernels & one.members.keys()]
    named = keepers(np.concatenate(channels)) if channels else ""
    return f": {named}" if named else ""


def _without_single(losing: list[list[str]], sets: Sequence[FilterSet], fraction: float) -> list[list[str]]:
    """The layers that lose filters of each set, where one number is for all: no layers for a set of a single filter."""
    single = [bool(layers) and len(one.channels) == 1 for one, layers in zip(sets, losing, strict=True)]
    if not fraction or not any(single):
        return losing
    left = [[] if alone else layers for alone, layers in zip(single, losing, strict=True)]
    if not any(left):
        raise InputError("no convolution of the model can lose filters: each has a single one")
    names = dict.fromkeys(layer for alone, layers in zip(single, losing, strict=True) if alone for layer in layers)
    told = ", ".join(map(repr, names))
    warnings.warn(f"a single filter stays where fraction {fraction:g} would leave none: {told}", stacklevel=4)
    return left


def _agreed(given: Mapping[str, float], layers: Sequence[str], count: int) -> float:
    """The one fraction of layers that lose the same filters."""
    layers = [layer for layer in layers if layer in given]
    if not layers:
        return 0.0
    first, fraction = layers[0], given[layers[0]]
    for other in layers[1:]:
        if given[other] != fraction:
            raise InputError(
                f"layers {first!r} and {other!r} lose the same filters and need one fraction; "
                f"received {fraction:g} and {given[other]:g}"
            )
    if not kept_filters(count, fraction):
        most = math.floor(1e4 * (1 - 1 / count) + 1e-6) / 1e4
        raise InputError(f"layer {first!r}: fraction {fraction:g} leaves none of its {count} filters; at most {most:g}")
    return fraction


def _by_layer(fractions: Mapping[str, float], convolutions: Mapping[str, str]) -> dict[str, float]:
    given: dict[str, float] = {}
    for name, fraction in fractions.items():
        found = [path for path in convolutions if path == name] or [
            path for path in convolutions if path.endswith(f"/{name}")
        ]
        if len(found) != 1:
            problem = f"could be any of {', '.join(found)}" if found else f"is none of {', '.join(convolutions)}"
            near = "" if found else did_you_mean(name, convolutions)
            raise InputError(f"fractions: {name!r} {problem}, the paths of convolutions with filters{near}")
        if found[0] in given:
            raise InputError(f"fractions: {name!r} is the layer {found[0]!r}, which has a fraction already")
        given[found[0]] = _checked(fraction, f"fraction of {name!r}")
    return given


def _in_order(fractions: Sequence[float], convolutions: Mapping[str, str]) -> dict[str, float]:
    numbers = list(fractions)
    if len(numbers) != len(convolutions):
        raise InputError(
            f"fractions must hold {len(convolutions)} numbers, one each for {', '.join(convolutions)}; "
            f"received {len(numbers)}"
        )
    return {
        layer: _checked(number, f"fraction of {layer!r}") for layer, number in zip(convolutions, numbers, strict=True)
    }


def _checked(fraction, what: str) -> float:
    number = isinstance(fraction, (int, float, np.integer, np.floating)) and not isinstance(fraction, bool)
    if not number or not 0 <= fraction < 1:  # NaN fails the comparison
        raise InputError(f"{what} must be a number in [0, 1); received {fraction!r}{did_you_mean_fraction(fraction)}")
    return float(fraction)
