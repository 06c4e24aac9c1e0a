"""The training step of energy-based pruning: states evolve, the best one masks the kernels for a step of descent."""

from __future__ import annotations

import math
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from tfprune.layers.convert import masks_of
from tfprune.pruning.energies import margin_cost
from tfprune.pruning.evolution import Population, diversity
from tfprune.pruning.filter_states import StateSpace
from tfprune.training.feeds import Feed
from tfprune.training.loop import TrainingLoop, right

SEARCHED = ("average_cost", "best_cost", "kept", "diversity", "unchanged", "frozen")
"""What a step measures of the population: mean and least cost, the fraction of weights that the best state keeps,
`diversity` (mean fraction of bits in which two states differ), `unchanged` (batches since the best state was another
one), and whether it is frozen."""

Costs = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]
"""bool (n, D) states, inputs, int32 labels -> float32 (n,)."""


class MaskedLoop(TrainingLoop):
    """Trains a network of which one state is on; weights that are off keep their values.

    With the sparse engine `begin` chooses by the state which layers train their kept weights alone.

    Args:
        model: plain, ends in logits.
        optimizer, feed, **settings: those of `TrainingLoop` but `xla`.
        space: of the model's states.
        state: bool (D,), where none are searched.
        loss: `ce`, or `log`: the logarithm of softmax first, then the label's.
    """

    def __init__(
        self, model, optimizer, feed: Feed, space: StateSpace, state: np.ndarray | None = None, loss="ce", **settings
    ):
        super().__init__(model, optimizer, feed, **settings)
        self.space, self._loss = space, loss
        self._state = tf.Variable(np.ones(space.size, bool) if state is None else state, trainable=False)

    @property
    def best(self) -> tf.Tensor:
        """bool (D,): the state that is on."""
        return self._state.read_value()

    def masked_outputs(self, images, training: bool):
        """Logits of the network in its state, nothing of which changes."""
        with keras.StatelessScope(self.space.masked(self.best)):
            return self.model(images, training=training)

    def _update(self, inputs, labels):
        best = self.best
        with tf.GradientTape() as tape:
            values = [(kernel, kernel.value * tf.cast(factor, kernel.dtype)) for kernel, factor in self._factors(best)]
            with keras.StatelessScope(values) as scope:
                logits, losses = self._losses(inputs, labels)
            loss = tf.reduce_mean(losses)
            scaled = self._trained.optimizer.scale_loss(loss)
        take_over(scope, self._trained.model)
        self._descend_where(best, tape, scaled)
        return 1 - tf.reduce_mean(right(logits, labels)), loss

    def _losses(self, inputs, labels):
        logits, losses = super()._losses(inputs, labels)
        if self._loss == "log":
            losses = -tf.gather(tf.nn.log_softmax(logits), labels, batch_dims=1)
        return logits, losses

    def _factors(self, state) -> list[tuple[keras.Variable, tf.Tensor]]:
        """Kernels in training and what a state multiplies them by; without those that are kept weights alone."""
        variables = self._twin.variables if self._twin else {}
        found = []
        for path, factors in self.space.factors(state).items():
            kernel = self.space.kernels[path]
            trained = variables.get(id(kernel), kernel)
            if trained.shape == kernel.shape:
                found.append((trained, math.prod(factors)))
        return found

    def _descend_where(self, state, tape, scaled) -> None:
        """A step of the optimizer that leaves weights as they are which are off, whatever momentum they have."""
        factors = {id(kernel): factor for kernel, factor in self._factors(state)}
        gradients = tape.gradient(scaled, [variable.value for variable in self._trained.variables])
        gradients = [
            gradient * factors[id(variable)] if id(variable) in factors else gradient
            for gradient, variable in zip(self._with_decay(gradients), self._trained.variables, strict=True)
        ]
        kernels = [variable for variable in self._trained.variables if id(variable) in factors]
        before = [variable.value.read_value() for variable in kernels]
        self._trained.optimizer.apply(gradients, self._trained.variables)
        for variable, value in zip(kernels, before, strict=True):
            variable.assign(tf.where(factors[id(variable)] > 0, variable.value, value))

    def _masks(self):
        return self.space.masks(self.best.numpy())

    def _state_variables(self):
        return [*super()._state_variables(), self._state]


def take_over(scope: keras.StatelessScope, model: keras.Model) -> None:
    """Gives a model the running averages and seeds of dropout that it has got in a scope."""
    for variable in model.non_trainable_variables:
        if (value := scope.get_current_value(variable)) is not None:
            variable.assign(value)


class Refreshing:
    """A `Feed` before each epoch of which something is made anew; checkpoints must be between epochs then."""

    def __init__(self, feed: Feed, refresh: Callable[[], None]):
        self._feed, self._refresh = feed, refresh

    def begin(self, stream: int, step: int) -> None:
        self._feed.begin(stream, step)
        self._refresh()

    def __getattr__(self, name: str):
        return getattr(self._feed, name)


class EnergyLoop(MaskedLoop):
    """A `MaskedLoop` whose state is the best of a population that evolves with every batch until it is frozen.

    The sparse engine chooses, at the end of the epoch, once it is.

    Args:
        model, optimizer, feed, space, **settings: those of `MaskedLoop`.
        population: of the states.
        costs: what states cost on a batch.
        state_batch: the first so many examples of each batch are what costs are measured on; None: all.
        threshold: step from which on the best state may be frozen.
        renew: whether the best state, through which every step of descent passes anyway, then gets the cost that it has
            on that step's batch.
    """

    measures = (*TrainingLoop.measures, *SEARCHED)

    def __init__(
        self,
        model,
        optimizer,
        feed: Feed,
        space: StateSpace,
        population: Population,
        costs: Costs,
        state_batch: int | None,
        threshold: int,
        renew: bool = False,
        **more,
    ):
        super().__init__(model, optimizer, feed, space, **more)
        self.population, self._costs = population, costs
        self._state_batch, self._threshold, self._renew = state_batch, threshold, renew
        self._settled = False

    @property
    def best(self) -> tf.Tensor:
        return self.population.best

    def _step(self, stream, step, size):
        inputs, labels = self._batch(stream, step, size)

        def costs(states):
            return self._costs(states, inputs[: self._state_batch], labels[: self._state_batch])

        self.population.generation(costs, step, may_freeze=step >= self._threshold)
        values = self._update(inputs, labels)
        states, costs = self.population.states.read_value(), self.population.costs.read_value()
        flags = (tf.cast(each.read_value(), tf.float32) for each in (self.population.unchanged, self.population.frozen))
        costs = tf.cast(costs, tf.float32)
        searched = tf.reduce_mean(costs), tf.reduce_min(costs), self.space.kept(self.best), diversity(states)
        return *values, *searched, *flags

    def _losses(self, inputs, labels):
        logits, losses = super()._losses(inputs, labels)
        if self._renew:
            some = slice(self._state_batch)
            self.population.renew(tf.reduce_mean(margin_cost(tf.one_hot(labels[some], logits.shape[1]), logits[some])))
        return logits, losses

    def run(self, start, stop, stream=0):
        found = super().run(start, stop, stream)
        # Between epochs, where checkpoints are: a run that goes on from one changes over at the same step.
        if self._engine is not None and self.feed.epoch_end(stop - 1) == stop and self._settled != self._is_frozen:
            self._choose()
        return found

    @property
    def _is_frozen(self) -> bool:
        return bool(self.population.frozen.numpy())

    def _choose(self):
        self._settled = self._is_frozen
        super()._choose()

    def _masks(self):
        return super()._masks() if self._is_frozen else masks_of(self.model)  # plain, it keeps all

    def _state_variables(self):
        return [*super()._state_variables(), *self.population.variables]
