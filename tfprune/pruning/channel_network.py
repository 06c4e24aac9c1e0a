"""A model as layers that make channels: which channels each makes, and which can only leave together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

import keras
import numpy as np
from keras import tree

from tfprune.errors import InputError
from tfprune.layers.barriers import CHANNELS, barriers
from tfprune.layers.convert import masks_of, without_lora
from tfprune.layers.kinds import channel_kernels, kind_of
from tfprune.layers.prunable import prunable
from tfprune.layers.subclassed import as_graph, taken_out
from tfprune.layers.topology import is_nested, named_layers
from tfprune.layers.verify import check_copy
from tfprune.layers.weights import weight_variables, weights_of
from tfprune.surgery.channels import Signal
from tfprune.surgery.filter_sets import FilterSet, filter_sets, without
from tfprune.surgery.links import Filters
from tfprune.surgery.rebuild import rebuild
from tfprune.surgery.trace import Trace

_NEEDED = "the model's outputs or an operation that mixes features need all of them"


@dataclass(frozen=True)
class Maker:
    """A layer that makes channels.

    Attributes:
        path: of the layer; of one within a layer of the graph, with its attribute, `block/dense`, or of what holds all
            that makes these channels, `block/attention` for heads.
        parent: path of the layer of the graph.
        layers: the layer of the graph, and those within it that hold the first kernel, from the outermost on.
        kernels: paths of the kernels that make its channels, in the graph's order.
        channels: int array, class of the trace's channels of each one, in the order in which the layer makes them.
        first: False for further channels that a layer makes by the same kernels, as the width of heads beside heads.
        inner: whether no variable outside the layer of the graph has any of them.
    """

    path: str
    parent: str
    layers: tuple[keras.layers.Layer, ...]
    kernels: tuple[str, ...]
    channels: np.ndarray
    first: bool
    inner: bool

    @property
    def is_convolution(self) -> bool:
        """Whether its channels are filters: of plain, transposed and separable convolutions."""
        layer = self.layers[-1]
        kind = kind_of(layer)
        return kind is not None and kind.size == "filters" and bool(channel_kernels(layer))

    def makes(self, one: FilterSet) -> bool:
        """Whether channels of a set are its."""
        return any(kernel in one.members for kernel in self.kernels)


class SeenTrace(Trace):
    """A trace that remembers what came out of each operation.

    Attributes:
        seen: id of a layer or operation, nested models aside -> for each of its uses the signals that came out.
    """

    def __init__(self, model: keras.Model, weights: Mapping[str, np.ndarray]):
        self.seen: dict[int, list[list[Signal]]] = {}
        super().__init__(model, weights)

    def call(self, operation: keras.Operation, *args, **kwargs):
        outputs = super().call(operation, *args, **kwargs)
        if not is_nested(operation):
            self.seen.setdefault(id(operation), []).append(tree.flatten(outputs))
        return outputs


class ChannelNetwork:
    """A model's channels, what makes them, and which can only leave together.

    Attributes:
        model: the model as a graph, low-rank updates (LoRA) merged.
        trace: of the model, with pruned weights at 0.
        classes: of the trace's channels.
        makers: path -> `Maker`, in network order.
        fixed: bool array, whether each of the trace's channels has to stay.
        sets: all filter sets.
        barriers: what the trace has met.

    Args:
        model: a built one.
        unknown: as for `tfprune.prune_channels`.
        renormalize: whether channels may leave that normalisation over features reads.

    Raises:
        InputError: a model that is not built, or a layer without a rule that is to be refused.
    """

    def __init__(self, model: keras.Model, unknown: str = "barrier", renormalize: bool = False):
        self._own = without_lora(model)
        self.model = model = as_graph(self._own)
        weights = weights_of(model)
        self._prunable = prunable(model)
        for path, mask in masks_of(model).items():
            weights[path][~mask] = 0
        with barriers(model, unknown) as self.barriers:
            self.trace = SeenTrace(model, weights)
        self.classes = self.trace.channels.classes
        self.makers = {maker.path: maker for maker in self._makers()}
        channels = self.trace.channels
        self.fixed = channels.fixed & ~channels.held if renormalize else channels.fixed
        self.sets = [replace(one, fixed=bool(self.fixed[one.channels[0]])) for one in filter_sets(self.trace)]

    def smaller(self, gone: Iterable[np.ndarray], verify: bool, exact: bool = False) -> keras.Model:
        """The model without some classes of channels, in plain Keras.

        Args:
            gone: int arrays of classes.
            verify: whether it is compared with the model in which nothing makes or reads these channels; what only
                normalises over fewer cannot be.
            exact: whether a layer that cannot be made so small is refused; else its channels stay, of which is warned.

        Raises:
            InputError: they leave nothing of a layer or a tensor (says of which); a layer that cannot be copied; other
                outputs.
        """
        stays = without(self.trace, gone)
        if not exact:
            with barriers(self.model) as met:
                stays = self.trace.possible(stays)
            met.tell(CHANNELS)
        for maker in self.makers.values():
            if not stays[maker.channels].any():
                count = len(maker.channels)
                raise InputError(f"layer {maker.path!r} would lose all of its {count} channels; at least one must stay")
        for signal in self.trace.signals:
            if len(signal.channels) and not stays[signal.channels].any():
                told = f"a tensor of shape {tuple(signal.spec.shape)} would lose all of its {len(signal.channels)}"
                raise InputError(f"{told} channels; at least one must stay")
        small = rebuild(self.model, self.trace, stays)
        if verify and not self.trace.channels.held[~stays].any():
            check_copy(small, self.model, self._kernels_without(~stays))
        return taken_out(small, self._own)

    def sums(self, values: Mapping[str, np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        """(classes, sums of what their filters have) of every kernel that makes channels.

        Args:
            values: path of a variable -> array of its shape; those that are left out count as 0.
        """
        weights = self.trace.weights
        own = dict(weights)
        try:  # kernels look up what they are made of
            weights.update({path: values.get(path, np.zeros_like(array)) for path, array in own.items()})
            return [(self.classes[kernel.made], kernel.filters.sum((0, 1))) for kernel in self.trace.kernels.values()]
        finally:
            weights.update(own)

    def needed(self, classes: np.ndarray) -> str:
        """Why some of these classes of channels have to stay, in words."""
        bound = classes[self.fixed[classes]]
        named = self.trace.keepers(bound)
        told = f"{_NEEDED}: {named}" if named else _NEEDED
        held = len(bound) and self.trace.channels.held[bound].all()
        return f"{told}; with renormalize=True they can leave" if held else told

    def masks_without(self, gone: Iterable[np.ndarray]) -> dict[str, np.ndarray]:
        """Path of every variable that has some classes of channels -> bool array, False where it has them.

        Biases, too: what reads channels without a kernel, as scores of attention, has them at 0 then.

        Args:
            gone: int arrays of classes.
        """
        return self._masks(~without(self.trace, gone))

    def _masks(self, gone: np.ndarray) -> dict[str, np.ndarray]:
        """The same for channels of the trace, bool array."""
        found = {}
        for path, variable in weight_variables(self.model).items():
            mask = np.ones(variable.shape, bool)
            for axis, channels in self.trace.axes.get(path, {}).items():
                np.moveaxis(mask, axis, 0)[gone[channels]] = False
            if not mask.all():
                found[path] = mask
        return found

    def _kernels_without(self, gone: np.ndarray) -> list[tuple[keras.Variable, np.ndarray]]:
        """Every kernel, and whatever else has these channels of the trace, with its values where it has them not."""
        masks, weights = self._masks(gone), self.trace.weights
        return [
            (variable, weights[path] * masks[path] if path in masks else weights[path])
            for path, variable in weight_variables(self.model).items()
            if path in self._prunable or path in masks
        ]

    def _makers(self) -> Iterator[Maker]:
        alike: dict[str, dict[tuple, list[str]]] = {}  # of each layer: channels -> kernels that make them
        for path, kernel in self.trace.kernels.items():
            if not isinstance(kernel, Filters):  # these filter channels that others make
                made = tuple(self.classes[kernel.made].tolist())
                alike.setdefault(path.rpartition("/")[0], {}).setdefault(made, []).append(path)
        homes = self._homes()
        for parent, layer in named_layers(self.model):
            groups, owners = alike.get(parent, {}), set()
            inner = [bool((homes[list(made)] >= 0).all()) for made in groups]
            names = _names(parent, list(groups.values()), inner)
            for path, (made, kernels), within in zip(names, groups.items(), inner, strict=True):
                own = {owner(kernel) for kernel in kernels}
                layers = self._holders(layer, kernels[0])
                yield Maker(path, parent, layers, tuple(kernels), np.array(made, int), not own & owners, within)
                owners |= own

    def _holders(self, layer: keras.layers.Layer, kernel: str) -> tuple[keras.layers.Layer, ...]:
        variable = self._prunable.get(kernel.partition("[")[0])
        within = layer._flatten_layers(include_self=False)  # Keras has no public name for it
        return (layer, *(one for one in within if any(variable is own for own in one.variables)))

    def _homes(self) -> np.ndarray:
        """Of every class the number of the only layer of the graph whose variables have it; -1 for none or several."""
        homes, met = np.full(len(self.classes), -1), np.zeros(len(self.classes), bool)
        layers: dict[str, int] = {}
        for path, axes in self.trace.axes.items():
            layer = layers.setdefault(path.rpartition("/")[0], len(layers))
            for channels in axes.values():
                has = self.classes[channels]
                homes[has] = np.where(~met[has] | (homes[has] == layer), layer, -1)
                met[has] = True
        return homes


def owner(path: str) -> str:
    """Path of what a variable belongs to: `block` for `block/kernel`, `block/dense` for `block/dense.kernel`."""
    layer, _, name = path.rpartition("/")
    inner = name.rpartition(".")[0]
    return f"{layer}/{inner}" if inner else layer


def _names(layer: str, groups: Sequence[list[str]], inner: Sequence[bool]) -> list[str]:
    """A path for each group of kernels within a layer: of what holds them all, else of what the first belongs to.

    Args:
        layer: its path.
        groups: paths of kernels that make the same channels.
        inner: of each group whether no other layer has these.
    """
    names: list[str] = []
    for kernels, within in zip(groups, inner, strict=True):
        first, *others = [owner(kernel)[len(layer) + 1 :].split(".") for kernel in kernels]
        shared = takewhile(lambda parts: len(set(parts)) == 1, zip(first, *others if within else (), strict=False))
        common = ".".join(parts[0] for parts in shared) if len(groups) > 1 else ""
        name = f"{layer}/{common}" if common else layer
        names.append(next(one for one in (name, owner(kernels[0]), kernels[0]) if one not in names))
    return names
