"""Pruning while `fit` trains: schedules, what is pruned and when, what is told, and all ways to train."""

import json
import subprocess
import sys
import warnings
from itertools import pairwise
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tfprune
from tfprune.errors import InputError
from tfprune.layers.weights import weight_variables, weights_of
from tfprune.training import fit_engine
from tfprune.training.schedules import SCHEDULES
from tfprune.training.tfmot_bridge import Twin

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def _slow(value):
    return pytest.param(value, marks=pytest.mark.slow)


X = np.random.default_rng(0).normal(size=(80, 6)).astype(np.float32)
Y = (X[:, 0] * X[:, 1] > 0).astype(np.int32)
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def _net(optimizer=None, dtype=None, **compiled):
    """Kernels of 60 and 30 weights; an epoch has 10 steps."""
    keras.utils.set_random_seed(1)
    stack = [
        layers.Dense(10, "relu", name="a", dtype=dtype),
        layers.BatchNormalization(name="bn"),
        layers.Dense(3, name="b"),
    ]
    model = keras.Sequential([keras.Input((6,)), *stack])
    model.compile(optimizer or keras.optimizers.Adam(0.01), LOSS, **compiled)
    return model


def _fit(model, *callbacks, epochs=3, **arguments):
    given = {"batch_size": 8, "shuffle": False, "verbose": 0, **arguments}
    return model.fit(X, Y, epochs=epochs, callbacks=list(callbacks), **given).history


def _kept(model):
    return tfprune.masks_of(model).kept


class Seen(keras.callbacks.Callback):
    """Masks and weights after every batch."""

    def on_train_begin(self, logs=None):
        self.masks, self.weights = [], []

    def on_train_batch_end(self, batch, logs=None):
        self.masks.append(tfprune.masks_of(self.model))
        self.weights.append(weights_of(self.model))

    @property
    def kept(self):
        return [masks.kept for masks in self.masks]


POLYNOMIAL = tfprune.PolynomialSchedule(0.8, 0, 20, 10)


@pytest.mark.parametrize("pruner", ["magnitude", _slow("snip")])
@pytest.mark.parametrize("name", [_slow(name) if name in ("exponential", "one_cycle") else name for name in SCHEDULES])
def test_every_schedule_prunes_a_plain_model(name, pruner):
    model = _net()
    callback = tfprune.Prune(pruner, name, sparsity=0.8, data=(X, Y), seed=3)
    history = _fit(model, seen := Seen(), callback, epochs=2)
    assert history["sparsity"][-1] == tfprune.masks_of(model).sparsity == pytest.approx(0.8)
    assert len(history["sparsity"]) == 2 and callback.history[-1].sparsity == pytest.approx(0.8)
    changes = sum(record.dropped for record in callback.history) - sum(record.grown for record in callback.history)
    assert changes == 72
    if name not in ("rigl", "set"):
        for before, after in pairwise(seen.masks):
            assert before & after == after
        assert "grown" not in history
    plain = tfprune.strip(model, compiled=False)
    assert sum(np.count_nonzero(kernel.numpy()) for kernel in tfprune.prunable(plain).values()) <= 18
    np.testing.assert_array_equal(plain(X), model(X))


def test_masks_are_those_of_prune_at_the_step():
    """Before the update of the step that is due, by the weights of then; pruned weights keep their values."""
    model = _net(keras.optimizers.SGD(0.1))
    _fit(model, seen := Seen(), tfprune.Prune("magnitude/erk", POLYNOMIAL))
    assert seen.kept == [90] * 9 + [seen.kept[9]] * 10 + [18] * 11
    twin = _net()
    for path, variable in weight_variables(twin).items():
        variable.assign(seen.weights[8][path])
    first = tfprune.prune(twin, "magnitude/erk", POLYNOMIAL.at(10))
    assert seen.masks[9] == first and first.kept == seen.kept[9] < 30
    for path, mask in seen.masks[9].items():
        np.testing.assert_array_equal(seen.weights[8][path][~mask], seen.weights[-1][path][~mask])
        assert (seen.weights[8][path] != seen.weights[-1][path])[seen.masks[-1][path]].all()


@pytest.mark.parametrize(("moved", "regrow"), [(0.5, True), (1e-5, False)])
def test_on_the_same_trajectory_masks_are_those_of_tfmot(moved, regrow):
    """Weights at each step are those of a model that tfmot prunes; without regrowth where tfmot has none, too."""
    schedule = tfprune.PolynomialSchedule(0.8, 2, 32, 5)
    model, rng, back = _net(), np.random.default_rng(0), 0
    twin = Twin(model, schedule)
    callback = tfprune.Prune("magnitude/uniform", schedule, regrow=regrow)
    for step in range(1, 36):
        before = twin.masks
        for path, kernel in tfprune.prunable(model).items():
            kernel.assign(twin.kernels[path])
        if step == 1:
            callback.begin(model)
        else:
            callback.step()
        twin(X, training=True)  # renews its masks where that is due, and sets pruned weights to 0
        assert tfprune.masks_of(model) == twin.masks, step
        back += sum(np.count_nonzero(mask & ~before[path]) for path, mask in twin.masks.items())
        for kernel in twin.kernels.values():
            kernel.assign((1 - moved) * kernel + moved * rng.normal(size=kernel.shape))
    assert twin.masks.counts == {"a/kernel": 12, "b/kernel": 6}
    assert (back > 5) == regrow and len(callback.history) == (7 if regrow else 5)


def test_effective_target():
    model = _net()
    schedule = tfprune.PolynomialSchedule(0.6, 0, 20, 10)
    history = _fit(model, tfprune.Prune("magnitude/uniform", schedule, pruning_type="effective"))
    report = tfprune.sparsity(model)
    assert history["effective_sparsity"][-1] == report.effective == pytest.approx(0.6, abs=0.02)
    assert history["sparsity"][-1] == report.direct < report.effective


class _Killed(Exception):
    pass


class Kill(keras.callbacks.Callback):
    def on_train_batch_begin(self, batch, logs=None):
        self.seen = getattr(self, "seen", -1) + 1
        if self.seen == 26:
            raise _Killed


KINDS = {
    "monotone": lambda: tfprune.Prune("magnitude", tfprune.PolynomialSchedule(0.8, 0, 40, 5)),
    "regrow": lambda: tfprune.Prune("magnitude", tfprune.PolynomialSchedule(0.8, 1, 41, 5), regrow=True),
    "effective": lambda: tfprune.Prune("magnitude", "exponential", sparsity=0.7, pruning_type="effective"),
    "rigl": lambda: tfprune.Prune(schedule=tfprune.RigL(0.6, frequency=3), data=(X, Y), batch_size=8),
    "rigl of batches": lambda: tfprune.Prune(
        schedule=tfprune.RigL(0.6, frequency=3, batches=2), data=tf.data.Dataset.from_tensor_slices((X, Y)).batch(8)
    ),
    "set": lambda: tfprune.Prune(schedule=tfprune.SET(0.6, frequency=5)),
    "layers": lambda: tfprune.Prune(schedule=tfprune.PolynomialSchedule({"a": 0.9, "b": 0.5}, 0, 40, 5)),
}


@pytest.mark.parametrize("kind", ["rigl", *map(_slow, sorted(set(KINDS) - {"rigl"}))])
def test_killed_and_resumed_is_as_unkilled(kind, tmp_path):
    whole = _net()
    _fit(whole, KINDS[kind](), epochs=5)

    def backup():
        return keras.callbacks.BackupAndRestore(tmp_path / "backup")

    with pytest.raises(_Killed):
        _fit(_net(), backup(), KINDS[kind](), Kill(), epochs=5)
    again = _net()
    _fit(again, backup(), callback := KINDS[kind](), epochs=5)  # from the third epoch on
    assert callback.history[0].step > 20
    assert tfprune.masks_of(again) == tfprune.masks_of(whole)
    for path, array in weights_of(whole).items():
        np.testing.assert_array_equal(array, weights_of(again)[path], err_msg=path)


def test_fits_count_on_with_initial_epoch_and_start_anew_without():
    callback = tfprune.Prune("magnitude", tfprune.PolynomialSchedule(0.8, 0, 20, 5))
    whole, parts = _net(), _net()
    _fit(whole, callback, epochs=3)
    with pytest.warns(UserWarning, match="the schedule ends at step 20, the training at step 10: sparsity 0.7 is"):
        _fit(parts, callback, epochs=1)
    assert _kept(parts) == 27
    _fit(parts, callback, epochs=3, initial_epoch=1)
    assert [record.step for record in callback.history] == [15, 20]
    assert tfprune.masks_of(parts) == tfprune.masks_of(whole)
    # Again from the start: the masks stay.
    masks = tfprune.masks_of(parts)
    history = _fit(parts, callback)
    assert callback.history == [] and tfprune.masks_of(parts) == masks and history["sparsity"] == [masks.sparsity] * 3
    # An earlier training that did not prune is made up for before the first step.
    late = _net()
    _fit(late, seen := Seen(), callback, epochs=3, initial_epoch=1)
    assert seen.kept == [27] * 4 + [20] * 5 + [18] * 11


def test_steps_per_execution_renews_at_the_next_execution():
    model = _net(steps_per_execution=4)
    schedule = tfprune.PolynomialSchedule(0.8, 0, 30, 10)
    _fit(model, seen := Seen(), callback := tfprune.Prune("magnitude", schedule))
    one, two, three = (90 - int(90 * schedule.at(step) + 1e-6) for step in (10, 20, 30))
    # Executions of steps 1-4, 5-8, 9-10 of each epoch.
    assert seen.kept == [90, 90, 90, one, one, one, two, two, two]
    assert _kept(model) == three == 18 and [record.step for record in callback.history] == [10, 20, 30]


class OwnStep(keras.Model):
    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            loss = self.compute_loss(y=y, y_pred=self(x, training=True))
        self.optimizer.apply(tape.gradient(loss, self.trainable_variables), self.trainable_variables)
        return {"loss": loss}


def _own_step():
    keras.utils.set_random_seed(1)
    inputs = keras.Input((6,))
    model = OwnStep(inputs, layers.Dense(3, name="b")(layers.Dense(10, "relu", name="a")(inputs)))
    model.compile("sgd", LOSS)
    return model


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.a, self.b = layers.Dense(10, "relu", name="a"), layers.Dense(3, name="b")

    def call(self, x):
        return self.b(self.a(x))


def _subclassed():
    keras.utils.set_random_seed(1)
    model = Subclassed()
    model(X)
    model.compile("adam", LOSS)
    return model


WAYS = {
    "jit": lambda: _net(jit_compile=True),
    "eager": lambda: _net(run_eagerly=True),
    "mixed_float16": lambda: _net(keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.01)), "mixed_float16"),
    "mixed_bfloat16": lambda: _net(dtype="mixed_bfloat16"),
    "own train_step": _own_step,
    "subclassed": _subclassed,
    "masked": lambda: tfprune.masked(_net()),
    "average": lambda: _net(keras.optimizers.SGD(0.1, momentum=0.9, use_ema=True)),
}


@pytest.mark.parametrize(
    ("way", "name"),
    [
        *(("jit", "polynomial"), ("mixed_float16", "rigl")),
        *(pytest.param(way, name, marks=pytest.mark.slow) for way in WAYS for name in ("polynomial", "rigl")),
    ],
)
def test_all_ways_to_train(way, name):
    schedule = POLYNOMIAL if name == "polynomial" else tfprune.RigL(0.8, frequency=5)
    model = WAYS[way]()
    _fit(model, callback := tfprune.Prune(schedule=schedule, data=(X, Y)))
    after = float(LOSS(Y, model(X)))
    for variable, value in zip(model.trainable_variables, WAYS[way]().trainable_variables, strict=True):
        variable.assign(value)
    assert after < float(LOSS(Y, model(X))) and _kept(model) == 18 and len(callback.history) >= 2


def test_a_loop_of_ones_own_gives_what_fit_gives():
    fitted, own = _net(keras.optimizers.SGD(0.1)), _net(keras.optimizers.SGD(0.1))
    _fit(fitted, tfprune.Prune("magnitude", "polynomial", sparsity=0.8))
    pruning = tfprune.Prune("magnitude", "polynomial", sparsity=0.8)
    pruning.begin(own, steps=30)
    for step in range(30):
        rows = slice(step % 10 * 8, step % 10 * 8 + 8)
        own.train_on_batch(X[rows], Y[rows])
        pruning.step()
    assert tfprune.masks_of(own) == tfprune.masks_of(fitted)
    for path, array in weights_of(fitted).items():
        np.testing.assert_allclose(weights_of(own)[path], array, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_data_of_unknown_length_are_counted():
    def batches():
        yield from ((X[start : start + 8], Y[start : start + 8]) for start in range(0, 80, 8))

    spec = tf.TensorSpec([None, 6], tf.float32), tf.TensorSpec([None], tf.int32)
    data, model = tf.data.Dataset.from_generator(batches, output_signature=spec), _net()
    model.fit(data, epochs=3, verbose=0, callbacks=[seen := Seen(), tfprune.Prune("magnitude", POLYNOMIAL)])
    expected = _net()
    _fit(expected, wanted := Seen(), tfprune.Prune("magnitude", POLYNOMIAL))
    assert seen.kept == wanted.kept
    with pytest.raises(InputError, match="whose number of steps is not known"):
        model.fit(data, verbose=0, callbacks=[tfprune.Prune("magnitude", "polynomial", sparsity=0.8)])
    several = _net(steps_per_execution=3)
    with pytest.raises(InputError, match="cannot count the steps of executions of several: give fit steps_per_epoch"):
        several.fit(data, verbose=0, callbacks=[tfprune.Prune("magnitude", POLYNOMIAL)])
    late = tfprune.PolynomialSchedule(0.9, 0, 90, 10)
    with pytest.warns(UserWarning, match="training has ended before the schedule, .* due at step 90"):
        model.fit(data, verbose=0, callbacks=[tfprune.Prune("magnitude", late)])


def test_functions_of_ones_own():
    @tfprune.register_schedule("test_square")
    def square(progress, initial, final):
        """Late."""
        return initial + (final - initial) * progress**2

    try:
        model = _net()
        _fit(model, tfprune.Prune(schedule="test_square", sparsity=0.8))  # to step 15, every step
        assert tfprune.schedules()["test_square"] == "Late" and _kept(model) == 18
        with pytest.raises(InputError, match="there is a schedule 'rigl' already"):
            tfprune.register_schedule("rigl")(square)
    finally:
        SCHEDULES.pop("test_square")
    model = _net()
    _fit(model, seen := Seen(), tfprune.Prune(schedule=tfprune.OwnSchedule(lambda step: step / 100, frequency=10)))
    assert seen.kept == [90] * 9 + [81] * 10 + [72] * 10 + [63]
    with pytest.warns(UserWarning, match="renews no masks within the 30 steps"):
        _fit(model, tfprune.Prune(schedule=lambda step: 0.5))
    with pytest.raises(InputError, match=r"function \(progress, initial, final\) -> sparsity, or a class of"):
        tfprune.register_schedule("test_dict")(dict)


def test_regrow_lets_the_schedule_fall():
    model = _net(keras.optimizers.SGD(0.1, momentum=0.9))
    cycle = tfprune.OwnSchedule(lambda step: 0.8 if step % 20 else 0.2, frequency=10)
    _fit(model, seen := Seen(), callback := tfprune.Prune(schedule=cycle, regrow=True))
    assert seen.kept == [90] * 9 + [18] * 10 + [72] * 10 + [18]
    assert [record.grown for record in callback.history] == [0, 54, 0]
    # What came back is the same as it was when it went, until it trains.
    for path, mask in seen.masks[9].items():
        back = seen.masks[19][path] & ~mask
        np.testing.assert_array_equal(seen.weights[18][path][back], seen.weights[8][path][back])


def test_patterns_last_through_a_training():
    model = _net()
    chosen = tfprune.prune(model, "magnitude", pattern="1:2")
    _fit(model, seen := Seen(), tfprune.Prune("magnitude", pattern="1:2"), epochs=1)
    assert all(masks == chosen for masks in seen.masks) and chosen.kept == 45
    model = _net()
    _fit(model, seen := Seen(), tfprune.Prune("magnitude", POLYNOMIAL, pattern="2x1"))
    assert seen.kept[0] == 90 and seen.kept[-1] == 18 and 18 < seen.kept[10] < 30
    for masks in seen.masks:
        assert all((mask[::2] == mask[1::2]).all() for mask in masks.values())


@pytest.mark.slow
def test_ignored_kernels_and_warnings_once():
    model = _net()
    model.layers[0].trainable = False
    model.compile("adam", LOSS)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        history = _fit(model, tfprune.Prune("magnitude", "polynomial", sparsity=0.8))
    assert len([one for one in caught if "kernels are frozen" in str(one.message)]) == 1
    assert history["sparsity"][-1] == pytest.approx(0.8)
    model = _net()
    history = _fit(model, tfprune.Prune("magnitude", "polynomial", sparsity=0.8, ignore="b"))
    assert tfprune.masks_of(model).counts == {"a/kernel": 12, "b/kernel": 30}
    assert history["sparsity"][-1] == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({}, r"schedule must be a schedule such as .* Received: None"),
        ({"schedule": "cubic"}, "schedule must be one of constant, polynomial,"),
        ({"schedule": "polynomial"}, "schedule='polynomial' needs sparsity="),
        ({"schedule": POLYNOMIAL, "sparsity": 0.5}, "sparsity= goes with the name of a schedule"),
        ({"schedule": POLYNOMIAL, "pruner": "magnitud"}, "pruner must be one of"),
        ({"schedule": POLYNOMIAL, "pruner": "snip"}, "pruner snip needs data="),
        ({"schedule": "rigl", "sparsity": 0.5}, "RigL needs data="),
        ({"schedule": "set", "sparsity": 0.5, "pruner": "random/snip"}, "pruner random/snip needs data="),
        ({"schedule": POLYNOMIAL, "pruning_type": "effectiv"}, "did you mean 'effective'"),
        ({"schedule": POLYNOMIAL, "min_weight": 1}, "Prune has no argument 'min_weight'.*did you mean 'min_weights'"),
        ({"schedule": "set", "sparsity": 0.5, "regrow": True}, "regrow=True goes with a schedule of sparsity"),
        (
            {"schedule": "set", "sparsity": 0.5, "pattern": "2x1"},
            "SET grows single weights, and pattern 2x1 would be lost",
        ),
        (
            {"schedule": POLYNOMIAL, "pattern": "1:2"},
            r"give ConstantSchedule\(0.5\). Received: PolynomialSchedule\(0.8\)",
        ),
        ({"schedule": "constant", "sparsity": 0.8, "pattern": "1:2"}, r"1:2 makes kernels 0.5 sparse at once"),
        ({"sparsity": 0.8, "pattern": "1:2"}, r"1:2 makes kernels 0.5 sparse .* Received: ConstantSchedule\(0.8\)"),
        ({"pattern": "2x1"}, r"schedule must be a schedule such as .* Received: None"),
        ({"schedule": "set", "sparsity": 50}, r"sparsity must lie in \[0, 1\). Received: 50; did you mean 0.5"),
    ],
)
def test_what_is_refused_at_once(arguments, told):
    with pytest.raises(InputError, match=told):
        tfprune.Prune(**arguments)


def test_what_is_refused_when_training_begins():
    sparse = tfprune.masked(_net(), tfprune.prune(_net(), "magnitude", 0.9))
    with pytest.raises(InputError, match=r"ends at sparsity 0.8, the model has 0.9 already: nothing that is pruned"):
        _fit(sparse, tfprune.Prune("magnitude", POLYNOMIAL))
    with pytest.raises(
        InputError, match=r"SET has sparsity 0.8, the model has 0.9 already: leave its sparsity out, and the"
    ):
        _fit(sparse, tfprune.Prune(schedule=tfprune.SET(0.8)))
    with pytest.raises(InputError, match="SET needs sparsity=, or a model with masks"):
        _fit(_net(), tfprune.Prune(schedule=tfprune.SET()))
    with pytest.warns(UserWarning, match=r"begins at sparsity 0\.\d+, the model has 0.9 already: masks stay until"):
        _fit(sparse, tfprune.Prune("magnitude", tfprune.PolynomialSchedule(0.95, 0, 20, 5)))
    assert _kept(sparse) == 5
    unbuilt = keras.Sequential([layers.Dense(3)])
    unbuilt.compile("sgd", LOSS)
    with pytest.raises(InputError, match=r"has no weights yet: give it a keras\.Input or call model\.build"):
        _fit(unbuilt, tfprune.Prune("magnitude", POLYNOMIAL))
    with pytest.raises(InputError, match=r"call begin\(model, steps\) before step"):
        tfprune.Prune("magnitude", POLYNOMIAL).step()
    teacher, student = _net(), _net()
    distiller = keras.distillation.Distiller(teacher, student, keras.distillation.LogitsDistillation())
    distiller.compile("sgd", LOSS)
    distiller(X)
    with pytest.raises(InputError, match="cannot prune through a Distiller: prune the student before"):
        _fit(distiller, tfprune.Prune("magnitude", POLYNOMIAL))
    for wrong in ({"steps": 0}, {"steps": "9"}, {"steps": 2.5}, {"steps": 9, "done": -1}):
        name = list(wrong)[-1]
        with pytest.raises(InputError, match=f"{name} must be a whole number of updates, at least .* {wrong[name]!r}"):
            tfprune.Prune("magnitude", POLYNOMIAL).begin(_net(), **wrong)


@pytest.mark.slow
def test_two_devices_prune_like_one():
    command = [sys.executable, str(Path(__file__).with_name("mirrored_prune_script.py"))]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-2000:]
    result = json.loads(ended.stdout)
    assert result["masks"] == {"polynomial": True, "rigl": True}
    assert result["kept"] == {"polynomial": 18, "rigl": 18}


def _wide(**compiled):
    """A kernel of 262,144 weights, one of 5,120."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [keras.Input((256,)), layers.Dense(1024, "relu", name="wide"), layers.Dense(5, name="out")]
    )
    model.compile(keras.optimizers.Adam(0.01), LOSS, **compiled)
    return model


class Engines(keras.callbacks.Callback):
    """Which layers were computed by kept weights after each epoch."""

    def __init__(self, prune):
        super().__init__()
        self._prune, self.kept = prune, []

    def on_epoch_end(self, epoch, logs=None):
        switches = self._prune._switches
        self.kept.append(switches and switches.kept)


def _wide_fit(engine, **compiled):
    pytest.importorskip("numba")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2048, 256)).astype(np.float32), rng.integers(0, 5, 2048)
    model = _wide(**compiled)
    prune = tfprune.Prune(
        "magnitude", tfprune.PolynomialSchedule(0.95, begin_step=2, end_step=10, frequency=2), engine=engine
    )
    engines = Engines(prune)
    history = model.fit(
        x, y, batch_size=512, epochs=4, shuffle=False, verbose=0, callbacks=[prune, engines], validation_data=(x, y)
    )
    return model, history.history, engines.kept


def test_layers_are_computed_by_their_kept_weights_once_few_are_left():
    model, history, kept = _wide_fit("auto")
    other, expected, never = _wide_fit("dense")
    assert kept == [[], ["wide"], ["wide"], ["wide"]] and never == [None] * 4
    for name in ("loss", "val_loss", "sparsity"):
        np.testing.assert_allclose(history[name], expected[name], rtol=1e-4)
    assert tfprune.masks_of(model).kept == tfprune.masks_of(other).kept
    # Afterwards the model is a masked one like any other, and can be exported.
    assert "call" not in vars(model.get_layer("wide"))
    names = {
        node.op for node in tf.function(model).get_concrete_function(tf.zeros((256, 256))).graph.as_graph_def().node
    }
    assert not [name for name in names if "PyFunc" in name]


def test_a_model_whose_fit_was_interrupted_is_like_any_other():
    pytest.importorskip("numba")

    class Interrupted(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise KeyboardInterrupt

    def fit(engine, *more):
        prune = tfprune.Prune("magnitude", tfprune.ConstantSchedule(0.95), engine=engine)
        model.fit(x, y, batch_size=512, verbose=0, callbacks=[prune, *more])
        return prune

    x, y = np.ones((512, 256), np.float32), np.zeros(512, int)
    model = _wide()
    with pytest.raises(KeyboardInterrupt):
        fit("sparse", Interrupted())
    assert "call" not in vars(model.get_layer("wide"))
    assert fit("dense")._switches is None and not isinstance(model.train_function, fit_engine._Switched)
    with pytest.raises(KeyboardInterrupt):
        fit("sparse", Interrupted())
    model.compile("sgd", "sparse_categorical_crossentropy", jit_compile=True)
    model.fit(x, y, batch_size=512, verbose=0)


def test_xla_computes_densely_and_refuses_the_sparse_engine():
    assert _wide_fit("auto", jit_compile=True)[2] == [None] * 4
    with pytest.raises(InputError, match="fit computes by XLA: use 'auto' or 'dense'"):
        _wide_fit("sparse", jit_compile=True)


def test_engines_that_cannot_be(monkeypatch):
    with pytest.raises(InputError, match=r"engine must be one of auto, dense, sparse. Received: 'fast'"):
        tfprune.Prune("magnitude", tfprune.PolynomialSchedule(0.9), engine="fast")
    monkeypatch.setitem(sys.modules, "numba", None)
    with pytest.raises(InputError, match="engine=sparse: the package numba is missing"):
        tfprune.Prune("magnitude", tfprune.PolynomialSchedule(0.9), engine="sparse")
