"""What files of models and weights are answered with, and plain weights in masked models."""

import re

import keras
import numpy as np
import pytest
from keras import layers as L

import tfprune
from tfprune.errors import InputError


def _randomized(model, seed):
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        if "float" in variable.dtype and not variable.name.endswith("_mask"):
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    return model


def _sparse(model):
    rng = np.random.default_rng(9)
    return {path: rng.random(kernel.shape) < 0.5 for path, kernel in tfprune.prunable(model).items()}


@pytest.fixture
def plain():
    keras.utils.set_random_seed(0)
    inner = keras.Sequential([keras.Input((4,)), L.Dense(4, name="in"), L.BatchNormalization()], name="block")
    given = keras.Input((3,), name="given")
    x = L.Dense(4, name="first")(given)
    x = L.Reshape((4, 1))(L.Add()([inner(x), x]))
    x = L.Flatten()(L.Conv1D(2, 2, use_bias=False)(L.SeparableConv1D(3, 2)(x)))
    return _randomized(keras.Model(given, L.Dense(2, name="last")(x)), 1)


@pytest.mark.parametrize("name", ["plain.weights.h5", "plain.h5", "plain.keras"])
def test_masked_models_load_weights_of_the_plain_model(plain, name, tmp_path):
    masks = _sparse(plain)
    sparse, again = tfprune.masked(plain, masks), tfprune.masked(plain, masks)
    again.save(tmp_path / "masked.keras")
    loaded = tfprune.load_model(tmp_path / "masked.keras")
    _randomized(plain, 2)
    plain.save(tmp_path / name) if not name.endswith(".weights.h5") else plain.save_weights(tmp_path / name)
    expected = tfprune.masked(plain, masks)
    x = np.random.default_rng(0).normal(size=(4, 3)).astype("f4")
    for model in (sparse, loaded):
        assert np.abs(model(x) - expected(x)).max() > 0.01
        model.load_weights(tmp_path / name)
        np.testing.assert_array_equal(model(x), expected(x))
        assert tfprune.masks_of(model) == tfprune.Masks(masks)
        for variable, other in zip(model.variables, expected.variables, strict=True):
            np.testing.assert_array_equal(variable, other)  # pruned weights have their values, too


@pytest.mark.parametrize("name", ["masked.weights.h5", "masked.h5", "masked.keras"])
def test_masked_models_load_their_own_weights(plain, name, tmp_path):
    masks = _sparse(plain)
    sparse, other = tfprune.masked(plain, masks), tfprune.masked(_randomized(plain, 3))
    sparse.save(tmp_path / name) if not name.endswith(".weights.h5") else sparse.save_weights(tmp_path / name)
    other.load_weights(str(tmp_path / name))
    for variable, old in zip(other.variables, sparse.variables, strict=True):
        np.testing.assert_array_equal(variable, old)
    assert tfprune.masks_of(other) == tfprune.Masks(masks)


def test_weights_of_another_model_and_none(plain, tmp_path):
    sparse = tfprune.masked(plain)
    other = keras.Sequential([keras.Input((3,)), L.Dense(7)])
    other.save_weights(tmp_path / "other.weights.h5")
    with pytest.raises(InputError, match=r"other\.weights\.h5: it holds weights neither of the masked model") as told:
        sparse.load_weights(tmp_path / "other.weights.h5")
    assert "\n" not in str(told.value)
    with pytest.raises(FileNotFoundError):
        sparse.load_weights(tmp_path / "none.weights.h5")
    with pytest.warns(UserWarning, match="could not be loaded"):
        sparse.load_weights(tmp_path / "other.weights.h5", skip_mismatch=True)


def test_keras_alone_loads_weights_of_the_plain_model(plain, tmp_path):
    """Where Keras read the masked model, layers are known by name; others are told what to do."""
    masks = _sparse(plain)
    tfprune.masked(plain, masks).save(tmp_path / "masked.keras")
    model = keras.saving.load_model(tmp_path / "masked.keras")
    _randomized(plain, 2).save_weights(tmp_path / "plain.weights.h5")
    model.load_weights(tmp_path / "plain.weights.h5")
    expected = tfprune.masked(plain, masks)
    for variable, other in zip(model.variables, expected.variables, strict=True):
        np.testing.assert_array_equal(variable, other)
    plain.get_layer("first").name = "other"
    plain.save_weights(tmp_path / "plain.weights.h5")
    with pytest.raises(ValueError, match=r"has no weights of the masked layer 'first'.*call tfprune\.masked"):
        model.load_weights(tmp_path / "plain.weights.h5")
    tfprune.load_model(tmp_path / "masked.keras").load_weights(tmp_path / "plain.weights.h5")


class Own(L.Layer):
    def call(self, x):
        return x

    def get_config(self):
        return super().get_config()


def own_function(x):
    return x * 2


class OwnRegularizer(keras.regularizers.Regularizer):
    def __call__(self, kernel):
        return 0.0 * keras.ops.sum(kernel)

    def get_config(self):
        return {}


@keras.saving.register_keras_serializable("tfprune_test")
class Sized(L.Layer):
    """Its configuration lacks what its constructor needs."""

    def __init__(self, size, **kwargs):
        super().__init__(**kwargs)
        self.bytes = size

    def call(self, x):
        return x

    def get_config(self):
        return super().get_config()


_CAUSES = (
    (lambda: L.Dense(3, kernel_regularizer=OwnRegularizer()), "Could not locate class 'OwnRegularizer'; decorate"),
    (lambda: L.Dense(3, kernel_initializer=lambda shape, dtype: keras.ops.ones(shape)), "initializer .* a lambda"),
    (lambda: Sized(3), r"Sized cannot be made of what the file says of it \(.*missing 1 required.*'size'"),
)


@pytest.mark.parametrize(
    ("layer", "told", "masks"),
    [*((*cause, False) for cause in _CAUSES), *((*cause, True) for cause in _CAUSES[:2])],  # the last cannot be copied
)
def test_the_cause_within_keras_errors_is_told(layer, told, masks, tmp_path):
    path = tmp_path / "model.keras"
    model = keras.Sequential([keras.Input((3,)), layer(), L.Dense(2)])
    (tfprune.masked(model) if masks else model).save(path)
    with pytest.raises(InputError, match=f"cannot read {re.escape(str(path))}: .*{told}") as error:
        tfprune.load_model(path, safe_mode=False)
    assert "\n" not in str(error.value) and "damaged" not in str(error.value)


@pytest.mark.parametrize("name", ["bad.weights.h5", "bad.keras", "bad.h5", "bad.txt"])
@pytest.mark.parametrize("content", [b"", b"no weights at all" * 99])
def test_garbage_instead_of_weights(plain, name, content, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    told = "its name must end in" if name == "bad.txt" else "not a file of weights, or a damaged one"
    with pytest.raises(InputError, match=f"cannot load {re.escape(str(path))}: {told}") as error:
        tfprune.masked(plain).load_weights(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("suffix", ["keras", "h5"])
@pytest.mark.parametrize(
    ("layer", "told"),
    [
        (lambda: Own(), "Could not locate (class|layer) 'Own'; decorate it .*custom_objects={'Own': Own}"),
        (lambda: L.Activation(own_function), "Could not locate (function|object) 'own_function'; decorate it"),
        (lambda: L.Lambda(lambda x: x), r"Python code \(a lambda\); give safe_mode=False if you trust it"),
    ],
)
def test_what_is_not_registered_is_named(layer, told, suffix, tmp_path):
    path = tmp_path / f"model.{suffix}"
    keras.Sequential([keras.Input((3,)), layer(), L.Dense(2)]).save(path)
    with pytest.raises(InputError, match=f"cannot read {re.escape(str(path))}: .*{told}") as error:
        tfprune.load_model(path)
    assert "\n" not in str(error.value) and "damaged" not in str(error.value)
    options = {"custom_objects": {"Own": Own, "own_function": own_function}, "safe_mode": False}
    assert tfprune.load_model(path, **options).count_params() == 8


def test_models_of_keras_2_are_told_apart(tmp_path):
    tf_keras = pytest.importorskip("tf_keras")
    given = tf_keras.Input((3,))
    model = tf_keras.Model(given, tf_keras.layers.Dense(2)(given))
    sequential = tf_keras.Sequential([tf_keras.layers.Dense(2, input_shape=(3,))])
    for call in (tfprune.masked, tfprune.strip, tfprune.prunable, tfprune.compact, tfprune.prune_filters):
        for one in (model, sequential):
            with pytest.raises(InputError, match=r"this is a tf_keras \(Keras 2\) model"):
                call(one)
    for one in (model, sequential):
        one.save(tmp_path / "model.keras")
        with pytest.raises(InputError, match=r"tf_keras \(Keras 2\) wrote it"):
            tfprune.load_model(tmp_path / "model.keras")
    tf_keras.Model(given, tf_keras.layers.Dense(2)(given * 2)).save(tmp_path / "operators.h5")
    with pytest.raises(InputError, match=r"tf_keras \(Keras 2\) wrote it"):
        tfprune.load_model(tmp_path / "operators.h5")
