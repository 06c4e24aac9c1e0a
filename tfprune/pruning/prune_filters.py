"""Whole filters leave the convolutions of a model: `prune_channels`, with convolutions as what may lose some."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike

import keras
import numpy as np

from tfprune.layers.barriers import CHANNELS
from tfprune.pruning.budgets import Budget, Finetune, Making, within_budget
from tfprune.pruning.channel_choice import Choice, Layers, chosen, convolutions
from tfprune.pruning.channel_network import ChannelNetwork
from tfprune.pruning.channel_scores import Scorer, Scoring, kernel_scores
from tfprune.pruning.filter_fractions import Fractions, fractions_of_sets
from tfprune.pruning.latency_table import LatencyTable
from tfprune.pruning.prune_channels import without_lowest


def prune_filters(
    model: keras.Model,
    scoring: Scoring = "operator_norm",
    fractions: Fractions | None = None,
    seed: int = 0,
    *,
    layers: Layers = None,
    flops: float | None = None,
    parameters: float | None = None,
    bytes: float | None = None,
    latency: float | None = None,
    normalize: str | None = "mean",
    round_to: int = 1,
    steps: int = 1,
    finetune: Finetune | None = None,
    data=None,
    loss=None,
    engine: str | Callable[[keras.Model], float] = "litert",
    table: LatencyTable | str | PathLike | None = None,
    input_shape=None,
    renormalize: bool = False,
    verify: bool = True,
    unknown: str = "barrier",
) -> keras.Model:
    """A smaller model without the convolution filters that score lowest.

    It is `prune_channels`, whose text says what stays and what leaves, for convolutions: plain, transposed and
    separable ones. Filters that are coupled leave together, and other layers with them: depthwise convolutions and
    dense layers (squeeze-and-excite) that make the same channels count for the score; a separable convolution counts as
    the depthwise and the pointwise one that it consists of.

    Args:
        model, scoring, seed: as for `prune_channels`, and so is all that is not here.
        fractions: of filters to prune, in [0, 1); None for a budget, or 0.5 without one. One number for all
            convolutions that can lose filters, of which each keeps one at least; or one per convolution of
            `filter_layers(model)`, in that order; or layer path (or name, where only one has it) -> fraction, as for
            `prune_channels`.
        layers: as for `prune_channels`; None for all convolutions.

    Returns:
        Model in plain Keras with the same inputs, outputs and layer names; a layer whose parts get smaller becomes a
        nested model of these, a subclassed model a Functional one; masked weights are 0; not compiled.

    Warns:
        UserWarning: as `prune_channels`.

    Raises:
        InputError: as for `prune_channels`; no convolution that can lose filters.

    Reference: Singh, Li & Plumbley 2022, "An operator norm based passive filter pruning method for efficient CNNs".
    """
    budget = Budget(
        flops, parameters, bytes, latency, normalize, round_to, steps, finetune, engine, input_shape, fractions, table
    )
    network = ChannelNetwork(model, unknown, renormalize)
    network.barriers.tell(CHANNELS)
    scorer = Scorer.of(model, scoring, seed, data, loss)

    def choose(own: ChannelNetwork) -> Choice:
        return convolutions(own.makers) if layers is None else chosen(own.makers, layers)

    if budget.limits:
        return within_budget(network, choose, scorer, budget, Making(renormalize, verify, unknown))
    choice = choose(network)
    shares = fractions_of_sets(budget.fractions, choice, network)
    return without_lowest(network, choice, shares, scorer, round_to, verify)


def filter_layers(model: keras.Model) -> dict[str, int]:
    """Path of every convolution that makes filters -> their number, in network order.

    These are plain, transposed and separable convolutions, including those that can't lose filters, but not depthwise
    and grouped ones.

    Raises:
        InputError: a model that is not built.
    """
    makers = convolutions(ChannelNetwork(model).makers).makers
    return {path: len(maker.channels) for path, maker in makers.items()}


def filter_scores(model: keras.Model, scoring: str = "operator_norm", seed: int = 0) -> dict[str, np.ndarray]:
    """Scores of the filters of every convolution of `filter_layers(model)`, each by its own kernel.

    Args:
        model, seed: as for `prune_filters`, which adds up the scores of coupled layers.
        scoring: a name, or a function, as for `prune_filters`.

    Returns:
        Path of the layer -> float32 array, (filters,); higher means keep.

    Raises:
        InputError: as for `prune_filters`, fractions aside.
    """
    network = ChannelNetwork(model)
    makers = convolutions(network.makers).makers
    scores = kernel_scores(network, makers.values(), scoring, seed)
    return {path: scores[maker.kernels[-1]] for path, maker in makers.items()}


def check_fractions(model: keras.Model, fractions: Fractions) -> None:
    """Refuses fractions that `prune_filters` would refuse, at once.

    Raises:
        InputError: as for `prune_filters`, scoring and weights aside.
    """
    network = ChannelNetwork(model)
    fractions_of_sets(fractions, convolutions(network.makers), network)
