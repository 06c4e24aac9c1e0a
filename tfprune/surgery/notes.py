"""What rules say of a model's channels: which variables have them, what links them, how a layer gets fewer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

import keras
import numpy as np
from keras import tree

from tfprune.layers.barriers import kind_name
from tfprune.layers.topology import named_layers
from tfprune.layers.weights import weight_variables
from tfprune.surgery.channels import Channels, Signal
from tfprune.surgery.links import Condition, Opaque, Product, Slotwise
from tfprune.surgery.units import Units

Edit = Callable[[dict, Callable[[np.ndarray], int], bool], None]


class Notes:
    """What is known of the channels of one model.

    Args:
        model: built Sequential or Functional model.
        weights: path -> array as `tfprune.layers.weights.weights_of` gives them; links read and change these.

    Attributes:
        channels: all channels.
        links: links in the graph's order.
        kernels: what makes channels of weights, by the path of the variable: `Product`, `Filters`, ...; a separable
            convolution has both of these, attention one for each projection. Where a variable makes channels along a
            second axis, too, as the widths of heads, the key is that of `channel_groups`: `block/mha/value.kernel[2]`.
        readers: the same of what only reads channels, where these are not those of the variable's entry in `kernels`.
        factors: path of a variable -> function(stays), where a layer computes with the number of its channels: by what
            the smaller variable is multiplied; `stays` as `rebuild` takes it.
        signals: every signal once.
        outputs: signals of the model's outputs.
        axes: path of a variable -> {axis: channels along it}.
    """

    def __init__(self, model: keras.Model, weights: Mapping[str, np.ndarray]):
        self.channels = Channels()
        self.weights = weights
        self.links: list = []
        self.kernels: dict[str, object] = {}
        self.readers: dict[str, object] = {}
        self.factors: dict[str, Callable[[np.ndarray], float]] = {}
        self.signals: list[Signal] = []
        self.outputs: list[Signal] = []
        self.axes: dict[str, dict[int, np.ndarray]] = {}
        self._own_depth = 0
        self._edits: dict[int, Edit] = {}
        self._paths = {id(layer): path for path, layer in named_layers(model)}
        self._variables = {id(variable): path for path, variable in weight_variables(model).items()}
        self._shared = _shared_variables(model)
        self._whole: set[str] = set()

    # What rules use.

    def path_of(self, variable: keras.Variable) -> str:
        """Path of a variable in `weights`, wherever it is in the model."""
        return self._variables[id(variable)]

    def has_path(self, variable: keras.Variable) -> bool:
        """Whether a variable is one of the model's weights."""
        return id(variable) in self._variables

    def path(self, layer: keras.layers.Layer, name: str | keras.Variable) -> str:
        """Path of a variable, or of what a layer has under a name; of what it could have, beside its other variables.

        Args:
            layer: of the graph, or within one.
            name: of an attribute, or the variable itself.
        """
        path = self._variables.get(id(getattr(layer, name, None) if isinstance(name, str) else name))
        if path is not None:
            return path
        if id(layer) in self._paths:
            return f"{self._paths[id(layer)]}/{name}"
        beside = [self._variables[id(one)] for one in layer.variables if id(one) in self._variables]
        first = beside[0] if beside else f"{layer.name}-{id(layer)}/"
        return first[: max(first.rfind("/"), first.rfind(".")) + 1] + name

    def signal(self, spec: keras.KerasTensor, axis: int, channels: np.ndarray) -> Signal:
        """A new signal; `axis` may be negative."""
        self.signals.append(Signal(spec, axis % len(spec.shape), channels))
        return self.signals[-1]

    def fixed(self, spec: keras.KerasTensor, axis: int = -1) -> Signal:
        """A new signal whose channels never go."""
        rank = len(spec.shape)
        if rank < 2 or spec.shape[axis] is None:
            self.signals.append(Signal(spec, None, np.zeros(0, int)))
            return self.signals[-1]
        return self.signal(spec, axis, self.channels.new(spec.shape[axis], fixed=True))

    def along(self, x: Signal, axis: int) -> Signal:
        """The signal with its channels on this axis; if they are on another one, those of both axes stay."""
        if x.axis == axis % len(x.spec.shape):
            return x
        self.channels.fix(x.channels)
        other = self.fixed(x.spec, axis)
        self.links.append(Opaque([x], [other]))
        return other

    def keep(self, operation, spec, *args, **kwargs):
        """The rule of an operation of which nothing is known."""
        given = [x for x in tree.flatten((args, kwargs)) if isinstance(x, Signal)]
        for x in given:
            self.channels.fix(x.channels)
        self._note_whole(one for one in getattr(operation, "variables", ()) if id(one) in self._shared)
        self._note_whole(x for x in tree.flatten((args, kwargs)) if isinstance(x, keras.Variable))
        outputs = tree.map_structure(self.fixed, spec)
        self.links.append(Opaque(given, tree.flatten(outputs)))
        return outputs

    def keep_whole(self, layer: keras.layers.Layer, spec, *args, **kwargs):
        """`keep` for one use of a layer whose rule binds channels to its variables in other uses: all of them stay."""
        self._note_whole(layer.variables)
        return self.keep(layer, spec, *args, **kwargs)

    def slotwise(
        self, inputs: Sequence[Signal], spec, function: Callable, axis: int | None = None, index=None, uses=None
    ) -> Signal:
        """Links an output to inputs channel by channel, and couples their channels.

        Args:
            inputs: signals with as many channels each, or single ones, which serve all channels and stay.
            spec: of the output.
            function: see `Slotwise`.
            axis: the output's axis of channels; None for that of the first input, counted from the end.
            index: int array: output channel k comes from the inputs' channel index[k]; None for k.
            uses: see `Slotwise`.
        """
        width = max(len(x.channels) for x in inputs)
        full = [x for x in inputs if len(x.channels) == width]
        for x in inputs:
            if len(x.channels) == width:
                self.channels.couple(full[0].channels, x.channels)
            else:
                self.channels.fix(x.channels)
        index = np.arange(width) if index is None else index
        if axis is None and full[0].axis is not None:
            axis = full[0].axis - len(full[0].spec.shape)
        output = self.fixed(spec) if axis is None else self.signal(spec, axis, full[0].channels[index])
        pairs = [(x, index if len(x.channels) == width else np.zeros_like(index)) for x in inputs]
        self.links.append(Slotwise(pairs, output, function, uses))
        return output

    def depend(self, outputs: Sequence[Signal], *given: Signal | None) -> None:
        """Says that all of some outputs depend on masks besides, whose own channels stay; None is none."""
        for one in given:
            if isinstance(one, Signal):
                self.channels.fix(one.channels)
                self.links.append(Condition(one, outputs))

    def bind(
        self, layer: keras.layers.Layer, name: str | keras.Variable, axis: int, channels: np.ndarray
    ) -> np.ndarray:
        """Says that a variable has these channels along an axis; in each further use of the layer they are coupled.

        Returns:
            The channels of the first use.
        """
        bound = self.axes.setdefault(self.path(layer, name), {}).setdefault(axis, channels)
        self.channels.couple(bound, channels)
        return bound

    def outputs_of(self, layer: keras.layers.Layer, name: str | keras.Variable, axis: int) -> np.ndarray:
        """The channels that a layer makes, along an axis of its kernel: new in its first use, the same later."""
        path = self.path(layer, name)
        bound = self.axes.setdefault(path, {})
        if axis not in bound:
            bound[axis] = self.channels.new(self.weights[path].shape[axis])
        return bound[axis]

    def kernel(self, layer: keras.layers.Layer, name: str | keras.Variable, make: Callable[[], object]):
        """The `Product`, `Filters`, ... of a variable, made in its first use."""
        return self._made(self.kernels, self.path(layer, name), make)

    def second(self, variable: keras.Variable, axis: int, make: Callable[[], object], reads: bool = False):
        """The same for channels that a variable makes, or reads, along a further axis; see `kernels` and `readers`."""
        key = f"{self.path_of(variable)}[{axis}]"
        return self._made(self.readers if reads else self.kernels, key, make)

    def takes_bias(self, layer: keras.layers.Layer) -> bool:
        """Whether the copy of a layer has a bias, or may get one: not where another layer's constructor makes it."""
        return not self._own_depth or layer.bias is not None

    def edit(self, layer: keras.layers.Layer, edit: Edit) -> None:
        """Says how the numbers of channels get into a layer's configuration; what is said first counts.

        Args:
            layer: of the graph, or within one; or a Keras operation, which has a new one in its place then.
            edit: called as `edit(config, count, biased)`; `count(channels)` says how many stay, `biased` whether the
                layer has a bias.
        """
        self._edits.setdefault(id(layer), edit)

    # What `compact` and `rebuild` use.

    def narrowed(self, path: str, value: np.ndarray, stays: np.ndarray) -> np.ndarray:
        """A value of a variable without the channels that do not stay."""
        for axis, channels in self.axes.get(path, {}).items():
            value = np.compress(stays[channels], value, axis)
        factor = self.factors[path](stays) if path in self.factors else 1
        return value if factor == 1 else (value * factor).astype(value.dtype)

    def is_whole(self, layer: keras.layers.Layer, stays: np.ndarray) -> bool:
        """Whether no variable of a layer loses any channel."""
        paths = [self.path_of(one) for one in layer.variables if self.has_path(one)]
        return all(stays[channels].all() for path in paths for channels in self.axes.get(path, {}).values())

    def edit_of(self, layer: keras.layers.Layer) -> Edit | None:
        """What `edit` was told of a layer."""
        return self._edits.get(id(layer))

    def keepers(self, channels: np.ndarray) -> str:
        """Which operations keep these channels from leaving, in words; empty if the model's own outputs alone do."""
        found = {id(one): one for one in self.channels.reasons(channels)}
        operations = [one for one in found.values() if one is not None]
        names = [f"{self._paths.get(id(one), one.name)!r} ({kind_name(one)})" for one in operations]
        own = " and the model's inputs or outputs" if names and len(names) < len(found) else ""
        return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "") + own

    def settle(self) -> None:
        """Folds constants, finds what is needed, and sets to 0 what leads to nothing."""
        for signal in self.signals:
            signal.reset()
        for link in self.links:
            link.forward()
        kernels = [*self.kernels.values(), *self.readers.values()]
        for kernel in kernels:
            if isinstance(kernel, (Product, Units)):
                kernel.fold()
        for output in self.outputs:
            output.needed[:] = True
        for link in reversed(self.links):
            link.backward()
        for kernel in kernels:
            kernel.cut()

    @staticmethod
    def _made(kernels: dict[str, object], key: str, make: Callable[[], object]):
        if key not in kernels:
            kernels[key] = make()
        return kernels[key]

    def _note_whole(self, variables: Iterable[keras.Variable]) -> None:
        self._whole |= {self._variables[id(one)] for one in variables if id(one) in self._variables}

    def _leave_whole(self) -> None:
        """Variables that an operation reads of which nothing is known stay as they are, whoever else has them."""
        for path in self._whole:
            for channels in self.axes.get(path, {}).values():
                self.channels.fix(channels)
            for kernels in (self.kernels, self.readers):
                for key in [key for key in kernels if key == path or key.startswith(f"{path}[")]:
                    del kernels[key]


def _shared_variables(model: keras.Model) -> set[int]:
    """Ids of variables that several layers of the graph hold."""
    counts = Counter(id(variable) for _, layer in named_layers(model) for variable in layer.variables)
    return {key for key, count in counts.items() if count > 1}
