"""Whole filters leave a model: scored without data, removed with everything that belongs to them."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np

from tfprune.layers.barriers import CHANNELS, barriers
from tfprune.layers.convert import masks_of, without_lora
from tfprune.layers.kinds import kind_of
from tfprune.layers.prunable import prunable
from tfprune.layers.topology import named_layers
from tfprune.layers.verify import check_copy
from tfprune.layers.weights import weights_of
from tfprune.pruning.filter_fractions import Fractions, fractions_of_sets, kept_filters
from tfprune.pruning.filter_scores import score_filters
from tfprune.surgery.filter_sets import FilterSet, filter_sets, without
from tfprune.surgery.rebuild import rebuild
from tfprune.surgery.trace import Trace


def prune_filters(
    model: keras.Model,
    scoring: str = "operator_norm",
    fractions: Fractions = 0.5,
    seed: int = 0,
    *,
    verify: bool = True,
    unknown: str = "barrier",
) -> keras.Model:
    """A smaller model without the convolution filters that score lowest; no data is used.

    Of n filters ⌊(1 − fraction)·n⌋ are kept, with their biases and everything that belongs to their channels further
    on: normalisation with its running averages, depthwise filters, and the inputs of the next layers. Equal scores are
    pruned from the first filter on. The outputs are those of the model with the removed channels at 0 wherever a layer
    reads them: constants that batch normalisation makes of them are not folded, fine-tuning is meant to follow.

    Filters whose channels are added, multiplied or otherwise coupled leave together: they have one fraction, and one
    score, the sum of those of all kernels that make the channel, each over its kernel's maximum. Among these kernels
    are those of depthwise convolutions and dense layers (squeeze-and-excite); a separable convolution counts as the
    depthwise and the pointwise one that it consists of. Where layers have only some channels in common, or some that
    have to stay, those filters are counted and pruned apart. Masked weights count as 0.

    Args:
        model: built Sequential or Functional model, plain or masked; is left as it is.
        scoring: a name of `tfprune.pruning.filter_scores.FILTER_SCORES`: `"operator_norm"`, `"operator_norm_absolute"`,
            `"l1_norm"`, `"l2"`, `"gm_norm"` or `"random"`.
        fractions: of filters to prune, in [0, 1). One number for all convolutions that can lose filters (where there is
            only one filter, it stays); or one per convolution of `filter_layers(model)`, in that order; or layer path
            (or name, where only one has it) -> fraction. A layer that such a mapping leaves out shares the fraction of
            those named that its channels are coupled with, and else loses nothing.
        seed: of random scores; a non-negative integer.
        verify: runs the small model, and `model` with the removed channels at 0, on a small made-up input and compares
            the outputs; nothing is checked where no input can be made that the model takes.
        unknown: what becomes of operations that no rule of `tfprune.surgery` knows: around a `"barrier"` all channels
            stay; `"refuse"` refuses layers and operations of others, and treats Keras's operations in that way.

    Returns:
        Model in plain Keras with the same inputs, outputs and layer names; masked weights are 0; not compiled.

    Warns:
        UserWarning: one number would leave nothing of convolutions with a single filter; names them. Once, in a line:
            the operations that are barriers, and their share of the parameters.

    Raises:
        InputError: unknown scoring, unusable fractions, one that leaves a layer no filters (says the largest allowed),
            different ones for coupled layers, one for a layer that cannot lose filters because the model's outputs or
            an operation that mixes features need them all (names it); no convolution that can lose any; NaN or infinite
            weights; a subclassed model, a layer that no rule of `tfprune.surgery` knows and that is to be refused, or
            one that cannot be copied; outputs that are not those said above.

    Reference: Singh, Li & Plumbley 2022, "An operator norm based passive filter pruning method for efficient CNNs".
    """
    network = _Network(model, unknown)
    network.barriers.tell(CHANNELS)
    shares = fractions_of_sets(fractions, network.convolutions, network.sets, network.trace.keepers)
    scores = network.scores(scoring, seed)
    gone = [
        filters.channels[_lowest(_combined(filters, scores), share)]
        for filters, share in zip(network.sets, shares, strict=True)
        if share
    ]
    stays = without(network.trace, gone)
    small = rebuild(network.model, network.trace, stays)
    if verify:
        check_copy(small, network.model, network.kernels_without(~stays))
    return small


def filter_layers(model: keras.Model) -> dict[str, int]:
    """Path of every convolution that makes filters -> their number, in network order.

    These are plain, transposed and separable convolutions, including those that can't lose filters, but not depthwise
    and grouped ones.

    Raises:
        InputError: a subclassed model.
    """
    network = _Network(model)
    return {path: len(network.trace.kernels[kernel].made) for path, kernel in network.convolutions.items()}


def filter_scores(model: keras.Model, scoring: str = "operator_norm", seed: int = 0) -> dict[str, np.ndarray]:
    """Scores of the filters of every convolution of `filter_layers(model)`, each by its own kernel.

    Args:
        model, scoring, seed: as for `prune_filters`, which adds up the scores of coupled layers.

    Returns:
        Path of the layer -> float32 array, (filters,); higher means keep.

    Raises:
        InputError: as for `prune_filters`, fractions aside.
    """
    network = _Network(model)
    scores = network.scores(scoring, seed)
    return {path: scores[kernel] for path, kernel in network.convolutions.items()}


def check_fractions(model: keras.Model, fractions: Fractions) -> None:
    """Refuses fractions that `prune_filters` would refuse, at once.

    Raises:
        InputError: as for `prune_filters`, scoring and weights aside.
    """
    network = _Network(model)
    fractions_of_sets(fractions, network.convolutions, network.sets, network.trace.keepers)


class _Network:
    """A model's channels, its convolutions, and which of their filters can only leave together.

    Attributes:
        model: the model, low-rank updates (LoRA) merged.
        trace: of the model, with pruned weights at 0.
        convolutions: path of a layer that makes filters -> path of its kernel, in network order.
        sets: all filter sets.
        barriers: what the trace has met.
    """

    def __init__(self, model: keras.Model, unknown: str = "barrier"):
        self.model = model = without_lora(model)
        weights = weights_of(model)
        self._prunable = prunable(model)
        for path, mask in masks_of(model).items():
            weights[path][~mask] = 0
        with barriers(model, unknown) as self.barriers:
            self.trace = Trace(model, weights)
        makers = {path: f"{path}/{name}" for path, layer in named_layers(model) if (name := _maker(layer)) is not None}
        # Grouped convolutions have no kernel in the trace.
        self.convolutions = {path: kernel for path, kernel in makers.items() if kernel in self.trace.kernels}
        self.sets = filter_sets(self.trace)

    def kernels_without(self, gone: np.ndarray) -> list[tuple[keras.Variable, np.ndarray]]:
        """Every kernel, and its values where it neither makes nor reads these channels of the trace."""
        found = []
        for path, variable in self._prunable.items():
            value = self.trace.weights[path].copy()
            for axis, channels in self.trace.axes.get(path, {}).items():
                np.moveaxis(value, axis, 0)[gone[channels]] = 0
            found.append((variable, value))
        return found

    def scores(self, scoring: str, seed: int) -> dict[str, np.ndarray]:
        """Path of a kernel -> scores, for convolutions and all that share sets with them, whatever is to be pruned."""
        own = set(self.convolutions.values())
        scored = own.union(*(one.members for one in self.sets if own & one.members.keys()))
        kernels = {path: kernel.filters for path, kernel in self.trace.kernels.items() if path in scored}
        return score_filters(kernels, scoring, seed)


def _maker(layer: keras.layers.Layer) -> str | None:
    """Name of the kernel that makes the filters of a convolution."""
    kind = kind_of(layer)
    # Depthwise convolutions have no number of filters: they filter channels that others make.
    return kind.kernels[-1].name if kind is not None and kind.size == "filters" else None


def _combined(filters: FilterSet, scores: Mapping[str, np.ndarray]) -> np.ndarray:
    """One score for each channel of a set; float64."""
    total = np.zeros(len(filters.channels))
    for path, index in filters.members.items():
        own = scores[path].astype(float) / (scores[path].max() or 1)
        np.add.at(total, index[index >= 0], own[index >= 0])
    return total


def _lowest(scores: np.ndarray, fraction: float) -> np.ndarray:
    """Indices of the scores to prune, the first of equal ones first."""
    return np.argsort(scores, kind="stable")[: len(scores) - kept_filters(len(scores), fraction)]
