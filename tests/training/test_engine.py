"""Training by the sparse engine: the dense training's numbers, the same checkpoints, and who decides."""

from itertools import product

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_trainings import Killed, KillingWatch

from tfprune.data.images import ResidentImages
from tfprune.errors import InputError
from tfprune.layers.convert import masked, masks_of, set_masks
from tfprune.layers.prunable import prunable
from tfprune.records.run_folder import Layout, RunFolder
from tfprune.training import engine as engine_module
from tfprune.training.decay import AllDecay, KernelDecay
from tfprune.training.feeds import Normalised, RowsFeed
from tfprune.training.loop import TrainingLoop
from tfprune.training.momentum import MomentumSGD
from tfprune.training.optimizers import make_optimizer
from tfprune.training.samplers import EpochSampler
from tfprune.training.session import Session
from tfprune.training.timetable import Pauses, Timetable

END, BATCH, WIDTH = 12, 128, 512

OPTIMIZERS = {
    "sgd": lambda: make_optimizer("sgd", 0.05),
    "momentum": lambda: MomentumSGD(0.02, momentum=0.9),
    "nesterov": lambda: make_optimizer("sgd", 0.02, nesterov_momentum=0.9),
    "adam": lambda: make_optimizer("adam", 1e-3),
}
DECAYS = {"all": lambda model: AllDecay(model, 0.01), "kernels": lambda model: KernelDecay(model, 0.01)}


def _masks(model, density, seed=1):
    rng = np.random.default_rng(seed)
    paths = list(prunable(model).items())
    return {path: rng.random(kernel.shape) < (density if path != paths[-1][0] else 1.0) for path, kernel in paths}


def _network(density=0.05, seed=1):
    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((WIDTH,)),
            layers.Dense(WIDTH, activation="relu", name="first"),
            layers.BatchNormalization(),
            layers.Dropout(0.2),
            layers.Dense(WIDTH, activation="relu", name="second"),
            layers.Dense(5, name="last"),
        ]
    )
    sparse = masked(model)
    masks = _masks(sparse, density, seed)
    for path, kernel in prunable(sparse).items():
        kernel.assign(kernel * masks[path])
    set_masks(sparse, masks)
    return sparse


class Training:
    """A network, its loop and its session."""

    def __init__(self, engine, optimizer="momentum", decay=None, density=0.05, xla=False):
        rng = np.random.default_rng(0)
        rows, labels = rng.integers(0, 256, (600, WIDTH), np.uint8), rng.integers(0, 5, 600).astype(np.int32)
        images = ResidentImages(rows, labels)
        self.model = _network(density)
        self.start = [np.array(variable.numpy()) for variable in self.model.variables]
        feed = RowsFeed(images, EpochSampler(600, BATCH, short=True), Normalised(np.full(WIDTH, 127.5), 1 / 64))
        more = {"decay": DECAYS[decay](self.model)} if decay else {}
        self.loop = TrainingLoop(self.model, OPTIMIZERS[optimizer](), feed, engine=engine, xla=xla, **more)
        self.seen = []
        self.session = Session(self.loop, self.measured)

    def measured(self):
        weights = np.concatenate([array.ravel() for array in self.model.get_weights()])
        return {"test_loss": float(np.abs(weights).sum()), "test_accuracy": float(weights[3])}

    def begin(self):
        for variable, array in zip(self.model.variables, self.start, strict=True):
            variable.assign(array)

    def run(self, folder, end=END):
        timetable = Timetable(tests=Pauses(every=4), checkpoints=Pauses(every=3), keeps=Pauses(at=(2, 7)))
        return self.session.run(
            folder,
            timetable,
            self.begin,
            KillingWatch(end if end < END else None),
            stream=3,
            end=END,
            keep=lambda step: {"w": self.model.get_weights()[0]},
        )


@pytest.fixture
def folder(tmp_path):
    with RunFolder(tmp_path, Layout(results=("log",), unit="level"), "run") as made:
        yield made


def _bytes(loop):
    return [array.tobytes() for array in loop.state]


QUICK = {("sgd", None), ("momentum", "all"), ("nesterov", "kernels"), ("adam", "all")}


@pytest.mark.parametrize(
    ("optimizer", "decay"),
    [
        pytest.param(*pair, marks=() if pair in QUICK else pytest.mark.slow)
        for pair in product(OPTIMIZERS, [None, *DECAYS])
    ],
)
def test_the_numbers_are_those_of_dense_training(optimizer, decay):
    dense, sparse = (Training(engine, optimizer, decay) for engine in ("dense", "sparse"))
    histories = []
    for training in (dense, sparse):
        training.loop.begin()
        training.loop.feed.begin(3, 0)
        histories.append(training.loop.run(0, 4, stream=3)[1])
    assert (dense.loop.kept, sparse.loop.kept) == ([], ["first", "second"])
    np.testing.assert_allclose(*histories, rtol=1e-5)
    for one, other in zip(dense.loop.state, sparse.loop.state, strict=True):
        np.testing.assert_allclose(1.0 * one, 1.0 * other, atol=2e-5 * max(1.0, float(np.abs(1.0 * one).max())))


def test_only_kept_weights_are_trained():
    training = Training("sparse", "adam")
    training.loop.begin()
    kept = sum(int(np.count_nonzero(mask)) for mask in masks_of(training.model).values())
    values = [v for v in training.loop._trained.variables if "kernel" in v.name]
    assert sum(int(np.prod(v.shape)) for v in values) == kept
    slots = [v for v in training.loop._trained.optimizer.variables if "kernel" in v.name]
    assert sum(int(np.prod(v.shape)) for v in slots) == 2 * kept


@pytest.mark.slow_beyond(1)
@pytest.mark.parametrize("last", [4, 9])
@pytest.mark.parametrize("engine", ["sparse", "dense"])
def test_a_killed_training_ends_with_the_same_bytes(folder, tmp_path, engine, last):
    whole = Training(engine)
    with RunFolder(tmp_path / "whole", Layout(results=("log",), unit="level"), "run") as other:
        undisturbed = whole.run(other)
    with pytest.raises(Killed):
        Training(engine).run(folder, last)
    again = Training(engine)
    trained = again.run(folder)
    assert _bytes(again.loop) == _bytes(whole.loop)
    assert trained.log.text() == undisturbed.log.text()
    for step in (2, 7):
        np.testing.assert_array_equal(trained.kept[step]["w"], undisturbed.kept[step]["w"])


def test_a_checkpoint_goes_on_with_the_other_engine(folder, tmp_path):
    dense = Training("dense")
    with RunFolder(tmp_path / "whole", Layout(results=("log",), unit="level"), "run") as other:
        dense.run(other)
    with pytest.raises(Killed):
        Training("dense").run(folder, 5)
    sparse = Training("sparse")
    sparse.run(folder)
    for one, other in zip(dense.loop.state, sparse.loop.state, strict=True):
        np.testing.assert_allclose(1.0 * one, 1.0 * other, atol=1e-4 * max(1.0, float(np.abs(1.0 * one).max())))


def test_tests_and_keeps_see_what_is_trained(folder):
    training = Training("sparse")
    trained = training.run(folder)
    seen = dict(trained.log.get("test_loss"))
    assert len(set(seen.values())) == len(seen) == 4
    assert (trained.kept[2]["w"] != trained.kept[7]["w"]).any()
    # What is pruned is what it was.
    mask = masks_of(training.model)[next(iter(prunable(training.model)))]
    assert not training.model.get_weights()[0][~mask].any()


def test_new_masks_are_compiled_anew_and_old_ones_are_not():
    training = Training("sparse")
    training.loop.begin()
    training.loop.feed.begin(3, 0)
    training.loop.run(0, 2, stream=3)
    compiled = training.loop._compiled
    training.begin()
    training.loop.begin()
    assert training.loop._compiled is compiled
    set_masks(training.model, _masks(training.model, 0.02, seed=5))
    training.loop.begin()
    assert training.loop._compiled is not compiled and training.loop.kept == ["first", "second"]
    set_masks(training.model, _masks(training.model, 0.9))
    training.loop.begin()
    assert training.loop.kept == []
    training.loop.run(0, 2, stream=3)


def test_networks_that_it_does_not_pay_for_are_trained_as_ever():
    loops = [Training(engine, density=0.8).loop for engine in ("dense", "sparse")]
    for loop in loops:
        loop.begin()
        loop.feed.begin(3, 0)
        loop.run(0, 3, stream=3)
    assert loops[1].kept == [] and _bytes(loops[0]) == _bytes(loops[1])


def test_xla_is_left_out():
    training = Training("auto", xla=True)
    training.loop.begin()
    training.loop.feed.begin(3, 0)
    assert training.loop.kept and np.isfinite(training.loop.run(0, 3, stream=3)[1]).all()


def test_numba_is_loaded_where_something_pays(monkeypatch):
    asked = []
    monkeypatch.setattr(engine_module, "can_compile", lambda: asked.append(1) or False)
    for density, count in ((1.0, 0), (0.05, 1)):
        model = _network(density)
        target = engine_module.Target(model, make_optimizer("sgd", 0.05))
        assert engine_module.engine_of("auto", BATCH).twin(target, masks_of(model)) is None
        assert len(asked) == count
    assert engine_module.engine_of("sparse", BATCH).twin(target, masks_of(model)).kept == ["first", "second"]


def test_who_decides(monkeypatch):
    with pytest.raises(InputError, match=r"engine must be one of auto, dense, sparse\. Received: 'fast'"):
        engine_module.engine_of("fast", 32)
    assert engine_module.engine_of("dense", 32) is None
    assert engine_module.engine_of("auto", 7).batch_size == 7 and engine_module.engine_of("auto", None).batch_size == 32
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind=None: ["a GPU"])
    assert engine_module.engine_of("auto", 32) is None
    with pytest.raises(InputError, match="engine = sparse computes on CPUs"):
        engine_module.engine_of("sparse", 32)
    monkeypatch.undo()
    monkeypatch.setitem(__import__("sys").modules, "numba", None)
    assert engine_module.engine_of("auto", 32) is None
