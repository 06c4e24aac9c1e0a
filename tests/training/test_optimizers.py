"""Optimizers against the recursions that define them, and schedules."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfprune.errors import InputError
from tfprune.training.momentum import MomentumSGD
from tfprune.training.optimizers import Cosine, WarmupMilestones, make_optimizer

RATES = [0.1, 0.1, 0.01, 0.01, 0.02, 0.02]


def _draws():
    rng = np.random.default_rng(0)
    return rng.normal(size=(5, 3)), rng.normal(size=(6, 5, 3))


def _trained(optimizer):
    """The variable after six updates, the rates being those of RATES."""
    start, gradients = _draws()
    variable = keras.Variable(start.astype("f4"))
    for rate, gradient in zip(RATES, gradients, strict=True):
        optimizer.learning_rate = rate
        optimizer.apply([tf.constant(gradient, tf.float32)], [variable])
    return variable.numpy()


def _momentum_by_hand(momentum, nesterov):
    weights, gradients = _draws()
    velocity = np.zeros_like(weights)
    for rate, gradient in zip(RATES, gradients, strict=True):
        velocity = momentum * velocity + gradient
        weights = weights - rate * (gradient + momentum * velocity if nesterov else velocity)
    return weights


def _adam_by_hand():
    weights, gradients = _draws()
    mean, square = np.zeros_like(weights), np.zeros_like(weights)
    for count, (rate, gradient) in enumerate(zip(RATES, gradients, strict=True), 1):
        mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
        weights = weights - rate * (mean / (1 - 0.9**count)) / (np.sqrt(square / (1 - 0.999**count)) + 1e-8)
    return weights


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"name": "sgd"}, _momentum_by_hand(0.0, False)),
        ({"name": "sgd", "momentum": 0.9}, _momentum_by_hand(0.9, False)),
        ({"name": "sgd", "nesterov_momentum": 0.9}, _momentum_by_hand(0.9, True)),
        ({"name": "adam"}, _adam_by_hand()),
    ],
    ids=["plain", "momentum", "nesterov", "adam"],
)
def test_pytorchs_recursions(settings, expected):
    for scaled in (False, True):
        optimizer = make_optimizer(lr=0.1, loss_scaling=scaled, **settings)
        if scaled:
            optimizer.initial_scale = 1.0
        np.testing.assert_allclose(_trained(optimizer), expected, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("nesterov", [False, True])
def test_kerass_form_is_that_of_keras(nesterov):
    ends = [_trained(kind(0.1, momentum=0.9, nesterov=nesterov)) for kind in (keras.optimizers.SGD, MomentumSGD)]
    np.testing.assert_allclose(*ends, rtol=1e-5, atol=1e-6)
    # The two forms differ here because the rate changes.
    assert abs(ends[0] - _momentum_by_hand(0.9, nesterov)).max() > 0.01


def test_the_form_is_saved():
    optimizer = MomentumSGD(0.1, 0.8, True, form="pytorch")
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert (again.form, again.momentum, again.nesterov) == ("pytorch", 0.8, True)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"name": "adagrad"}, "optimizer_name must be one of sgd, adam. Received: 'adagrad'"),
        ({"name": "sgd", "momentum": 1.0}, "momentum must be at least 0 and below 1. Received: 1.0"),
        ({"name": "sgd", "nesterov_momentum": -0.1}, "nesterov_momentum must be at least 0 and below 1"),
        ({"name": "sgd", "momentum": 0.9, "nesterov_momentum": 0.9}, "not both. Received: 0.9 and 0.9"),
    ],
)
def test_wrong_settings_are_told(settings, told):
    with pytest.raises(InputError, match=told):
        make_optimizer(lr=0.1, **settings)


def test_a_schedule_in_a_graph_is_the_one_at_hand():
    schedule = WarmupMilestones(0.4, [30, 20], 0.1, warmup=7)
    steps = [0, 1, 6, 7, 8, 19, 20, 21, 29, 30, 1000]
    rates = [schedule.at(step) for step in steps]
    np.testing.assert_allclose(rates, 0.4 * np.array([0, 1 / 7, 6 / 7, 1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01]), rtol=1e-12)
    in_graph = tf.function(schedule)
    np.testing.assert_allclose([float(in_graph(tf.constant(step))) for step in steps], rates, rtol=2e-7)
    again = keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(schedule))
    assert again.get_config() == schedule.get_config()


def test_a_schedule_without_milestones():
    assert [WarmupMilestones(0.1).at(step) for step in (0, 10**6)] == [0.1, 0.1]
    assert float(WarmupMilestones(0.1)(tf.constant(5))) == np.float32(0.1)


def test_cosine():
    schedule = Cosine(0.2, 10)
    rates = [float(schedule(tf.constant(step))) for step in (0, 5, 10, 12)]
    np.testing.assert_allclose(rates, [0.2, 0.1, 0, 0], atol=1e-7)
    assert float(Cosine.from_config(schedule.get_config())(tf.constant(1))) == float(schedule(tf.constant(1)))
