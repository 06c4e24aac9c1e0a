"""Every masked layer against its plain one, in a model and through files."""

import keras
import numpy as np
import pytest
from keras import layers as L

from tfprune.layers.convert import masked, masks_of, set_masks, strip
from tfprune.layers.kinds import KINDS
from tfprune.layers.masked import MASKED
from tfprune.layers.masks import Masks
from tfprune.layers.prunable import prunable

LAYERS = {
    L.Dense: (lambda: L.Dense(3, activation="relu"), (4,)),
    L.EinsumDense: (lambda: L.EinsumDense("abc,cd->abd", (3, 5), bias_axes="d"), (3, 4)),
    L.Conv1D: (lambda: L.Conv1D(3, 3, padding="causal", dilation_rate=2), (7, 2)),
    L.Conv2D: (lambda: L.Conv2D(4, 3, strides=2, padding="same", activation="tanh", groups=2), (6, 6, 2)),
    L.Conv3D: (lambda: L.Conv3D(2, 2), (3, 3, 3, 2)),
    L.Conv1DTranspose: (lambda: L.Conv1DTranspose(3, 3, strides=2), (5, 2)),
    L.Conv2DTranspose: (lambda: L.Conv2DTranspose(3, 3, strides=2, padding="same"), (4, 4, 2)),
    L.Conv3DTranspose: (lambda: L.Conv3DTranspose(2, 2), (2, 2, 2, 2)),
    L.DepthwiseConv1D: (lambda: L.DepthwiseConv1D(3, depth_multiplier=2), (6, 2)),
    L.DepthwiseConv2D: (lambda: L.DepthwiseConv2D(3, padding="same", use_bias=False), (5, 5, 3)),
    L.SeparableConv1D: (lambda: L.SeparableConv1D(4, 3, depth_multiplier=2), (6, 2)),
    L.SeparableConv2D: (lambda: L.SeparableConv2D(4, 3, activation="relu"), (6, 6, 2)),
}


@pytest.fixture(params=LAYERS, ids=lambda kind: kind.__name__)
def model(request):
    make, shape = LAYERS[request.param]
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input(shape), make(), L.Flatten(), L.Dense(1)])
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), "mse")
    return model


@pytest.fixture
def masks(model):
    rng = np.random.default_rng(1)
    return Masks({path: rng.random(variable.shape) < 0.6 for path, variable in prunable(model).items()})


@pytest.fixture
def data(model):
    rng = np.random.default_rng(2)
    return rng.normal(size=(16, *model.input_shape[1:])).astype("f4"), rng.normal(size=(16, 1)).astype("f4")


def test_every_class_is_here():
    assert set(LAYERS) == set(MASKED) == set(KINDS)
    for plain, made in MASKED.items():
        assert issubclass(made, plain)
        assert keras.saving.get_registered_name(made) == f"tfprune>{made.__name__}"


def test_all_kept_is_the_same_function(model, data):
    copy = masked(model)
    np.testing.assert_array_equal(copy(data[0]), model(data[0]))
    assert [type(layer) for layer in copy.layers] == [MASKED.get(type(layer), type(layer)) for layer in model.layers]
    assert list(prunable(copy)) == list(prunable(model))
    assert masks_of(copy) == Masks.dense(model)


def test_masked_is_the_same_function_with_zeros(model, masks, data):
    sparse = masked(model, masks)
    for path, variable in prunable(model).items():
        variable.assign(variable.numpy() * masks[path])
    np.testing.assert_array_equal(sparse(data[0]), model(data[0]))
    assert masks_of(sparse) == masks


@pytest.mark.slow_beyond(4)
def test_pruned_weights_keep_their_values_in_training(model, masks, data):
    sparse = masked(model, masks)
    before = {path: variable.numpy() for path, variable in prunable(sparse).items()}
    losses = sparse.fit(*data, batch_size=8, epochs=6, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    for path, variable in prunable(sparse).items():
        unchanged = variable.numpy() == before[path]
        assert unchanged[~masks[path]].all(), path
        assert not unchanged[masks[path]].all(), path
    assert masks_of(sparse) == masks


@pytest.mark.slow_beyond(2)
def test_saved_and_loaded(model, masks, data, tmp_path):
    sparse = masked(model, masks)
    sparse.fit(*data, verbose=0)
    sparse.save(tmp_path / "sparse.keras")
    loaded = keras.saving.load_model(tmp_path / "sparse.keras")
    np.testing.assert_array_equal(loaded(data[0]), sparse(data[0]))
    assert masks_of(loaded) == masks
    before = {path: variable.numpy() for path, variable in prunable(loaded).items()}
    loaded.fit(*data, verbose=0)
    for path, variable in prunable(loaded).items():
        assert (variable.numpy() == before[path])[~masks[path]].all()


def test_stripped(model, masks, data, tmp_path):
    sparse = masked(model, masks)
    plain = strip(sparse)
    assert [type(layer) for layer in plain.layers] == [type(layer) for layer in model.layers]
    np.testing.assert_array_equal(plain(data[0]), sparse(data[0]))
    for path, variable in prunable(plain).items():
        assert (variable.numpy()[~masks[path]] == 0).all()
    plain.save(tmp_path / "plain.keras")
    loaded = keras.saving.load_model(tmp_path / "plain.keras")
    np.testing.assert_array_equal(loaded(data[0]), sparse(data[0]))
    assert "tfprune" not in plain.to_json()


def test_set_masks_reaches_a_compiled_function(model, masks, data):
    sparse = masked(model)
    sparse.predict(data[0], verbose=0)
    set_masks(sparse, masks)
    np.testing.assert_allclose(sparse.predict(data[0], verbose=0), masked(model, masks)(data[0]), atol=1e-6)


def test_regulariser_of_kept_weights_only():
    model = keras.Sequential([keras.Input((3,)), L.Dense(2, kernel_regularizer=keras.regularizers.L2(0.5), name="d")])
    mask = np.array([[1, 0], [0, 1], [1, 1]], bool)
    sparse = masked(model, {"d/kernel": mask})
    kernel = prunable(sparse)["d/kernel"].numpy()
    np.testing.assert_allclose(sparse.losses[0], 0.5 * (kernel[mask] ** 2).sum(), rtol=1e-6)
    sparse.compile(keras.optimizers.SGD(0.1), "mse")
    sparse.fit(np.zeros((4, 3)), np.zeros((4, 2)), verbose=0)
    after = prunable(sparse)["d/kernel"].numpy()
    np.testing.assert_array_equal(after[~mask], kernel[~mask])
    np.testing.assert_allclose(after[mask], kernel[mask] * (1 - 0.1), rtol=1e-6)
    assert isinstance(strip(sparse).layers[-1].kernel_regularizer, keras.regularizers.L2)


def test_mixed_precision():
    layer = L.Conv2D(2, 3, dtype="mixed_float16")
    model = keras.Sequential([keras.Input((5, 5, 1)), layer])
    images = np.random.default_rng(0).normal(size=(2, 5, 5, 1)).astype("f4")
    outputs = masked(model)(images)
    assert outputs.dtype == "float16"
    np.testing.assert_array_equal(outputs, model(images))


def test_works_in_keras_stateless_calls():
    """The values given to a stateless call are used, not those of the variables."""
    sparse = masked(keras.Sequential([keras.Input((4, 4, 1)), L.Conv2D(2, 3)]))
    trainable = [variable.value * 2 + 1 for variable in sparse.trainable_variables]
    untrained = [variable.value for variable in sparse.non_trainable_variables]
    images = np.ones((1, 4, 4, 1), "f4")
    outputs, _ = sparse.stateless_call(trainable, untrained, images)
    for variable, value in zip(sparse.trainable_variables, trainable, strict=True):
        variable.assign(value)
    np.testing.assert_allclose(outputs, sparse(images), rtol=1e-6)


CONSTRAINTS = {
    "max_norm": (lambda: keras.constraints.MaxNorm(1.0, axis=0), [[0.6, 5.0], [0.8, 0.0], [9.0, 0.5]]),
    "unit_norm": (lambda: keras.constraints.UnitNorm(axis=0), [[0.6, 5.0], [0.8, 0.0], [9.0, 1.0]]),
    "non_neg": (lambda: keras.constraints.NonNeg(), [[3.0, 5.0], [4.0, 0.0], [9.0, 0.5]]),
}


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("name", CONSTRAINTS)
def test_constraint_of_kept_weights_only(name, jit):
    """Columns (3, 4, pruned 9) and (pruned 5, -2 or 0, 0.5); the gradient is zero, so an update is the constraint."""
    make, expected = CONSTRAINTS[name]
    model = keras.Sequential([keras.Input((3,)), L.Dense(2, use_bias=False, kernel_constraint=make(), name="d")])
    mask = np.array([[1, 0], [1, 1], [0, 1]], bool)
    sparse = masked(model, {"d/kernel": mask})
    kernel = prunable(sparse)["d/kernel"]
    kernel.assign([[3, 5], [4, -2 if name == "non_neg" else 0], [9, 0.5]])
    sparse.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=jit)
    sparse.fit(np.zeros((4, 3)), np.zeros((4, 2)), verbose=0)
    np.testing.assert_allclose(kernel, expected, rtol=1e-5)
    assert isinstance(strip(sparse).layers[-1].kernel.constraint, type(make()))
    assert isinstance(masked(sparse).layers[-1].kernel.constraint._constraint, type(make()))  # and not one of one


def test_constraint_in_another_precision():
    layer = L.Dense(2, kernel_constraint="max_norm", dtype="mixed_float16", name="d")
    sparse = masked(keras.Sequential([keras.Input((3,)), layer]), {"d/kernel": np.eye(3, 2, dtype=bool)})
    kernel = prunable(sparse)["d/kernel"]
    kernel.assign(np.full((3, 2), 4.0))
    sparse.compile("sgd", "mse")
    sparse.fit(np.zeros((4, 3)), np.zeros((4, 2)), verbose=0)
    np.testing.assert_allclose(kernel, [[2, 4], [4, 2], [4, 4]], rtol=1e-5)


@pytest.mark.slow_beyond(1)
@pytest.mark.parametrize("model", [L.SeparableConv2D, L.Dense], indirect=True)
def test_masked_models_are_exported_by_keras_alone(model, masks, data, tmp_path):
    """`tfprune.export` strips first; `Model.export` writes the masks, too."""
    import tensorflow as tf

    sparse = masked(model, masks)
    sparse.export(tmp_path / "saved", verbose=False)
    saved = tf.saved_model.load(tmp_path / "saved")
    np.testing.assert_allclose(saved.serve(data[0]), sparse(data[0]), rtol=1e-4, atol=1e-5)
    lite = tf.lite.Interpreter(
        model_content=tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "saved")).convert()
    )
    lite.resize_tensor_input(lite.get_input_details()[0]["index"], data[0].shape)
    lite.allocate_tensors()
    lite.set_tensor(lite.get_input_details()[0]["index"], data[0])
    lite.invoke()
    found = lite.get_tensor(lite.get_output_details()[0]["index"])
    np.testing.assert_allclose(found, sparse(data[0]), rtol=1e-4, atol=1e-5)
