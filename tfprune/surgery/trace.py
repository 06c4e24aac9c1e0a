"""The graph of a model as channels: which of them are one, and what links them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np
from keras import tree

from tfprune.layers.barriers import meet, refuses
from tfprune.layers.prunable import prunable
from tfprune.layers.rule_table import Rule, RuleTable
from tfprune.layers.topology import flat_inputs, is_nested, run
from tfprune.surgery.channels import Signal
from tfprune.surgery.notes import Notes
from tfprune.surgery.opened import Opened, call_of
from tfprune.surgery.own_layers import OwnLayer, Weight

_RULES = RuleTable(
    "nothing says what {what} does to channels, so that none can be removed around it",
    "tfprune.surgery.trace.register_rule",
)


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


class Trace(Notes):
    """The channels of one model: a walk through its graph, in which each operation's rule says what it does to them.

    Args:
        model, weights: as for `Notes`, whose attributes it has, too.

    Attributes:
        inner_inputs: id of an input tensor of a nested model -> its signal.
        opened: id of a layer that was looked into -> what is inside.
        own: id of a layer with variables of its own that was looked into -> what it does with them.

    Raises:
        InputError: a layer without a rule; names it.
    """

    def __init__(self, model: keras.Model, weights: Mapping[str, np.ndarray]):
        super().__init__(model, weights)
        self.inner_inputs: dict[int, Signal] = {}
        self.opened: dict[int, Opened] = {}
        self.own: dict[int, OwnLayer] = {}
        self._looked: set[int] = set()
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

    def possible(self, stays: np.ndarray) -> np.ndarray:
        """What stays so that each layer with variables of its own can be made; where one cannot, all its channels do.

        Args:
            stays: as `rebuild` takes it.
        """
        unfit = [own.layer for own in self.own.values() if not own.fits(self, stays)]
        for layer in unfit:
            meet(layer)
        return self.possible(stays | self.channels.fixed & ~self.channels.held) if unfit else stays

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
