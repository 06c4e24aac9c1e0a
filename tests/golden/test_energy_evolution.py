"""The evolution of states against the published code: exact bits, and statistics of a million genes."""

import numpy as np
import pytest
import tensorflow as tf

from tfprune.pruning.evolution import Population, diversity, published, selected


@pytest.fixture
def core(golden):
    return np.load(golden / "energy/evolution_core.npz")


@pytest.mark.parametrize("case", ["a", "b", "c"])
def test_children_are_those_of_the_published_code(core, case):
    size, bits = core[f"{case}_shape"]
    rng = np.random.default_rng(int(core[f"{case}_seed"]))
    states = rng.integers(0, 2, (size, bits)).astype(bool)
    parents = np.array([rng.permutation(np.delete(np.arange(size), i))[:3] for i in range(size)])
    np.testing.assert_array_equal(parents, core[f"{case}_parents"])
    u1, u2 = rng.random((size, bits)), rng.random((size, bits))
    children = published(*(tf.constant(states[index]) for index in (np.arange(size), *parents.T)), u1, u2)
    expected = np.unpackbits(core[f"{case}_edropout_new"])[: size * bits].reshape(size, bits)
    np.testing.assert_array_equal(children, expected)


def test_a_million_genes_have_the_published_statistics(golden):
    stats = np.load(golden / "energy/evolution_stats.npz")
    size, bits, calls = (int(number) for number in stats["population"])
    population = Population(size, bits, seed=7)
    rng = np.random.default_rng(3)
    count, ones, base = np.zeros((2, 2, 2), int), np.zeros((2, 2, 2), int), np.zeros((size, size), int)
    children = tf.function(population.children)
    for step in range(calls):
        states = rng.random((size, bits)) < 0.5
        new = children(tf.constant(states), tf.constant(step)).numpy()
        others = population.others(tf.constant(step)).numpy()
        base[np.arange(size), others[:, 0]] += 1
        x1, x2, x3 = (states[others[:, index]].astype(int) for index in range(3))
        cell = states.astype(int), x1, (x2 == x3).astype(int)
        np.add.at(count, cell, 1)
        np.add.at(ones, cell, new)
    assert count.sum() == size * bits * calls
    exact = stats["p_new_is_one_exact"]
    assert ones[0, 0, 0] == 0 == exact[0, 0, 0]
    error = np.sqrt(np.maximum(exact * (1 - exact), 1e-12) / count)
    assert (np.abs(ones / count - exact) / error).max() < 4.5
    # What was measured there and what is measured here differ by no more than both errors.
    both = np.sqrt(error**2 + stats["standard_error"] ** 2)
    assert (np.abs(ones / count - stats["p_new_is_one"]) / both).max() < 4.5
    assert (np.diag(base) == 0).all()
    off = base[~np.eye(size, dtype=bool)]
    assert np.abs(off / calls - 1 / (size - 1)).max() < 4.5 * np.sqrt(1 / (size - 1) / calls)


def test_without_selection_the_fraction_of_ones_drifts_as_published(golden):
    expected = np.load(golden / "energy/evolution_stats.npz")["mean_field_density_from_half"]
    # Parents from a large population: what a small one loses of its variety is not in the mean field.
    population = Population(64, 20_000, seed=1)
    states = tf.constant(np.random.default_rng(0).random((64, 20_000)) < 0.5)
    for step in range(3):
        states = population.children(states, tf.constant(step))
        assert abs(float(tf.reduce_mean(tf.cast(states, tf.float32))) - expected[step + 1]) < 2e-3


def test_selection_is_that_of_the_published_code(golden):
    data = np.load(golden / "energy/selection.npz")
    rng = np.random.default_rng(int(data["seed"]))
    old, new = (rng.integers(0, 2, data["shape"]).astype(bool) for _ in range(2))
    costs, new_costs = (tf.constant(data[name]) for name in ("cost_population", "cost_new_population"))
    states, kept = selected(tf.constant(old), costs, tf.constant(new), new_costs)
    np.testing.assert_array_equal(states, data["population_out"])
    np.testing.assert_array_equal(kept, data["costs_out"])
    population = Population(8, 32, seed=0)
    population.begin(states)
    population.costs.assign(kept)
    population.index.assign(tf.argmin(kept))
    np.testing.assert_array_equal(population.best, data["best_solution"])
    assert float(tf.reduce_min(kept)) == data["best_cost"]
    assert float(tf.reduce_mean(kept)) == pytest.approx(float(data["generation_cost"]), rel=1e-12)
    pairs = [np.mean(a != b) for i, a in enumerate(states.numpy()) for b in states.numpy()[:i]]
    assert float(diversity(states)) == pytest.approx(np.mean(pairs), rel=1e-5)
