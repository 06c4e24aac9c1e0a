"""Predictors: the outputs of the model that they were made of, from arrays to arrays, with its weights of then."""

import gc
import threading
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as L

import tfprune
from tfprune.errors import InputError
from tfprune.layers.flowing import flows_of
from tfprune.layers.kept_layers import KeptKernel
from tfprune.layers.kernel_masks import masked_kernels

pytest.importorskip("numba")


def _vgg(activation="softmax"):
    stack = [keras.Input((8, 8, 3))]
    for number, width in enumerate((8, 16, 16)):
        stack += [L.Conv2D(width, 3, padding="same", name=f"conv{number}"), L.BatchNormalization(), L.ReLU()]
        stack += [L.MaxPooling2D()]
    return keras.Sequential([*stack, L.Flatten(), L.Dense(10, name="head"), L.Activation(activation)], name="vgg")


def _resnet():
    given = keras.Input((8, 8, 3), name="photos")
    x = L.Conv2D(8, 3, padding="same", activation="relu", name="stem")(given)
    x = L.Add()([x, L.Conv2D(8, 3, padding="same", name="a")(x)])
    x = L.GlobalAveragePooling2D()(x)
    return keras.Model(given, {"classes": L.Dense(300, name="classes")(x), "mean": L.Dense(4, name="mean")(x)})


def _read_twice():
    given = keras.Input((8, 8, 4))
    x = L.Conv2D(4, 3, padding="same", activation="relu", name="one")(given)
    x = L.Conv2D(4, 3, padding="same", activation="tanh", name="other")(x)
    return keras.Model(given, L.Multiply()([x, given]))


def _named():
    given = keras.Input((8, 8, 3))
    x = L.Conv2D(8, 3, padding="same", activation="relu", name="one")(given)
    return keras.Model(given, {"image": L.Conv2D(4, 3, activation="sigmoid", name="other")(x)})


def _perceptron():
    return keras.Sequential([keras.Input((64,)), L.Dense(256, "relu"), L.Dense(10, "softmax")])


def _sides():
    left, right = keras.Input((6,), name="left"), keras.Input((3,), name="right")
    return keras.Model([right, left], L.Dense(5)(L.Concatenate()([L.Dense(8)(left), right])))


def _by_keys():
    left, right = keras.Input((6,), name="left"), keras.Input((3,), name="right")
    return keras.Model({"one": left, "other": right}, L.Dense(5)(L.Concatenate()([L.Dense(8)(left), right])))


def _by_parts():
    left, right = keras.Input((6,), name="left"), keras.Input((3,), name="right")
    return keras.Model([left, {"x": right}], L.Dense(5)(L.Concatenate()([left, right])))


class _Own(keras.Model):
    def __init__(self, **config):
        super().__init__(**config)
        self.first, self.second = L.Dense(16, "relu"), L.Dense(3)

    def call(self, inputs):
        return self.second(self.first(inputs))


def _one_and_what_follows(several):
    def build():
        given = keras.Input((8, 8, 3))
        x = L.Conv2D(8, 3, padding="same", activation="relu", name="one")(given)
        return keras.Model(given, several(x, L.Conv2D(4, 3, activation="tanh", name="two")(x)))

    return build


SEVERAL = {
    "it first": lambda x, y: [x, y],
    "it last": lambda x, y: [y, x],
    "by name": lambda x, y: {"x": x, "y": y},
    "it twice": lambda x, y: [x, x],
    "alone": lambda x, y: [x],
    "within": lambda x, y: [[x]],
    "named within": lambda x, y: [{"x": x}],
}


def _subclassed():
    model = _Own(name="own")
    model(np.zeros((1, 12)))
    return model


NETWORKS = _vgg, _resnet, _read_twice, _named, _perceptron, _sides, _subclassed
IMAGES = _vgg, _resnet, _read_twice, _named


def _sparse(build, sparsity=0.7):
    keras.utils.set_random_seed(0)
    model = build()
    return tfprune.masked(model, tfprune.prune(model, "magnitude/uniform", sparsity, verbose=False))


def _fast(build):
    sparse = _sparse(build)
    return sparse if build is _subclassed else tfprune.accelerate(sparse, engine="sparse", compact=False)


def _examples(model, count):
    rng = np.random.default_rng(1)
    shapes = [(12,)] if isinstance(model, _Own) else [tensor.shape[1:] for tensor in model.inputs]
    arrays = [rng.normal(size=(count, *shape)).astype("float32") for shape in shapes]
    return arrays if len(arrays) > 1 else arrays[0]


def _assert_close(found, expected):
    assert type(found) is type(expected) or not isinstance(expected, dict)
    for one, other in zip(*map(keras.tree.flatten, (found, expected)), strict=True):
        other = np.asarray(other)
        assert type(one) is np.ndarray and one.shape == other.shape and one.dtype == other.dtype
        assert np.abs(one - other).max() <= 1e-5 * np.abs(other).max() > 0


@pytest.mark.parametrize("build", NETWORKS)
def test_outputs_are_those_of_the_masked_model(build):
    predict, sparse = tfprune.predictor(_fast(build)), _sparse(build)
    for count in (1, 3, 20, 33):
        examples = _examples(sparse, count)
        _assert_close(predict(examples), sparse(examples, training=False))


@pytest.mark.parametrize("build", NETWORKS)
def test_it_takes_masked_and_plain_models_too(build):
    sparse = _sparse(build)
    plain, examples = tfprune.strip(sparse), _examples(sparse, 20)
    for model in (sparse, plain):
        _assert_close(tfprune.predictor(model)(examples), plain(examples, training=False))


LEFT = {  # what TensorFlow is given of 20 examples
    _vgg: [],
    _resnet: [(20, 8)],
    _named: [(20, 8, 8, 8)],
    _read_twice: [(20, 8, 8, 4)],
    _perceptron: [(20, 64)],
}


@pytest.mark.parametrize("build", LEFT)
def test_arrays_go_to_the_engine_as_they_are(build, monkeypatch):
    predict = tfprune.predictor(_fast(build))
    made = []
    constant = tf.constant
    monkeypatch.setattr(tf, "constant", lambda array: made.append(array.shape) or constant(array))
    images = _examples(predict._model, 20)
    predict(images)
    assert made == LEFT[build]
    predict(images[:3])  # few examples go layer by layer
    assert made[-1] == images[:3].shape


@pytest.mark.parametrize("several", SEVERAL)
def test_structures_of_outputs(several):
    build = _one_and_what_follows(SEVERAL[several])
    fast = _fast(build)
    predict = tfprune.predictor(fast)
    for count in (3, 20):
        images = _examples(fast, count)
        found, expected = predict(images), fast(images)
        keras.tree.assert_same_structure(found, expected)
        _assert_close(found, expected)


def _gap():
    stack = [keras.Input((8, 8, 3))]
    stack += [L.Conv2D(8, 3, padding="same", activation=kind) for kind in ("relu", "swish", "relu")]
    return keras.Sequential([*stack, L.Flatten(), L.Dense(4, "softmax")])


def test_a_model_that_flows_twice_is_left_to_tensorflow():
    predict, sparse = tfprune.predictor(_fast(_gap)), _sparse(_gap)
    assert predict._beginning is None and len(flows_of(predict._model)) == 2
    images = _examples(sparse, 20)
    _assert_close(predict(images), sparse(images))


def _segments():
    given = keras.Input((8, 8, 3))
    x = L.Conv2D(8, 3, padding="same", activation="relu")(given)
    return keras.Model(given, L.Conv2D(5, 3, activation="softmax")(x))


def test_images_of_classes_are_left_to_tensorflow():
    predict, sparse = tfprune.predictor(_fast(_segments)), _sparse(_segments)
    images = _examples(sparse, 20)
    _assert_close(predict(images), sparse(images))
    assert list(map(len, flows_of(predict._model))) == [1]


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_numbers_too_large_or_none_warn_of_nothing(activation):
    predict = tfprune.predictor(_fast(lambda: _vgg(activation)))
    images = _examples(predict._model, 20)
    with np.errstate(all="raise"):
        assert np.isfinite(predict(1e6 * images)).all()
        images[0] = np.inf
        images[1] = np.nan
        assert np.isfinite(predict(images)[2:]).all()


def test_activations_in_the_end_are_what_they_are_called():
    logits = tfprune.predictor(_fast(lambda: _vgg("linear")))
    images = 1000 * _examples(_vgg(), 20)
    values = logits(images).astype("float64")
    assert values.max() > 50 and values.min() < -50
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    softmax = tfprune.predictor(_fast(_vgg))(images)
    np.testing.assert_allclose(softmax, powers / powers.sum(axis=1, keepdims=True), rtol=1e-4, atol=1e-30)
    sigmoid = tfprune.predictor(_fast(lambda: _vgg("sigmoid")))(images)
    np.testing.assert_allclose(sigmoid, 1 / (1 + np.exp(-values)), rtol=1e-4, atol=1e-30)


def test_weights_are_those_of_then():
    fast = _fast(_vgg)
    images = _examples(fast, 20)
    before, few = tfprune.predictor(fast), _examples(fast, 2)
    expected, expected_few = before(images), before(few)
    for variable in fast.trainable_variables:
        variable.assign_add(0.1 * keras.ops.ones_like(variable))
    np.testing.assert_array_equal(before(images), expected)
    np.testing.assert_array_equal(before(few), expected_few)
    after = tfprune.predictor(fast)
    assert np.abs(after(images) - expected).max() > 1e-3
    _assert_close(after(images), fast(images))


def test_no_mask_is_multiplied_and_kept_weights_stay_alone():
    sparse = _sparse(_vgg)
    fast = tfprune.accelerate(sparse, engine="sparse", compact=False)
    with pytest.warns(UserWarning, match="nothing of model 'vgg' gets faster"):  # all stay dense by the rule
        mixed = tfprune.accelerate(sparse, compact=False, batch_size=1)
    assert list(masked_kernels(mixed)) and not any(isinstance(layer, KeptKernel) for layer in mixed.layers)
    for model in (fast, mixed):
        copy = tfprune.predictor(model)._model
        assert not list(masked_kernels(copy))
        kinds = [isinstance(layer, KeptKernel) for layer in model.layers]
        assert [isinstance(layer, KeptKernel) for layer in copy.layers] == kinds


def test_many_sizes_of_batches_have_few_graphs():
    predict = tfprune.predictor(_fast(_perceptron))
    sparse = _sparse(_perceptron)
    for count in range(1, 30):
        examples = _examples(sparse, count)
        _assert_close(predict(examples), sparse(examples))
    assert len(predict._whole._of_shapes) == 8
    assert predict._whole._of_any.experimental_get_tracing_count() <= 2


def test_several_threads_get_their_own_outputs():
    predict = tfprune.predictor(_fast(_vgg))
    batches = [_examples(_vgg(), 16 + number) * (1 + number) for number in range(6)]
    expected, found = [predict(batch) for batch in batches], {}

    def work(number):
        found[number] = [predict(batches[number]) for _ in range(10)]

    workers = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for number, outputs in found.items():
        for one in outputs:
            np.testing.assert_array_equal(one, expected[number])


def test_nothing_of_it_stays():
    predict = tfprune.predictor(_fast(_resnet))
    images = _examples(predict._model, 20)
    predict(images), predict(images[:2])
    left = [weakref.ref(predict), weakref.ref(predict._model)]
    del predict
    keras.backend.clear_session()
    gc.collect()
    assert [each() for each in left] == [None, None]


def test_several_inputs_go_by_name_or_in_order():
    predict, sparse = tfprune.predictor(_fast(_sides)), _sparse(_sides)
    right, left = examples = _examples(sparse, 5)
    expected = sparse(examples)
    _assert_close(predict({"left": left, "right": right}), expected)
    _assert_close(predict((right, left)), expected)
    assert tfprune.predictor(_fast(_by_keys))({"one": left, "other": right}).shape == (5, 5)
    nested = tfprune.predictor(_by_parts())
    _assert_close(nested([left, {"x": right}]), nested({"left": left, "right": right}))
    with pytest.raises(InputError, match=r"^inputs: shapes must be right \(N, 3\), left \(N, 6\).*Received: float32 "):
        predict([left, right])
    with pytest.raises(InputError, match=r"^inputs: inputs are right, left\. Received: left$"):
        predict({"left": left})


@pytest.mark.parametrize(
    "images, told",
    [
        (np.zeros((20, 8, 8)), r"shapes must be \w+ \(N, 8, 8, 3\).* Received: float64 \(20, 8, 8\)$"),
        (np.zeros((20, 9, 8, 3)), r"\(N, 8, 8, 3\).* Received: float64 \(20, 9, 8, 3\)$"),
        (np.full((20, 8, 8, 3), "a"), r"Received: <U1 \(20, 8, 8, 3\)$"),
        (None, r"Received: NoneType$"),
    ],
)
def test_what_does_not_fit_is_one_line(images, told):
    with pytest.raises(InputError, match="^inputs: .*" + told):
        tfprune.predictor(_fast(_vgg))(images)


def test_other_numbers_and_orders_of_memory_are_taken():
    predict = tfprune.predictor(_fast(_vgg))
    images = np.random.default_rng(0).integers(0, 255, (20, 8, 8, 3), np.uint8)
    expected = predict(images.astype("float32"))
    np.testing.assert_array_equal(predict(images), expected)
    np.testing.assert_array_equal(predict(np.asfortranarray(images.astype("float32"))), expected)
    np.testing.assert_array_equal(predict(images[::-1].astype("float64")[::-1]), expected)
    assert predict(images[:0]).shape == (0, 10)


def test_a_model_of_one_size_of_batch_says_so():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input(batch_shape=(4, 6)), L.Dense(3)], name="four")
    predict = tfprune.predictor(model)
    assert predict(np.ones((4, 6))).shape == (4, 3)
    with pytest.raises(InputError, match=r"^inputs: model 'four' takes 4 examples\. Received: 5$"):
        predict(np.ones((5, 6)))


def test_what_tensorflow_refuses_is_one_line():
    model = keras.Sequential([keras.Input((3,), dtype="int32"), L.Embedding(10, 4)], name="words")
    with pytest.raises(InputError, match=r"^model 'words' cannot compute with these inputs: indices.* = 99 is not in"):
        tfprune.predictor(model)(np.full((2, 3), 99))


@pytest.mark.parametrize("count", [3, 20])
def test_within_a_compiled_function_it_takes_arrays_alone(count):
    predict = tfprune.predictor(_fast(_vgg))
    images = _examples(predict._model, count)
    expected = predict(images)
    np.testing.assert_array_equal(tf.function(lambda: tf.constant(predict(images)))(), expected)
    with pytest.raises(InputError, match=r"^inputs: shapes must be \w+ \(N, 8, 8, 3\).*a tensor of a graph, which has"):
        tf.function(predict, autograph=False)(tf.constant(images))


def test_a_single_number_is_an_array():
    given = keras.Input((4,))
    model = keras.Model(given, keras.ops.mean(L.Dense(3)(given)))
    found = tfprune.predictor(model)(np.ones((2, 4)))
    assert type(found) is np.ndarray and found.shape == ()
