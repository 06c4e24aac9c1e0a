"""Evolution of states: generations against plain NumPy, ties, NaN, freezing, seeds, and a population that goes on."""

import numpy as np
import pytest
import tensorflow as tf

from tfprune.errors import InputError
from tfprune.pruning.evolution import EVOLUTIONS, Population, binary_de, diversity, published, selected, three_others

SIZE, BITS = 6, 10
INF = np.inf


class Search:
    """A population with costs of a known function, `costs(states, step)` in TensorFlow; counts its calls."""

    def __init__(self, costs, seed=3, begin=True, freeze_from=0, **settings):
        self.population = Population(SIZE, BITS, seed, **settings)
        self.calls = tf.Variable(0)
        self.scored = tf.Variable(0)
        if begin:
            self.population.begin(tf.constant(first_states()))

        def step(number):
            def costs_of(states):
                self.calls.assign_add(1)
                self.scored.assign_add(tf.shape(states)[0])
                return costs(states, number)

            self.population.generation(costs_of, number, number >= freeze_from)

        self._step = tf.function(step, autograph=False)

    def run(self, start, stop):
        """What the variables hold after each generation."""
        found = []
        for number in range(start, stop):
            self._step(tf.constant(number))
            found.append([variable.numpy() for variable in self.population.variables])
        return found


def first_states():
    return np.random.default_rng(0).random((SIZE, BITS)) < 0.5


TABLE = np.random.default_rng(1).integers(-64, 64, size=(40, BITS)).astype("f4") / 16  # sums have no rounding


def changing(states, number):
    """Another linear function in each generation, as batches make it."""
    return tf.linalg.matvec(tf.cast(states, tf.float32), tf.gather(TABLE, number))


def linear(states, number):
    return changing(states, 0)


def nan_where_first(states, number):
    return tf.where(states[:, 0], np.nan, changing(states, number))


def by_numpy(population, costs, count, rescore):
    """The same generations, one state after the other."""
    states, known, unchanged, found = first_states(), [INF] * SIZE, 0, []
    for number in range(count):
        children = population.children(tf.constant(states), tf.constant(number)).numpy()
        new = [float(cost) for cost in costs(tf.constant(children), number)]
        is_first = all(cost == INF for cost in known)
        before = states[int(np.argmin(known))].copy()
        if is_first or rescore:
            known = [float(cost) for cost in costs(tf.constant(states), number)]
        known, new = ([INF if np.isnan(cost) else cost for cost in row] for row in (known, new))
        states = states.copy()
        for index in range(SIZE):
            if new[index] < known[index]:
                states[index], known[index] = children[index], new[index]
        same = not is_first and np.array_equal(before, states[int(np.argmin(known))])
        unchanged = unchanged + 1 if same else 0
        found.append([states, np.array(known), int(np.argmin(known)), unchanged, False])
    return found


def assert_same(found, expected):
    for row, other in zip(found, expected, strict=True):
        for one, two in zip(row, other, strict=True):
            np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("evolution", EVOLUTIONS)
@pytest.mark.parametrize("rescore", [False, True])
@pytest.mark.parametrize("costs", [linear, changing, nan_where_first])
def test_generations_are_those_of_plain_numpy(costs, rescore, evolution):
    search = Search(costs, evolution=evolution, rescore=rescore)
    found = search.run(0, 12)
    expected = by_numpy(search.population, costs, 12, rescore)
    assert_same(found, expected)
    assert len({row[0].tobytes() for row in found}) > 2  # there was something to select
    assert search.scored.numpy() == SIZE * (24 if rescore else 13)


@pytest.mark.parametrize("value", [0.0, np.nan, INF])
def test_ties_and_states_without_a_cost_change_nothing(value):
    search = Search(lambda states, number: tf.fill(tf.shape(states)[:1], tf.constant(value, tf.float32)))
    for states, costs, *_ in search.run(0, 4):
        np.testing.assert_array_equal(states, first_states())
        np.testing.assert_array_equal(costs, [0.0 if value == 0 else INF] * SIZE)
    # Where no state has a cost, each generation is a first one.
    assert search.population.unchanged.numpy() == (3 if value == 0 else 0)
    assert search.scored.numpy() == SIZE * (5 if value == 0 else 8)


def test_a_child_that_has_a_cost_takes_the_place_of_a_parent_without():
    states = tf.constant(first_states())
    found, costs = selected(
        states, tf.constant([INF, INF, 1, 1, 1, -INF]), ~states, tf.constant([5, INF, 1, 0.5, 2, 0])
    )
    np.testing.assert_array_equal(costs, [5, INF, 1, 0.5, 1, -INF])
    came = [True, False, False, True, False, False]
    np.testing.assert_array_equal(found, np.where(np.array(came)[:, None], ~states.numpy(), states))


def test_small_differences_between_large_costs_count():
    """Costs are kept in double precision: float32 knows no 10⁸ + 1."""

    def large(states, number):
        return 1e8 + tf.cast(changing(states, 0), tf.float64)

    search = Search(large)
    for row, other in zip(search.run(0, 6), by_numpy(search.population, large, 6, False), strict=True):
        np.testing.assert_array_equal(row[0], other[0])
        np.testing.assert_array_equal(row[1], other[1])


@pytest.mark.parametrize("patience", [1, 3])
def test_frozen_as_soon_as_the_best_stayed_long_enough(patience):
    expected = by_numpy(Population(SIZE, BITS, 3), linear, 30, False)
    stop = next(number for number, row in enumerate(expected) if row[3] >= patience)
    search = Search(linear, patience=patience)
    found = search.run(0, 30)
    assert stop < 25 and [bool(row[4]) for row in found] == [number >= stop for number in range(30)]
    assert_same([row[:4] for row in found[: stop + 1]], [row[:4] for row in expected[: stop + 1]])
    assert_same(found[stop:], [found[stop]] * (30 - stop))  # nothing changes any more
    assert search.calls.numpy() == stop + 1


def test_frozen_only_when_it_may_be():
    expected = by_numpy(Population(SIZE, BITS, 3), linear, 30, False)
    first = next(number for number in range(20, 30) if expected[number][3] >= 2)
    found = Search(linear, patience=2, freeze_from=20).run(0, 30)
    assert [bool(row[4]) for row in found] == [number >= first for number in range(30)]
    assert not any(row[4] for row in Search(linear).run(0, 30))  # no patience, no freezing


def test_begin_forgets():
    search = Search(linear, patience=1)
    found = search.run(0, 20)
    assert found[-1][4]
    search.population.begin(tf.constant(first_states()))
    assert_same(search.run(0, 20), found)


def test_a_renewed_cost_is_that_of_the_best_until_another_generation():
    search = Search(linear)
    states, costs, index, *_ = search.run(0, 3)[-1]
    best = int(np.argmin(costs))
    assert index == best
    np.testing.assert_array_equal(search.population.best, states[best])
    search.population.renew(tf.constant(99.0))
    np.testing.assert_array_equal(search.population.best, states[best])  # what it masks has not changed
    expected = costs.copy()
    expected[best] = 99
    np.testing.assert_array_equal(search.population.costs, expected)
    later = search.run(3, 4)[-1]
    children = search.population.children(tf.constant(states), tf.constant(3))
    new = linear(children, 3).numpy()
    np.testing.assert_array_equal(later[1], np.minimum(expected, new))
    assert later[3] == 0 and later[2] == np.argmin(later[1]) != best  # another state is the best one now


def test_seeds():
    found, same, other = (Search(changing, seed=seed).run(0, 5) for seed in (3, 3, 4))
    assert_same(found, same)
    assert not np.array_equal(found[0][0], other[0][0])
    many = [Population(SIZE, BITS, seed).children(first_states(), tf.constant(0)).numpy() for seed in (0, 2**47, 2**80)]
    assert all(children.shape == (SIZE, BITS) for children in many)  # whatever size the seed has
    steps = [Population(SIZE, BITS, 0).children(first_states(), tf.constant(step)).numpy() for step in (0, 1)]
    assert not np.array_equal(*steps)


@pytest.mark.parametrize("rescore", [False, True])
def test_a_population_goes_on_from_its_variables(rescore):
    whole = Search(changing, rescore=rescore, patience=4)
    expected = whole.run(0, 20)
    half, rest = (Search(changing, rescore=rescore, patience=4, begin=False) for _ in range(2))
    half.population.begin(tf.constant(first_states()))
    half.run(0, 8)
    for variable, old in zip(rest.population.variables, half.population.variables, strict=True):
        variable.assign(old)
    assert_same(rest.run(8, 20), expected[8:])


def test_three_different_others_that_are_equally_likely():
    population = Population(5, BITS, 0)
    found = np.stack([population.others(tf.constant(step)) for step in range(600)])
    for index in range(5):
        mine = found[:, index]
        assert not (mine == index).any() and all(len(set(row)) == 3 for row in mine.tolist())
        choices, counts = np.unique(mine, axis=0, return_counts=True)
        assert len(choices) == 24  # of four others, in all orders
        assert ((counts - 25) ** 2 / 25).sum() < 49.7  # χ² of 23 degrees of freedom: 1 in 1000
    ordered = tf.constant([[0.0, 0.3, 0.2, 0.1], [0.1, 0.0, 0.3, 0.2], [0.9, 0.8, 0.0, 0.7], [0.5, 0.5, 0.5, 0.0]])
    np.testing.assert_array_equal(three_others(ordered), [[3, 2, 1], [0, 3, 2], [3, 1, 0], [0, 1, 2]])


def test_rules_bit_by_bit():
    bits = np.array([[own, x1, x2, x3] for own in (0, 1) for x1 in (0, 1) for x2 in (0, 1) for x3 in (0, 1)], bool)
    parents = [tf.constant(column[None]) for column in bits.T]
    own, x1, x2, x3 = bits.T.astype(int)
    low, high = (np.full((1, 16), value, "f4") for value in (0.1, 0.95))

    def children(rule, u1, u2):
        return rule(*parents, tf.constant(u1), tf.constant(u2)).numpy()[0].astype(int)

    np.testing.assert_array_equal(children(published, low, low), x1)
    np.testing.assert_array_equal(children(published, high, low), (x2 == x3) * (1 - x1))
    np.testing.assert_array_equal(children(published, high, high), own)
    np.testing.assert_array_equal(children(binary_de, low, low), x1 ^ x2 ^ x3)
    np.testing.assert_array_equal(children(binary_de, high, low), x1)
    last = high.copy()
    last[0, 2] = 0.92  # above the crossover: the smallest is the mutant's all the same
    expected = own.copy()
    expected[2] = (x1 ^ x2 ^ x3)[2]
    assert expected[2] != own[2]
    np.testing.assert_array_equal(children(binary_de, low, last), expected)


def test_diversity():
    rng = np.random.default_rng(0)
    for states in (rng.random((7, 30)) < 0.3, np.ones((4, 5), bool), np.eye(4, dtype=bool)):
        pairs = [np.mean(a != b) for i, a in enumerate(states) for b in states[:i]]
        assert float(diversity(tf.constant(states))) == pytest.approx(np.mean(pairs), abs=1e-6)


@pytest.mark.parametrize("size", [3, 0, -1, True, 4.0, "8", None])
def test_populations_that_cannot_be(size):
    with pytest.raises(InputError, match="population must be a whole number of at least 4: each state needs three"):
        Population(size, BITS, 0)
    assert Population(np.int64(4), BITS, 0).states.shape == (4, BITS)


def test_an_evolution_that_is_none():
    with pytest.raises(InputError, match=r"evolution must be one of published, binary_de. .*did you mean 'binary_de'"):
        Population(SIZE, BITS, 0, evolution="binary-de")
