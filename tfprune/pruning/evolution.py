"""Binary differential evolution of states: children, selection, and a population that lives on the device.

Reference: Salehinejad & Valaee 2020, "EDropout: energy-based dropout and pruning of deep neural networks",
arXiv 2006.04270.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfprune.errors import InputError, did_you_mean

LEAST_POPULATION = 4
_MUTATION, _CROSSOVER = 0.9, 0.9
_PARENTS, _MUTATIONS, _CROSSOVERS = range(3)
_KEY = 0xEDE0  # keeps these numbers apart from those of other draws with the same seed and step


def published(own: tf.Tensor, x1: tf.Tensor, x2: tf.Tensor, x3: tf.Tensor, u1: tf.Tensor, u2: tf.Tensor) -> tf.Tensor:
    """Children by the rule of the published code.

    The mutant is x1; but where u1 > 0.9 it is 1 − x1 if x2 and x3 agree, and 0 if they differ. A child has the mutant's
    bit where u2 < 0.9, else its parent's own. Without selection the fraction of ones drifts from 0.5 to about 0.35.

    Args:
        own: bool (N, D), the parents that the children compete with.
        x1, x2, x3: bool (N, D), three others for each.
        u1, u2: float (N, D), uniform in [0, 1).

    Returns:
        bool (N, D).
    """
    mutant = tf.where(u1 > _MUTATION, tf.equal(x2, x3) & ~x1, x1)
    return tf.where(u2 < _CROSSOVER, mutant, own)


def binary_de(own: tf.Tensor, x1: tf.Tensor, x2: tf.Tensor, x3: tf.Tensor, u1: tf.Tensor, u2: tf.Tensor) -> tf.Tensor:
    """Children of binary DE/rand/1/bin: x1 ⊕ F·(x2 ⊕ x3), F being 1 with probability 0.9, crossover 0.9.

    At least one bit of each child is the mutant's. Args and Returns as for `published`.

    Reference: Storn & Price 1997, doi 10.1023/A:1008202821328, with exclusive or in place of differences.
    """
    mutant = tf.math.logical_xor(x1, tf.math.logical_xor(x2, x3) & (u1 < _MUTATION))
    forced = tf.equal(u2, tf.reduce_min(u2, axis=1, keepdims=True))
    return tf.where((u2 < _CROSSOVER) | forced, mutant, own)


EVOLUTIONS: dict[str, Callable[..., tf.Tensor]] = {"published": published, "binary_de": binary_de}


def three_others(uniform: tf.Tensor) -> tf.Tensor:
    """For each of N three different others, all choices being equally likely.

    Args:
        uniform: float (N, N), in [0, 1).

    Returns:
        int32 (N, 3).
    """
    return tf.argsort(tf.linalg.set_diag(uniform, tf.fill(tf.shape(uniform)[:1], 2.0)), axis=1)[:, :3]


def selected(population, costs, children, new_costs) -> tuple[tf.Tensor, tf.Tensor]:
    """One-to-one selection: a child takes its parent's place where it costs less.

    Args:
        population, children: bool (N, D).
        costs, new_costs: float (N,); no NaN.

    Returns:
        The next population and its costs.
    """
    better = new_costs < costs
    return tf.where(better[:, None], children, population), tf.where(better, new_costs, costs)


def diversity(population: tf.Tensor) -> tf.Tensor:
    """Mean fraction of bits in which two members differ; float32 scalar in [0, 1].

    Args:
        population: bool (N, D), N ≥ 2.
    """
    # In whole numbers, whose sum is the same in whatever order: of all pairs, those that differ in a bit.
    count, bits = (tf.cast(size, tf.int64) for size in tf.unstack(tf.shape(population)))
    ones = tf.reduce_sum(tf.cast(population, tf.int64), axis=0)
    differing = tf.reduce_sum(ones * (count - ones))
    return tf.cast(differing / (count * (count - 1) // 2 * bits), tf.float32)


class Population:
    """States that compete; everything that a generation changes is in variables on the device.

    Args:
        size: number of states, N ≥ 4.
        bits: of each, D.
        seed: of its evolution.
        evolution: a name of `EVOLUTIONS`.
        patience: after so many generations without another best state it is frozen: there are no more children.
        rescore: scores parents together with their children; else a state keeps the cost that it had when it came.

    Attributes:
        states: bool (N, D) variable.
        costs: float64 (N,) variable; infinite before the first generation.
        index: int64 variable: which state was the best one at the end of the last generation.
        unchanged: int32 variable: generations since the best state was another one.
        frozen: bool variable.

    Raises:
        InputError: fewer than four states, or an unknown evolution.
    """

    def __init__(
        self,
        size: int,
        bits: int,
        seed: int,
        evolution: str = "published",
        patience: int | None = None,
        rescore: bool = False,
    ):
        check_population(size)
        if evolution not in EVOLUTIONS:
            near = did_you_mean(evolution, EVOLUTIONS)
            raise InputError(f"evolution must be one of {', '.join(EVOLUTIONS)}. Received: {evolution!r}{near}")
        self._size, self._bits, self._seed = size, bits, seed
        self._rule, self._patience, self._rescore = EVOLUTIONS[evolution], patience, rescore
        self.states = tf.Variable(tf.zeros([size, bits], tf.bool), trainable=False)
        self.costs = tf.Variable(tf.zeros([size], tf.float64), trainable=False)
        self.index = tf.Variable(0, trainable=False, dtype=tf.int64)
        self.unchanged = tf.Variable(0, trainable=False)
        self.frozen = tf.Variable(False, trainable=False)

    @property
    def variables(self) -> list[tf.Variable]:
        """All that a generation changes."""
        return [self.states, self.costs, self.index, self.unchanged, self.frozen]

    def begin(self, states: tf.Tensor) -> None:
        """Starts with these states, bool (N, D)."""
        self.states.assign(states)
        self.costs.assign(tf.fill([self._size], tf.constant(np.inf, tf.float64)))
        self.index.assign(0)
        self.unchanged.assign(0)
        self.frozen.assign(False)

    @property
    def best(self) -> tf.Tensor:
        """bool (D,): the state that cost least at the end of the last generation, the first of equal ones."""
        return tf.gather(self.states, self.index)

    def renew(self, cost: tf.Tensor) -> None:
        """Gives the best state another cost, scalar; it is the best until the next generation has ended."""
        self.costs.scatter_nd_update([[self.index]], [tf.cast(cost, tf.float64)])

    def generation(self, costs_of: Callable[[tf.Tensor], tf.Tensor], step: tf.Tensor, may_freeze) -> None:
        """Children and selection, unless the best state is frozen. Inside a compiled function.

        Args:
            costs_of: bool (n, D) states -> float (n,); n is not known when it is traced, and is N or 2 N.
            step: integer scalar, with the seed all that the children depend on beside their parents.
            may_freeze: whether the best state may be frozen now.
        """
        tf.cond(self.frozen, lambda: None, lambda: self._generation(costs_of, step, may_freeze))

    def _generation(self, costs_of, step, may_freeze) -> None:
        population, costs, before = self.states.read_value(), self.costs.read_value(), self.best
        children = self.children(population, step)
        # Parents are scored once, in the first generation, or always.
        is_first = tf.reduce_all(tf.math.is_inf(costs))
        rescored = is_first | self._rescore
        scored = costs_of(tf.concat([population[: tf.where(rescored, self._size, 0)], children], 0))
        scored = tf.cast(scored, tf.float64)
        scored = tf.where(tf.math.is_nan(scored), tf.constant(np.inf, tf.float64), scored)
        parents = tf.cond(rescored, lambda: scored[: self._size], lambda: costs)
        states, costs = selected(population, parents, children, scored[-self._size :])
        self.states.assign(states)
        self.costs.assign(costs)
        self.index.assign(tf.argmin(costs))
        same = tf.reduce_all(tf.equal(before, self.best)) & ~is_first
        self.unchanged.assign(tf.where(same, self.unchanged + 1, 0))
        if self._patience is not None:
            self.frozen.assign((self.unchanged >= self._patience) & may_freeze)

    def children(self, population: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """The children of a population, bool (N, D), at a step."""
        shape = [self._size, self._bits]
        others = self.others(step)
        x1, x2, x3 = (tf.gather(population, others[:, index]) for index in range(3))
        u1, u2 = (self._uniform(shape, step, draw) for draw in (_MUTATIONS, _CROSSOVERS))
        return self._rule(population, x1, x2, x3, u1, u2)

    def others(self, step: tf.Tensor) -> tf.Tensor:
        """int32 (N, 3): whom each state's child is made of at a step, see `three_others`."""
        return three_others(self._uniform([self._size, self._size], step, _PARENTS))

    def _uniform(self, shape, step, draw: int) -> tf.Tensor:
        key = [tf.constant((self._seed * 2**16 + _KEY + draw) % 2**63, tf.int64), tf.cast(step, tf.int64)]
        return tf.random.stateless_uniform(shape, tf.stack(key))


def check_population(size: int) -> None:
    """Refuses a population in which a state has not three others.

    Raises:
        InputError: it is no whole number of at least four states.
    """
    whole = isinstance(size, (int, np.integer)) and not isinstance(size, bool)
    if not whole or size < LEAST_POPULATION:
        raise InputError(
            f"population must be a whole number of at least {LEAST_POPULATION}: each state needs three others. "
            f"Received: {size!r}"
        )
