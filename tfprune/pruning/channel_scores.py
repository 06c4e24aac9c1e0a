"""Scores of channels: those of all kernels that make a channel, or what the caller says of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from tfprune.errors import InputError
from tfprune.pruning.channel_choice import Choice
from tfprune.pruning.channel_network import ChannelNetwork, Maker, owner
from tfprune.pruning.filter_scores import check_kernels, check_seed, score_filters

Scoring = str | Callable[[str, np.ndarray], np.ndarray] | Mapping[str, np.ndarray]


def class_scores(network: ChannelNetwork, makers: Iterable[Maker], scoring: Scoring, seed: int) -> np.ndarray:
    """One score for every class of channels: the sum of those of all that makes it, each over its largest.

    Args:
        network: a model.
        makers: what is to be scored; other kernels count where they make the same channels.
        scoring, seed: as for `tfprune.prune_channels`.

    Returns:
        Float64, (classes,); NaN where nothing scores.

    Raises:
        InputError: as for `tfprune.prune_channels`.
    """
    if isinstance(scoring, Mapping):
        scored = _given(network, scoring)
    else:
        of_kernels = kernel_scores(network, makers, scoring, seed)
        scored = [(network.classes[network.trace.kernels[path].made], values) for path, values in of_kernels.items()]
    total, known = np.zeros(len(network.classes)), np.zeros(len(network.classes), bool)
    for classes, values in scored:
        np.add.at(total, classes, values.astype(float) / (np.abs(values).max() or 1))
        known[classes] = True
    return np.where(known, total, np.nan)


def kernel_scores(
    network: ChannelNetwork, makers: Iterable[Maker], scoring: str | Callable, seed: int
) -> dict[str, np.ndarray]:
    """Path of a kernel -> scores, for those of some makers and all that share filter sets with them."""
    own = {kernel for maker in makers for kernel in maker.kernels}
    scored = own.union(*(one.members for one in network.sets if own & one.members.keys()))
    kernels = {path: kernel.filters for path, kernel in network.trace.kernels.items() if path in scored}
    if not callable(scoring):
        return score_filters(kernels, scoring, seed)
    check_seed(seed)
    check_kernels(kernels)
    return {path: _called(scoring, owner(path), kernel) for path, kernel in kernels.items()}


def _called(scoring: Callable, layer: str, kernel: np.ndarray) -> np.ndarray:
    kernel = kernel.view()
    kernel.flags.writeable = False  # these are the weights that the smaller model gets
    return _checked(scoring(layer, kernel), kernel.shape[-1], f"scoring of layer {layer!r}")


def _given(network: ChannelNetwork, scoring: Mapping[str, np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    """(classes, scores) of each layer that has some."""
    everything, found = Choice(network.makers), {}
    for name, values in scoring.items():
        maker = everything.one(name, "scoring")
        if maker.path in found:
            raise InputError(f"scoring: {name!r} is the layer {maker.path!r}, which has scores already")
        scores = _checked(values, len(maker.channels), f"scoring of layer {name!r}")
        found[maker.path] = maker.channels, scores
    return list(found.values())


def _checked(values, count: int, what: str) -> np.ndarray:
    try:
        scores = np.asarray(values, float)
    except (TypeError, ValueError):
        scores = None
    if scores is None or scores.shape != (count,):
        came = f"{type(values).__name__}" if scores is None else f"shape {scores.shape}"
        raise InputError(f"{what} must be {count} numbers, one for each channel; received {came}")
    if not np.isfinite(scores).all():
        worst = np.flatnonzero(~np.isfinite(scores))[0]
        raise InputError(f"{what} must be finite; received {scores[worst]} for channel {worst}")
    return scores
