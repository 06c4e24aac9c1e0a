"""Optimizers whose updates kernels can do, and those whose they cannot."""

import keras
import numpy as np
import pytest
from keras import optimizers

from tfprune.engine.updates import ADAM, SGD
from tfprune.training.momentum import MomentumSGD
from tfprune.training.updates import updates_of

SCHEDULE = optimizers.schedules.ExponentialDecay(0.1, 2, 0.5)
OTHERS = {
    "momentum": lambda: optimizers.SGD(0.1, momentum=0.9),
    "scheduled": lambda: optimizers.SGD(SCHEDULE),
    "clipped": lambda: optimizers.Adam(0.1, clipnorm=0.01),
    "clipped values": lambda: optimizers.SGD(0.1, clipvalue=0.01),
    "clipped together": lambda: optimizers.SGD(0.1, global_clipnorm=0.01),
    "decayed": lambda: optimizers.SGD(0.1, weight_decay=0.1),
    "averaged": lambda: optimizers.SGD(0.1, use_ema=True),
    "scaled": lambda: optimizers.LossScaleOptimizer(optimizers.SGD(0.1)),
    "scaled by a number": lambda: optimizers.Adam(0.1, loss_scale_factor=8.0),
    "accumulated": lambda: optimizers.SGD(0.1, gradient_accumulation_steps=2),
    "amsgrad": lambda: optimizers.Adam(amsgrad=True),
    "a subclass": lambda: optimizers.Nadam(0.1),
    "another": lambda: optimizers.RMSprop(0.1),
    "our own": lambda: MomentumSGD(0.1, momentum=0.9),
}


def _variables(**more):
    return [keras.Variable(np.ones(shape, np.float32), **more) for shape in ((3,), (2, 4))]


def _updates(optimizer, variables):
    optimizer.build(variables)
    return updates_of(optimizer, variables)


@pytest.mark.parametrize("kind", OTHERS)
def test_what_kernels_cannot_do(kind):
    assert _updates(OTHERS[kind](), _variables()) is None


def test_variables_with_constraints():
    variables = _variables()
    variables[1].constraint = keras.constraints.NonNeg()
    assert _updates(optimizers.SGD(0.1), variables) is None


def test_sgd():
    optimizer = optimizers.SGD(0.3)
    updates = _updates(optimizer, _variables())
    assert updates.rule.kind == SGD and updates.slots == []
    optimizer.learning_rate = 0.2  # the rate of now
    assert [*map(float, updates.begin(3))] == pytest.approx([0, 0.2])
    assert [*map(float, updates.begin(2))] == pytest.approx([3, 0.2])


def test_adam_and_its_slots_in_the_order_of_the_variables():
    optimizer, variables = optimizers.Adam(0.3, beta_1=0.8, beta_2=0.9, epsilon=0.5), _variables()
    optimizer.build(variables)
    updates = updates_of(optimizer, variables[::-1])
    np.testing.assert_allclose(updates.rule.settings, [0.8, 0.9, 0.5])
    assert updates.rule.kind == ADAM and [[tuple(one.shape) for one in each] for each in updates.slots] == 2 * [
        [(2, 4), (3,)]
    ]
    optimizer.apply([variable * 0 + 1 for variable in variables], variables)
    assert float(updates.slots[0][0][0, 0]) == pytest.approx(0.2) and float(updates.slots[1][0][0, 0]) == pytest.approx(
        0.1
    )
    assert [*map(float, updates.begin(2))] == pytest.approx([1, 0.3])
    assert int(optimizer.iterations) == 3
