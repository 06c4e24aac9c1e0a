"""Scores of channels: those of all kernels that make a channel, or what the caller says of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import keras
import numpy as np

from tfprune.errors import InputError, did_you_mean
from tfprune.layers.subclassed import as_graph
from tfprune.pruning.batches import as_batches
from tfprune.pruning.channel_choice import Choice
from tfprune.pruning.channel_network import ChannelNetwork, Maker, owner
from tfprune.pruning.compiled import CompiledLoss, chosen_loss
from tfprune.pruning.filter_scores import (
    FILTER_SCORES,
    MODEL_SCORES,
    check_kernels,
    check_seed,
    get_filter_score,
    score_filters,
)
from tfprune.pruning.losses import Loss

Scoring = str | Callable[[str, np.ndarray], np.ndarray] | Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Scorer:
    """How channels are scored.

    Attributes:
        scoring, seed: as for `tfprune.prune_channels`.
        batches: of the data; None for none.
        loss: from `chosen_loss`.
    """

    scoring: Scoring
    seed: int = 0
    batches: Iterable[tuple] | None = None
    loss: Loss | CompiledLoss | None = None

    @classmethod
    def of(cls, model: keras.Model, scoring: Scoring, seed: int, data, loss) -> Scorer:
        """Of the arguments of `tfprune.prune_channels`.

        Raises:
            InputError: no such scoring, one that needs data and has none, unusable data or loss.
        """
        score = MODEL_SCORES.get(scoring) if isinstance(scoring, str) else None
        if score is None:
            named = isinstance(scoring, str) and scoring in FILTER_SCORES
            if isinstance(scoring, str) and ":" in scoring:
                get_filter_score(scoring)  # tells what is wrong with it
            elif not named and not callable(scoring) and not isinstance(scoring, Mapping):
                known = [*FILTER_SCORES, *MODEL_SCORES]
                told = f"scoring must be one of {', '.join(known)}; received {scoring!r}"
                raise InputError(told + did_you_mean(scoring, known))
            return cls(scoring, seed)
        check_seed(seed)
        if not score.needs_data:
            return cls(scoring, seed)
        if data is None:
            raise InputError(f"scoring {scoring!r} looks at data: give data=, as `fit` takes it")
        return cls(scoring, seed, as_batches(data, inputs=len(as_graph(model).inputs)), chosen_loss(model, loss))

    def classes(self, network: ChannelNetwork, makers: Iterable[Maker], relative: bool = True) -> np.ndarray:
        """One score for every class of channels: the sum of those of all that makes it.

        Args:
            network: a model.
            makers: what is to be scored; other kernels count where they make the same channels.
            relative: each over the largest absolute one of its kernel.

        Returns:
            Float64, (classes,); NaN where nothing scores.

        Raises:
            InputError: as for `tfprune.prune_channels`.
        """
        total, known = np.zeros(len(network.classes)), np.zeros(len(network.classes), bool)
        for classes, values in self._found(network, makers):
            largest = np.abs(values).max(initial=0) if relative else 1
            np.add.at(total, classes, values.astype(float) / (largest or 1))
            known[classes] = True
        return np.where(known, total, np.nan)

    def _found(self, network: ChannelNetwork, makers: Iterable[Maker]) -> Iterable[tuple[np.ndarray, np.ndarray]]:
        if isinstance(self.scoring, Mapping):
            return _given(network, self.scoring)
        if isinstance(self.scoring, str) and self.scoring in MODEL_SCORES:
            check_kernels(network.trace.weights)
            rng = np.random.default_rng(self.seed)
            found = MODEL_SCORES[self.scoring].function(network, self.batches, self.loss, rng)
            if not all(np.isfinite(values).all() for _, values in found):
                raise InputError(f"scoring {self.scoring!r} gives NaN or infinite scores on these data")
            return found
        of_kernels = kernel_scores(network, makers, self.scoring, self.seed)
        return [(network.classes[network.trace.kernels[path].made], values) for path, values in of_kernels.items()]


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
