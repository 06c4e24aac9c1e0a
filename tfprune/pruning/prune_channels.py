"""Whole channels leave a model: scored, and removed with everything that belongs to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike

import keras
import numpy as np

from tfprune.errors import InputError
from tfprune.layers.barriers import CHANNELS
from tfprune.pruning.budgets import Budget, Finetune, Making, within_budget
from tfprune.pruning.channel_choice import Choice, Layers, chosen
from tfprune.pruning.channel_network import ChannelNetwork
from tfprune.pruning.channel_scores import Scorer, Scoring
from tfprune.pruning.filter_fractions import Fractions, fractions_of_sets, kept_multiple
from tfprune.pruning.latency_table import LatencyTable


def prune_channels(
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
    """A smaller model without the channels that score lowest: filters, units and others.

    How many leave is said by fractions, for each layer, or by a budget for the whole model. Of n channels
    ⌊(1 − fraction)·n⌋ are kept, with their biases and everything that belongs to them further on: normalisation with
    its running averages, depthwise filters, and the inputs of the next layers. Equal scores are pruned from the first
    channel on. The outputs are those of the model with the removed channels at 0 wherever a layer reads them: constants
    that biases and normalisation make of them are not folded, fine-tuning is meant to follow.

    Channels that are added, multiplied or otherwise coupled leave together: they have one fraction, and one score, the
    sum of those of all kernels that make the channel, each over the largest absolute score of its kernel. Where layers
    have only some channels in common, or some that have to stay, those are counted and pruned apart. Masked weights
    count as 0.

        small = tfprune.prune_channels(transformer, "l2", 0.5, layers="ffn_1")  # half of a feed-forward width
        small = tfprune.prune_channels(model, "l1_norm", flops=0.5)  # at most half of the operations

    To a budget, the channels of all layers leave in one order, lowest scores first, until the model just costs no more
    than allowed: with the last of them back it would cost more. One channel of every coupled group stays. Scores are
    made comparable by `normalize`. Costs are those of `tfprune.compaction_report`: no part of them is estimated.

    Args:
        model: built, plain or masked; is left as it is.
        scoring: a name of `tfprune.pruning.filter_scores.FILTER_SCORES`: `"operator_norm"`, `"operator_norm_absolute"`,
            `"l1_norm"`, `"l2"`, `"gm_norm"` or `"random"`; or of `MODEL_SCORES` there: `"batch_norm_scale"`, and those
            that look at `data`, `"taylor"`, `"gradient_activation"`, `"average_zeros"` and `"label_free_hessian"`; or a
            function `(layer path, kernel) -> scores` of a kernel as array (positions, inputs, outputs) that gives one
            score for each output, (outputs,), higher means keep, and is called for each kernel that makes the channels;
            or layer path (or name) -> one score for each channel of this layer: then kernels of other layers do not
            count.
        fractions: of channels to prune, in [0, 1); None for a budget, or 0.5 without one. One number for all layers
            that can lose channels, of which each keeps one at least; or one per layer of
            `channel_layers(model, layers)`, in that order; or layer path (or name, where only one has it) -> fraction.
            A layer that such a mapping leaves out shares the fraction of those named that its channels are coupled
            with, and else loses nothing.
        seed: of random scores; a non-negative integer.
        layers: whose channels may leave, with all that are coupled with them: a layer's path or name (that of a nested
            model stands for all layers in it), a class of layers, a function that says of a layer whether it is meant,
            or a list of these; None for all that make channels. Classes and functions are asked of layers within
            layers, too; what they fit stays whole where it has to. The name of a layer that holds several which make
            channels means those that no other layer has: of attention the heads.
        flops, parameters, bytes: budgets: what the smaller model may cost. Up to 1 a fraction of what `model` costs,
            above 1 a number. Where several are given, it keeps to all.
        latency: budget: milliseconds of a call on one example, whatever their number, measured on this machine of the
            smaller models that are tried (seven or so), and found to 1/128 of all channels.
        normalize: what the scores of coupled channels are divided by, so that layers can be compared in a budget:
            `"mean"`, `"max"`, `"sum"` or `"l2"` of these; None compares them as they are, sums over kernels without
            dividing by the largest.
        round_to: each number of coupled channels that stay is a multiple of it, rounded up from what fractions say;
            where there are fewer all stay.
        steps: so many times the model is scored anew and loses channels, the costs going straight to the budget.
        finetune: called as `finetune(model, step)` after each step but the last, from 1 on: trains the smaller model,
            which is not compiled, and returns it, another one, or None for the one that it was given.
        data: for scores that look at data, and examples for `latency`: what `fit` takes, see
            `tfprune.pruning.batches.as_batches`.
        loss: of scores that look at it; None for the one that the model is compiled with, or else cross-entropy.
        engine: of `latency`: `"litert"`, its interpreter with two threads in float32; `"keras"`, a compiled function of
            TensorFlow; or a function of a model that gives its milliseconds.
        table: of `latency`: what `tfprune.latency_table` gives, or its file: the smaller models that are tried are not
            measured, but told from it, to a single channel. The one that is chosen is measured; where it takes longer
            than allowed it is chosen again, at most twice, to a limit lower by that ratio. A line on stderr tells what
            was predicted and what was measured, by the table's runtime and for its batch.
        input_shape: of `flops`: shape of an input without the batch axis, where the model leaves sizes open.
        renormalize: whether channels may leave that normalisation over features reads (layer normalisation), as the
            width of a transformer is. It then works on those that stay, so that the outputs are not those said above:
            they are those of the model whose normalisation leaves the others out.
        verify: runs the small model, and `model` with the removed channels at 0, on a small made-up input and compares
            the outputs; nothing is checked where no input can be made that the model takes, or where normalisation
            loses channels.
        unknown: what becomes of operations that no rule of `tfprune.surgery` knows: around a `"barrier"` all channels
            stay; `"refuse"` refuses layers and operations of others, and treats Keras's operations in that way.

    Returns:
        Model in plain Keras with the same inputs, outputs and layer names; a layer whose parts get smaller becomes a
        nested model of these, a subclassed model a Functional one; masked weights are 0; not compiled.

    Warns:
        UserWarning: one number would leave nothing of some layers, which keep one channel; names them. Once, in a line:
            the operations that are barriers, and their share of the parameters; those that no FLOPs are counted of.
            A latency that is above its budget when it is measured again, or that a table does not lead to.

    Raises:
        InputError: unknown scoring, scores that are not as many numbers as there are channels, or that need data
            without any; layers that the model has not, or that make no channels; unusable fractions, one that leaves a
            layer nothing (says the largest allowed), different ones for coupled layers, one for a layer that cannot
            lose channels because the model's outputs or an operation that mixes features need them all (names it); a
            budget beside fractions, or below what the smallest model needs (says how much); nothing that can lose any;
            NaN or infinite weights; a model that is not built, a layer that no rule of `tfprune.surgery` knows and that
            is to be refused, or one that cannot be copied; outputs that are not those said above.

    Reference: Singh, Li & Plumbley 2022, "An operator norm based passive filter pruning method for efficient CNNs", of
    the default scores; Fang et al. 2023, "DepGraph: towards any structural pruning", arXiv 2301.12900, of coupled
    channels as groups.
    """
    budget = Budget(
        flops, parameters, bytes, latency, normalize, round_to, steps, finetune, engine, input_shape, fractions, table
    )
    network = ChannelNetwork(model, unknown, renormalize)
    network.barriers.tell(CHANNELS)
    scorer = Scorer.of(model, scoring, seed, data, loss)
    if budget.limits:
        making = Making(renormalize, verify, unknown)
        return within_budget(network, lambda own: chosen(own.makers, layers), scorer, budget, making)
    choice = chosen(network.makers, layers)
    shares = fractions_of_sets(budget.fractions, choice, network)
    return without_lowest(network, choice, shares, scorer, round_to, verify)


def channel_layers(model: keras.Model, layers: Layers = None) -> dict[str, int]:
    """Path of every layer that makes channels -> their number, in network order.

    Those that cannot lose any are among them. What is within a layer of the graph has a path with its attribute:
    `block/attention`.

    Args:
        model: built, plain or masked.
        layers: as for `prune_channels`.

    Raises:
        InputError: a model that is not built, or layers that it has not.
    """
    makers = chosen(ChannelNetwork(model).makers, layers).makers
    return {path: len(maker.channels) for path, maker in makers.items()}


def without_lowest(
    network: ChannelNetwork, choice: Choice, shares: Sequence[float], scorer: Scorer, round_to: int, verify: bool
) -> keras.Model:
    """The model without the lowest channels.

    Args:
        network: of the model.
        choice: whose channels are scored.
        shares: the fraction of each filter set of the network.
        scorer: of channels.
        round_to, verify: as for `prune_channels`.

    Raises:
        InputError: as for `prune_channels`.
    """
    scores = scorer.classes(network, choice.makers.values())
    gone = []
    for filters, share in zip(network.sets, shares, strict=True):
        if share:
            of_set = scores[filters.channels]
            if np.isnan(of_set).any():
                raise InputError(f"scoring has nothing for layer {choice.of(filters)[0]!r}, which is to lose channels")
            leaving = len(of_set) - kept_multiple(len(of_set), share, round_to)
            gone.append(filters.channels[np.argsort(of_set, kind="stable")[:leaving]])  # of equal ones the first
    return network.smaller(gone, verify)
