"""The order in which the channels of a whole model leave: lowest scores first, comparable across layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tfprune.errors import InputError, did_you_mean
from tfprune.pruning.channel_choice import Choice
from tfprune.pruning.channel_network import ChannelNetwork
from tfprune.pruning.filter_fractions import none_can_leave

NORMALIZERS: dict[str | None, Callable[[np.ndarray], float]] = {
    "mean": lambda scores: np.abs(scores).mean(),
    "max": lambda scores: np.abs(scores).max(),
    "sum": lambda scores: np.abs(scores).sum(),
    "l2": lambda scores: np.sqrt(np.square(scores).sum()),
    None: lambda scores: 1.0,
}
"""By what the scores of a filter set are divided."""


@dataclass(frozen=True)
class Order:
    """Blocks of channels, the first to leave first.

    Attributes:
        blocks: int arrays of classes; each leaves at once.
        forced: so many of them leave whatever the budget, as widths are to be multiples.
        sets: number of filter sets that can lose channels.
    """

    blocks: list[np.ndarray]
    forced: int
    sets: int


def check_normalize(normalize: str | None) -> None:
    """Refuses what is no key of `NORMALIZERS`."""
    if not (normalize is None or isinstance(normalize, str)) or normalize not in NORMALIZERS:
        near = did_you_mean(normalize, [name for name in NORMALIZERS if name])
        known = ", ".join(map(repr, NORMALIZERS))
        raise InputError(f"normalize must be one of {known}; received {normalize!r}{near}")


def leaving_order(
    network: ChannelNetwork, choice: Choice, scores: np.ndarray, normalize: str | None, round_to: int
) -> Order:
    """All channels that can leave a model such that one of each filter set stays, or `round_to`.

    Within a set the lowest scores leave first, the first channel of equal ones. A block of several counts as its mean.

    Args:
        network: of the model.
        choice: whose channels may leave.
        scores: of the classes.
        normalize: a key of `NORMALIZERS`.
        round_to: widths are multiples of it, except where there are fewer channels.

    Raises:
        InputError: no channel can leave, or one has no score.
    """
    sets = [one for one in network.sets if not one.fixed and choice.of(one)]
    if not sets:
        raise none_can_leave(choice, network)
    forced, ranked = [], []
    for number, one in enumerate(sets):
        own = scores[one.channels]
        if np.isnan(own).any():
            raise InputError(
                f"scoring has nothing for layer {choice.of(one)[0]!r}, which is to lose channels; layers= leaves it out"
            )
        own = own / (NORMALIZERS[normalize](own) or 1.0)
        order = np.argsort(own, kind="stable")
        if len(order) <= round_to:
            continue
        first = len(order) % round_to
        if first:
            forced.append(one.channels[order[:first]])
        for start in range(first, len(order) - round_to, round_to):
            block = order[start : start + round_to]
            ranked.append((float(own[block].mean()), number, start, one.channels[block]))
    if not forced and not ranked:
        told = f"more than round_to={round_to}" if round_to > 1 else "more than one"
        raise InputError(f"no {choice.kind} can lose {choice.what}: none has {told} that can leave")
    ranked.sort(key=lambda each: each[:3])
    return Order(forced + [block for *_, block in ranked], len(forced), len(sets))
