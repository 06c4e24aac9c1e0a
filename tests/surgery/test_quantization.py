"""Fine-tuning for int8 rounds as the file does and keeps masks, around which Keras's own quantization cannot go."""

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from keras import layers as L

import tfprune
from tfprune.errors import InputError
from tfprune.surgery.quantization import quantization_aware, rounded_kernel


def _sparse():
    """A masked chain of every kind of kernel that is rounded by channels, and examples."""
    keras.utils.set_random_seed(0)
    convolutions = [L.Conv2D(8, 3, name="c"), L.BatchNormalization(), L.ReLU(), L.DepthwiseConv2D(3, name="dw")]
    head = [L.Flatten(), L.Dense(12, "relu", name="h"), L.Dense(3, name="out")]
    model = keras.Sequential([keras.Input((6, 6, 2), name="x"), *convolutions, *head])
    masks = {path: np.random.default_rng(0).random(v.shape) < 0.4 for path, v in tfprune.prunable(model).items()}
    return tfprune.masked(model, masks), np.random.default_rng(1).normal(size=(96, 6, 6, 2)).astype(np.float32)


def _int8(model, given, path):
    tfprune.export(model, path, precision="int8", representative=given, sparse=False)
    return Interpreter(str(path), experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)


def _outputs(interpreter, given):
    return interpreter.get_signature_runner()(x=given)["output_0"]


def test_rounding_is_that_of_the_file_and_masks_stay(tmp_path):
    model, given = _sparse()
    masks, aware = dict(tfprune.masks_of(model)), quantization_aware(model, given)
    rounded, exact = aware.predict(given, verbose=0), model.predict(given, verbose=0)
    found = _outputs(_int8(model, given, tmp_path / "m.tflite"), given)
    assert np.abs(found - rounded).mean() < 0.5 * np.abs(found - exact).mean()

    before = model.get_layer("h").kernel.numpy()
    aware.compile(keras.optimizers.AdamW(1e-2), "mse")
    aware.fit(given, np.ones((96, 3), np.float32), epochs=1, verbose=0)
    assert np.abs(model.get_layer("h").kernel.numpy() - before).max() > 1e-3  # the same layers
    after = tfprune.masks_of(model)
    assert all(np.array_equal(masks[path], after[path]) for path in masks)
    plain = tfprune.prunable(tfprune.strip(model))
    interpreter = _int8(model, given, tmp_path / "m.tflite")
    interpreter.allocate_tensors()
    shapes = {"c/kernel": (8, 3, 3, 2), "dw/kernel": (1, 3, 3, 8), "h/kernel": (12, 32), "out/kernel": (3, 12)}
    tensors = {tuple(one["shape"]): one for one in interpreter.get_tensor_details() if one["dtype"] == np.int8}
    for path, shape in shapes.items():
        assert not plain[path].numpy()[~masks[path]].any()
        stored = interpreter.get_tensor(tensors[shape]["index"])
        kernel = stored.reshape(3, 3, 8, 1) if path == "dw/kernel" else np.moveaxis(stored, 0, -1)
        assert not kernel[~masks[path]].any() and kernel[masks[path]].any()


def test_kernels_by_hand():
    kernel = np.array([[1.27, 0.0, -254.0], [-0.4, 0.0, 3.1]], np.float32)
    steps = np.array([0.01, 1, 2], np.float32)
    by_columns = rounded_kernel(keras.ops.convert_to_tensor(kernel), (-1,))
    np.testing.assert_allclose(by_columns, np.round(kernel / steps) * steps, atol=1e-6)
    whole = rounded_kernel(keras.ops.convert_to_tensor(kernel), ())
    np.testing.assert_allclose(whole, np.round(kernel / 2) * 2, atol=1e-6)


def test_any_model(tmp_path):
    """Several inputs and outputs, a nested model, attention and a shared layer."""
    left, right = keras.Input((4, 6), name="a"), keras.Input((4, 6), name="b")
    shared, inner = L.Dense(6, name="d"), keras.Sequential([keras.Input((4, 6)), L.Dense(5, "relu")])
    x = L.MultiHeadAttention(2, 3, name="att")(shared(left), shared(right))
    model = keras.Model([left, right], {"one": inner(x), "two": L.LSTM(3)(x)})
    given = [np.random.default_rng(seed).normal(size=(9, 4, 6)).astype(np.float32) for seed in range(2)]
    sparse = tfprune.masked(model, tfprune.prune(model, "random/uniform", 0.5, seed=0))
    aware, exact = quantization_aware(sparse, given), sparse(given)
    for name, outputs in aware(given).items():
        assert 0 < np.abs(outputs - exact[name]).max() < 0.1


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"momentum": 2}, r"momentum must be in \[0, 1\]\. Received: 2"),
        ({"representative": np.zeros((4, 3))}, r"representative: shapes must be .*\(N, 5\)"),
        ({"dtype": "mixed_float16"}, "computes in float16: int8 is prepared in float32 only"),
    ],
)
def test_bad_input(arguments, message):
    dtype = arguments.pop("dtype", None)
    model = keras.Sequential([keras.Input((5,)), L.Dense(2, dtype=dtype)])
    with pytest.raises(InputError, match=message):
        quantization_aware(model, **{"representative": np.zeros((4, 5)), **arguments})


def test_keras_own_quantization_does_not_go_around_masks(tmp_path):
    inputs = keras.Input((4, 6))
    model = keras.Model(inputs, L.Flatten()(L.MultiHeadAttention(2, 3, name="att")(inputs, inputs)))
    sparse = tfprune.masked(model)
    sparse.save(tmp_path / "sparse.keras")
    for one in (sparse, tfprune.load_model(tmp_path / "sparse.keras")):
        with pytest.raises(InputError, match=r"layer 'att' has masks and cannot be quantized: quantize tfprune.strip"):
            one.quantize("int8")
        assert not any(getattr(layer, "quantization_mode", None) for layer in one._flatten_layers())
    plain = tfprune.strip(sparse)
    plain.quantize("int8")
    assert plain.get_layer("att").query_dense.quantization_mode == "int8"
