"""What fraction of its channels each layer is to lose, and how many that leaves."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from tfprune.errors import InputError, did_you_mean_fraction
from tfprune.pruning.channel_choice import Choice
from tfprune.pruning.channel_network import ChannelNetwork, Maker
from tfprune.surgery.filter_sets import FilterSet

Fractions = float | Sequence[float] | Mapping[str, float]


def kept_filters(count: int, fraction: float) -> int:
    """⌊(1 − fraction)·count⌋, where a product meant to be whole is whole: 0.9 of 10 leaves 1."""
    return int((1 - fraction) * count + 1e-9)


def kept_multiple(count: int, fraction: float, round_to: int) -> int:
    """`kept_filters`, rounded up to a multiple; all where there are fewer than a multiple."""
    kept = -(-kept_filters(count, fraction) // round_to) * round_to
    return kept if kept <= count else max(count // round_to * round_to, min(count, round_to))


def fractions_of_sets(fractions: Fractions, choice: Choice, network: ChannelNetwork) -> list[float]:
    """The fraction of every filter set of a network.

    Args:
        fractions: as for `tfprune.prune_channels`.
        choice: layers that may lose channels.
        network: of the model.

    Raises:
        InputError: see `tfprune.prune_channels`.
    """
    if isinstance(fractions, np.ndarray):
        fractions = fractions.tolist()
    sets = network.sets
    losing = [[] if one.fixed else choice.of(one) for one in sets]
    able = list(dict.fromkeys(layer for layers in losing for layer in layers))
    if not able:
        raise none_can_leave(choice, network)
    narrow: set[int] = set()
    if isinstance(fractions, Mapping):
        asked = _by_layer(fractions, choice)
    elif isinstance(fractions, (list, tuple)):
        asked = _in_order(fractions, choice)
    else:
        fraction = _checked(fractions, "fractions")
        asked = [(makers, fraction) for makers in choice.named]
        asked += [([choice.makers[layer]], fraction) for layer in able]
        narrow = _narrow(losing, sets, fraction, choice)
    for makers, fraction in asked:
        if fraction and not any(maker.path in able for maker in makers):
            told = f"layer {makers[0].path!r} cannot lose {choice.what}, received fraction {fraction:g}"
            raise InputError(f"{told}: {_needed(makers, network)}")
    given = {maker.path: fraction for makers, fraction in asked for maker in makers}
    counts = [len(one.channels) for one in sets]
    return [
        1 - 1 / count if place in narrow else _agreed(given, layers, count, choice.what)
        for place, (layers, count) in enumerate(zip(losing, counts, strict=True))
    ]


def none_can_leave(choice: Choice, network: ChannelNetwork) -> InputError:
    """What to raise where none of the chosen layers can lose channels; names what keeps them."""
    needed = _needed(choice.makers.values(), network) if choice.makers else "there is none"
    return InputError(f"no {choice.kind} can lose {choice.what}: {needed}")


def _needed(makers: Iterable[Maker], network: ChannelNetwork) -> str:
    return network.needed(np.concatenate([maker.channels for maker in makers]))


def _narrow(losing: list[list[str]], sets: Sequence[FilterSet], fraction: float, choice: Choice) -> set[int]:
    """Which sets keep a single channel because one number, meant for all, would leave none; says so."""
    able = [place for place, layers in enumerate(losing) if layers]
    narrow = [place for place in able if not kept_filters(len(sets[place].channels), fraction)]
    if not narrow:
        return set()
    if all(len(sets[place].channels) == 1 for place in able):
        raise InputError(f"no {choice.kind} can lose {choice.what}: each has a single one")
    names = dict.fromkeys(layer for place in narrow for layer in losing[place])
    told = f"a single {choice.what.removesuffix('s')} stays where fraction {fraction:g} would leave none"
    warnings.warn(f"{told}: {', '.join(map(repr, names))}", stacklevel=4)
    return set(narrow)


def _agreed(given: Mapping[str, float], layers: Sequence[str], count: int, what: str) -> float:
    """The one fraction of layers that lose the same channels."""
    layers = [layer for layer in layers if layer in given]
    if not layers:
        return 0.0
    first, fraction = layers[0], given[layers[0]]
    for other in layers[1:]:
        if given[other] != fraction:
            raise InputError(
                f"layers {first!r} and {other!r} lose the same {what} and need one fraction; "
                f"received {fraction:g} and {given[other]:g}"
            )
    if not kept_filters(count, fraction):
        most = math.floor(1e4 * (1 - 1 / count) + 1e-6) / 1e4
        raise InputError(f"layer {first!r}: fraction {fraction:g} leaves none of its {count} {what}; at most {most:g}")
    return fraction


def _by_layer(fractions: Mapping[str, float], choice: Choice) -> list[tuple[list[Maker], float]]:
    asked, taken = [], set()
    for name, fraction in fractions.items():
        makers = choice.find(name, "fractions")
        for maker in makers:
            if maker.path in taken:
                raise InputError(f"fractions: {name!r} is the layer {maker.path!r}, which has a fraction already")
            taken.add(maker.path)
        asked.append((makers, _checked(fraction, f"fraction of {name!r}")))
    return asked


def _in_order(fractions: Sequence[float], choice: Choice) -> list[tuple[list[Maker], float]]:
    numbers, makers = list(fractions), choice.makers
    if len(numbers) != len(makers):
        raise InputError(
            f"fractions must hold {len(makers)} numbers, one each for {', '.join(makers)}; received {len(numbers)}"
        )
    return [
        ([maker], _checked(number, f"fraction of {maker.path!r}"))
        for maker, number in zip(makers.values(), numbers, strict=True)
    ]


def _checked(fraction, what: str) -> float:
    number = isinstance(fraction, (int, float, np.integer, np.floating)) and not isinstance(fraction, bool)
    if not number or not 0 <= fraction < 1:  # NaN fails the comparison
        raise InputError(f"{what} must be a number in [0, 1); received {fraction!r}{did_you_mean_fraction(fraction)}")
    return float(fraction)
