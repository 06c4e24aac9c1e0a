"""Layers of kept weights: outputs and gradients are those of masked layers; construction, files, what is refused."""

import io
import sys
from itertools import combinations

import keras
import numpy as np
import pytest
import tensorflow as tf
from kept_cases import CASES, fast_and_masked, images, masked_model
from keras import layers as L

import tfprune
from tfprune.engine.compiling import kernels
from tfprune.errors import InputError
from tfprune.layers import kept_layers as K
from tfprune.layers.kept import kept_copy
from tfprune.layers.kept_drawing import random_indices
from tfprune.layers.kept_geometry import examples_of, geometry_of, pays_for
from tfprune.layers.masked import MASKED, MaskedDense

pytest.importorskip("numba")


def _step(model, given):
    """Outputs, then gradients of a loss of all outputs: of inputs and of trainable variables by name."""
    given = tf.constant(given)
    with tf.GradientTape() as tape:
        tape.watch(given)
        outputs = model(given, training=True)
        weights = tf.reshape(tf.sin(tf.range(tf.size(outputs), dtype=tf.float32)), tf.shape(outputs))
        loss = tf.reduce_sum(outputs * weights) + sum(model.losses)
    first, *others = tape.gradient(loss, [given, *model.trainable_variables])
    names = [variable.name for variable in model.trainable_variables]
    return outputs.numpy(), first.numpy(), dict(zip(names, others, strict=True))


@pytest.mark.parametrize("name", CASES)
def test_outputs_and_gradients_are_those_of_the_masked_layer(name):
    fast, model = fast_and_masked(name)
    layer = fast.get_layer("a")
    assert type(layer) is K.KEPT[model.get_layer("a").plain_class]
    given = images(CASES[name][1])
    (found, of_inputs, gradients), (expected, expected_of_inputs, dense) = _step(fast, given), _step(model, given)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * abs(expected).max())
    np.testing.assert_allclose(of_inputs, expected_of_inputs, rtol=1e-4, atol=1e-5 * abs(expected_of_inputs).max())
    kept = dense["kernel"].numpy().reshape(-1)[layer.kernel_indices.numpy()]
    np.testing.assert_allclose(gradients["kernel_values"], kept, rtol=1e-4, atol=1e-5 * abs(kept).max())
    if "bias" in dense:
        np.testing.assert_allclose(gradients["bias"], dense["bias"], rtol=1e-4, atol=1e-5)
    assert fast.compute_output_shape((7, *given.shape[1:])) == (7, *expected.shape[1:])
    # Inputs and outputs of a compiled function of batches of any size.
    assert fast.predict(given[:2], verbose=0).shape == (2, *expected.shape[1:])


def test_dense_by_hand():
    layer = K.SparseDense(2, kept=3)
    layer.build((None, 2))
    layer.kernel_values.assign([1.0, 2.0, 3.0])
    layer.kernel_indices.assign([0, 2, 3])  # the kernel is [[1, 0], [2, 3]]
    layer.bias.assign([10.0, 20.0])
    given = tf.constant([[1.0, 1.0], [0.0, 2.0]])
    with tf.GradientTape() as tape:
        tape.watch(given)
        outputs = layer(given)
        loss = tf.reduce_sum(outputs * [[1.0, 10.0], [100.0, 1000.0]])
    np.testing.assert_array_equal(outputs, [[13, 23], [14, 26]])
    of_inputs, of_values, of_bias = tape.gradient(loss, [given, layer.kernel_values.value, layer.bias.value])
    np.testing.assert_array_equal(of_inputs, [[1, 32], [100, 3200]])
    np.testing.assert_array_equal(of_values, [1, 1 + 200, 10 + 2000])
    np.testing.assert_array_equal(of_bias, [101, 1010])


def test_convolution_by_hand():
    layer = K.SparseConv1D(1, 3, kept=2, padding="same", use_bias=False)
    layer.build((None, 4, 1))
    layer.kernel_values.assign([1.0, 10.0])
    layer.kernel_indices.assign([0, 2])  # the kernel is [1, 0, 10]
    np.testing.assert_array_equal(layer(np.array([[[1.0], [2.0], [3.0], [4.0]]], "f4"))[0, :, 0], [20, 31, 42, 3])


def test_without_weights_the_bias_is_left():
    layer = K.SparseDense(3, kept=0, bias_initializer="ones")
    np.testing.assert_array_equal(layer(images((5,))), np.ones((3, 3)))
    assert layer.count_params() == 3


def test_empty_batches():
    for kind, made in (("dense", (6,)), ("conv2 same", (7, 6, 6))):
        fast, _ = fast_and_masked(kind)
        assert fast(images(CASES[kind][1], batch=0)).shape == (0, *made)


def test_regularizers_and_constraints_see_the_kept_weights():
    make = {"kernel_regularizer": keras.regularizers.L1L2(0.1, 0.2), "kernel_constraint": "non_neg"}
    model = masked_model([L.Dense(6, **make, name="a")], (5,))
    fast = kept_copy(model, lambda layer, mask: True)
    np.testing.assert_allclose(sum(fast.losses), sum(model.losses), rtol=1e-6)
    (_, _, gradients), (_, _, dense) = (_step(one, images((5,))) for one in (fast, model))
    indices = fast.get_layer("a").kernel_indices.numpy()
    np.testing.assert_allclose(gradients["kernel_values"], dense["kernel"].numpy().reshape(-1)[indices], rtol=1e-4)
    for one in (fast, model):
        one.compile(keras.optimizers.SGD(1.0), "mse")
        one.train_on_batch(images((5,)), images((6,)))
    found = fast.get_layer("a").kernel_values.numpy()
    assert found.min() == 0 < found.max()
    np.testing.assert_allclose(found, model.get_layer("a").kernel.numpy().reshape(-1)[indices], rtol=1e-4, atol=1e-6)


def test_random_connections_are_seeded_and_evenly_spread():
    def indices(**arguments):
        layer = K.SparseConv2D(64, 3, density=0.1, **arguments)
        layer.build((None, 8, 8, 32))
        return layer.kernel_indices.numpy()

    first = indices(mask_seed=1)
    assert len(first) == round(0.1 * 9 * 32 * 64) and first.dtype == np.int32
    assert (np.diff(first) > 0).all() and first[0] >= 0 and first[-1] < 9 * 32 * 64
    np.testing.assert_array_equal(first, indices(mask_seed=1))
    assert not np.array_equal(first, indices(mask_seed=2))
    keras.utils.set_random_seed(5)
    drawn = indices()
    keras.utils.set_random_seed(5)
    np.testing.assert_array_equal(drawn, indices())
    assert abs(np.bincount(first // 2048, minlength=9) - len(first) / 9).max() < 5 * np.sqrt(len(first) / 9)


@pytest.mark.parametrize("kept", [0, 1, 4, 5, 9, 10])
def test_every_set_of_connections_can_come(kept):
    rng = np.random.default_rng(0)
    found = [tuple(random_indices(10, kept, rng)) for _ in range(3000)]
    sets = list(combinations(range(10), kept))
    counts = [found.count(one) for one in sets]
    assert sum(counts) == 3000 and max(counts) < 3000 / len(sets) + 6 * np.sqrt(3000 / len(sets))


def test_first_values_are_scaled_to_the_kept_inputs():
    def spread(initializer, density, layer=K.SparseDense, shape=(None, 400), units=300):
        one = layer(units, density=density, kernel_initializer=initializer)
        one.build(shape)
        return float(np.std(one.kernel_values.numpy()))

    assert spread("he_normal", 0.1) == pytest.approx(np.sqrt(2 / 40), rel=0.05)
    assert spread("glorot_uniform", 0.1) == pytest.approx(np.sqrt(2 / 70), rel=0.05)
    assert spread("glorot_uniform", 1.0) == pytest.approx(np.sqrt(2 / 700), rel=0.05)
    assert spread(keras.initializers.RandomNormal(stddev=0.3), 0.1) == pytest.approx(0.3, rel=0.05)
    heads = K.SparseEinsumDense("abc,cde->abde", (4, 10, 30), density=0.1, kernel_initializer="he_normal")
    heads.build((None, 4, 400))
    assert float(np.std(heads.kernel_values.numpy())) == pytest.approx(np.sqrt(2 / 40), rel=0.05)


def test_nothing_of_the_dense_size_is_made():
    layer = K.SparseDense(100_000, kept=1000)
    outputs = layer(images((100_000,), batch=1))  # a dense kernel has 40 GB
    assert outputs.shape == (1, 100_000) and layer.kernel_indices.dtype == "int64"
    assert layer.kernel_indices.numpy()[-1] > 2**31
    assert sum(one.numpy().nbytes for one in layer.weights) == 1000 * (4 + 8) + 400_000


@pytest.mark.parametrize("name", ["dense", "einsum to heads", "conv2 same", "depthwise1", "transposed2 same"])
def test_configurations_and_files(name, tmp_path):
    make, shape = CASES[name]
    plain = make()
    config = plain.get_config()
    layer = K.KEPT[type(plain)](**config, density=0.3)
    model = keras.Sequential([keras.Input(shape), layer])
    again = type(layer).from_config(layer.get_config())
    again.build((None, *shape))
    np.testing.assert_array_equal(again.kernel_indices, layer.kernel_indices)
    given = images(shape)
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(tfprune.load_model(tmp_path / "model.keras")(given), model(given))
    other = keras.Sequential([keras.Input(shape), type(layer).from_config({**layer.get_config(), "mask_seed": 9})])
    model.save_weights(tmp_path / "w.weights.h5")
    other.load_weights(tmp_path / "w.weights.h5")
    np.testing.assert_array_equal(other(given), model(given))


def test_a_file_with_other_weights_is_told(tmp_path):
    def network(kept):
        return keras.Sequential([keras.Input((5,)), K.SparseDense(6, kept=kept, name="a")])

    network(7).save_weights(tmp_path / "w.weights.h5")
    with pytest.raises((InputError, ValueError), match="layer 'a' holds 8 kept weights, the file has 7"):
        network(8).load_weights(tmp_path / "w.weights.h5")
    layer = network(3).layers[0]
    stored = {str(place): one.numpy() for place, one in enumerate(layer.weights)}
    for indices in ([3, 3, 4], [-1, 3, 4], [3, 4, 30]):
        with pytest.raises(InputError, match="layer 'a': the file's kept weights are not in ascending places"):
            layer.load_own_variables({**stored, "2": np.array(indices, np.int32)})


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({}, "exactly one of kept and density is needed. Received: kept=None, density=None"),
        ({"kept": 3, "density": 0.1}, "exactly one of kept and density is needed. Received: kept=3, density=0.1"),
        ({"kept": -1}, "kept must be a whole number, 0 or more. Received: -1"),
        ({"kept": 0.5}, "kept must be a whole number, 0 or more. Received: 0.5"),
        ({"kept": True}, "kept must be a whole number, 0 or more. Received: True"),
        ({"density": 0}, "density must be above 0 and at most 1. Received: 0"),
        ({"density": 1.5}, "density must be above 0 and at most 1. Received: 1.5"),
        ({"density": float("nan")}, "density must be above 0 and at most 1. Received: nan"),
        ({"kept": 3, "mask_seed": -1}, "mask_seed must be a whole number, 0 or more. Received: -1"),
        ({"kept": 31}, "kept must be at most 30, the kernel's size. Received: 31"),
        ({"kept": 3, "dtype": "mixed_bfloat16"}, "it computes in mixed_bfloat16, not in float32"),
        ({"kept": 3, "lora_rank": 2}, "it has a low-rank update"),
        ({"kept": 3, "kernel_constraint": "unit_norm"}, "its constraint UnitNorm sees more than each weight alone"),
        ({"kept": 3, "kernel_regularizer": "orthogonal_regularizer"}, "its regularizer OrthogonalRegularizer sees"),
        ({"kept": 3, "kernel_initializer": "orthogonal"}, "kernel_initializer of kept weights must draw each weight"),
    ],
)
def test_bad_arguments_are_told_in_a_line(arguments, told):
    with pytest.raises(InputError) as error:
        K.SparseDense(6, name="a", **arguments).build((None, 5))
    assert told in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (lambda: L.Conv3D(2, 2), "Conv3D has no class of kept weights"),
        (lambda: L.SeparableConv2D(2, 2), "SeparableConv2D has no class of kept weights"),
        (lambda: type("Own", (L.Dense,), {})(3), "Own has no class of kept weights"),
        (lambda: L.Conv2D(4, 2, data_format="channels_first"), "its channels come first"),
        (lambda: L.Dense(4, dtype="mixed_float16"), "it computes in mixed_float16, not in float32"),
        (lambda: L.Dense(4, dtype="float64"), "it computes in float64, not in float32"),
        (lambda: MaskedDense(4, product_dtype="bfloat16"), "it computes in bfloat16, not in float32"),
        (lambda: L.Dense(4, lora_rank=2), "it has a low-rank update (LoRA)"),
        (lambda: L.Dense(4, kernel_constraint="max_norm"), "its constraint MaxNorm sees more than each weight alone"),
        (lambda: L.DepthwiseConv2D(2, depthwise_constraint="max_norm"), "its constraint MaxNorm sees more"),
        (lambda: L.EinsumDense("abcd,e->abce", (4, 4, 3)), "equation 'abcd,e->abce' is no product of rows"),
    ],
)
def test_why_a_layer_is_not_kept(layer, reason):
    layer = layer()
    rank = 5 if isinstance(layer, L.Conv3D) else 4
    layer.build((None, *[4] * (rank - 1)))
    assert K.why_not_kept(layer).startswith(reason)


def test_what_can_be_kept():
    assert K.why_not_kept(L.ReLU()) == "ReLU has no class of kept weights"
    assert K.why_not_kept(L.Dense(3)) == "it has no weights yet"
    for name, (make, shape) in CASES.items():
        for layer in (make(), MASKED[type(make())].from_config(make().get_config())):
            layer(keras.Input(shape))
            assert K.why_not_kept(layer) is None, name


def test_images_of_unknown_size():
    layer = L.Conv2D(4, 3)
    layer(keras.Input((None, None, 3)))
    assert K.why_not_kept(layer) == "the size of its images is not known"
    sparse = K.SparseConv2D(4, 3, density=0.3, name="a")
    model = keras.Sequential([keras.Input((None, None, 3)), sparse])
    for size in (5, 7):  # known when it is called
        dense = np.zeros(sparse.kernel_shape, "f4")
        dense.reshape(-1)[sparse.kernel_indices.numpy()] = sparse.kernel_values.numpy()
        given = images((size, size, 3))
        np.testing.assert_allclose(model(given), tf.nn.conv2d(given, dense, 1, "VALID"), atol=1e-5)
    function = tf.function(model, input_signature=[tf.TensorSpec((None, None, None, 3))], autograph=False)
    with pytest.raises(InputError, match=r"^layer 'a' holds kept weights only and needs images of a known size"):
        function(images((5, 5, 3)))


def test_without_numba_a_call_says_the_command(monkeypatch):
    model, given = keras.Sequential([keras.Input((5,)), K.SparseDense(4, kept=3)]), images((5,))
    kernels.cache_clear()
    monkeypatch.setitem(sys.modules, "numba", None)
    with pytest.raises(InputError, match=r"^the sparse engine: the package numba is missing; pip install"):
        model(given)
    monkeypatch.undo()
    assert model(given).shape == (3, 4)


def test_lora_and_quantization_are_refused():
    layer = K.SparseDense(4, kept=3, name="a")
    layer.build((None, 5))
    with pytest.raises(InputError, match="layer 'a': SparseDense takes no low-rank update"):
        layer.enable_lora(2)
    with pytest.raises(InputError, match=r"layer 'a' holds kept weights only: quantize tfprune.strip\(model\)"):
        layer.quantize("int8")


def test_the_rule_meets_each_call_of_a_layer():
    dense, heads = L.Dense(600, name="a"), L.EinsumDense("abc,cde->abde", (None, 3, 2))
    x = dense(keras.Input((7, 400)))
    assert geometry_of(dense, x.shape).shape == (1, 1, 400, 600)
    assert examples_of(dense, (None, 7, 400), 32) == 7 * 32
    heads(keras.Input((7, 5)))
    assert examples_of(heads, (None, 7, 5), 32) == 7 * 32 and geometry_of(heads, (None, 7, 5)).size == 30
    assert pays_for(dense, 2400, 32) and not pays_for(dense, 240_000, 32)
    assert not pays_for(dense, 2400, 1)
    assert not pays_for(K.SparseDense(3, kept=1), 1, 32)  # no graph calls it


def test_weights_can_be_given_for_a_call():
    fast, _ = fast_and_masked("dense")
    given, others = images((5,)), [variable * 2 for variable in fast.trainable_variables]
    outputs, _ = fast.stateless_call(others, fast.non_trainable_variables, given)
    for variable, other in zip(fast.trainable_variables, others, strict=True):
        variable.assign(other)
    np.testing.assert_array_equal(outputs, fast(given))


def test_a_step_is_not_compiled_by_xla():
    fast, _ = fast_and_masked("dense")
    fast.compile("sgd", "mse")
    assert fast.jit_compile is False
    stream = io.StringIO()
    fast.summary(print_fn=lambda line: stream.write(line))
    assert "SparseDense" in stream.getvalue()
