"""The margin of states and what it costs, against the published code."""

import numpy as np
import pytest
import tensorflow as tf

from tfprune.pruning.energies import margin, margin_cost


@pytest.fixture
def stored(golden):
    with np.load(golden / "energy/energy_loss.npz") as arrays:
        return dict(arrays)


@pytest.mark.parametrize("case", ["a", "b", "c"])
def test_margins_and_costs_are_those_of_the_published_code(stored, case):
    rng = np.random.default_rng(int(stored[f"{case}_seed"]))
    examples, classes = stored[f"{case}_shape"]
    logits = tf.constant((rng.normal(size=(examples, classes)) * stored[f"{case}_scale"]).astype("f4"))
    labels = tf.one_hot(rng.integers(0, classes, size=examples), classes)
    np.testing.assert_allclose(margin(labels, logits), stored[f"{case}_margin"], rtol=1e-5)
    assert float(tf.reduce_mean(margin(labels, logits))) == pytest.approx(-stored[f"{case}_loss"], rel=1e-5)
    assert float(tf.reduce_mean(margin_cost(labels, logits))) == pytest.approx(stored[f"{case}_state_cost"], rel=1e-5)


def test_logits_that_the_published_code_cuts_count_for_what_they_are(stored):
    """It hides the target by adding −10,000 to its logit, so that this is the best other one where that is lower."""
    logits, targets = stored["extreme_logits"], stored["extreme_targets"]
    found = margin(tf.one_hot(targets, 2), tf.constant(logits))
    np.testing.assert_array_equal(stored["extreme_margin"], [10_000, 5])
    np.testing.assert_array_equal(found, [35_000, 5])
