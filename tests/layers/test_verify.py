"""The check of copies: what it finds, what it lets pass, and that it leaves no trace."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as L
from keras import ops

import tfprune
from tfprune.errors import InputError
from tfprune.layers.made_up import made_up_inputs
from tfprune.layers.prunable import prunable
from tfprune.layers.verify import check_copy
from tfprune.surgery.trace import Trace, register_rule


class Liar(L.Layer):
    """Its configuration leaves its factor out."""

    def __init__(self, factor=1.0, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, x):
        return x * self.factor

    def get_config(self):
        return super().get_config()


register_rule(Liar)(Trace.keep)


def test_all_four_calls_find_a_layer_that_is_not_copied_right():
    inputs = keras.Input((8, 8, 3))
    x = L.ReLU()(L.Conv2D(4, 3)(L.Conv2D(4, 3)(inputs)))
    model = keras.Model(inputs, L.Dense(2)(Liar(1.25, name="liar")(L.Flatten()(x))))
    for call in (tfprune.masked, tfprune.strip, tfprune.compact, tfprune.prune_filters):
        with pytest.raises(InputError, match=r"does not compute what the model does.*verify=False"):
            call(model)
        assert call(model, verify=False).layers[-2].factor == 1.0
    with pytest.raises(InputError, match="does not compute"):
        tfprune.compact(model, fold_batchnorm=True)
    with pytest.raises(InputError, match="from 'liar' on"):
        tfprune.masked(model)


def _pair(activation, other, dtype="float32", classes=3, deep=1):
    """Two models of the same weights, whose layers have different activations."""
    keras.utils.set_random_seed(4)
    pair = []
    for function in (activation, other):
        layers = [L.Dense(16, function, dtype=dtype) for _ in range(deep)]
        pair.append(keras.Sequential([keras.Input((12,)), *layers, L.Dense(classes, "softmax", dtype=dtype)]))
    pair[1].set_weights(pair[0].get_weights())
    return pair


SWAPPED = [
    (lambda x: tf.nn.leaky_relu(x, 0.1), "leaky_relu", "float32"),
    (lambda x: tf.nn.gelu(x, approximate=True), "gelu", "float32"),
    (lambda x: tf.nn.sigmoid(1.01 * x), "sigmoid", "float32"),
    (lambda x: tf.minimum(tf.nn.relu(x), 6), "relu", "float32"),
    (lambda x: tf.nn.relu(x), "relu6", "float64"),
    (lambda x: tf.nn.leaky_relu(x, 0.1), "leaky_relu", "mixed_float16"),
    (lambda x: tf.nn.sigmoid(x) - 1, "sigmoid", "mixed_bfloat16"),
]


@pytest.mark.parametrize(("activation", "other", "dtype"), SWAPPED)
@pytest.mark.parametrize("deep", [1, 4])
def test_swapped_activations_are_found(activation, other, dtype, deep):
    model, copy = _pair(activation, other, dtype, deep=deep)
    with pytest.raises(InputError, match="does not compute what the model does"):
        check_copy(copy, model)


@pytest.mark.parametrize("dtype", ["float32", "float64", "mixed_float16", "mixed_bfloat16"])
def test_rounding_is_no_difference(dtype):
    """The same sums in two parts, through many layers."""
    keras.utils.set_random_seed(5)
    given = keras.Input((64,))
    plain, parted = given, given
    for _ in range(8):
        dense = L.Dense(64, "tanh", dtype=dtype, kernel_initializer=keras.initializers.RandomNormal(stddev=0.4))
        plain = dense(plain)
        low, high = L.Dense(64, dtype=dtype), L.Dense(64, dtype=dtype)
        parted = L.Activation("tanh", dtype=dtype)(low(parted[:, :23]) + high(parted[:, 23:]))
        low.set_weights([dense.kernel.numpy()[:23], dense.bias.numpy()])
        high.set_weights([dense.kernel.numpy()[23:], dense.bias.numpy()])
    model, copy = keras.Model(given, plain), keras.Model(given, parted)
    inputs = next(made_up_inputs(model))
    assert np.abs(np.asarray(model(inputs), float) - np.asarray(copy(inputs), float)).max() > 0
    check_copy(copy, model)


def test_the_check_leaves_no_trace():
    keras.utils.set_random_seed(6)

    class Counter(L.Layer):
        def build(self, shape):
            self.calls = self.add_weight(shape=(), trainable=False, initializer="zeros")

        def call(self, x):
            self.calls.assign_add(1.0)
            return x + keras.random.normal(ops.shape(x), seed=self.seed)

        seed = keras.random.SeedGenerator(3)

    model = keras.Sequential([keras.Input((4,)), Counter(), L.Dropout(0.5), L.BatchNormalization(), L.Dense(2)])
    before = [variable.numpy() for variable in (*model.variables, Counter.seed.state)]
    copy = tfprune.masked(model, verify=False)
    check_copy(copy, model)
    for one in (model, copy):
        after = [variable.numpy() for variable in (*one.variables, Counter.seed.state)]
        if one is model:
            assert all(np.array_equal(old, new) for old, new in zip(before, after, strict=True))
    assert float(copy.layers[0].calls) == 0 and model.losses == copy.losses == []


def _image_model(shape, least):
    """Refuses images of less than `least` pixels."""
    given = keras.Input(shape)
    x = L.Conv2D(2, least, padding="valid")(given)
    return keras.Model(given, L.Dense(2)(L.GlobalAveragePooling2D()(x)))


@pytest.mark.parametrize(
    ("shape", "least", "made"),
    [
        ((None, None, 3), 5, (2, 8, 8, 3)),
        ((None, None, 3), 20, (2, 32, 32, 3)),
        ((None, 40, 1), 40, (2, 96, 40, 1)),
        ((300, 300, 3), 5, (1, 300, 300, 3)),
    ],
)
def test_open_sizes_and_large_ones(shape, least, made):
    model = _image_model(shape, least)
    shapes = []
    for inputs in made_up_inputs(model):
        try:
            model(inputs)
        except (ValueError, tf.errors.InvalidArgumentError):
            continue
        shapes.append(tuple(inputs.shape))
        break
    assert shapes == [made]
    wrong = _image_model(shape, least)  # other weights
    with pytest.raises(InputError, match="does not compute"):
        check_copy(wrong, model)
    tfprune.masked(model)


@pytest.mark.parametrize("reduce", [L.AveragePooling2D(12), L.Lambda(lambda x: x[:, 8:])], ids=["window", "slice"])
def test_sizes_that_leave_a_layer_nothing_are_not_tried(reduce):
    """Pooling over less than a window ends the process in TensorFlow 2.21."""
    image = keras.Input((None, None, 3))
    inner = keras.Sequential([keras.Input((None, None, 3)), reduce])
    model = keras.Model(image, L.GlobalAveragePooling2D()(L.Conv2D(2, 3, padding="same")(inner(image))))
    assert next(made_up_inputs(model)).shape == (2, 32, 32, 3)
    tfprune.masked(model)


def test_no_inputs_are_made_up_where_none_fit():
    huge = keras.Input((5000, 5000))
    assert list(made_up_inputs(keras.Model(huge, L.Rescaling(2.0)(huge)))) == []
    model = keras.Sequential([keras.Input((None, 4)), L.Conv1D(2, 200), L.Dense(1)])
    other = keras.Sequential([keras.Input((None, 4)), L.Conv1D(2, 200), L.Dense(1)])
    check_copy(other, model)  # 200 steps at least: nothing is checked, nothing is raised
    tfprune.masked(model)


def test_tokens_words_flags_and_structures():
    tokens, text, flag = (
        keras.Input((6,), dtype="int32"),
        keras.Input((), dtype="string"),
        keras.Input((1,), dtype="bool"),
    )
    lookup = L.StringLookup(vocabulary=["a", "b"], num_oov_indices=0, output_mode="one_hot")
    embedded = L.GlobalAveragePooling1D()(L.Embedding(5, 3)(tokens))
    x = L.Concatenate()([embedded, lookup(text), ops.cast(flag, "float32")])
    outputs = {"a": L.Dense(2)(x), "b": [L.Dense(1)(x), text]}
    model = keras.Model({"tokens": tokens, "rest": [text, flag]}, outputs)
    inputs = next(made_up_inputs(model))
    assert inputs["tokens"].numpy().max() < 5 and inputs["rest"][0].dtype == tf.string
    model(inputs)
    copy = tfprune.masked(model)
    copy.get_layer(model.layers[-1].name).bias.assign([0.5])
    with pytest.raises(InputError, match="does not compute"):
        check_copy(copy, model)


def test_a_sparse_and_a_fixed_batch():
    given = keras.Input(batch_shape=(3, 4), sparse=True)
    model = keras.Model(given, L.Dense(2)(given))
    assert next(made_up_inputs(model)).shape == (3, 4)
    tfprune.masked(model)


def test_outputs_that_are_no_numbers():
    model, copy = _pair(lambda x: tf.math.log(tf.abs(x)) * np.nan, "linear")
    check_copy(model, model)
    with pytest.raises(InputError, match="does not compute"):
        check_copy(copy, model)
    # Noise has no root everywhere, but there are inputs that have one.
    root, other = _pair(tf.sqrt, lambda x: tf.sqrt(x) * 1.01)
    for one in (root, other):
        one.layers[0].kernel.assign(np.abs(root.layers[0].kernel))
    check_copy(root, root)
    with pytest.raises(InputError, match="does not compute"):
        check_copy(other, root)


def test_copies_that_cannot_be_run_are_named():
    def broken(x):
        if ops.is_tensor(x) and hasattr(x, "numpy"):
            raise RuntimeError("no such thing")
        return x

    model, copy = _pair("linear", broken)
    with pytest.raises(InputError, match=r"cannot be run where the model can: no such thing$"):
        check_copy(copy, model)


def test_compact_and_filters_are_compared_with_what_they_say():
    """Constants folded into biases, removed channels at 0: no false alarm, with masks given or the model's own."""
    rng = np.random.default_rng(0)
    for seed in range(4):
        keras.utils.set_random_seed(seed)
        inputs = keras.Input((10, 10, 3))
        x = L.Activation("relu")(L.BatchNormalization()(L.Conv2D(6, 3, padding="same")(inputs)))
        x = L.Add()([x, L.DepthwiseConv2D(3, padding="same", activation="tanh")(x)])
        x = L.Dropout(0.5)(L.Conv2D(5, 3, activation="sigmoid")(x))
        model = keras.Model(inputs, L.Dense(4, "softmax")(L.GlobalMaxPooling2D()(x)))
        for variable in model.variables:
            if "float" in variable.dtype:
                variable.assign(
                    np.abs(rng.normal(size=variable.shape))
                    if "variance" in variable.name
                    else rng.normal(size=variable.shape)
                )
        masks = {path: rng.random(kernel.shape) < 0.3 for path, kernel in prunable(model).items()}
        tfprune.compact(model, masks)
        sparse = tfprune.masked(model, masks)
        tfprune.compact(sparse)
        tfprune.compact(sparse, {path: np.ones_like(mask) for path, mask in masks.items()})
        tfprune.compact(sparse, fold_batchnorm=True)
        tfprune.prune_filters(sparse)
        tfprune.prune_filters(model, "l2", 0.25)
