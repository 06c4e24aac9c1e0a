"""Which filters of a trained network to keep: a population of states evolves, whose energies are measured on data."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import keras
import numpy as np
import tensorflow as tf

from tfprune.errors import InputError, did_you_mean_fraction
from tfprune.layers.barriers import CHANNELS, barriers
from tfprune.layers.convert import masks_of, without_lora
from tfprune.layers.masks import Masks
from tfprune.layers.subclassed import as_graph
from tfprune.pruning.batches import as_batches
from tfprune.pruning.energies import Energy, check_targets, get_energy, passes
from tfprune.pruning.evolution import Population, diversity
from tfprune.pruning.filter_states import StateSpace, channel_states
from tfprune.pruning.fitted import blamed, fitted
from tfprune.pruning.losses import LOSSES
from tfprune.pruning.progress import Progress
from tfprune.records.extras import extra

if TYPE_CHECKING:
    import pandas as pd

HISTORY = ("best_cost", "mean_cost", "kept", "diversity")


@dataclass(frozen=True)
class FilterSearch:
    """What a search has found.

    Attributes:
        masks: what the best state keeps of every kernel, for `tfprune.masked` and `tfprune.compact`; what the model's
            own masks prune stays pruned.
        state: bool (D,), the best state: a bit for each channel that can leave.
        cost: of that state over all data.
        dense_cost: of the model with every channel, over all data.
        filters: name of a layer -> (channels that are kept, channels), coupled layers under the first one's name.
        history: a row per generation: `best_cost` and `mean_cost` of the population on the generation's batch (infinite
            as long as there are states through which nothing leads from inputs to outputs), `kept`, the fraction of the
            kernels' weights that the best state keeps, and `diversity`, the mean fraction of bits in which two states
            differ.
    """

    masks: Masks
    state: np.ndarray
    cost: float
    dense_cost: float
    filters: dict[str, tuple[int, int]]
    history: pd.DataFrame


def search_filters(
    model: keras.Model,
    data,
    energy: str | Energy = "margin",
    *,
    population: int = 8,
    generations: int = 100,
    evolution: str = "published",
    init_probability: float = 0.5,
    patience: int | None = None,
    rescore: bool = True,
    batch_statistics: bool = False,
    seed: int = 0,
    batch_size: int = 128,
    steps: int | None = None,
    verbose: bool | int = True,
    unknown: str = "barrier",
) -> FilterSearch:
    """Searches for the filters to keep, by binary differential evolution. The model itself is left as it is.

    The bits of a state are the channels that can leave the model, those that are coupled being one. A generation takes
    one batch: it makes a child of every state from three others, measures their energies on the batch, and gives a
    child its parent's place where it costs less. At the end all states are measured over all data; the best is kept.
    Nothing asks for sparsity but the energy: the published rule of children drifts towards a third of the filters.

    Args:
        model: built Sequential or Functional model, plain or masked.
        data: what `fit` takes, see `tfprune.pruning.batches.as_batches`; is gone through as often as needed.
        energy: what a state costs, less is better: `"margin"`, −10 times the mean of target logit less best other
            logit; `"cross_entropy"`; or a function of (labels, outputs, state), see `get_energy`. One that adds
            `5 * tf.reduce_mean(tf.cast(state, tf.float32))` asks for fewer filters.
        population: number of states, at least 4.
        generations: how many, at least 1.
        evolution: `"published"`, the rule of the published code, or `"binary_de"`, that of textbooks.
        init_probability: of each bit to be on in the first states, in (0, 1].
        patience: ends the search when the best state stayed the same for so many generations; None: never.
        rescore: measures parents on the batch of their children, too. False is the published rule, at half the cost: a
            state keeps the energy that it had on the batch of its birth.
        batch_statistics: measures with layers as in training: normalisation takes the statistics of the batch, which
            differ from its running averages where many filters are off.
        seed: of everything that is drawn; a non-negative integer.
        batch_size: where `data` is a pair of arrays.
        steps: use the first so many batches; needed for data without an end.
        verbose: whether to show progress on stderr where the call takes more than three seconds.
        unknown: what becomes of operations that no rule knows, as for `tfprune.compact`; so is what it warns of.

    Raises:
        InputError: unusable arguments or data, a call inside of `tf.function`, a model without filters that can leave,
            one with an operation that no rule knows and that is to be refused, an energy that cannot be computed or
            that is no finite number for any state.

    Reference: Salehinejad & Valaee 2020, arXiv 2006.04270, whose search this is, on weights that stay as they are.
    """
    _check(generations, patience, init_probability, seed)
    if not tf.executing_eagerly():
        raise InputError("search_filters computes at once: call it outside of tf.Graph and tf.function")
    pandas = extra("pandas", "search_filters")  # which is missed before the search, not after it
    chosen, model = get_energy(energy), as_graph(without_lora(model))
    batches, own = as_batches(data, batch_size, steps, len(model.inputs)), masks_of(model)
    if batches is None:
        raise InputError("search_filters needs data=: the energies of states are measured on it")
    with barriers(model, unknown) as met:
        space = channel_states(model, unknown=unknown)
    met.tell(CHANNELS)
    states = Population(population, space.size, int(seed), evolution, patience, rescore)
    rng = np.random.default_rng(seed)
    states.begin(tf.constant(rng.random((population, space.size)) < init_probability))
    compiled = _Compiled(space, states, passes(model, space, chosen, batch_statistics))
    with Progress(bool(verbose), "searching filters") as progress:
        prepared = _Prepared(model, batches, energy)
        rows = []
        for number, batch in enumerate(itertools.islice(prepared.again(), generations)):
            rows.append(compiled.generation(number, batch))
            _check_finite(rows[-1][0], f"in generation {number}")
            progress.at("generations", number, generations, f"best cost {rows[-1][0]:.4g}, {rows[-1][2]:.0%} kept")
            if patience is not None and int(states.unchanged.numpy()) >= patience:
                break
        costs = compiled.costs(prepared, progress)
    best = int(np.argmin(np.where(np.isnan(costs[:-1]), np.inf, costs[:-1])))
    _check_finite(costs[best], "over all data")
    state = states.states.numpy()[best]
    found = space.counts(state)
    return FilterSearch(
        masks=space.masks(state) & own,
        state=state,
        cost=float(costs[best]),
        dense_cost=float(costs[-1]),
        filters={each.name: (found[each.name], each.size) for each in space.stretches},
        history=pandas.DataFrame(rows, columns=list(HISTORY)),
    )


class _Compiled:
    """The compiled functions of a search."""

    def __init__(self, space: StateSpace, states: Population, costs):
        self._states, self._space, self._costs = states, space, costs
        self._generation, self._measure = _Traced(self._one_generation), _Traced(self._measured)

    def generation(self, number: int, batch: tuple) -> list[float]:
        """The values of `HISTORY` after a generation."""
        return [float(value) for value in self._generation(tf.constant(number), *batch)]

    def costs(self, batches: Iterable[tuple], progress: Progress) -> np.ndarray:
        """float64 (N + 1,): costs of all states, and of the one with every bit on, over all data."""
        dense = tf.ones([1, self._space.size], tf.bool)
        states = tf.concat([self._states.states, dense], 0)
        total, examples = np.zeros(len(states)), 0
        for number, batch in enumerate(batches):
            progress.at("measuring the states", number)
            size = len(tf.nest.flatten(batch[0])[0])
            total += size * self._measure(states, *batch).numpy().astype(float)
            examples += size
        return total / examples

    def _measured(self, states, inputs, labels, weights):
        without = isinstance(weights, tuple) and not weights
        return self._costs(states, inputs, labels, None if without else weights)

    def _one_generation(self, number, *batch):
        self._states.generation(lambda states: self._measured(states, *batch), number, may_freeze=True)
        costs = self._states.costs
        kept = self._space.kept(self._states.best)
        return tf.reduce_min(costs), tf.reduce_mean(costs), kept, diversity(self._states.states)


class _Traced:
    """A function of a tensor and a batch, compiled once for batches of all sizes."""

    def __init__(self, function):
        self._function = tf.function(function, autograph=False)
        self._specs = self._concrete = None

    def __call__(self, first: tf.Tensor, *batch):
        specs = tf.TensorSpec(first.shape, first.dtype), *tf.nest.map_structure(_any_length, batch)
        if specs != self._specs:
            self._concrete, self._specs = self._function.get_concrete_function(*specs), specs
        with blamed("energy"):
            return self._concrete(first, *batch)


def _any_length(array: np.ndarray) -> tf.TensorSpec:
    return tf.TensorSpec([None, *array.shape[1:]], array.dtype)


class _Prepared:
    """Batches in the form that the model takes, checked."""

    def __init__(self, model: keras.Model, batches: Iterable, energy: str | Energy):
        self._model, self._batches, self._energy = model, batches, energy
        # Labels of named energies are those of the named losses; functions get them as the data have them.
        self._loss = LOSSES["cross_entropy"] if isinstance(energy, str) else (lambda labels, outputs: None)

    def __iter__(self):
        for batch in self._batches:
            inputs, labels, weights = fitted(self._model, self._loss, batch)
            if self._energy == "margin":
                check_targets(labels)
            yield inputs, labels, weights

    def again(self):
        """Over and over."""
        while True:
            empty = True
            for batch in self:
                empty = False
                yield batch
            if empty:
                raise InputError("data holds no batches")


def _check_finite(cost: float, when: str) -> None:
    if not np.isfinite(cost):
        raise InputError(
            f"the energy is no finite number for any state, {when}: it is NaN or infinite, or the outputs are the same "
            "for all examples of a batch, as where so few filters are on that nothing leads there (init_probability=)"
        )


def _check(generations: int, patience: int | None, init_probability: float, seed: int) -> None:
    for name, value, least in (("generations", generations, 1), ("patience", patience, 1), ("seed", seed, 0)):
        if value is None and name == "patience":
            continue
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
            raise InputError(f"{name} must be a whole number of at least {least}. Received: {value!r}")
    is_number = isinstance(init_probability, (int, float, np.number)) and not isinstance(init_probability, bool)
    if not is_number or not 0 < init_probability <= 1:
        near = did_you_mean_fraction(init_probability)
        raise InputError(f"init_probability must lie in (0, 1]. Received: {init_probability!r}{near}")
