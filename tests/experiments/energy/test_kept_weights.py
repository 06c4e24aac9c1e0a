"""A state that stays the same, trained by its kept weights alone: the dense training's numbers, and its checkpoints."""

from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from small_trainings import Batches as AnyBatches
from small_trainings import Killed, KillingWatch

from tfprune.errors import InputError
from tfprune.experiments.energy.training import EnergyLoop, MaskedLoop
from tfprune.layers.weights import weights_of
from tfprune.pruning.evolution import Population
from tfprune.pruning.filter_states import Site, StateSpace, Stretch
from tfprune.records.run_folder import Layout, RunFolder
from tfprune.training.decay import AllDecay
from tfprune.training.momentum import MomentumSGD
from tfprune.training.optimizers import WarmupMilestones, make_optimizer
from tfprune.training.session import Session
from tfprune.training.timetable import Pauses, Timetable

pytest.importorskip("numba")

BATCH, BATCHES, CLASSES, SIZES = 64, 3, 3, {"conv": 32, "wide": 64, "hidden": 1024, "out": 1024}
OPTIMIZERS = {
    "nesterov": lambda: MomentumSGD(0.01, 0.9, True, form="pytorch"),
    "adam": lambda: make_optimizer("adam", 1e-3),
    "adadelta": lambda: keras.optimizers.Adadelta(1.0, rho=0.9, epsilon=1e-6),
}
STATE = np.random.default_rng(1).random(sum(SIZES.values())) < 0.08
STATE[: SIZES["conv"]] = np.arange(SIZES["conv"]) % 2  # too small to be worth it

Batches = partial(AnyBatches, BATCHES, BATCH, (8, 8, 1), CLASSES)


def _space():
    """Of a new model with the same weights each time: bits are filters of convolutions, and inputs of dense layers."""
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(SIZES["conv"], 3, padding="same", use_bias=False, name="conv"),  # it would have no slope
            layers.BatchNormalization(name="norm"),
            layers.Activation("tanh"),
            layers.Conv2D(SIZES["wide"], 3, padding="same", activation="tanh", name="wide"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dropout(0.2, seed=5),
            layers.Dense(1024, activation="tanh", name="hidden"),
            layers.Dense(CLASSES, name="out"),
        ]
    )
    stretches, sites, start = [], [], 0
    for (name, size), axis in zip(SIZES.items(), (3, 3, 0, 0), strict=True):
        stretches.append(Stretch(name, start, size))
        sites.append(Site(f"{name}/kernel", axis, np.arange(start, start + size)))
        start += size
    return model, StateSpace(model, stretches, sites)


def _settings(model, decay=1e-2):
    settings = {"schedule": WarmupMilestones(0.01, [4], 0.1)}
    return {**settings, "decay": AllDecay(model, decay)} if decay else settings


def _fixed(engine, optimizer="nesterov", decay=1e-2):
    model, space = _space()
    return MaskedLoop(model, OPTIMIZERS[optimizer](), Batches(), space, STATE, engine=engine, **_settings(model, decay))


def _searched(engine):
    """One of the states is the best on every batch, so that it is frozen within the second epoch."""
    model, space = _space()
    population = Population(4, space.size, 7, patience=2)

    def costs(states, inputs, labels):
        return tf.reduce_mean(tf.cast(tf.math.logical_xor(states, STATE), tf.float32), axis=1)

    given = model, OPTIMIZERS["adadelta"](), Batches(), space, population, costs, None, BATCHES
    return EnergyLoop(*given, engine=engine, **_settings(model))


LOOPS = {"fixed": _fixed, "searched": _searched}


def _train(loop, place, killed_at=None):
    """Four epochs."""
    weights = [np.array(each) for each in loop.model.get_weights()]

    def begin():
        loop.model.set_weights(weights)
        if isinstance(loop, EnergyLoop):
            rng = np.random.default_rng(5)
            loop.population.begin(tf.constant(np.stack([STATE, *(rng.random((3, len(STATE))) < 0.5)])))

    epochs, inputs = Pauses(every=BATCHES, first=BATCHES), Batches().batch(0, 0, BATCH)[0]

    def test():
        return {"sum": float(tf.reduce_sum(loop.masked_outputs(inputs, False))), "lr": loop.rate}

    with RunFolder(place, Layout(results=("log",), unit="level"), "run") as folder:
        return Session(loop, test, ()).run(
            folder,
            Timetable(tests=epochs, checkpoints=epochs, means=epochs),
            begin,
            KillingWatch(killed_at),
            stream=0,
            end=4 * BATCHES,
        )


def _bytes(loop):
    return [array.tobytes() for array in loop.state]


def _assert_close(loop, other):
    for came, expected in zip(loop.state, other.state, strict=True):
        came, expected = 1.0 * came, 1.0 * expected
        np.testing.assert_allclose(came, expected, atol=1e-4 * max(1.0, float(np.abs(expected).max())))


@pytest.mark.slow_beyond(3)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("decay", [1e-2, 0])
def test_the_numbers_are_those_of_dense_training(optimizer, decay):
    loops, losses = [_fixed(engine, optimizer, decay) for engine in ("dense", "sparse")], []
    before = weights_of(loops[0].model)
    for loop in loops:
        loop.begin()
        losses.append(loop.run(0, 5)[1])
        loop.give_weights()
    assert (loops[0].kept, loops[1].kept) == ([], ["wide", "hidden"])
    np.testing.assert_allclose(*losses, rtol=1e-5)
    assert loops[0].rate == loops[1].rate == pytest.approx(1e-3)
    _assert_close(*loops[::-1])
    masks, after = loops[1].space.masks(STATE), weights_of(loops[1].model)
    for path, array in after.items():
        keep = masks.get(path, np.ones(array.shape, bool))
        np.testing.assert_array_equal(array[~keep], before[path][~keep], err_msg=path)
        assert (array[keep] != before[path][keep]).any(), path  # running averages among them


@pytest.mark.parametrize("kind", [pytest.param("fixed", marks=pytest.mark.slow), "searched"])
def test_a_killed_training_ends_with_the_same_bytes(kind, tmp_path):
    whole = LOOPS[kind]("sparse")
    undisturbed = _train(whole, tmp_path / "whole")
    assert undisturbed.facts["engine"] == "sparse" and undisturbed.kept_layers == 2
    for epoch in (2, 4):  # one of them right after the state was frozen
        with pytest.raises(Killed):
            _train(LOOPS[kind]("sparse"), tmp_path / f"{epoch}", killed_at=epoch * BATCHES)
        again = LOOPS[kind]("sparse")
        trained = _train(again, tmp_path / f"{epoch}")
        assert _bytes(again) == _bytes(whole) and trained.log.text() == undisturbed.log.text()
        assert trained.kept_layers == 2


@pytest.mark.slow_beyond(2)
@pytest.mark.parametrize("engines", [("dense", "sparse"), ("sparse", "dense")])
@pytest.mark.parametrize("kind", LOOPS)
def test_a_checkpoint_goes_on_with_the_other_engine(kind, engines, tmp_path):
    whole, other = LOOPS[kind]("dense"), LOOPS[kind](engines[1])
    expected = _train(whole, tmp_path / "whole").log
    with pytest.raises(Killed):
        _train(LOOPS[kind](engines[0]), tmp_path / "killed", killed_at=3 * BATCHES)
    log = _train(other, tmp_path / "killed").log
    assert len(other.kept) == 2 * (engines[1] == "sparse")
    for name in expected.names:
        assert log.values(name) == pytest.approx(expected.values(name), rel=1e-3), name
    assert weights_of(whole.model).keys() == weights_of(other.model).keys()
    for path, array in weights_of(whole.model).items():
        np.testing.assert_allclose(weights_of(other.model)[path], array, atol=1e-3, err_msg=path)


def test_a_search_is_dense_until_its_state_is_frozen_and_an_epoch_is_over():
    loops = [_searched(engine) for engine in ("dense", "sparse")]
    kept, losses = [], []
    for loop in loops:
        first = np.stack([STATE, *(np.random.default_rng(5).random((3, len(STATE))) < 0.5)])
        loop.population.begin(tf.constant(first))
        loop.begin()
        steps = [(0, 3), (3, 4), (4, 5), (5, 6), (6, 8)]
        values = []
        for start, stop in steps:
            values.append(dict(zip(loop.measures, loop.run(start, stop), strict=True)))
            kept.append((bool(values[-1]["frozen"][-1]), len(loop.kept)))
        losses.append([each["train_loss"] for each in values])
    frozen = [False, True, True, True, True]
    assert kept == [*((each, 0) for each in frozen), *zip(frozen, (0, 0, 0, 2, 2), strict=True)]
    for came, expected in zip(losses[1][:4], losses[0][:4], strict=True):
        np.testing.assert_array_equal(came, expected)
    np.testing.assert_allclose(losses[1][4], losses[0][4], rtol=1e-5)


def test_states_that_it_does_not_pay_for_are_trained_as_ever():
    loops = []
    for engine in ("dense", "auto"):
        model, space = _space()
        state = np.arange(space.size) % 2 == 0
        loops.append(MaskedLoop(model, OPTIMIZERS["adadelta"](), Batches(), space, state, engine=engine))
        loops[-1].begin()
        loops[-1].run(0, 3)
    assert loops[1].kept == [] and _bytes(loops[0]) == _bytes(loops[1])


def test_it_is_refused_where_tensorflow_sees_a_gpu(monkeypatch):
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind=None: ["a GPU"])
    with pytest.raises(InputError, match=r"^engine = sparse computes on CPUs"):
        _fixed("sparse")
