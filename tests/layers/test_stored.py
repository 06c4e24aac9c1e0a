"""Masks in files: as bits, read by plain models, and those of before, which were float32."""

import io
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from keras import layers as L

import tfprune
from tfprune.errors import InputError
from tfprune.experiments.imp.normalized_dense import NormalizedMaskedDense
from tfprune.layers.kernel_masks import masks_of_layer
from tfprune.layers.kinds import KINDS
from tfprune.layers.topology import named_layers

# Written when masks were float32 variables: two files of weights and one of the model, compiled and trained, what it
# computes, and a layer of iterative magnitude pruning.
OLD = Path(__file__).with_name("float_masks")
SUFFIXES = "keras", "weights.h5"
SHAPES = {
    L.Dense: (lambda: L.Dense(3), (4,)),
    L.EinsumDense: (lambda: L.EinsumDense("abc,cd->abd", (3, 5), bias_axes="d"), (3, 4)),
    L.Conv1D: (lambda: L.Conv1D(3, 3), (7, 2)),
    L.Conv2D: (lambda: L.Conv2D(4, 3, use_bias=False), (6, 6, 2)),
    L.Conv3D: (lambda: L.Conv3D(2, 2), (3, 3, 3, 2)),
    L.Conv1DTranspose: (lambda: L.Conv1DTranspose(3, 3), (5, 2)),
    L.Conv2DTranspose: (lambda: L.Conv2DTranspose(3, 3), (4, 4, 2)),
    L.Conv3DTranspose: (lambda: L.Conv3DTranspose(2, 2), (2, 2, 2, 2)),
    L.DepthwiseConv1D: (lambda: L.DepthwiseConv1D(3, depth_multiplier=2), (6, 2)),
    L.DepthwiseConv2D: (lambda: L.DepthwiseConv2D(3), (5, 5, 3)),
    L.SeparableConv1D: (lambda: L.SeparableConv1D(4, 3), (6, 2)),
    L.SeparableConv2D: (lambda: L.SeparableConv2D(4, 3), (6, 6, 2)),
}


def _masks(model, density=0.4):
    rng = np.random.default_rng(1)
    return {path: rng.random(kernel.shape) < density for path, kernel in tfprune.prunable(model).items()}


def _small():
    """Two layers of one class and a nested model, with names that are never the same twice."""
    inner = keras.Sequential([keras.Input((4,)), L.Dense(4), L.BatchNormalization()])
    given = keras.Input((3,))
    x = L.Dense(4)(given)
    x = L.Reshape((4, 1))(L.Add()([inner(x), x]))
    x = L.Flatten()(L.Conv1D(2, 2, use_bias=False)(L.SeparableConv1D(3, 2)(x)))
    return keras.Model(given, L.Dense(2)(x))


def _save(model, path):
    model.save_weights(path) if path.name.endswith(".weights.h5") else model.save(path)


def _groups(path):
    """Name of a group -> names of its arrays, of all groups that have some."""
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            path = io.BytesIO(archive.read("model.weights.h5"))
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, one: found.update({name: sorted(one)}) if name.endswith("vars") else None)
    return found


@pytest.mark.parametrize("name", ["model.keras", "model.weights.h5", "model.h5"])
def test_files_of_float_masks_are_read(name):
    expected = np.load(OLD / "expected.npz")
    model = tfprune.load_model(OLD / "model.keras")
    if name != "model.keras":
        tfprune.set_masks(model, tfprune.Masks.dense(model))
        for kernel in tfprune.prunable(model).values():
            kernel.assign(kernel * 0)
        model.load_weights(OLD / name)
    if name == "model.h5":
        model = tfprune.load_model(OLD / name, compile=False)
        model.compile("sgd", "mse")
    np.testing.assert_allclose(model(expected["inputs"]), expected["outputs"], rtol=1e-6)
    for path, mask in tfprune.masks_of(model).items():
        np.testing.assert_array_equal(mask, expected[f"mask/{path}"])
    for path, kernel in tfprune.prunable(model).items():
        np.testing.assert_array_equal(kernel, expected[f"kernel/{path}"])
    if name == "model.keras":
        assert model.optimizer.iterations.numpy() == 2
    model.fit(expected["inputs"], np.zeros((8, 2)), verbose=0)


def test_a_file_of_imps_float_masks_is_read():
    expected = np.load(OLD / "expected.npz")
    layer = keras.saving.load_model(OLD / "imp.keras").layers[0]
    assert isinstance(layer, NormalizedMaskedDense) and layer.kernel_mask.dtype == layer.bias_mask.dtype == "bool"
    np.testing.assert_array_equal(layer.kernel_mask, expected["imp_mask"] != 0)
    np.testing.assert_array_equal(layer.bias_mask, expected["bias_mask"] != 0)


def test_arrays_of_float_masks_are_taken():
    """`get_weights` gave float32 masks among the arrays."""
    model = tfprune.masked(_small())
    masks = {id(mask) for _, layer in named_layers(model) for mask in masks_of_layer(layer).values()}
    other = tfprune.masked(model, _masks(model))
    pairs = zip(model.weights, other.get_weights(), strict=True)
    model.set_weights([array.astype("f4") if id(one) in masks else array for one, array in pairs])
    assert tfprune.masks_of(model) == tfprune.masks_of(other)
    clone = keras.models.clone_model(other)
    clone.set_weights(other.get_weights())
    assert tfprune.masks_of(clone) == tfprune.masks_of(other)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_bits_in_the_file(suffix, tmp_path):
    """10 x 20 weights: 25 bytes of mask, and the kernel once, in two parts."""
    model = tfprune.masked(keras.Sequential([keras.Input((10,)), L.Dense(20, name="d")]))
    path = tmp_path / f"model.{suffix}"
    _save(model, path)
    assert _groups(path)["layers/masked_dense/vars"] == ["0", "1", "2"]
    mask = np.arange(200).reshape(10, 20) % 4 == 0
    tfprune.set_masks(model, {"d/kernel": mask})
    _save(model, path)
    assert _groups(path)["layers/masked_dense/vars"] == ["0", "0_pruned", "1", "2"]
    assert _groups(path)["layers/dense/vars"] == ["0", "1"]
    kernel = tfprune.prunable(model)["d/kernel"].numpy()
    source = path
    if suffix == "keras":
        source = io.BytesIO(zipfile.ZipFile(path).read("model.weights.h5"))
    with h5py.File(source) as file:
        group = file["layers/masked_dense/vars"]
        assert group["2"].dtype == np.uint8 and group["2"].shape == (25,)
        np.testing.assert_array_equal(group["0"], kernel * mask)
        np.testing.assert_array_equal(group["0_pruned"], kernel[~mask])
        assert file["layers/dense/vars/0"] == group["0"]  # the same bytes


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_masked_model_takes_a_fifth_more_at_most_and_not_twice_as_much(suffix, tmp_path):
    plain = keras.Sequential([keras.Input((500,)), L.Dense(800), L.Dense(10)])
    _save(plain, tmp_path / f"plain.{suffix}")
    size = (tmp_path / f"plain.{suffix}").stat().st_size
    for density in (0.0, 0.02, 0.1, 0.5, 0.9, 1.0):
        sparse = tfprune.masked(plain, _masks(plain, density))
        _save(sparse, path := tmp_path / f"masked.{suffix}")
        assert 1.03 < path.stat().st_size / size < 1.22, density
    held = sum(int(np.prod(one.shape)) * np.dtype(one.dtype).itemsize for one in sparse.weights)
    assert held == 5 * 408_000 + 4 * 810


@pytest.mark.parametrize("kind", SHAPES, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_plain_models_load_files_of_masked_ones(kind, suffix, tmp_path):
    """By Keras alone; pruned weights are 0. The masked model gets its own weights back."""
    make, shape = SHAPES[kind]
    keras.utils.set_random_seed(0)
    plain = keras.Sequential([keras.Input(shape), make(), L.Flatten(), L.Dense(2), L.Dense(2)])
    sparse = tfprune.masked(plain, _masks(plain))
    path = tmp_path / f"masked.{suffix}"
    _save(sparse, path)
    other = keras.Sequential([keras.Input(shape), make(), L.Flatten(), L.Dense(2), L.Dense(2)])
    other.load_weights(path)
    for variable, expected in zip(other.weights, tfprune.strip(sparse).weights, strict=True):
        np.testing.assert_array_equal(variable, expected)
    again = tfprune.masked(other)
    again.load_weights(path)
    for variable, expected in zip(again.weights, sparse.weights, strict=True):
        np.testing.assert_array_equal(variable, expected)


def test_every_kind_is_here():
    assert set(SHAPES) == set(KINDS)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_plain_models_of_nested_ones_with_their_optimizer(suffix, tmp_path):
    plain = _small()
    plain.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    sparse = tfprune.masked(plain, _masks(plain))
    rows = np.random.default_rng(0).normal(size=(8, 3)), np.zeros((8, 2))
    sparse.fit(*rows, verbose=0)
    _save(sparse, path := tmp_path / f"masked.{suffix}")
    other = _small()
    other.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    other.optimizer.build(other.trainable_variables)
    other.load_weights(path)
    np.testing.assert_array_equal(other(rows[0]), tfprune.strip(sparse)(rows[0]))
    for variable, expected in zip(other.optimizer.variables, sparse.optimizer.variables, strict=True):
        np.testing.assert_array_equal(variable, expected)


def test_plain_layers_among_masked_ones_of_their_class(tmp_path):
    """Which number is whose is not known there: Keras refuses, rather than that a layer gets weights of another."""
    sparse = tfprune.masked(keras.Sequential([keras.Input((4,)), L.Dense(4), L.Dense(4)]))
    mixed = keras.Sequential([keras.Input((4,)), sparse.layers[0], L.Dense(4)])
    mixed.save_weights(tmp_path / "mixed.weights.h5")
    plain = keras.Sequential([keras.Input((4,)), L.Dense(4), L.Dense(4)])
    with pytest.raises(ValueError, match="could not be loaded"):
        plain.load_weights(tmp_path / "mixed.weights.h5")
    other = keras.Sequential([keras.Input((4,)), tfprune.masked(plain).layers[0], L.Dense(4)])
    other.load_weights(tmp_path / "mixed.weights.h5")
    np.testing.assert_array_equal(other.get_weights()[0], mixed.get_weights()[0])


def test_low_rank_updates_are_saved_as_they_are(tmp_path):
    plain = keras.Sequential([keras.Input((4,)), L.Dense(4, name="d"), L.Dense(2)])
    sparse = tfprune.masked(plain, _masks(plain))
    sparse.get_layer("d").enable_lora(2)
    sparse.get_layer("d").lora_kernel_b.assign(np.ones((2, 4)))
    sparse.save(tmp_path / "lora.keras")
    loaded = tfprune.load_model(tmp_path / "lora.keras")
    for variable, expected in zip(loaded.weights, sparse.weights, strict=True):
        np.testing.assert_array_equal(variable, expected)
    rows = np.ones((3, 4), "f4")
    np.testing.assert_array_equal(loaded(rows), sparse(rows))


@pytest.mark.parametrize("policy", ["mixed_float16", "bfloat16", "float64"])
def test_other_precisions(policy, tmp_path):
    plain = keras.Sequential([keras.Input((8,)), L.Dense(8, dtype=policy), L.Dense(2, dtype=policy)])
    sparse = tfprune.masked(plain, _masks(plain))
    sparse.save(tmp_path / "model.keras")
    loaded = tfprune.load_model(tmp_path / "model.keras")
    for variable, expected in zip(loaded.weights, sparse.weights, strict=True):
        assert variable.dtype == expected.dtype
        np.testing.assert_array_equal(variable.numpy(), expected.numpy())
    rows = np.ones((3, 8), "f4")
    np.testing.assert_array_equal(loaded(rows), sparse(rows))
    plain.load_weights(tmp_path / "model.keras")
    np.testing.assert_array_equal(plain(rows), tfprune.strip(sparse)(rows))


def test_sharded_files(tmp_path):
    plain = _small()
    sparse, other = tfprune.masked(plain, _masks(plain)), tfprune.masked(plain)
    sparse.save_weights(tmp_path / "model.weights.json", max_shard_size=1e-6)
    other.load_weights(tmp_path / "model.weights.json")
    for variable, expected in zip(other.weights, sparse.weights, strict=True):
        np.testing.assert_array_equal(variable, expected)


def test_damaged_masks_are_refused_and_the_layer_stays(tmp_path):
    sparse = tfprune.masked(keras.Sequential([keras.Input((4,)), L.Dense(4, name="d")]))
    sparse.save_weights(path := tmp_path / "model.weights.h5")
    with h5py.File(path, "a") as file:
        del file["layers/masked_dense/vars/2"], file["layers/dense"]
        file["layers/masked_dense/vars/2"] = np.zeros(3, np.uint8)
        file["layers/masked_dense/vars/0"][...] = 7
    before = sparse.get_weights()
    with pytest.raises(InputError, match=r"a mask of shape \(4, 4\) is in 2 bytes, the file has \(3,\)"):
        sparse.load_weights(path)
    for array, expected in zip(sparse.get_weights(), before, strict=True):
        np.testing.assert_array_equal(array, expected)


def test_callbacks(tmp_path):
    plain = _small()
    rows = np.random.default_rng(0).normal(size=(8, 3)), np.zeros((8, 2))
    sparse = tfprune.masked(plain, _masks(plain))
    sparse.compile("adam", "mse")
    saved = keras.callbacks.ModelCheckpoint(str(tmp_path / "best.weights.h5"), save_weights_only=True)
    whole = keras.callbacks.ModelCheckpoint(str(tmp_path / "best.keras"))
    backup = keras.callbacks.BackupAndRestore(str(tmp_path / "backup"), delete_checkpoint=False)
    sparse.fit(*rows, epochs=2, verbose=0, callbacks=[saved, whole, backup])
    other = tfprune.masked(plain)
    other.compile("adam", "mse")
    history = other.fit(*rows, epochs=2, verbose=0, callbacks=[backup])
    assert not history.epoch  # both epochs are those of before
    loaded, again = tfprune.load_model(tmp_path / "best.keras"), tfprune.masked(plain)
    again.load_weights(tmp_path / "best.weights.h5")
    for model in (other, loaded, again):
        assert tfprune.masks_of(model) == tfprune.masks_of(sparse)
        np.testing.assert_array_equal(model(rows[0]), sparse(rows[0]))
