"""Learning rates of the original's optimizers at chosen steps."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tfprune.training.optimizers import WarmupMilestones

# lr, milestones, gamma, warmup in steps, by the names that the golden file gives.
CASES = {
    "mnist_lenet_300_100": (0.1, [], 1.0, 0),
    "cifar_resnet_20": (0.1, [80 * 391, 120 * 391], 0.1, 0),
    "imagenet_resnet_50": (0.4, [30 * 1252, 60 * 1252, 80 * 1252], 0.1, 5 * 1252),
    "cifar_resnet_20 with warmup 1000it (391 iterations per epoch)": (0.1, [80 * 391, 120 * 391], 0.1, 1000),
}


@pytest.mark.parametrize("name", CASES)
def test_rates(golden, name):
    text = (golden / "lottery/hyperparameters.json").read_text(encoding="utf-8")
    steps, rates = zip(*json.loads(text)["learning_rate_at_iteration"][name], strict=True)
    schedule = WarmupMilestones(*CASES[name])
    np.testing.assert_allclose([schedule.at(step) for step in steps], rates, rtol=1e-9)
    in_graph = tf.function(schedule)
    np.testing.assert_allclose([float(in_graph(tf.constant(step))) for step in steps], rates, rtol=2e-7)
