"""The step of energy-based pruning against masked layers, plain training, finite differences and its parts by hand."""

from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from small_trainings import Batches as AnyBatches

from tfprune.experiments.energy.networks import build
from tfprune.experiments.energy.states import layout
from tfprune.experiments.energy.training import SEARCHED, EnergyLoop, MaskedLoop, Refreshing
from tfprune.layers.convert import masked
from tfprune.layers.weights import weights_of
from tfprune.pruning.energies import get_energy, passes
from tfprune.pruning.evolution import Population
from tfprune.pruning.filter_states import Site, StateSpace, Stretch
from tfprune.training.decay import AllDecay
from tfprune.training.drive import drive
from tfprune.training.loop import TrainingLoop
from tfprune.training.momentum import MomentumSGD

BATCH, BATCHES, CLASSES = 8, 3, 3
OPTIMIZERS = {
    "nesterov": lambda: MomentumSGD(0.05, 0.9, True, form="pytorch"),
    "adadelta": lambda: keras.optimizers.Adadelta(1.0, rho=0.9, epsilon=1e-6),
}
STATE = np.array([1, 0, 1, 1, 0, 1, 0, 1, 1, 0, 0, 1], bool)  # of conv1's 3 filters, conv2's 4 and 5 units

Batches = partial(AnyBatches, BATCHES, BATCH, (5, 5, 1), CLASSES)


def _model():
    """The same weights each time; smooth, so that differences tell slopes."""
    keras.utils.set_random_seed(3)
    return keras.Sequential(
        [
            keras.Input((5, 5, 1)),
            layers.Conv2D(3, 3, padding="same", name="conv1"),
            layers.BatchNormalization(name="norm"),
            layers.Activation("tanh"),
            layers.Conv2D(4, 3, activation="tanh", name="conv2"),
            layers.Flatten(),
            layers.Dense(5, activation="tanh", name="fc1"),
            layers.Dense(CLASSES, name="fc2"),
        ]
    )


def _space(model):
    """Bits are filters of the convolutions, and inputs of the last layer."""
    where = (("conv1", 3, 3), ("conv2", 3, 4), ("fc2", 0, 5))
    stretches, sites, start = [], [], 0
    for name, axis, size in where:
        stretches.append(Stretch(name, start, size))
        sites.append(Site(f"{name}/kernel", axis, np.arange(start, start + size)))
        start += size
    return StateSpace(model, stretches, sites)


def _masked_loop(optimizer, state=STATE, decay=0.0, **settings):
    model = _model()
    how = {"decay": AllDecay(model, decay)} if decay else {}
    return MaskedLoop(model, optimizer, Batches(), _space(model), state, **how, **settings)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_fixed_state_trains_as_masked_layers_do(optimizer):
    loop = _masked_loop(OPTIMIZERS[optimizer](), decay=1e-2)
    masks = loop.space.masks(STATE)
    other = masked(_model(), masks)
    reference = TrainingLoop(other, OPTIMIZERS[optimizer](), Batches(), decay=AllDecay(other, 1e-2))
    before = weights_of(loop.model)
    for came, expected in zip(loop.run(0, 7), reference.run(0, 7), strict=True):
        np.testing.assert_allclose(came, expected, rtol=1e-5)
    came, expected = weights_of(loop.model), weights_of(other)
    assert list(came) == list(expected) and set(masks) < set(came)
    for path, array in came.items():
        keep = masks.get(path, np.ones(array.shape, bool))
        np.testing.assert_allclose(array[keep], expected[path][keep], rtol=1e-4, atol=1e-5, err_msg=path)
        assert (array[keep] != before[path][keep]).any(), path  # running averages among them
        np.testing.assert_array_equal(array[~keep], before[path][~keep], err_msg=path)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_weights_that_are_switched_off_later_keep_their_values_bit_for_bit(optimizer):
    """Momentum of their own, decay and averages of squares notwithstanding; switched on again they move."""
    loop = _masked_loop(OPTIMIZERS[optimizer](), state=None, decay=1e-1)
    masks = loop.space.masks(STATE)
    loop.run(0, 3)
    before = weights_of(loop.model)
    loop._state.assign(STATE)
    loop.run(3, 6)
    after = weights_of(loop.model)
    loop._state.assign(np.ones(12, bool))
    loop.run(6, 7)
    for path, keep in masks.items():
        np.testing.assert_array_equal(after[path][~keep], before[path][~keep])
        assert (after[path][keep] != before[path][keep]).all()
        assert (weights_of(loop.model)[path][~keep] != before[path][~keep]).all()


def test_slopes_are_those_of_the_masked_networks_loss():
    loop, feed = _masked_loop(keras.optimizers.SGD(1.0)), Batches()
    masks, before = loop.space.masks(STATE), weights_of(loop.model)
    loop.run(0, 1)
    after = weights_of(loop.model)

    def loss(path, index, change):
        model = _model()
        for variable in model.trainable_variables:
            if variable.path.endswith(path):
                array = variable.numpy()
                array[index] += change
                variable.assign(array)
        for layer in model.layers:
            if f"{layer.name}/kernel" in masks:
                layer.kernel.assign(layer.kernel * masks[f"{layer.name}/kernel"])
        logits = model(feed.inputs[:BATCH], training=True).numpy().astype(np.float64)
        logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        return -logs[np.arange(BATCH), feed.labels[:BATCH]].mean()

    seen = 0
    for path in ("conv1/kernel", "conv2/kernel", "conv2/bias", "fc1/kernel", "fc2/kernel"):
        slopes = before[path] - after[path]
        index = np.unravel_index(np.argmax(np.abs(slopes)), slopes.shape)
        difference = (loss(path, index, 1e-2) - loss(path, index, -1e-2)) / 2e-2
        assert slopes[index] == pytest.approx(difference, rel=2e-2), path
        seen += path not in masks or masks[path][index]
    assert seen == 5


def test_all_ones_is_plain_training_to_the_last_bit():
    model = _model()
    plain = TrainingLoop(model, OPTIMIZERS["adadelta"](), Batches(), decay=AllDecay(model, 1e-2))
    loop = _masked_loop(OPTIMIZERS["adadelta"](), state=None, decay=1e-2)
    for came, expected in zip(loop.run(0, 7), plain.run(0, 7), strict=True):
        np.testing.assert_array_equal(came, expected)
    for came, expected in zip(loop.state, plain.state, strict=False):  # behind them, which state is on
        np.testing.assert_array_equal(came, expected)


def test_the_loss_in_two_steps_is_cross_entropy():
    losses = [_masked_loop(keras.optimizers.SGD(0.1), loss=loss).run(0, 6)[1] for loss in ("ce", "log")]
    np.testing.assert_allclose(*losses, rtol=1e-5)


def _population(space, **settings):
    population = Population(5, space.size, 7, **settings)
    population.begin(tf.constant(np.random.default_rng(5).random((5, space.size)) < 0.5))
    return population


def test_a_step_is_a_generation_and_a_masked_step():
    model = _model()
    space = _space(model)
    costs = passes(model, space, get_energy("margin"), batch_statistics=True)
    population = _population(space)
    loop = EnergyLoop(model, OPTIMIZERS["nesterov"](), Batches(), space, population, costs, None, 100)
    values = dict(zip(loop.measures, (float(each[0]) for each in loop.run(1, 2)), strict=True))

    hand, feed = _model(), Batches()
    space, other = _space(hand), _population(_space(hand))
    inputs, labels = feed.batch(0, 1, BATCH)
    scores = passes(hand, space, get_energy("margin"), batch_statistics=True)
    tf.function(lambda: other.generation(lambda states: scores(states, inputs, labels), tf.constant(1), False))()
    np.testing.assert_array_equal(population.states.numpy(), other.states.numpy())
    np.testing.assert_allclose(population.costs.numpy(), other.costs.numpy(), rtol=1e-5)
    # The costs once more, by networks with masked layers.
    for state, cost in zip(other.states.numpy(), other.costs.numpy(), strict=True):
        logits = masked(hand, space.masks(state))(inputs, training=True).numpy()
        target, constant = logits[np.arange(BATCH), labels], (logits == logits[0]).all()
        logits[np.arange(BATCH), labels] = -np.inf
        expected = np.inf if constant else -10 * np.mean(target - logits.max(1))
        assert cost == pytest.approx(expected, rel=1e-4)
    assert np.isfinite(other.costs.numpy()).sum() >= 3
    step = MaskedLoop(hand, OPTIMIZERS["nesterov"](), feed, space, other.best.numpy())
    error, loss = step.run(1, 2)
    assert values["train_error"] == error[0] and values["train_loss"] == pytest.approx(loss[0], rel=1e-6)
    for came, expected in zip(weights_of(model).values(), weights_of(hand).values(), strict=True):
        np.testing.assert_allclose(came, expected, rtol=1e-5, atol=1e-6)
    states, best = other.states.numpy(), other.best.numpy()
    pairs = [(states[i] != states[j]).mean() for i in range(5) for j in range(i)]
    kept = {path: mask.mean() for path, mask in space.masks(best).items()}
    sizes = {path: mask.size for path, mask in space.masks(best).items()}
    expected = {
        "average_cost": other.costs.numpy().mean(),  # infinite where one state is
        "best_cost": other.costs.numpy().min(),
        "kept": sum(kept[path] * sizes[path] for path in kept) / sum(sizes.values()),
        "diversity": np.mean(pairs),
        "unchanged": 0,
        "frozen": 0,
    }
    assert tuple(expected) == SEARCHED
    assert {name: values[name] for name in SEARCHED} == pytest.approx(expected, rel=1e-5)
    np.testing.assert_array_equal(loop.best.numpy(), best)


@pytest.mark.slow_beyond(1)
@pytest.mark.parametrize("state_batch", [3, None])
def test_the_best_state_gets_the_cost_of_the_steps_own_pass(state_batch):
    loops = []
    for renew in (False, True):
        model = _model()
        space = _space(model)
        costs = passes(model, space, get_energy("margin"), batch_statistics=True)
        given = model, keras.optimizers.SGD(0.0), Batches(), space, _population(space), costs, state_batch, 100
        loops.append(EnergyLoop(*given, renew=renew))
        loops[-1].run(0, 3)
    kept, renewed = (loop.population for loop in loops)
    best, feed = renewed.best.numpy(), Batches()
    inputs, labels = (each.numpy() for each in feed.batch(0, 2, BATCH))
    logits = masked(_model(), loops[1].space.masks(best))(inputs, training=True).numpy()[:state_batch]
    at = np.arange(len(logits)), labels[:state_batch]
    target = logits[at]
    logits[at] = -np.inf
    place = int(renewed.index)
    assert renewed.costs[place].numpy() == pytest.approx(-10 * np.mean(target - logits.max(1)), rel=1e-4)
    # Without it, costs are those of the batch on which a state came; the least of them never rises.
    values = loops[0].run(3, 9)[loops[0].measures.index("best_cost")]
    assert (np.diff(values) <= 0).all() and kept.costs.numpy().min() == pytest.approx(values[-1])


def test_a_frozen_state_stays_and_costs_nothing_any_more():
    model = _model()
    space, scored = _space(model), tf.Variable(0)
    population = _population(space, patience=2)
    first = np.zeros((5, space.size), bool)
    first[2] = True
    population.begin(tf.constant(first))

    def costs(states, inputs, labels):
        scored.assign_add(tf.shape(states)[0])
        return -tf.reduce_mean(tf.cast(states, tf.float32), axis=1)

    loop = EnergyLoop(model, OPTIMIZERS["nesterov"](), Batches(), space, population, costs, None, threshold=5)
    values = dict(zip(loop.measures, loop.run(0, 9), strict=True))
    assert values["frozen"].tolist() == [0] * 5 + [1] * 4
    assert values["unchanged"].tolist() == [0, 1, 2, 3, 4, 5, 5, 5, 5]
    assert scored.numpy() == 5 * (2 + 5)  # parents once, and children in six steps
    states = population.states.numpy()
    before = weights_of(model)["conv1/kernel"]
    loop.run(9, 12)
    np.testing.assert_array_equal(population.states.numpy(), states)
    assert scored.numpy() == 35 and loop.best.numpy().all()
    assert (weights_of(model)["conv1/kernel"] != before).all()  # training goes on


def test_part_of_the_batch():
    model, feed = _model(), Batches()
    space, seen = _space(model), tf.Variable(np.zeros(3), dtype=tf.float64)

    def costs(states, inputs, labels):
        numbers = [tf.shape(inputs)[0], tf.reduce_sum(labels)]
        sums = [tf.cast(each, tf.float64) for each in (*numbers, tf.reduce_sum(inputs))]
        seen.assign(tf.stack(sums))
        return tf.zeros(tf.shape(states)[:1])

    loop = EnergyLoop(model, keras.optimizers.SGD(0.1), feed, space, _population(space), costs, 3, 100)
    loop.run(2, 3)
    part = slice(2 * BATCH, 2 * BATCH + 3)
    expected = 3, feed.labels[part].sum(), feed.inputs[part].sum()
    np.testing.assert_allclose(seen.numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize(("start", "refreshed"), [(0, 3), (BATCHES, 2)])
def test_what_is_made_anew_is_so_once_in_each_epoch(start, refreshed):
    feed, model, made = Batches(), _model(), []
    loop = MaskedLoop(model, keras.optimizers.SGD(0.1), Refreshing(feed, lambda: made.append(1)), _space(model))
    for _ in drive(loop, 0, start, 3 * BATCHES):
        pass
    assert len(made) == refreshed and feed.begun == list(range(start, 3 * BATCHES, BATCHES))


def test_a_state_is_part_of_what_is_restored():
    loop, other = (_masked_loop(keras.optimizers.SGD(0.1), state=state) for state in (STATE, ~STATE))
    other.state = loop.state
    np.testing.assert_array_equal(other.best.numpy(), STATE)
    np.testing.assert_array_equal(loop.run(0, 3)[1], other.run(0, 3)[1])


@pytest.mark.slow
def test_grouped_convolutions_train():
    """XLA compiles each of them, forwards and backwards, masked and not."""
    model = build("resnext50", (32, 32, 3), CLASSES, seed=0, width=0.05)
    space = layout(model, "resnext50")
    population = Population(4, space.size, 0)
    population.begin(tf.constant(np.random.default_rng(1).random((4, space.size)) < 0.7))
    feed, kernels = Batches(), {path: kernel.numpy() for path, kernel in space.kernels.items()}
    feed.inputs = np.random.default_rng(2).normal(size=(BATCHES * BATCH, 32, 32, 3)).astype(np.float32)
    costs = passes(model, space, get_energy("margin"), True)
    how = {"population": population, "costs": costs, "state_batch": None, "threshold": 100}
    loop = EnergyLoop(model, OPTIMIZERS["nesterov"](), feed, space, **how)
    losses = loop.run(0, 1)[1]
    masks = space.masks(loop.best.numpy())
    assert np.isfinite(losses).all()
    for path, kernel in space.kernels.items():
        moved = kernel.numpy() != kernels[path]
        assert not moved[~masks[path]].any() and moved[masks[path]].any(), path
