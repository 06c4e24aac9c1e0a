"""IMP's dense layer with its kept weights alone, against the masked one."""

import keras
import numba
import numpy as np
import pytest
import tensorflow as tf

from tfprune.engine import products
from tfprune.errors import InputError
from tfprune.experiments.imp.normalized_dense import NormalizedMaskedDense
from tfprune.experiments.imp.normalized_kept import NormalizedKeptDense
from tfprune.layers.kept import kept_copy, pairs, take_from, with_masks, write_back
from tfprune.layers.kept_layers import why_not_kept

VARIABLES = ("bias", "gamma", "beta", "running_mean", "running_variance")


def _model(rng, inputs, outputs, density, activation="relu", **arguments):
    layer = NormalizedMaskedDense(outputs, momentum=0.9, activation=activation, name="layer", **arguments)
    model = keras.Sequential([keras.Input((inputs,)), layer])
    for name in ("kernel", *VARIABLES):
        variable = getattr(layer, name)
        variable.assign(rng.normal(0, 0.3, size=variable.shape))
    layer.running_variance.assign(rng.random(inputs) + 0.5)
    layer.kernel_mask.assign(rng.random((inputs, outputs)) < density)
    layer.bias_mask.assign(rng.random(outputs) < 0.7)
    return model, layer


def _all_kept(model):
    return kept_copy(model, lambda layer, mask: True)


def _gradients(layer, variables, inputs, weights, training):
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = layer(inputs, training=training)
        loss = tf.reduce_sum(outputs * weights)
    return outputs.numpy(), [found.numpy() for found in tape.gradient(loss, [inputs, *variables])]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("activation", ["relu", "tanh", None])
@pytest.mark.parametrize(
    ("batch", "inputs", "outputs", "density"),
    [(500, 300, 70, 0.1), (7, 33, 5, 0.5), (65, 200, 16, 0.01), (64, 64, 10, 1.0), (130, 20, 128, 0.0)],
)
def test_outputs_gradients_and_averages(batch, inputs, outputs, density, activation, training):
    rng = np.random.default_rng(0)
    model, layer = _model(rng, inputs, outputs, density, activation)
    kept = _all_kept(model).layers[-1]
    assert isinstance(kept, NormalizedKeptDense)
    x = tf.constant(rng.normal(3, 2, size=(batch, inputs)).astype("f4"))
    weights = rng.normal(size=(batch, outputs)).astype("f4")
    names = ("gamma", "beta", "bias")
    for _ in range(2):  # the averages of the first batch replace what was there, those of the second are mixed in
        theirs, expected = _gradients(
            layer, [layer.kernel.value, *(getattr(layer, name).value for name in names)], x, weights, training
        )
        ours, found = _gradients(
            kept, [kept.kernel_values.value, *(getattr(kept, name).value for name in names)], x, weights, training
        )
        expected[1] = expected[1].reshape(-1)[layer.kernel_mask.numpy().reshape(-1)]
        _assert_close(ours, theirs)
        for one, other in zip(found, expected, strict=True):
            _assert_close(one, other)
        for name in ("running_mean", "running_variance", "seen"):
            _assert_close(getattr(kept, name).numpy(), getattr(layer, name).numpy())
        x = 2 * x + 1


def _assert_close(found, expected):
    np.testing.assert_allclose(found, expected, atol=1e-5 * max(np.abs(expected).max(initial=0), 1e-30))


def test_by_hand():
    layer = NormalizedKeptDense(2, kept=1, epsilon=0.0)
    layer.connect(np.array([3]))  # of two inputs and two outputs: from the second to the second
    layer.build((None, 2))
    layer.kernel_values.assign([3])
    layer.gamma.assign([7, 2])
    layer.beta.assign([7, 5])
    layer.bias.assign([1, 4])
    # The second input's mean is 2, its deviation 1; x̂ is −1 and 1.
    np.testing.assert_allclose(layer(tf.constant([[9.0, 1], [8, 3]]), training=True), [[1, 13], [1, 25]], atol=1e-5)
    np.testing.assert_allclose(layer.running_mean, [8.5, 2])
    np.testing.assert_allclose(layer.running_variance, [0.25, 1])


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="a machine with one core")
def test_same_bytes_by_any_number_of_threads(monkeypatch):
    rng = np.random.default_rng(0)
    model, _ = _model(rng, 300, 200, 0.1)
    x = tf.constant(rng.normal(size=(200, 300)).astype("f4"))
    weights = rng.normal(size=(200, 200)).astype("f4")
    bytes_of = []
    for threads in (1, 2):
        monkeypatch.setattr(products, "_threads", lambda threads=threads: threads)
        kept = _all_kept(model).layers[-1]
        outputs, found = _gradients(kept, [variable.value for variable in kept.trainable_variables], x, weights, True)
        assert numba.get_num_threads() == threads
        bytes_of.append([array.tobytes() for array in (outputs, *found, kept.running_mean.numpy())])
    assert bytes_of[0] == bytes_of[1]


def test_weights_go_there_and_back():
    rng = np.random.default_rng(0)
    model, layer = _model(rng, 20, 8, 0.3)
    fast = _all_kept(model)
    kept = fast.layers[-1]
    before = layer.kernel.numpy()
    assert [(variable.name, other.name) for variable, other in pairs(fast, model)] == [
        ("kernel", "kernel_values"),
        *((name, name) for name in ("bias", "gamma", "beta")),
    ]
    kept.kernel_values.assign(kept.kernel_values + 1)
    kept.running_mean.assign(kept.running_mean + 1)
    write_back(fast, model)
    np.testing.assert_array_equal(layer.kernel.numpy(), before + layer.kernel_mask.numpy().astype("f4"))
    np.testing.assert_array_equal(layer.running_mean.numpy(), kept.running_mean.numpy())
    layer.gamma.assign(layer.gamma * 2)
    take_from(fast, model)
    x = rng.normal(size=(5, 20)).astype("f4")
    _assert_close(fast(x).numpy(), model(x).numpy())
    masked = with_masks(fast)
    assert type(masked.layers[-1]) is NormalizedMaskedDense
    _assert_close(masked(x).numpy(), model(x).numpy())


def test_saved_and_loaded(tmp_path):
    rng = np.random.default_rng(0)
    fast = _all_kept(_model(rng, 20, 8, 0.3)[0])
    x = rng.normal(size=(5, 20)).astype("f4")
    fast.save(tmp_path / "fast.keras")
    loaded = keras.models.load_model(tmp_path / "fast.keras")
    np.testing.assert_array_equal(loaded(x), fast(x))
    assert loaded.layers[-1].momentum == 0.9


def test_products_of_other_precision_are_not_kept():
    _, layer = _model(np.random.default_rng(0), 20, 8, 0.3, product_dtype="bfloat16")
    assert why_not_kept(layer) == "it computes in bfloat16, not in float32"


def test_no_low_rank_update():
    layer = NormalizedKeptDense(2, kept=1)
    with pytest.raises(InputError, match="LoRA"):
        layer.enable_lora(1)
