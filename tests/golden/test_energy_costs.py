"""The Ising cost of states and what it is made of, against the original's."""

import numpy as np
import pytest
import tensorflow as tf

from tfprune.experiments.energy.interactions import Block, Interactions, divergences, entropies, local_kl


@pytest.fixture
def stored(golden):
    """name -> the arrays of a file."""

    def load(name):
        with np.load(golden / f"energy/{name}.npz") as arrays:
            return dict(arrays)

    return load


def _two_normals(rng):
    drawn = [(rng.normal(size=9), rng.normal(size=(9, 9))) for _ in range(2)]
    return np.stack([mean for mean, _ in drawn]), np.stack([a @ a.T / 9 + 0.5 * np.eye(9) for _, a in drawn])


def test_divergences_of_normal_distributions(stored):
    theirs = stored("kl_mvn")
    rng = np.random.default_rng(61)
    ours = [divergences(*_two_normals(rng))[0, 1] for _ in theirs["kl"]]
    np.testing.assert_allclose(ours, theirs["kl"], rtol=1e-8)


@pytest.mark.parametrize(("singular", "key"), [([0], "s0"), ([1], "s1"), ([0, 1], "both")])
def test_divergences_of_singular_distributions(stored, singular, key):
    means, covariances = _two_normals(np.random.default_rng(62))
    for index in singular:
        covariances[index, 4] = covariances[index, :, 4] = 0
    ours = divergences(means, covariances)
    np.testing.assert_allclose(ours[0, 1], stored("kl_mvn")[f"kl_singular_{key}"], rtol=1e-8)
    assert ours[1, 0] == 0


@pytest.mark.parametrize("case", ["full_rank", "one_by_one", "asked"])
def test_divergences_within_a_layer(stored, case):
    theirs = stored("local_kl")
    drawn = np.random.default_rng(int(theirs[f"{case}_seed"])).normal(size=theirs[f"{case}_shape_oihw"])
    drawn = drawn.astype(np.float32)
    ours, expected = local_kl(drawn.transpose(2, 3, 1, 0), published=True), theirs[f"{case}_matrix"]
    assert ours.shape == expected.shape
    assert np.array_equal(ours, ours.T)
    if case == "asked":  # the original's numbers are rounding errors of determinants
        assert np.isfinite(ours).all()
        assert np.unique(ours).size > 100
    else:
        np.testing.assert_allclose(ours, expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("case", ["a", "b"])
def test_entropies_of_feature_maps(stored, case):
    theirs = stored("feature_map_entropy")
    maps = np.random.default_rng(int(theirs[f"{case}_seed"])).normal(size=theirs[f"{case}_shape_nchw"])
    maps = maps.astype(np.float32)
    np.testing.assert_allclose(entropies(maps.transpose(0, 2, 3, 1)), theirs[f"{case}_entropy"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("published", [True, False])
@pytest.mark.parametrize("case", ["a", "b"])
def test_costs_of_states(stored, case, published):
    theirs = {key[2:]: value for key, value in stored("ising_cost").items() if key.startswith(case)}
    states, size = theirs["shape"]
    rng = np.random.default_rng(int(theirs["seed"]))
    matrix = rng.random((size, size)).astype(np.float32)
    population = rng.integers(0, 2, (states, size)).astype(bool)
    interactions = Interactions(int(size), [Block(0, matrix, np.zeros(size))], published)
    cost = tf.function(lambda *given: interactions.cost(*given, float(theirs["keep_rate"])))
    expected = theirs["cost"][0] if published else theirs["cost_with_transpose_instead"]
    kept = tf.constant(theirs["kept_rate"], tf.float32)
    np.testing.assert_allclose(cost(tf.constant(population), kept), expected, rtol=1e-6, atol=1e-5)
