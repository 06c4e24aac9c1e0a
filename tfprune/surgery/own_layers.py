"""Layers with matrices of their own: what their `call` does with these, and how a smaller one of their class is made.

The variables stand among the inputs of the graph inside, so that it shows whatever is done with them. A smaller layer
comes of the constructor alone, which nothing is known of: the arguments that are as large as what gets smaller are
tried with the new sizes, and taken only where a layer made with them has exactly the variables that are left, and
computes with some random numbers what the layer computes with these and zeros for the rest.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

import keras
import numpy as np
from keras import ops, tree

from tfprune.layers.copying import plain_layer
from tfprune.layers.inner import own_variables
from tfprune.layers.inside import graph_inside
from tfprune.layers.kernel_masks import masks_of_layer
from tfprune.layers.kinds import plain_type
from tfprune.layers.state import build_inner
from tfprune.layers.weights import layer_variables
from tfprune.surgery.channels import Signal
from tfprune.surgery.opened import call_of

_TRIES = 64  # combinations of arguments
_CLOSE = 1e-4  # of the largest number of an output
_OPEN = 2, 6  # examples, and what stands for other sizes that are open


@dataclass(frozen=True)
class Weight:
    """A variable among the tensors of a graph, as it is or moved.

    Attributes:
        layer: whose it is.
        variable: of the layer.
        spec: shape and dtype of the tensor.
        axes: for every axis of the tensor that of the variable which lies there; None for those of size 1.
    """

    layer: keras.layers.Layer
    variable: keras.Variable
    spec: keras.KerasTensor
    axes: tuple[int | None, ...]


@dataclass
class _Use:
    """A call: its arguments with signals for tensors, and all signals that come out."""

    arguments: tuple
    given: list[Signal]
    outputs: list[Signal]


@dataclass
class OwnLayer:
    """A layer with variables of its own, which stays of its class.

    Attributes:
        layer: of the graph, or within another one.
        variables: its own ones, by the attributes that have them.
        uses: what it was called with.
    """

    layer: keras.layers.Layer
    variables: dict[str, keras.Variable]
    uses: list[_Use] = field(default_factory=list)
    _graphs: dict[str, keras.Model | None] = field(default_factory=dict)
    _found: dict[bytes, dict | None] = field(default_factory=dict)

    @classmethod
    def of(cls, layer: keras.Operation, shared: set[int]) -> OwnLayer | None:
        """Where a layer has variables in attributes of its own.

        Args:
            layer: no rule knows it.
            shared: ids of variables that other layers have, too; they are left out.
        """
        if not isinstance(layer, keras.layers.Layer) or getattr(layer, "quantization_mode", None):
            return None
        parts = layer._flatten_layers(include_self=False, recursive=True)
        others = {id(one) for part in parts for one in own_variables(part)} | shared
        others |= {id(mask) for mask in masks_of_layer(layer).values()}
        own = {id(one) for one in own_variables(layer) if "float" in one.dtype} - others
        variables = {key: value for key, value in vars(layer).items() if id(value) in own}
        return cls(layer, variables) if variables else None

    def graph(self, args, kwargs) -> keras.Model | None:
        """What a call runs: its inputs are the variables, and then what the layer is called with."""
        text = call_of(args, kwargs)
        if text not in self._graphs:
            proxy = _WithVariables(self.layer, list(self.variables), (args, kwargs))
            vars(proxy)["_inbound_nodes"] = self.layer._inbound_nodes  # these say whether masks come in
            given = [x for x in tree.flatten((args, kwargs)) if isinstance(x, keras.KerasTensor)]
            specs = [_spec(self.layer, variable) for variable in self.variables.values()]
            inside = graph_inside(proxy, ([*specs, *given],), {})
            self._graphs[text] = None if inside is None else inside.model
        return self._graphs[text]

    def weights(self) -> list[Weight]:
        """What stands for the variables, in the order of the graph's inputs."""
        return [
            Weight(
                self.layer, one, _spec(self.layer, one), tuple(i if n > 1 else None for i, n in enumerate(one.shape))
            )
            for one in self.variables.values()
        ]

    def note(self, args, kwargs, outputs) -> None:
        """Keeps what the layer was called with, and what came out, in signals."""
        given = [x for x in tree.flatten((args, kwargs)) if isinstance(x, Signal)]
        self.uses.append(_Use((args, kwargs), given, tree.flatten(outputs)))

    def shrinks(self, trace, stays: np.ndarray) -> bool:
        """Whether it has, reads or makes channels that do not stay."""
        return any(not stays[channels].all() for channels in self.axes(trace))

    def settle(self, trace) -> bool:
        """Lets channels of a trace stay that no argument of the constructor takes away; whether all stay.

        Of each axis one channel is taken away to see, and all but one.
        """
        free = False
        for channels in self.axes(trace):
            classes = trace.channels.classes
            leaving = np.unique(classes[channels[~trace.channels.fixed[channels]]])
            if len(leaving) == 0:
                continue
            for gone in dict.fromkeys([tuple(leaving[-1:]), tuple(leaving[1:])]):
                if gone and self.changes(trace, ~np.isin(classes, gone)) is None:
                    self._fix(trace, [channels])
                    break
            else:
                free = True
        return not free

    def fits(self, trace, stays: np.ndarray) -> bool:
        """Whether it can be made so small; else all its channels stay from now on.

        Single axes do not tell it: sizes may be allowed or not, or depend on one another.
        """
        if not self.shrinks(trace, stays) or self.changes(trace, stays) is not None:
            return True
        self._fix(trace, self.axes(trace))
        return False

    def changes(self, trace, stays: np.ndarray) -> dict | None:
        """What to change in the layer's configuration so that these channels stay of its own; None for nothing known.

        Args:
            trace: where the channels are.
            stays: bool array, for every channel of the trace, alike for coupled ones.
        """
        key = b"".join(np.packbits(stays[channels]).tobytes() for channels in self.axes(trace))
        if key not in self._found:
            self._found[key] = self._tried(trace, stays)
        return self._found[key]

    def _tried(self, trace, stays: np.ndarray) -> dict | None:
        sizes: dict[int, set[int]] = {}
        for channels in self.axes(trace):
            sizes.setdefault(len(channels), set()).add(int(stays[channels].sum()))
        numbers = _Numbers(self, trace, stays)
        for changes in itertools.islice(self._candidates(sizes), _TRIES):
            with contextlib.suppress(Exception):  # code of the layer's author
                if numbers.fit(plain_layer(self.layer, lambda config, changes=changes: {**config, **changes})):
                    return changes
        return None

    def _fix(self, trace, axes: list[np.ndarray]) -> None:
        trace.channels.reason = self.layer
        for channels in axes:
            trace.channels.fix(channels)

    def axes(self, trace) -> list[np.ndarray]:
        """Channels along each axis of the layer's variables, and those that go in and out."""
        paths = [trace.path_of(one) for one in self.layer.weights if trace.has_path(one)]
        found = [channels for path in paths for channels in trace.axes.get(path, {}).values()]
        return found + [x.channels for use in self.uses for x in (*use.given, *use.outputs) if len(x.channels)]

    def _candidates(self, sizes: dict[int, set[int]]) -> Iterator[dict]:
        config = {}
        plain_layer(self.layer, lambda found: config.update(found) or found)
        choices = {
            key: sorted(sizes[value])
            for key, value in config.items()
            if type(value) is int and sizes.get(value, {value}) != {value}
        }
        for values in itertools.product(*(dict.fromkeys([*new, config[key]]) for key, new in choices.items())):
            yield dict(zip(choices, values, strict=True))


class _Numbers:
    """Random numbers for a layer's variables and inputs, whole and without the channels that leave."""

    def __init__(self, own: OwnLayer, trace, stays: np.ndarray):
        self._own, self._trace, self._stays = own, trace, stays
        rng = np.random.default_rng(0)
        self._variables = layer_variables(own.layer)
        self._values = {name: self._of(variable, rng) for name, variable in self._variables.items()}
        self._inputs = [[self._entries(x.spec, rng) for x in use.given] for use in own.uses]

    def fit(self, new: keras.layers.Layer) -> bool:
        """Whether a new layer has the variables that stay, and computes the same with them."""
        given = [
            [self._narrow(array, x) for array, x in zip(arrays, use.given, strict=True)]
            for use, arrays in zip(self._own.uses, self._inputs, strict=True)
        ]
        for use, arrays in zip(self._own.uses, given, strict=True):
            _called(new, use, arrays)
        build_inner(self._own.layer, new)
        values = {name: self._smaller(name) for name in self._variables}
        found = layer_variables(new)
        if {name: tuple(one.shape) for name, one in found.items()} != {name: x.shape for name, x in values.items()}:
            return False
        if self._renormalizes():
            return True
        for name, variable in found.items():
            variable.assign(values[name])
        uses = zip(self._own.uses, given, self._expected(), strict=True)
        return all(
            _alike(self._narrow(there, x), here)
            for use, arrays, expected in uses
            for x, here, there in zip(use.outputs, _called(new, use, arrays), expected, strict=True)
        )

    def _renormalizes(self) -> bool:
        """Whether it normalises over fewer, and so computes something else."""
        gone = self._trace.channels.held & ~self._stays
        return any(gone[channels].any() for channels in self._own.axes(self._trace))

    def _expected(self) -> list[list[np.ndarray]]:
        """Outputs of the layer itself with 0 for what leaves."""
        plain, layer = plain_type(self._own.layer), self._own.layer
        with keras.StatelessScope([(one, self._zeroed(name)) for name, one in self._variables.items()]):
            return [
                _called(lambda *args, **kwargs: plain.call(layer, *args, **kwargs), use, arrays)
                for use, arrays in zip(self._own.uses, self._inputs, strict=True)
            ]

    def _narrow(self, array: np.ndarray, x: Signal) -> np.ndarray:
        return array if x.axis is None else np.compress(self._stays[x.channels], array, x.axis)

    def _zeroed(self, name: str) -> np.ndarray:
        value, variable = self._values[name].copy(), self._variables[name]
        if self._trace.has_path(variable):
            for axis, channels in self._trace.axes.get(self._trace.path_of(variable), {}).items():
                np.moveaxis(value, axis, 0)[~self._stays[channels]] = 0
        return value

    def _smaller(self, name: str) -> np.ndarray:
        value, variable = self._values[name], self._variables[name]
        if not self._trace.has_path(variable):
            return value
        return self._trace.narrowed(self._trace.path_of(variable), value, self._stays)

    @staticmethod
    def _of(variable: keras.Variable, rng: np.random.Generator) -> np.ndarray:
        if "float" not in variable.dtype:
            return ops.convert_to_numpy(variable)
        if len(variable.shape) > 1:
            return rng.normal(0, 0.5, variable.shape).astype("float32")
        return rng.uniform(0.5, 1.5, variable.shape).astype("float32")  # variances are positive

    @staticmethod
    def _entries(spec: keras.KerasTensor, rng: np.random.Generator) -> np.ndarray:
        shape = [_OPEN[axis > 0] if size is None else size for axis, size in enumerate(spec.shape)]
        return rng.normal(size=shape) if "float" in spec.dtype else rng.integers(0, 2, shape)


class _WithVariables(keras.layers.Layer):
    """A layer that is called with a list of what its variables are, in attributes of these names, and of its tensors.

    Args:
        arguments: of its call, with KerasTensors.
    """

    def __init__(self, layer: keras.layers.Layer, names: list[str], arguments: tuple):
        super().__init__(dtype=layer.dtype_policy)
        self.layer, self.names, self.built = layer, names, True
        vars(self)["arguments"] = arguments  # Keras would wrap them

    def call(self, tensors):
        args, kwargs = _filled(self.arguments, tensors[len(self.names) :], keras.KerasTensor)
        attributes = vars(self.layer)
        before = {name: attributes[name] for name in self.names}
        try:
            attributes.update(zip(self.names, tensors, strict=False))
            return plain_type(self.layer).call(self.layer, *args, **kwargs)
        finally:
            attributes.update(before)


def _filled(arguments: tuple, tensors, kind: type) -> tuple:
    """Arguments with tensors in the places of what is of some kind."""
    left = iter(tensors)
    return tree.map_structure(lambda x: next(left) if isinstance(x, kind) else x, arguments)


def _spec(layer: keras.layers.Layer, variable: keras.Variable) -> keras.KerasTensor:
    """A variable as it reads in a call."""
    return keras.KerasTensor(variable.shape, layer.compute_dtype if layer.autocast else variable.dtype)


def _called(call, use: _Use, arrays: list[np.ndarray]) -> list[np.ndarray]:
    tensors = [ops.convert_to_tensor(array, x.spec.dtype) for array, x in zip(arrays, use.given, strict=True)]
    args, kwargs = _filled(use.arguments, tensors, Signal)
    return [ops.convert_to_numpy(x) for x in tree.flatten(call(*args, **kwargs))]


def _alike(one: np.ndarray, other: np.ndarray) -> bool:
    if one.shape != other.shape or not np.isfinite(one).all():
        return False
    return bool(np.abs(one - other).max(initial=0) <= _CLOSE * np.abs(one).max(initial=0))
