"""Masks in place: the model that `tfprune.masked` would copy, with its layers and its optimizer's state."""

import any_layers
import keras
import numpy as np
import pytest
from keras import layers

import tfprune
from tfprune.layers.in_place import mask_in_place


def _net():
    keras.utils.set_random_seed(1)
    stack = [
        layers.Conv2D(4, 3, activation="relu", kernel_regularizer="l2"),
        layers.BatchNormalization(),
        layers.Flatten(),
        layers.Dense(8, activation="relu"),
        layers.Dropout(0.3),
        layers.Dense(3, kernel_constraint="max_norm"),
    ]
    model = keras.Sequential([keras.Input((6, 6, 1)), *stack])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def test_training_goes_on_as_if_nothing_were_there():
    """Weight for weight, with the optimizer's state, after a function was traced, and through a file."""
    x, y = np.random.default_rng(0).normal(size=(32, 6, 6, 1)).astype(np.float32), np.arange(32) % 3
    plain, given = _net(), _net()
    for model in (plain, given):
        model.fit(x, y, verbose=0, shuffle=False)
    objects = [given, given.optimizer, *given.layers]
    assert mask_in_place(given) and not mask_in_place(given)
    assert [id(one) for one in objects] == [id(one) for one in [given, given.optimizer, *given.layers]]
    for model in (plain, given):
        keras.utils.set_random_seed(2)
        model.fit(x, y, epochs=2, verbose=0, shuffle=False)
    pairs = zip(plain.trainable_variables, given.trainable_variables, strict=True)
    for one, other in pairs:
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    # Masks act in the function that is traced anew, and pruned weights stay as they are.
    masks = tfprune.prune(given, "magnitude/uniform", 0.5)
    tfprune.set_masks(given, masks)
    assert np.abs(given.predict(x, verbose=0) - plain.predict(x, verbose=0)).max() > 1e-3
    stripped = tfprune.strip(given)
    np.testing.assert_array_equal(stripped.predict(x, verbose=0), given.predict(x, verbose=0))
    assert [type(layer) for layer in stripped.layers] == [type(layer) for layer in plain.layers]


@pytest.mark.parametrize("name", ["lstm", "attention", "own block", "own dense", "subclassed", "encoder"])
def test_it_is_what_masked_copies(name, tmp_path):
    if name == "encoder":
        pytest.importorskip("keras_hub")
    model, x = any_layers.made(name)
    copy, outputs = tfprune.masked(model), np.asarray(model(x))
    mask_in_place(model)
    np.testing.assert_array_equal(model(x), outputs)
    kinds = [[type(layer) for layer in one._flatten_layers()] for one in (model, copy)]
    assert kinds[0] == kinds[1]
    rng = np.random.default_rng(1)
    masks = {path: rng.random(kernel.shape) < 0.5 for path, kernel in tfprune.prunable(model).items()}
    tfprune.set_masks(model, masks)
    model.save_weights(tmp_path / "in_place.weights.h5")
    copy.load_weights(tmp_path / "in_place.weights.h5")
    assert tfprune.masks_of(copy) == tfprune.Masks(masks)
    np.testing.assert_array_equal(copy(x), model(x))
    assert np.abs(np.asarray(model(x)) - outputs).max() > 1e-4


def test_a_model_without_weights_is_refused():
    with pytest.raises(tfprune.InputError, match=r"has no weights yet: give it a keras\.Input or call"):
        mask_in_place(keras.Sequential([layers.Dense(3)]))
    with pytest.raises(tfprune.InputError, match="has no weights yet: call it on an example"):
        mask_in_place(any_layers.Subclassed())
