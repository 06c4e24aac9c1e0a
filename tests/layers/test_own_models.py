"""Functional and Sequential models of an own class, outermost and nested: what of them a copy keeps."""

import os
import subprocess
import sys
import warnings

import keras
import numpy as np
import pytest
from keras import layers as L

import tfprune
from tfprune.layers.convert import masked, set_masks, strip
from tfprune.layers.masks import Masks
from tfprune.layers.prunable import prunable


class Backbone(keras.Model):
    """Builds its graph itself, keeps layers as attributes, and says how it was made, as KerasHub's do."""

    def __init__(self, units, **kwargs):
        x = keras.Input((4,), name="numbers")
        first, self.last = L.Dense(units, activation="tanh", name="first"), L.Dense(3, name="last")
        y = first(x)
        super().__init__(inputs={"numbers": x}, outputs={"hidden": y, "logits": self.last(y)}, **kwargs)
        self.units = units

    @property
    def layers(self):
        return [layer for layer in super().layers if layer.weights]

    def get_config(self):
        return {"units": self.units}


class Steps(Backbone):
    def train_step(self, data):
        return {"loss": 0.0}

    def predict(self, *args, **kwargs):
        return "own"


@keras.saving.register_keras_serializable("tests_layers")
class Halving(keras.Model):
    """Made of inputs and outputs, as `keras.Model` is, with a step and an attribute of its own."""

    factor = 0.5

    def train_step(self, data):
        logs = super().train_step(data)
        return {**logs, "less": logs["loss"] * self.factor}


@keras.saving.register_keras_serializable("tests_layers")
class Chain(keras.Sequential):
    def score(self):
        return len(self.layers)


class Wide(keras.Sequential):
    def __init__(self, width):
        super().__init__([keras.Input((4,)), L.Dense(width, name="first"), L.Dense(2, name="second")])


@keras.saving.register_keras_serializable("tests_layers")
class Residual(keras.Model):
    """Subclassed: only its `call` says what it computes."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units, self.inside = units, L.Dense(units, activation="tanh")

    def call(self, x, training=None):
        return x + self.inside(x[:, ::-1])

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def _graph():
    x = keras.Input((4,))
    return x, L.Dense(2, name="second")(L.Dense(5, activation="relu", name="first")(x))


def _masks(model):
    rng = np.random.default_rng(0)
    return Masks({path: rng.random(kernel.shape) < 0.6 for path, kernel in prunable(model).items()})


def _numbers(count=6):
    return np.random.default_rng(1).normal(size=(count, 4)).astype("float32")


def _same(one, other):
    for a, b in zip(keras.tree.flatten(one), keras.tree.flatten(other), strict=True):
        np.testing.assert_array_equal(a, b)


def _nested():
    inner, x = Backbone(5, name="inner"), keras.Input((4,))
    y = inner({"numbers": x})
    return keras.Model(x, L.Dense(2, name="head")(y["logits"]) + L.Dense(2, name="other")(inner(x * 2)["logits"]))


MODELS = {
    "backbone": lambda: Backbone(5),
    "wide": lambda: Wide(5),
    "halving": lambda: Halving(*_graph()),
    "chain": lambda: Chain([keras.Input((4,)), L.Dense(5, name="first"), L.Dense(2, name="second")]),
    "nested": _nested,
}


@pytest.mark.parametrize("name", MODELS)
def test_taken_as_they_are(name, tmp_path):
    model = MODELS[name]()
    x = {"numbers": _numbers()} if name == "backbone" else _numbers()
    masks = _masks(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # no class here is lost that would train in another way
        sparse = masked(model, masks)
        plain = strip(sparse)
        small = tfprune.compact(sparse)
    for path, kernel in prunable(model).items():
        kernel.assign(kernel.numpy() * masks[path])
    _same(sparse(x), model(x))
    _same(plain(x), model(x))
    for one, other in zip(keras.tree.flatten(small(x)), keras.tree.flatten(model(x)), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert list(prunable(sparse)) == list(prunable(plain)) == list(prunable(model))
    assert (type(sparse) is type(model)) == (name in ("halving", "chain", "nested"))
    sparse.save(tmp_path / "model.keras")
    again = tfprune.load_model(tmp_path / "model.keras")
    _same(again(x), sparse(x))
    assert tfprune.masks_of(again) == masks


@pytest.mark.filterwarnings("ignore:no rule knows")
def test_nested_subclassed_models_are_layers_like_others(tmp_path):
    x, own = keras.Input((4,)), Residual(5, name="own")
    model = keras.Model(x, L.Dense(2, name="last")(own(L.Dense(5, name="between")(own(L.Dense(5, name="first")(x))))))
    assert list(prunable(model)) == ["first/kernel", "own/inside.kernel", "between/kernel", "last/kernel"]
    masks = _masks(model)
    sparse = masked(model, masks)
    assert isinstance(sparse.get_layer("own"), Residual) and sparse.get_layer("own") is not own
    assert type(strip(sparse).get_layer("own")) is Residual
    small = tfprune.compact(sparse)
    report = tfprune.sparsity(model, masks)
    assert report.barriers == ()  # what it computes is found inside
    last = masks["last/kernel"] & masks["between/kernel"].any(0)[:, None]
    assert report.effective_masks.counts["last/kernel"] >= last.sum()
    for path, kernel in prunable(model).items():
        kernel.assign(kernel.numpy() * masks[path])
    for copy in (sparse, strip(sparse), small):
        np.testing.assert_allclose(copy(_numbers()), model(_numbers()), atol=1e-6)
    sparse.save(tmp_path / "model.keras")
    _same(tfprune.load_model(tmp_path / "model.keras")(_numbers()), sparse(_numbers()))
    with pytest.raises(tfprune.InputError, match=r"'own': nothing says .* layer type Residual"):
        tfprune.sparsity(model, unknown="refuse")


def test_loaded_in_a_program_that_does_not_know_the_class(tmp_path):
    model = Backbone(5)
    sparse = masked(model, _masks(model))
    sparse.save(tmp_path / "model.keras")
    np.save(tmp_path / "x.npy", _numbers())
    program = (
        "import numpy, tfprune; model = tfprune.load_model('model.keras'); x = numpy.load('x.npy'); "
        "numpy.savez('y.npz', **{key: value.numpy() for key, value in model({'numbers': x}).items()}); "
        "print(tfprune.masks_of(model).kept)"
    )
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.stdout.split()[-1:] == [str(_masks(model).kept)], done.stderr
    with np.load(tmp_path / "y.npz") as found:
        _same(dict(found), sparse({"numbers": _numbers()}))


def test_a_class_that_trains_in_its_own_way_is_missed_in_a_line():
    model = Steps(5)
    with pytest.warns(UserWarning) as told:
        sparse = masked(model)
    (line,) = (str(one.message) for one in told)
    assert "without its class Steps, whose predict, train_step would do something else" in line and "\n" not in line
    assert type(sparse) is type(keras.Model(*_graph()))
    x = keras.Input((4,))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        masked(keras.Model(x, model(x)))  # a nested model only computes


def test_a_kept_class_trains_in_its_own_way():
    model = Halving(*_graph())
    model.factor, model.seen = 0.25, keras.metrics.Mean("seen")
    model.compile("sgd", "mse")
    sparse = masked(model)
    assert type(sparse) is Halving and sparse.factor == 0.25 and model.factor == 0.25
    assert sparse.seen is not model.seen and type(sparse.seen) is keras.metrics.Mean
    assert "load_weights" in vars(sparse) and "load_weights" not in vars(strip(sparse))  # of the masked model alone
    plain = keras.Model(model.input, model.output)
    plain.compile("sgd", "mse")
    y = np.ones((6, 2), "float32")
    whole = plain.evaluate(_numbers(), y, verbose=0)
    found = sparse.fit(_numbers(), y, batch_size=6, verbose=0).history["less"][0]
    assert found == pytest.approx(whole / 4, rel=1e-5)


@pytest.mark.parametrize("name", ["a layer of the graph", "a layer beside it", "in a list"])
def test_a_class_that_holds_layers_is_not_kept(name):
    """Its step would train those of the model, not those of the copy."""
    model = Halving(*_graph())
    beside = L.Dense(3)
    model.held = {"a layer of the graph": model.get_layer("first"), "a layer beside it": beside}.get(name, [beside])
    with pytest.warns(UserWarning, match="without its class Halving, whose train_step"):
        assert type(masked(model)) is not Halving


def test_compiled_like_a_model_with_its_own_compile():
    class Own(Backbone):
        def compile(self, speed=1.0, **kwargs):
            super().compile(keras.optimizers.SGD(0.25 * speed), loss={"logits": "mse"}, **kwargs)

    model = Own(5)
    model.compile(speed=2.0)
    sparse = masked(model)
    assert sparse.compiled and float(sparse.optimizer.learning_rate) == 0.5


def test_inputs_in_common_with_a_nested_model():
    """As KerasHub's tasks call their backbone with the backbone's own inputs."""
    inner = Backbone(5, name="inner")
    model = keras.Model(inner.input, L.Dense(2, name="head")(inner(inner.input)["hidden"]))
    masks, x = _masks(model), {"numbers": _numbers()}
    sparse = masked(model, masks)
    small = tfprune.compact(sparse)
    for path, kernel in prunable(model).items():
        kernel.assign(kernel.numpy() * masks[path])
    for copy in (sparse, strip(sparse), small):
        np.testing.assert_allclose(copy(x), model(x), atol=1e-6)


def test_masks_of_models_within_own_models():
    model = _nested()
    assert list(prunable(model)) == ["inner/first/kernel", "inner/last/kernel", "head/kernel", "other/kernel"]
    sparse = masked(model)
    masks = _masks(model)
    set_masks(sparse, masks)
    assert tfprune.masks_of(sparse) == masks
