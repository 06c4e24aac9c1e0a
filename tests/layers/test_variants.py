"""Networks in other precisions, and with synchronized normalisation."""

import keras
import numpy as np
import pytest

from tfprune.errors import InputError
from tfprune.layers.convert import masked, masks_of
from tfprune.layers.variants import with_precision, with_synchronized_norm


def _model():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(6, 3, padding="same", use_bias=False)(inputs)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    x = keras.layers.Add()([x, keras.layers.Conv2D(6, 1)(inputs)])
    outputs = keras.layers.Dense(5)(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, outputs)
    rng = np.random.default_rng(1)
    return masked(model, {path: rng.random(mask.shape) < 0.5 for path, mask in masks_of(model).items()})


@pytest.mark.parametrize(("precision", "kind"), [("mixed_bfloat16", "bfloat16"), ("mixed_float16", "float16")])
def test_other_precisions(precision, kind):
    model = _model()
    copy = with_precision(model, precision)
    assert {layer.compute_dtype for layer in copy.layers[1:]} == {kind}
    assert {variable.dtype for variable in copy.variables} == {"float32", "bool"}  # masks are bool
    for one, other in zip(model.get_weights(), copy.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert masks_of(copy) == masks_of(model)
    images = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype("f4")
    outputs = copy(images)
    assert outputs.dtype == kind
    expected, came = model(images).numpy(), keras.ops.cast(outputs, "float32").numpy()
    np.testing.assert_allclose(came, expected, atol=0.02)
    assert abs(came - expected).max() > 1e-5  # lower precision it is
    # Nothing is shared, and the way back is exact.
    copy.trainable_variables[0].assign(0 * copy.trainable_variables[0])
    assert model.get_weights()[0].any()
    np.testing.assert_array_equal(with_precision(with_precision(model, precision), "float32")(images), expected)


def test_an_unknown_precision_is_told():
    with pytest.raises(InputError, match="precision must be one of float32, mixed_float16, mixed_bfloat16"):
        with_precision(_model(), "float16")


def test_synchronized_norm_computes_the_same_on_one_device():
    model = _model()
    copy = with_synchronized_norm(model)
    assert [layer.synchronized for layer in copy.layers if isinstance(layer, keras.layers.BatchNormalization)] == [True]
    assert masks_of(copy) == masks_of(model)
    images = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype("f4")
    np.testing.assert_allclose(copy(images, training=True), model(images, training=True), rtol=1e-4, atol=1e-5)
