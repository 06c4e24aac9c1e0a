"""Averages of batch normalisation against those of what NumPy and another model see."""

import keras
import numpy as np
import pytest
from keras import layers

import tfprune
from tfprune.errors import InputError

RNG = np.random.default_rng(0)
X = RNG.normal(3, 2, size=(37, 6, 6, 2)).astype("f4")


@pytest.fixture
def model():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(4, 3, name="c")(inputs)
    x = layers.Dropout(0.5)(layers.BatchNormalization(name="first")(x))
    x = layers.Conv2D(3, 2, name="d")(layers.ReLU()(x))
    return keras.Model(inputs, layers.BatchNormalization(name="second")(x))


def seen_by(model, name, x):
    """What a layer is given, flat."""
    found = keras.Model(model.input, model.get_layer(name).input)(x, training=False)
    return np.asarray(found, np.float64).reshape(-1, found.shape[-1])


def assert_averages(layer, rows):
    np.testing.assert_allclose(layer.moving_mean, rows.mean(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(layer.moving_variance, rows.var(0), rtol=1e-4)


@pytest.mark.parametrize("batch_size", [5, 37])
def test_layer_by_layer_every_output_has_the_mean_and_variance_that_it_should(model, batch_size):
    model.get_layer("first").gamma.assign([1, 2, 3, 0.5])
    model.get_layer("first").beta.assign([0, 1, -1, 2])
    weights = [variable.numpy() for variable in model.trainable_variables]
    tfprune.recalibrate(model, X, batch_size=batch_size, layer_by_layer=True)
    for name in ("first", "second"):
        assert_averages(model.get_layer(name), seen_by(model, name, X))
    outputs = np.asarray(model(X)).reshape(-1, 3)
    np.testing.assert_allclose(outputs.mean(0), 0, atol=1e-4)
    assert (np.abs(outputs.var(0) - 1) < 0.05).all()  # ε is a part of the variance
    for before, variable in zip(weights, model.trainable_variables, strict=True):
        np.testing.assert_array_equal(before, variable)


def test_in_one_pass_batches_are_normalised_by_their_own_statistics(model):
    sizes = [20, 17]
    tfprune.recalibrate(model, (X, np.zeros(37)), batch_size=20)
    assert_averages(model.get_layer("first"), seen_by(model, "first", X))
    # In training mode, without dropout: each batch as `fit` has it.
    inner, rows = model.get_layer("first"), []
    for start, size in zip([0, 20], sizes, strict=True):
        x = np.asarray(model.get_layer("c")(X[start : start + size]))
        normal = (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + inner.epsilon)
        rows.append(np.asarray(model.get_layer("d")(np.maximum(normal, 0))).reshape(-1, 3))
    assert_averages(model.get_layer("second"), np.concatenate(rows))


def test_one_batch_of_all_gives_the_same_both_ways(model):
    tfprune.recalibrate(model, X)
    once = [variable.numpy() for variable in model.weights]
    tfprune.recalibrate(model, X, layer_by_layer=True)
    for one, other in zip(once, model.weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_a_masked_model_gets_the_averages_of_what_its_masks_leave(model):
    sparse = tfprune.masked(model, tfprune.prune(model, "magnitude", 0.7))
    tfprune.recalibrate(sparse, X, layer_by_layer=True)
    plain = tfprune.strip(sparse)
    for name in ("first", "second"):
        assert_averages(sparse.get_layer(name), seen_by(plain, name, X))


def test_positions_that_a_mask_leaves_out_and_layers_of_a_subclassed_model_in_half_precision():
    @keras.saving.register_keras_serializable("tfprune_recalibrate")
    class Net(keras.Model):
        def __init__(self, **arguments):
            super().__init__(**arguments)
            self.norms = [layers.BatchNormalization(dtype="mixed_float16"), layers.BatchNormalization(axis=1)]

        def call(self, x):
            return self.norms[1](self.norms[0](layers.Masking()(x)))

    x = RNG.normal(100, 1, (9, 4, 3)).astype("f4")
    x[:5, 2:] = 0
    model = Net()
    model(x)
    model.norms[0].trainable = False
    tfprune.recalibrate(model, x)
    rows = x[np.any(x != 0, -1)].astype(np.float16).astype(np.float64)
    assert_averages(model.norms[0], rows)
    assert model.norms[1].moving_mean.shape == (4,) and abs(model.norms[1].moving_mean.numpy()).max() > 0


def test_refused(model):
    plain = keras.Sequential([keras.Input((2,)), layers.Dense(2)])
    with pytest.raises(InputError, match="has no batch normalisation"):
        tfprune.recalibrate(plain, np.ones((2, 2)))
    before = model.get_layer("first").moving_mean.numpy()
    for layer_by_layer in (False, True):
        with pytest.raises(InputError, match="'first' is called with is not finite"):
            tfprune.recalibrate(model, X * np.inf, layer_by_layer=layer_by_layer)
    np.testing.assert_array_equal(before, model.get_layer("first").moving_mean)
