"""Walks that follow the influence of the input through a graph, entry by entry.

Of every entry of every tensor two facts are known: whether it *depends* on the input, and whether it *can be other than
0*. The second holds without the first where something is added: a bias, the shift of a normalisation, an activation
that is not 0 at 0. A product passes influence on through one factor where its other factors can be other than 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import keras
import tensorflow as tf
from keras import tree

from tfprune.connectivity.everything import is_tensor
from tfprune.connectivity.graph import Walk, scanned
from tfprune.layers.kinds import plain_type
from tfprune.layers.prunable import prunable
from tfprune.layers.topology import is_nested


class LeanWalk(Walk):
    """A walk and its way back that hold the kernels of one layer at a time, and no gradient of a kernel.

    A layer's kernels are made when the layer runs, and again when the gradient of its output has come back. What else
    the layer computes for a second time is left out of the compiled graph: a linear layer's gradients do not need it.

    Args:
        model: Sequential or Functional model.
        make: path -> float32 tensor of the kernel's shape.
        take: called with path, kernel and gradient on the way back, once for every use of the kernel.
        step: as in `Walk`.
        boolean: as in `Walk`.
    """

    def __init__(self, model: keras.Model, make: Callable, take: Callable, step=None, boolean: bool = False):
        super().__init__(model, dict.fromkeys(prunable(model)), step, boolean)
        self._make, self._take = make, take
        self._ways_back: list[Callable] = []
        self._anchor = tf.constant(0.0)  # every layer with kernels seems to depend on it, so none is left out

    def there_and_back(self, total: Callable[[], tf.Tensor | list]):
        """The tensors that `total` computes with this walk, once their gradients have been taken."""
        try:
            with tf.GradientTape() as tape:
                tape.watch(self._anchor)
                outputs = total()
            tape.gradient(outputs, self._anchor)
        finally:
            self._ways_back.clear()  # TensorFlow keeps every custom gradient for ever, and layers with it
        return outputs

    def _call(self, operation: keras.Operation, *args, **kwargs):
        if is_nested(operation):
            return super()._call(operation, *args, **kwargs)
        args, kwargs = tree.map_structure(self._constant, (args, kwargs))
        paths = list(self.kernels_in(operation, args, kwargs))
        if not paths or not self.knows(operation) or self._inside(operation, args, kwargs) is not None:
            return super()._call(operation, *args, **kwargs)
        structure, leaves = (args, kwargs), tree.flatten((args, kwargs))
        places = [place for place, leaf in enumerate(leaves) if is_tensor(leaf)]
        given = [leaves[place] for place in places]
        known, made_of = self._known(given), []

        def call(tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
            """Flat outputs for other tensors in the same places."""
            self._learn(tensors, known)
            filled = list(leaves)
            for place, tensor in zip(places, tensors, strict=True):
                filled[place] = tensor
            args, kwargs = tree.pack_sequence_as(structure, filled)
            made_of[:] = [super(LeanWalk, self)._call(operation, *args, **kwargs)]
            return tree.flatten(made_of[0])

        def made(triggers: Sequence[tf.Tensor]) -> dict[str, tf.Tensor]:
            with tf.control_dependencies(triggers):
                self._kernels = {path: self._make(path) for path in paths}
            return self._kernels

        def back(tensors: Sequence[tf.Tensor], upstream: Sequence[tf.Tensor]) -> list[tf.Tensor]:
            uses = dict(self.uses)
            kernels = made(upstream)
            with tf.GradientTape() as tape:
                tape.watch((tensors, kernels))
                outputs = call(tensors)
            gradient, gradients = tape.gradient(outputs, (tensors, kernels), list(upstream), "zero")
            self.uses = uses
            for path in paths:
                self._take(path, kernels[path], gradients[path])
            return gradient

        ways, number = self._ways_back, len(self._ways_back)
        ways.append(back)

        @tf.custom_gradient
        def layer(anchor, *tensors):
            made(tensors)
            return call(tensors), lambda *upstream: (tf.zeros_like(anchor), *ways[number](tensors, upstream))

        outputs = layer(self._anchor, *given)
        return tree.pack_sequence_as(made_of[0], outputs)

    def _made(self, path):
        kernel = self._kernels.get(path)
        return self._make(path) if kernel is None else kernel

    def _known(self, tensors: Sequence[tf.Tensor]):
        """What this walk knows of tensors beside their numbers."""

    def _learn(self, tensors: Sequence[tf.Tensor], known) -> None:
        """Says the same of the tensors that take their place."""

    def read(self, variables, amount):
        paths = list(self.paths_of(variables))
        if not paths:
            return tf.zeros([])

        @tf.custom_gradient
        def through(amount, anchor):
            def gradient(upstream):
                for path in paths:
                    kernel = self._make(path)
                    self._take(path, kernel, tf.ones_like(kernel) * amount * upstream)
                return tf.zeros_like(amount), tf.zeros_like(anchor)

            return tf.zeros_like(amount), gradient

        return through(amount, self._anchor)


class LiveNeeded(Exception):
    """An operation asks what can be other than 0, and the walk does not follow it."""


@dataclass(frozen=True)
class Fact:
    """What is known of the entries of a tensor, as float32 tensors of 0 and 1, or of whole numbers before a step.

    Attributes:
        depends: whether an entry varies with the input. Its gradient says which entries reach an output.
        live: whether an entry can be other than 0; no gradient. None where nobody follows it.
    """

    depends: tf.Tensor
    live: tf.Tensor | None


class InfluenceWalk(LeanWalk):
    """A lean walk of `Fact`s. Rules see `depends`; what they need of `live`, `product` and `mix` look up.

    Args:
        model, make, take, step: as for `LeanWalk`; rules are asked for whole numbers.
        live: whether to follow what can be other than 0. Most networks have no products and are traced in half the time
            without; where one asks, `LiveNeeded` is raised.
    """

    def __init__(self, model: keras.Model, make: Callable, take: Callable, step: Callable, live: bool = True):
        super().__init__(model, make, take, step, boolean=True)
        self._live_walk = _LiveWalk(model, make, step) if live else None
        # Of what the operation that runs is given or has made, by identity; the tensor is held, so that it keeps it.
        self._live: dict[int, tuple[tf.Tensor, tf.Tensor]] = {}

    def product(self, function, *factors):
        free = [place for place, factor in enumerate(factors) if tf.is_tensor(factor) and not self.is_kernel(factor)]
        if len(free) <= 1:
            return self.linear(function, *factors, cut=False)
        live = [self._live_of(factor) if place in free else factor for place, factor in enumerate(factors)]
        outputs = tf.add_n([function(*live[:place], factors[place], *live[place + 1 :]) for place in free])
        self._note(outputs, function(*live))
        return outputs

    def linear(self, function, *tensors, cut=True):
        outputs = super().linear(function, *tensors, cut=cut)
        if self._live_walk is not None:
            live = [self._live_of(x) if tf.is_tensor(x) and not self.is_kernel(x) else x for x in tensors]
            self._note(outputs, function(*live))
        return outputs

    def scan(self, step, sequences, states):
        if self._live_walk is None:
            return super().scan(step, sequences, states)

        def met(pair):
            self._note(*pair)
            return pair[0]

        def both(x, states):
            return [(state, self._live_of(state)) for state in step(met(x), [met(state) for state in states])]

        pairs = [(x, self._live_of(x)) for x in (sequences, *states)]
        made, last = scanned(both, pairs[0], pairs[1:])
        return [met(pair) for pair in made], [met(pair) for pair in last]

    def mix(self, x, axes, keeps_zero=False):
        if not keeps_zero:
            return _anywhere(x, axes)
        live = self._live_of(x)
        mixed = x + live * _sum(x, axes)
        self._note(mixed, live)
        return mixed

    def lift(self, x, where=None):
        if self._live_walk is not None:
            self._live[id(x)] = x, self._live_walk.lift(self._live_of(x), where)
        return x

    def _tensor(self, leaf):
        return leaf.depends if isinstance(leaf, Fact) else leaf

    def _note(self, x, live) -> None:
        self._live[id(x)] = x, tf.stop_gradient(tf.cast(live > 0.5, live.dtype))

    def _known(self, tensors):
        return None if self._live_walk is None else [self._live_of(x) for x in tensors]

    def _learn(self, tensors, known):
        if known is not None:
            self._live = {id(x): (x, live) for x, live in zip(tensors, known, strict=True)}

    def _live_of(self, x):
        if self._live_walk is None:
            raise LiveNeeded
        # A rule may ask of what it has computed itself: nothing says that this is 0.
        return self._live[id(x)][1] if id(x) in self._live else tf.ones_like(x)

    def _call(self, operation: keras.Operation, *args, **kwargs):
        if is_nested(operation):
            masks = {key: _each(value, lambda fact: fact.depends) for key, value in kwargs.items() if key != "inputs"}
            return super()._call(operation, *args, **{**kwargs, **masks})
        args, kwargs = tree.map_structure(self._constant, (args, kwargs))
        if self._inside(operation, args, kwargs) is not None:
            return super()._call(operation, *args, **kwargs)
        if self._live_walk is None:
            args, kwargs = _each((args, kwargs), lambda fact: fact.depends)
            return tree.map_structure(lambda output: Fact(output, None), super()._call(operation, *args, **kwargs))
        live_args, live_kwargs = _each((args, kwargs), lambda fact: fact.live)
        live = self._live_walk._call(operation, *live_args, **live_kwargs)
        self._live = {}

        def depends(fact: Fact) -> tf.Tensor:
            # One tensor may be two arguments of which different things are known, as in x · sigmoid(x).
            tensor = tf.identity(fact.depends)
            self._live[id(tensor)] = tensor, fact.live
            return tensor

        args, kwargs = _each((args, kwargs), depends)
        outputs = super()._call(operation, *args, **kwargs)
        return tree.map_structure(lambda output, its_live: Fact(output, tf.stop_gradient(its_live)), outputs, live)


class _LiveWalk(Walk):
    """Which entries can be other than 0: products need all their factors, and a shift needs nothing."""

    def __init__(self, model: keras.Model, make: Callable, step: Callable):
        super().__init__(model, dict.fromkeys(prunable(model)), step, boolean=True)
        self._make = make

    def _made(self, path):
        return self._make(path)

    def mix(self, x, axes, keeps_zero=False):
        return x if keeps_zero else _anywhere(x, axes)

    def lift(self, x, where=None):
        return tf.ones_like(x) if where is None else tf.maximum(x, tf.constant(where != 0, x.dtype))

    def apply(self, operation, *args, **kwargs):
        outputs = super().apply(operation, *args, **kwargs)
        own = not plain_type(operation).__module__.startswith("keras.")
        return tree.map_structure(self.lift, outputs) if own else outputs  # nothing says what a user's layer adds


def _each(structure, of_fact: Callable):
    return tree.map_structure(lambda leaf: of_fact(leaf) if isinstance(leaf, Fact) else leaf, structure)


def _sum(x, axes: Sequence[int]) -> tf.Tensor:
    return tf.reduce_sum(x, axis=list(axes), keepdims=True)


def _anywhere(x, axes: Sequence[int]) -> tf.Tensor:
    """For every entry of a group how many of its entries there are; 0 in a group of one, which becomes a constant."""
    alone = math.prod(x.shape[axis] for axis in axes) == 1
    return tf.zeros_like(x) if alone else _sum(x, axes) + tf.zeros_like(x)
