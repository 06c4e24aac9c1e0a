"""The graph of a model as channels: which of them are one, and what links them."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

import keras
import numpy as np
from keras import tree

from tfprune.layers.barriers import kind_name, meet, refuses
from tfprune.layers.prunable import prunable
from tfprune.layers.rule_table import Rule, RuleTable
from tfprune.layers.topology import flat_inputs, is_nested, named_layers, run
from tfprune.layers.weights import weight_variables
from tfprune.surgery.channels import Channels, Signal
from tfprune.surgery.links import Condition, Opaque, Product, Slotwise
from tfprune.surgery.opened import Opened, call_of
from tfprune.surgery.own_layers import OwnLayer, Weight
from tfprune.surgery.units import Units

_RULES = RuleTable(
    "nothing says what {what} does to channels, so that none can be removed around it",
    "tfprune.surgery.trace.register_rule",
)

Edit = Callable[[dict, Callable[[np.ndarray], int], bool], None]


def register_rule(*operations: type | str) -> Callable[[Rule], Rule]:
    """Registers what layers of a type do to channels; a decorator.

    The rule is called as `rule(trace, layer, spec, *args, **kwargs)` with the arguments of the layer's call, `Signal`s
    in place of tensors, and `spec`, the KerasTensor that comes out (or a structure of them); it returns as many
    signals. `trace.keep` is a rule by itself, right for every layer: its inputs and outputs keep all their channels.
    For a layer that does the same to every feature, and gives a constant for a constant, return
    `trace.slotwise([x], spec, function)`. A layer that is called with a mask keeps all channels, except where its rule
    takes `mask` by this name; see `trace.depend`.

    Args:
        *operations: layer classes, which stand for their subclasses too unless these override `call`; names of Keras
            operations (`"Add"` for `keras.ops.add`); or names of layer classes of packages that need not be installed,
            with the package's (`"keras_hub.PositionEmbedding"`).
    """
    return _RULES.register(*operations)


_ON_WEIGHTS: dict[str, Rule] = {}


def register_on_weights(*operations: str) -> Callable[[Rule], Rule]:
    """Registers what Keras operations do with a layer's own variables; a decorator.

    The rule is called like that of a layer, with a `Weight` for each such variable. It returns a `Weight` or a signal,
    or None where it knows nothing: then the variable and all inputs stay as they are.
    """

    def register(rule: Rule) -> Rule:
        _ON_WEIGHTS.update(dict.fromkeys(operations, rule))
        return rule

    return register


class Trace:
    """The channels of one model.

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
        inner_inputs: id of an input tensor of a nested model -> its signal.
        opened: id of a layer that was looked into -> what is inside.
        own: id of a layer with variables of its own that was looked into -> what it does with them.

    Raises:
        InputError: a layer without a rule; names it.
    """

    def __init__(self, model: keras.Model, weights: Mapping[str, np.ndarray]):
        self.channels = Channels()
        self.weights = weights
        self.links: list = []
        self.kernels: dict[str, object] = {}
        self.readers: dict[str, object] = {}
        self.factors: dict[str, Callable[[np.ndarray], float]] = {}
        self.signals: list[Signal] = []
        self.axes: dict[str, dict[int, np.ndarray]] = {}
        self.inner_inputs: dict[int, Signal] = {}
        self.opened: dict[int, Opened] = {}
        self.own: dict[int, OwnLayer] = {}
        self._own_depth = 0
        self._looked: set[int] = set()
        self._edits: dict[int, Edit] = {}
        self._paths = {id(layer): path for path, layer in named_layers(model)}
        self._variables = {id(variable): path for path, variable in weight_variables(model).items()}
        self._shared = _shared_variables(model)
        self._whole: set[str] = set()
        prunable(model)  # refuses kernels with low-rank updates
        inputs = [self.fixed(keras.KerasTensor(tensor.shape, tensor.dtype)) for tensor in model.inputs]
        self.outputs = run(model, inputs, self.call)
        self.channels.reason = None
        for output in self.outputs:
            self.channels.fix(output.channels)
        self._leave_whole()
        for own in self.own.values():
            if own.settle(self):
                meet(own.layer)

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

    def call(self, operation: keras.Operation, *args, **kwargs):
        """What comes out of an operation, a layer within another one, too, called with signals in place of tensors."""
        self.channels.reason = operation
        if any(isinstance(x, Weight) for x in tree.flatten((args, kwargs))):
            return self._on_weights(operation, args, kwargs)
        if is_nested(operation):
            (given,) = args or (kwargs["inputs"],)
            outputs = run(operation, self._entering(operation.inputs, flat_inputs(operation, given)), self.call)
            return outputs[0] if len(outputs) == 1 else outputs
        specs = tree.map_structure(lambda x: x.spec if isinstance(x, Signal) else x, (args, kwargs))
        opened = self._open(operation, specs)
        if opened is not None and opened.call == call_of(*specs):
            return self._through(opened, [x for x in tree.flatten((args, kwargs)) if isinstance(x, Signal)])
        own = self.own.get(id(operation))
        graph = None if own is None else own.graph(*specs)
        if graph is not None:
            return self._through_own(own, graph, args, kwargs)
        rule = Trace.keep_whole if own is not None else _RULES.find(operation, Trace.keep, default=Trace.keep)
        spec = operation.compute_output_spec(*specs[0], **specs[1])
        if opened is not None:  # called in another way than before
            return self.keep_whole(operation, spec, *args, **kwargs)
        if isinstance(kwargs.get("mask"), Signal) and "mask" not in inspect.signature(rule).parameters:
            return self.keep_whole(operation, spec, *args, **kwargs)
        return rule(self, operation, spec, *args, **kwargs)

    # What `compact` and `rebuild` use.

    def narrowed(self, path: str, value: np.ndarray, stays: np.ndarray) -> np.ndarray:
        """A value of a variable without the channels that do not stay."""
        for axis, channels in self.axes.get(path, {}).items():
            value = np.compress(stays[channels], value, axis)
        factor = self.factors[path](stays) if path in self.factors else 1
        return value if factor == 1 else (value * factor).astype(value.dtype)

    def possible(self, stays: np.ndarray) -> np.ndarray:
        """What stays so that each layer with variables of its own can be made; where one cannot, all its channels do.

        Args:
            stays: as `rebuild` takes it.
        """
        unfit = [own.layer for own in self.own.values() if not own.fits(self, stays)]
        for layer in unfit:
            meet(layer)
        return self.possible(stays | self.channels.fixed & ~self.channels.held) if unfit else stays

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

    def _open(self, operation: keras.Operation, specs: tuple) -> Opened | None:
        """What is inside a layer that no rule knows, as its first call says."""
        if refuses() or _RULES.knows(operation):
            return None
        if id(operation) not in self._looked:
            self._looked.add(id(operation))
            opened = Opened.of(operation, *specs)
            own = OwnLayer.of(operation, self._shared) if opened is None else None
            if opened is not None:
                self.opened[id(operation)] = opened
            elif own is not None and own.graph(*specs) is not None:
                self.own[id(operation)] = own
        return self.opened.get(id(operation))

    def _through(self, opened: Opened, given: list[Signal]):
        start = len(self.signals)
        outputs = run(opened.graph, self._entering(opened.graph.inputs, given), self.call)
        opened.signals += [*given, *self.signals[start:]]
        return tree.pack_sequence_as(opened.graph.output, outputs)

    def _through_own(self, own: OwnLayer, graph: keras.Model, args, kwargs):
        given = [x for x in tree.flatten((args, kwargs)) if isinstance(x, Signal)]
        weights = own.weights()
        self._own_depth += 1
        outputs = run(graph, [*weights, *self._entering(graph.inputs[len(weights) :], given)], self.call)
        self._own_depth -= 1
        self.channels.reason = own.layer
        outputs = [self._whole_of(x) for x in outputs]
        own.note(args, kwargs, outputs)
        return tree.pack_sequence_as(graph.output, outputs)

    def _on_weights(self, operation: keras.Operation, args, kwargs):
        is_layer = isinstance(operation, keras.layers.Layer)
        specs = tree.map_structure(lambda x: x.spec if isinstance(x, (Signal, Weight)) else x, (args, kwargs))
        spec = operation.compute_output_spec(*specs[0], **specs[1])
        rule = None if is_layer else _ON_WEIGHTS.get(type(operation).__name__)
        found = None if rule is None else rule(self, operation, spec, *args, **kwargs)
        if found is not None:
            return found
        args, kwargs = tree.map_structure(self._whole_of, (args, kwargs))
        keep = self.keep_whole if is_layer else self.keep
        return keep(operation, spec, *args, **kwargs)

    def _whole_of(self, x):
        """A signal that stands for a variable, which stays as it is; anything else itself."""
        if not isinstance(x, Weight):
            return x
        self._note_whole([x.variable])
        return self.fixed(x.spec)

    def _entering(self, tensors: Sequence[keras.KerasTensor], inputs: list[Signal]) -> list[Signal]:
        """Inputs of a graph within the model: in all its uses they have the same channels."""
        entering = []
        for tensor, x in zip(tensors, inputs, strict=True):
            first = self.inner_inputs.setdefault(id(tensor), x)
            if first.axis != x.axis:
                x = self.along(x, -1)
                first = self.inner_inputs[id(tensor)] = self.along(first, -1)
            self.channels.couple(first.channels, x.channels)
            entering.append(x)
        return entering

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
