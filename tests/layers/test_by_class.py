"""Models of an own class that builds its graph itself, whose layers do not write what they read, as KerasHub's."""

import subprocess
import sys
import warnings
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers as L

import tfprune
from tfprune.layers.prunable import frozen_kernels

registered = keras.saving.register_keras_serializable("tests_by_class")
HERE = Path(__file__).parent


def relu(x):
    """Not what Keras calls so."""
    return keras.ops.maximum(x, 0.1 * x)


@registered
class Mute(L.Layer):
    """Writes a layer that it made, which it does not take; and not what it takes, a number or an array."""

    def __init__(self, shift=0.0, name="mute", **kwargs):
        super().__init__(name=f"{name}_block", **kwargs)
        self.by, self.dense = shift, L.Dense(5, activation="tanh")

    def call(self, x):
        return self.dense(x) + self.by

    def get_config(self):
        return {**super().get_config(), "dense": keras.saving.serialize_keras_object(self.dense)}


@registered
class Renamed(L.Layer):
    def __init__(self, name="renamed", **kwargs):
        super().__init__(name=f"{name}_block", **kwargs)
        self.dense = L.Dense(5)

    def call(self, x):
        return self.dense(x)


@registered
class Backbone(keras.Model):
    """Builds its graph itself, of layers some of which have no names of their own."""

    shift = 0.5

    def __init__(self, width, rate=0.0, **kwargs):
        x = inputs = keras.Input((4,), name="numbers")
        self.first, self.last = L.Dense(5, activation=relu), L.Dense(3)
        y = self.last(L.Dropout(rate)(L.BatchNormalization()(Mute(self.shift)(self.first(x)))))
        super().__init__(inputs, {"hidden": L.Dense(width, name="hidden")(y), "logits": y}, **kwargs)
        self.width, self.rate = width, rate

    def reversed(self, x):
        return self.last(self.first(x)[:, ::-1])

    def train_step(self, data):
        return {**super().train_step(data), "own": 7.0}

    def get_config(self):
        return {"width": self.width, "rate": self.rate, "name": self.name}


@registered
class Task(keras.Model):
    """A backbone and a head, which has a layer in common with it."""

    def __init__(self, backbone, **kwargs):
        inputs = backbone.input
        y = backbone(inputs)["hidden"]
        super().__init__(inputs, L.Dense(2, name="head")(y) + backbone.first(inputs)[:, :2], **kwargs)
        self.backbone = backbone

    def get_config(self):
        return {"backbone": keras.saving.serialize_keras_object(self.backbone)}

    @classmethod
    def from_config(cls, config):
        return cls(keras.saving.deserialize_keras_object(config["backbone"]))


@registered
class Forgets(Backbone):
    """Its configuration does not say how often something is dropped; Keras keeps no record of arrays."""

    shift = np.full(5, 0.5)

    def get_config(self):
        return {"width": self.width, "name": self.name}


def plain_around(shared=False):
    """A backbone in Keras's own class of models, called twice, and one of its layers once more."""
    backbone, x = Backbone(6), keras.Input((4,))
    y = backbone(x)["hidden"] + backbone(x * 2)["hidden"]
    return keras.Model(x, L.Dense(2, name="head")(y + backbone.first(x)[:, :1] if shared else y))


MODELS = {"backbone": lambda: Backbone(6), "task": lambda: Task(Backbone(6)), "plain around": plain_around}
every = pytest.mark.parametrize("name", list(MODELS))
MODELS["shared"] = lambda: plain_around(shared=True)  # Keras reads no file of it


def _made(name):
    keras.utils.set_random_seed(0)
    model = MODELS[name]()
    for variable in model.weights:
        if "float" in variable.dtype:
            variable.assign(variable + 0.1)
    rng = np.random.default_rng(1)
    masks = {path: rng.random(kernel.shape) < 0.6 for path, kernel in tfprune.prunable(model).items()}
    return model, tfprune.Masks(masks)


def _numbers():
    return np.random.default_rng(2).normal(size=(7, 4)).astype("float32")


def _same(one, other):
    for a, b in zip(keras.tree.flatten(one), keras.tree.flatten(other), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", MODELS)
def test_computes_and_is_named_as_before(name):
    model, masks = _made(name)
    assert masks.size == 4 * 5 + 5 * 5 + 5 * 3 + 3 * 6 + (6 * 2 if name != "backbone" else 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the class, not the file, says what `relu` is
        sparse = tfprune.masked(model, masks)
    again = tfprune.masked(sparse)
    plain, small = tfprune.strip(sparse), tfprune.compact(sparse)
    for copy in (sparse, again):
        assert isinstance(copy, type(model)) and type(copy).__name__ == type(model).__name__
        assert list(tfprune.prunable(copy)) == list(masks) and tfprune.masks_of(copy) == masks
    assert type(plain) is type(model) and list(tfprune.prunable(plain)) == list(masks)
    for path, kernel in tfprune.prunable(sparse).items():
        np.testing.assert_array_equal(kernel, tfprune.prunable(model)[path])  # also those of pruned weights
    for path, kernel in tfprune.prunable(model).items():
        kernel.assign(kernel.numpy() * masks[path])
    for copy in (sparse, again, plain):
        _same(copy(_numbers()), model(_numbers()))
    assert small.count_params() <= plain.count_params()
    for one, other in zip(keras.tree.flatten(small(_numbers())), keras.tree.flatten(model(_numbers())), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def _read(name, folder):
    """A model that was saved computes what it did, and the weights of the plain model are read by Keras alone."""
    model, masks = _made(name)  # layers without a name have other ones than those in the file
    read = tfprune.load_model(folder / f"{name}.keras")
    assert isinstance(read, type(model))
    _same(list(tfprune.masks_of(read).values()), list(masks.values()))
    with np.load(folder / f"{name}.npz") as outputs:
        *expected, paths = outputs.values()
    assert list(tfprune.prunable(read)) == paths.tolist()
    _same(read(_numbers()), expected)
    model.load_weights(folder / f"{name}.weights.h5")
    _same(model(_numbers()), read(_numbers()))


def _save(name, folder):
    model, masks = _made(name)
    sparse = tfprune.masked(model, masks)
    np.savez(folder / f"{name}.npz", *keras.tree.flatten(sparse(_numbers())), list(masks))
    sparse.save(folder / f"{name}.keras")
    sparse.save_weights(folder / f"{name}.weights.h5")
    return model, sparse


@every
def test_files_are_read_back(name, tmp_path):
    model, sparse = _save(name, tmp_path)
    _read(name, tmp_path)
    again = tfprune.masked(_made(name)[0])
    again.load_weights(tmp_path / f"{name}.weights.h5")
    model.save_weights(tmp_path / "plain.weights.h5")
    again.load_weights(tmp_path / "plain.weights.h5")  # leaves the masks alone
    _same(list(tfprune.masks_of(again).values()), list(tfprune.masks_of(sparse).values()))
    _same(again(_numbers()), sparse(_numbers()))


@pytest.mark.slow
def test_files_are_read_in_another_process(tmp_path):
    names = list(MODELS)[:3]
    for name in names:
        _save(name, tmp_path)
    program = (
        "import pathlib, sys, test_by_class as t; [t._read(name, pathlib.Path(sys.argv[1])) for name in sys.argv[2:]]"
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path, *names], cwd=HERE, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


def test_own_methods_and_steps_meet_the_masks():
    model, masks = _made("backbone")
    model.last.trainable = False
    model.compile("sgd", {"hidden": "mse", "logits": "mse"})
    sparse = tfprune.masked(model, masks)
    assert frozen_kernels(sparse) == [f"{model.last.name}/kernel"]
    _same(sparse.reversed(_numbers()), tfprune.strip(sparse).reversed(_numbers()))
    assert not np.array_equal(sparse.reversed(_numbers()), model.reversed(_numbers()))
    targets = {"hidden": np.ones((7, 6)), "logits": np.ones((7, 3))}
    before = tfprune.prunable(tfprune.strip(sparse))
    assert sparse.fit(_numbers(), targets, verbose=0).history["own"] == [7.0]
    for path, kernel in tfprune.prunable(tfprune.strip(sparse)).items():
        assert not kernel.numpy()[~masks[path]].any()
        assert np.array_equal(kernel, before[path]) == (path == f"{model.last.name}/kernel")
    tfprune.set_masks(sparse, tfprune.Masks.dense(model))
    assert tfprune.masks_of(sparse).kept == masks.size


def test_a_backbone_taken_out_of_a_masked_model_keeps_its_masks(tmp_path):
    model, masks = _made("task")
    sparse = tfprune.masked(model, masks)
    sparse.backbone.save(tmp_path / "model.keras")
    read = tfprune.load_model(tmp_path / "model.keras")
    assert tfprune.masks_of(read) == tfprune.masks_of(sparse.backbone) and tfprune.masks_of(read).kept < 78
    _same(read(_numbers()), sparse.backbone(_numbers()))


def test_a_class_is_believed_only_where_it_makes_the_same_model():
    assert type(tfprune.strip(Forgets(6))) is Forgets
    with pytest.raises(tfprune.InputError, match=r"'mute_block' \(Mute\) cannot be copied: Unrecognized keyword"):
        tfprune.strip(Forgets(6, rate=0.5))
    changed = Forgets(6)
    changed.first.activation = keras.activations.tanh
    with pytest.raises(tfprune.InputError, match="'mute_block'"):
        tfprune.masked(changed)


def test_layers_that_add_to_their_names_keep_their_paths_in_files(tmp_path):
    model = keras.Sequential([keras.Input((4,)), Renamed(name="a"), L.Dense(2, name="last")])
    sparse = tfprune.masked(model)
    sparse.save(tmp_path / "model.keras")
    paths = list(tfprune.prunable(tfprune.load_model(tmp_path / "model.keras")))
    assert paths == list(tfprune.prunable(model)) == ["a_block/dense.kernel", "last/kernel"]
