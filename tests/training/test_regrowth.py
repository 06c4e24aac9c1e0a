"""RigL and SET against a plain reading of their papers; what grows starts at 0; data in turns."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tfprune
from tfprune.errors import InputError
from tfprune.training.regrowth import SET, RigL, regrown
from tfprune.training.slots import clear_slots
from tfprune.training.turns import Turns

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

X = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
Y = (X[:, 0] * X[:, 1] > 0).astype(np.int32)
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def _net(optimizer="adam"):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((6,)), layers.Dense(10, "tanh", name="a"), layers.Dense(3, name="b")])
    model.compile(optimizer, LOSS)
    return model


def test_rigl_drops_the_smallest_and_grows_where_the_gradient_is_largest():
    model, schedule = _net(), RigL(0.5, frequency=5, fraction=0.4, end_step=20)
    pruning = tfprune.Prune(schedule=schedule, data=(X, Y), batch_size=40)  # a batch is all rows
    pruning.begin(model)
    start = tfprune.masks_of(model)
    assert start == tfprune.prune(_net(), "random/erk", 0.5)
    kernels = {path: kernel.numpy() for path, kernel in tfprune.prunable(model).items()}
    for _ in range(4):
        pruning.step()
    found = tfprune.masks_of(model)
    plain = tfprune.strip(model)
    for path, kernel in tfprune.prunable(plain).items():
        kernel.assign(kernels[path] * start[path])
    with tf.GradientTape() as tape:
        value = LOSS(Y, plain(X))
    own = [kernel.value for kernel in tfprune.prunable(plain).values()]
    part = 0.4 / 2 * (1 + math.cos(math.pi * 5 / 20))
    for (path, mask), gradient in zip(start.items(), tape.gradient(value, own), strict=True):
        weights, gradient = np.abs(kernels[path]).ravel(), np.abs(gradient.numpy()).ravel()
        kept = np.flatnonzero(mask)
        goes = set(kept[np.argsort(weights[kept])][: int(part * len(kept))].tolist())
        stay = set(kept.tolist()) - goes
        free = [place for place in np.argsort(-gradient).tolist() if place not in stay]
        assert set(np.flatnonzero(found[path]).tolist()) == stay | set(free[: len(goes)])
        # What has grown is 0; what stayed, or was dropped and grew at once, is as it was.
        now, grown = tfprune.prunable(model)[path].numpy(), found[path] & ~mask
        assert grown.any() and not now[grown].any()
        np.testing.assert_array_equal(now[~grown], kernels[path][~grown])
    record = pruning.history[-1]
    assert record.step == 5 and record.grown == record.dropped == sum(
        np.count_nonzero(found[path] & ~start[path]) for path in start
    )


def test_the_dropped_part_falls_as_a_cosine_and_ends():
    schedule = RigL(0.5, frequency=10).fixed(100)
    assert list(schedule.renewals) == [10, 20, 30, 40, 50, 60, 70]
    assert [schedule.part(step) for step in (0, 37.5, 75)] == pytest.approx([0.3, 0.15, 0])
    assert list(SET(0.5, frequency=25).fixed(100).renewals) == [25, 50, 75]
    assert SET(0.5).fixed(None).renewals[2] == 300


def test_set_by_hand():
    kernel = np.array([[0.1, -0.2, 0.3, -0.4, 0.5, 0.9, -0.8, 0.7]], np.float32)
    mask = np.array([[1, 1, 1, 1, 1, 0, 0, 0]], bool)
    schedule = SET(fraction=0.5)  # of 0.1, 0.3, 0.5 one, of -0.2, -0.4 one
    np.testing.assert_array_equal(schedule.dropped(kernel, mask, 1, 0), [[1, 1, 0, 0, 0, 0, 0, 0]])
    found = {tuple(regrown(schedule, 1, kernel, mask, None, np.random.default_rng(seed), 0)[0]) for seed in range(40)}
    assert all(sum(one) == 5 and all(one[2:5]) for one in found)
    assert len(found) == 10  # two of five places


@pytest.mark.parametrize("schedule", [RigL(0.8, frequency=1, end_step=40), SET(0.8, frequency=1)], ids=["rigl", "set"])
def test_counts_never_change_while_it_trains(schedule):
    """Slots of what grows start at 0: after one step Adam's first moment there is (1 − β₁) · gradient."""
    model, counts = _net(keras.optimizers.Adam(0.05)), []

    class Count(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            counts.append(tfprune.masks_of(self.model).counts)

    callback = tfprune.Prune(schedule=schedule, data=(X, Y))
    history = model.fit(X, Y, batch_size=8, epochs=4, verbose=0, callbacks=[callback, Count()]).history
    assert all(one == counts[0] for one in counts) and sum(counts[0].values()) == 18
    assert [record.grown for record in callback.history] == [
        0 if record.step == 0 else record.dropped for record in callback.history
    ]
    assert sum(history["grown"]) == sum(record.grown for record in callback.history) > 10


def test_slots_of_some_weights_are_cleared():
    model = _net(keras.optimizers.Adam(0.05, use_ema=True))
    model.fit(X, Y, verbose=0)
    where = np.arange(60).reshape(6, 10) % 7 == 0
    kernel = model.layers[0].kernel
    before = {variable.path: variable.numpy() for variable in model.optimizer.variables}
    clear_slots(model.optimizer, kernel, where, averages=False)
    changed = [one for one in model.optimizer.variables if not np.array_equal(one.numpy(), before[one.path])]
    assert len(changed) == 2  # first and second moment
    for variable in changed:
        np.testing.assert_array_equal(variable.numpy(), np.where(where, 0, before[variable.path]))
    clear_slots(keras.optimizers.LossScaleOptimizer(model.optimizer), kernel, where)
    assert sum(not np.array_equal(one.numpy(), before[one.path]) for one in model.optimizer.variables) == 3
    clear_slots(None, kernel, where)


def test_batches_come_in_turns():
    drawn = Turns((X, Y), 8, 1, 0)
    first, second = drawn.take(3, 2)
    np.testing.assert_array_equal(Turns((X, Y), 8, 1, 0).take(4, 1)[0][0], second[0])
    assert first[0].shape == (8, 6) and first[1].shape == (8,) and not np.array_equal(first[0], second[0])
    data = tf.data.Dataset.range(5).map(lambda number: (number, number))
    for source in (data, data.repeat()):
        turns = Turns(source, 8, 1, 0)
        numbers = [[int(pair[0]) for pair in turns.take(*place)] for place in ((1, 2), (3, 1), (4, 3), (2, 2))]
        assert numbers == [[1, 2], [3], [4, 0, 1], [2, 3]]
    with pytest.raises(InputError, match="data holds no batches"):
        Turns([], 8, 1, 0).take(0, 1)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: RigL(0.5, fraction=0), r"fraction must lie in \(0, 1\]. Received: 0"),
        (lambda: RigL(0.5, frequency=2.5), "frequency must be a whole number of steps, at least 1. Received: 2.5"),
        (lambda: RigL(0.5, frequency=None), "frequency must be a whole number of steps, at least 1. Received: None"),
        (lambda: RigL(0.5, fraction="a"), r"fraction must lie in \(0, 1\]. Received: 'a'"),
        (lambda: RigL(0.5, end=0.5, end_step=10), "give end or end_step, not both"),
        (lambda: RigL(0.5).fixed(None), "whose number of steps is not known"),
    ],
)
def test_what_is_refused(make, told):
    with pytest.raises(InputError, match=told):
        make()
