"""How much a model depends on each of its layers: a metric against the sparsity of one layer, all others whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import keras
import numpy as np

from tfprune.errors import InputError, did_you_mean_fraction
from tfprune.layers.barriers import CHANNELS
from tfprune.layers.convert import masked, masks_of, set_masks, without_lora
from tfprune.layers.masks import Masks
from tfprune.layers.subclassed import as_graph
from tfprune.layers.weights import weight_variables
from tfprune.pruning.batches import as_batches
from tfprune.pruning.channel_choice import chosen
from tfprune.pruning.channel_network import ChannelNetwork, Maker
from tfprune.pruning.channel_scores import Scorer, Scoring
from tfprune.pruning.competing import competing
from tfprune.pruning.compiled import chosen_loss
from tfprune.pruning.filter_fractions import kept_filters
from tfprune.pruning.kernel_names import KernelNames, Named
from tfprune.pruning.model_metrics import Measure, Metric
from tfprune.pruning.progress import Progress
from tfprune.pruning.pruner import prune
from tfprune.pruning.specs import Pruner
from tfprune.records.extras import extra
from tfprune.records.text_table import text_table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True, repr=False)
class Sensitivity:
    """What `sensitivity` found; prints as a table.

    Attributes:
        metric: its name.
        baseline: the metric of the model as it is.
        sparsities: those that were asked for.
        values: path of a layer, or those of coupled layers, joined by ` + ` -> the metric at each sparsity.
        reached: the same layers -> the sparsity that whole weights or channels made of each.
    """

    metric: str
    baseline: float
    sparsities: tuple[float, ...]
    values: dict[str, tuple[float, ...]]
    reached: dict[str, tuple[float, ...]]

    @property
    def table(self) -> pd.DataFrame:
        """One row per layer, one column per sparsity."""
        return extra("pandas", "the table of a report").DataFrame.from_dict(
            self.values, orient="index", columns=list(self.sparsities)
        )

    def figure(self) -> Figure:
        """The metric against the sparsity of each layer."""
        extra("matplotlib", "the figure of a report")
        from tfprune.plots.sensitivity import sensitivity_figure

        return sensitivity_figure(self.metric, self.baseline, self.sparsities, self.values, self.reached)

    def save(self, path: str | PathLike) -> Path:
        """Writes the figure as PNG.

        Raises:
            InputError: a path with another suffix.
        """
        if Path(path).suffix.lower() != ".png":
            raise InputError(
                f"the path of a figure must end in .png (the numbers: .table.to_csv(path)). Received: {str(path)!r}"
            )
        figure = self.figure()
        from tfprune.plots.style import save_png

        return save_png(figure, path)

    def __repr__(self) -> str:
        rows = {
            layer: {f"{sparsity:g}": f"{value:.4g}" for sparsity, value in zip(self.sparsities, values, strict=True)}
            for layer, values in self.values.items()
        }
        return f"{text_table(rows)}\n{self.metric} with all layers whole: {self.baseline:.4g}"


def sensitivity(
    model: keras.Model,
    data,
    metric: Metric = "accuracy",
    sparsities: Sequence[float] = (0.25, 0.5, 0.75, 0.9),
    *,
    pruner: str | Pruner | None = None,
    scoring: Scoring | None = None,
    loss=None,
    ignore: Named | Iterable[Named] = (),
    only: Named | Iterable[Named] | None = None,
    seed: int = 0,
    batch_size: int = 128,
    steps: int | None = None,
    unknown: str = "barrier",
    verbose: bool | int = True,
) -> Sensitivity:
    """Prunes one layer at a time, to each sparsity, and measures what that does; the model is left as it is.

    Single weights are pruned by a pruner, each kernel of a layer to the same sparsity; or whole channels, by their
    scores as `tfprune.prune_channels` does, coupled layers together. It is measured on one masked model, compiled once,
    in inference and without fine-tuning: layers whose metric falls early are those to prune less.

    Args:
        model: built, plain or masked.
        data: what `fit` takes, see `tfprune.pruning.batches.as_batches`: what the metric is of, and what scores see.
        metric: `"accuracy"`, of one output of classes; `"loss"`; or a function of (labels, outputs) in TensorFlow that
            gives one value for each example, or one for a batch. Sample weights count in the loss alone.
        sparsities: fractions of a layer's weights or channels, in [0, 1). One channel stays.
        pruner: a name of `tfprune.pruning.specs.PRUNERS` or a `Pruner`; None for `"magnitude"`, unless there is
            `scoring`.
        scoring: prunes channels in place of weights, as for `tfprune.prune_channels`; channels without scores stay.
        loss: of `"loss"` and of scores that look at it; None for the compiled one, or else cross-entropy.
        ignore: layers or kernels that stay whole, as for `tfprune.prune`. Channels stay where one of the layers that
            make them is among these.
        only: as `ignore`, those that are pruned, and no others. Channels are pruned where one of the layers that make
            them is among these, with all that are coupled with them.
        seed: of random scores.
        batch_size: where `data` is a pair of arrays.
        steps: use the first so many batches; needed for data without an end.
        unknown: as for `tfprune.prune_channels`.
        verbose: whether to show progress on stderr where the call takes more than three seconds.

    Warns:
        UserWarning: as `tfprune.prune` or `tfprune.prune_channels`.

    Raises:
        InputError: as for `tfprune.prune` or `tfprune.prune_channels`; unusable data, metric or sparsities; both a
            pruner and scoring.
    """
    sparsities = _checked(sparsities)
    if pruner is not None and scoring is not None:
        raise InputError("sensitivity prunes weights by pruner or channels by scoring: give one of them")
    graph = as_graph(without_lora(model))
    batches = as_batches(data, batch_size, steps, len(graph.inputs))
    if batches is None:
        raise InputError("sensitivity needs data=: the metric is measured on it")
    chosen_by = chosen_loss(model, loss)
    with Progress(bool(verbose), "measuring sensitivity") as progress:
        copy = masked(graph, verify=False)
        measure = Measure(copy, batches, metric, chosen_by)
        whole = masks_of(copy)
        if scoring is None:
            options = {"data": batches, "loss": chosen_by, "seed": seed, "ignore": ignore, "only": only}
            layers = _of_weights(graph, pruner or "magnitude", sparsities, **options)
        else:
            kernels = _Kernels(graph, ignore, only)
            network = ChannelNetwork(graph, unknown)
            network.barriers.tell(CHANNELS)
            layers = _of_channels(network, Scorer.of(model, scoring, seed, batches, chosen_by), sparsities, kernels)
        baseline, values, reached = measure(), {}, {}
        for number, (layer, several) in enumerate(layers.items()):
            found = []
            for place, masks in enumerate(several):
                progress.at("layers", number * len(sparsities) + place, len(layers) * len(sparsities), layer)
                with _pruned(copy, whole, masks.own):
                    found.append(measure())
            values[layer], reached[layer] = tuple(found), tuple(masks.sparsity for masks in several)
    name = metric if isinstance(metric, str) else getattr(metric, "__name__", type(metric).__name__)
    return Sensitivity(name, baseline, sparsities, values, reached)


@contextmanager
def _pruned(copy: keras.Model, whole: Masks, own: Mapping[str, np.ndarray]) -> Iterator[None]:
    """The copy under some masks beside its own, of which those of biases and the like go into the values."""
    variables = weight_variables(copy)
    before = {path: variables[path].numpy() for path in own if path not in whole}
    set_masks(copy, Masks({path: mask & own.get(path, True) for path, mask in whole.items()}))
    try:
        for path, value in before.items():
            variables[path].assign(value * own[path])
        yield
    finally:
        for path, value in before.items():
            variables[path].assign(value)


@dataclass(frozen=True)
class _Pruned:
    """Masks of a layer's variables, and the sparsity they stand for."""

    own: Mapping[str, np.ndarray]
    sparsity: float


def _of_weights(model, pruner, sparsities, **options) -> dict[str, list[_Pruned]]:
    competes = competing(model, masks_of(model), options["ignore"], None, options["only"])
    layers: dict[str, list[_Pruned]] = {}
    for sparsity in sparsities:
        masks = prune(model, pruner, sparsity, quota="uniform", frozen="prune", verbose=False, **options)
        of_layer: dict[str, dict[str, np.ndarray]] = {}
        for path in competes:
            of_layer.setdefault(path.rpartition("/")[0], {})[path] = masks[path]
        for layer, own in of_layer.items():
            layers.setdefault(layer, []).append(_Pruned(own, Masks(own).sparsity))
    return layers


class _Kernels:
    """Whose channels may leave.

    Attributes:
        some: whether not all may.
    """

    def __init__(self, model: keras.Model, ignore, only):
        competing(model, masks_of(model), ignore, None, only)  # refuses what leaves nothing
        none = isinstance(ignore, (tuple, list)) and not ignore
        self._ignored = set() if none else set(KernelNames(model, "ignore=").all_of(ignore))
        self._only = None if only is None else set(KernelNames(model, "only=").all_of(only))
        self.some = bool(self._ignored) or self._only is not None

    def among(self, makers: Iterable[Maker]) -> bool:
        """Whether channels may leave that these make."""
        own = {kernel for maker in makers for kernel in maker.kernels}
        return not own & self._ignored and (self._only is None or bool(own & self._only))


def _of_channels(network: ChannelNetwork, scorer: Scorer, sparsities, kernels: _Kernels) -> dict[str, list[_Pruned]]:
    choice = chosen(network.makers, None)
    scores = scorer.classes(network, choice.makers.values())
    layers: dict[str, list[_Pruned]] = {}
    for one in network.sets:
        makers, count = choice.of(one), len(one.channels)
        own = scores[one.channels]
        if one.fixed or not makers or count < 2 or np.isnan(own).any():
            continue
        if not kernels.among(choice.makers[path] for path in makers):
            continue
        order, several = one.channels[np.argsort(own, kind="stable")], []
        for sparsity in sparsities:
            gone = order[: count - max(1, kept_filters(count, sparsity))]
            several.append(_Pruned(network.masks_without([gone]), len(gone) / count))
        layers[next(_names(" + ".join(makers), layers))] = several
    if not layers:
        among = ", where only= and ignore= let them" if kernels.some else ""
        raise InputError(f"model {network.model.name!r} has no channels that can leave and have scores{among}")
    return layers


def _names(name: str, taken) -> Iterator[str]:
    """The name, or with a number: channels of one layer may be in several sets."""
    number = 1
    while name in taken if number == 1 else f"{name} ({number})" in taken:
        number += 1
    yield name if number == 1 else f"{name} ({number})"


def _checked(sparsities) -> tuple[float, ...]:
    several = isinstance(sparsities, (list, tuple, np.ndarray)) and len(sparsities)
    for sparsity in sparsities if several else [sparsities]:
        number = isinstance(sparsity, (int, float, np.integer, np.floating)) and not isinstance(sparsity, bool)
        if not several or not number or not 0 <= sparsity < 1:
            near = did_you_mean_fraction(sparsity)
            raise InputError(f"sparsities must be numbers in [0, 1), at least one; received {sparsity!r}{near}")
    return tuple(float(sparsity) for sparsity in sparsities)
