"""Accelerated models that compute several layers at once: outputs and gradients are those of the layers."""

import gc
import threading
import weakref
from dataclasses import dataclass

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as L

import tfprune
from tfprune.errors import InputError
from tfprune.layers.catching import catching
from tfprune.layers.flowing import few_examples, flows_of
from tfprune.layers.kept import with_masks

pytest.importorskip("numba")


def _vgg():
    stack = [keras.Input((8, 8, 3))]
    for number, width in enumerate((8, 16, 16)):
        stack += [L.Conv2D(width, 3, padding="same", use_bias=number == 1, name=f"conv{number}")]
        stack += [L.BatchNormalization(), L.ReLU(), L.Dropout(0.5), L.MaxPooling2D(padding="same")]
    return keras.Sequential([*stack[:-1], L.Flatten(), L.ReLU(), L.Dense(10, "relu", name="head")], name="vgg")


def _resnet():
    given = keras.Input((9, 8, 3))
    x = L.ZeroPadding2D(((1, 2), (0, 1)))(given)
    x = L.MaxPooling2D(3, 2)(L.Conv2D(8, 3, activation="relu", name="stem")(x))
    for number, strides in enumerate((1, 2)):
        y = L.Conv2D(8, 3, strides, padding="same", use_bias=False, name=f"a{number}")(x)
        y = L.Conv2D(8, 3, padding="same", name=f"b{number}")(L.ReLU()(L.BatchNormalization()(y)))
        x = x if strides == 1 else L.Conv2D(8, 1, strides, padding="same", name=f"shortcut{number}")(x)
        y = L.BatchNormalization(scale=False)(y)
        x = L.ReLU()(L.Add()([x, y]) if number else x + y)
    return keras.Model(given, L.Dense(4, name="head")(L.GlobalAveragePooling2D()(x)), name="resnet")


def _mobilenet():
    given = keras.Input((8, 8, 3))
    x = L.BatchNormalization(center=False)(L.Conv2D(8, 3, 2, padding="same", activation="relu", name="stem")(given))
    y = L.ReLU(6.0)(L.BatchNormalization()(L.Conv2D(12, 1, use_bias=False, name="expand")(x)))
    y = L.DepthwiseConv2D(3, padding="same", depth_multiplier=2, activation="relu6", name="depthwise")(y)
    x = L.Add()([x, L.Conv2D(8, 1, name="project")(L.AveragePooling2D(3, 1, padding="same")(y))])
    x = L.Conv2D(4, 3, dilation_rate=2, groups=2, padding="same", name="wide")(x)
    return keras.Model(given, L.GlobalMaxPooling2D(keepdims=True)(x), name="mobilenet")


def _nested():
    given = keras.Input((8, 8, 3))
    x = L.Conv2D(6, 3, activation="swish", name="own")(given)
    body = keras.Sequential([keras.Input((6, 6, 6)), L.Conv2D(6, 3, name="inner"), L.ReLU()], name="body")
    x = body(x)
    sides = [L.Conv2D(5, 3, padding="same", name=f"side{number}")(x) for number in range(2)]
    return keras.Model(given, {"one": sides[0], "other": L.Activation("relu")(sides[1])}, name="nested")


NETWORKS = {
    _vgg: [17],
    _resnet: [20],
    _mobilenet: [11],
    _nested: [2, 1, 2],
}


def _sparse(build):
    keras.utils.set_random_seed(0)
    model = build()
    rng = np.random.default_rng(0)
    for variable in model.variables:
        if variable.name == "moving_variance":
            variable.assign(rng.uniform(0.01, 0.1, variable.shape))  # signals stay as large as they are
        elif variable.name in ("moving_mean", "bias", "beta"):
            variable.assign(rng.normal(0, 0.1, variable.shape))
    return tfprune.masked(model, tfprune.prune(model, "magnitude/uniform", 0.6, verbose=False))


def _fast(build):
    return tfprune.accelerate(_sparse(build), engine="sparse", compact=False)


def _images(model, count=20):
    return np.random.default_rng(1).normal(size=(count, *model.input_shape[1:])).astype("float32")


def _assert_close(found, expected, tolerance=1e-5):
    for one, other in zip(*map(keras.tree.flatten, (found, expected)), strict=True):
        one, other = np.asarray(one), np.asarray(other)
        assert one.shape == other.shape and np.count_nonzero(other) >= other.size // 20
        assert np.abs(one - other).max() <= tolerance * np.abs(other).max()


@pytest.mark.parametrize("build", NETWORKS)
def test_outputs_are_those_of_the_masked_model(build):
    fast, sparse = _fast(build), _sparse(build)
    assert sorted(map(len, flows_of(fast))) == sorted(NETWORKS[build])
    images = _images(fast)
    expected = sparse.predict(images, verbose=0)
    for found in (fast(images), fast.predict(images, verbose=0), fast(images, training=False)):
        _assert_close(found, expected)
    with few_examples():
        _assert_close(fast(images[:3]), sparse(images[:3]))


def test_variables_are_read_one_after_the_other():
    fast = _fast(_vgg)
    images = tf.TensorSpec((20, *fast.input_shape[1:]))
    graph = tf.function(lambda images: fast(images, training=False)).get_concrete_function(images).graph
    reads = [operation for operation in graph.get_operations() if operation.type == "ReadVariableOp"]
    before = [{one.type for one in operation.control_inputs} for operation in reads]
    assert len(reads) > 10 and before == [set(), *({"ReadVariableOp"} for _ in reads[1:])]


def test_models_without_such_layers_stay_as_they_are():
    given = keras.Input((32,))
    model = keras.Model(given, L.Dense(4)(L.Dense(300, "relu")(given)))
    masks = tfprune.prune(model, "magnitude/uniform", 0.9, verbose=False)
    fast = tfprune.accelerate(model, masks, engine="sparse")
    assert flows_of(fast) == [] and "call" not in vars(fast)


def _counted(fast, monkeypatch):
    """What is appended to whenever layers are computed at once."""
    found = []
    for flowing in vars(fast)["call"].flowing:
        outputs = flowing._flow.outputs
        monkeypatch.setattr(flowing._flow, "outputs", lambda images, o=outputs: found.append(len(images)) or o(images))
    return found


def test_only_in_inference_and_only_with_enough_examples(monkeypatch):
    fast = _fast(_vgg)
    found, images = _counted(fast, monkeypatch), _images(fast, 44)
    fast(images[:11])
    fast(images, training=True)
    with catching(fast.layers[:1], lambda layer, call, args, kwargs: call(*args, **kwargs)):
        fast(images)
    assert found == []
    fast(images[:12])
    fast.predict(images, batch_size=32, verbose=0)
    fast.predict(images[:40], batch_size=32, verbose=0)
    assert found == [12, 32, 12, 32]  # the last 8 one by one
    fast.compile("sgd", keras.losses.MeanSquaredError())
    fast.fit(images, np.zeros((44, 10)), batch_size=22, epochs=1, verbose=0)
    assert found == [12, 32, 12, 32]


def test_weights_of_now_are_used():
    fast = _fast(_vgg)
    images = _images(fast)
    fast.predict(images, verbose=0)
    fast.compile("sgd", keras.losses.MeanSquaredError())
    fast.fit(images, np.ones((20, 10)), epochs=1, verbose=0)
    _assert_close(fast.predict(images, verbose=0), with_masks(fast)(images))
    fast.get_layer("conv0").kernel_values.assign_add(tf.ones_like(fast.get_layer("conv0").kernel_values))
    _assert_close(fast.predict(images, verbose=0), with_masks(fast)(images))


WAYS = {
    "assign": lambda variable: variable.assign(tf.zeros_like(variable)),
    "in place": lambda variable: variable.assign_sub(tf.ones_like(variable)),
    "by XLA": lambda variable: tf.function(lambda: variable.assign_add(tf.ones_like(variable)), jit_compile=True)(),
    "some": lambda variable: variable.scatter_nd_add([[0], [3]], [5.0, -7.0]),
}


@pytest.mark.parametrize("way", WAYS)
def test_however_weights_are_changed(way):
    """What the kernels read lies where TensorFlow has its variables, or had them."""
    fast = _fast(_vgg)
    images, called = _images(fast), tf.function(lambda images: fast(images, training=False))
    before = called(images).numpy()
    for layer in ("conv0", "conv1"):
        WAYS[way](fast.get_layer(layer).kernel_values.value)
    outputs = called(images).numpy()
    assert not np.allclose(outputs, before)
    _assert_close(outputs, with_masks(fast)(images))


def test_places_that_cannot_be_are_refused_at_every_call():
    fast = _fast(_vgg)
    images, places = _images(fast), fast.get_layer("conv1").kernel_indices
    expected, known = fast(images), places.numpy()
    again = np.where(np.arange(len(known)) == 1, known[0], known)
    for wrong, told in ((known + 10**6, "lie in 0 .. 1151"), (again, "are there once each")):
        places.assign(wrong)
        for count in (20, 20, 5):
            with pytest.raises(InputError, match=f"indices of kept weights {told}"):
                fast(images[:count])
    places.assign(known)
    np.testing.assert_array_equal(fast(images), expected)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("build", [_resnet, _mobilenet])
def test_gradients_are_those_of_the_layers(build, compiled):
    fast = _fast(build)
    variables, images = fast.trainable_variables, tf.constant(_images(fast))

    def gradients(images):
        with tf.GradientTape() as tape:
            tape.watch(images)
            loss = tf.reduce_sum(fast(images, training=False) ** 2)
        return tape.gradient(loss, [images, *(variable.value for variable in variables)])

    found = (tf.function(gradients) if compiled else gradients)(images)
    del vars(fast)["call"]
    for one, other in zip(found, gradients(images), strict=True):
        assert np.abs(one - other).max() <= 1e-4 * np.abs(other).max()


def test_saved_and_read_it_still_does(tmp_path):
    fast = _fast(_resnet)
    images = _images(fast)
    fast.save(tmp_path / "fast.keras")
    again = tfprune.load_model(tmp_path / "fast.keras")
    assert flows_of(again) == flows_of(fast)
    np.testing.assert_array_equal(again(images), fast(images))
    _assert_close(keras.saving.load_model(tmp_path / "fast.keras")(images), fast(images))
    assert flows_of(keras.models.clone_model(fast)) == []


class _Told(L.Layer):
    def call(self, inputs, training=True):
        return 2 * inputs if training else inputs


def _mended(build):
    """The accelerated model, without a check of its own, and the masked one."""
    sparse = _sparse(build)
    return tfprune.accelerate(sparse, engine="sparse", compact=False, verify=False), sparse


def _read_twice():
    given = keras.Input((6, 6, 3))
    x = L.Conv2D(4, 3)(given)
    x = L.ReLU()(L.Activation("linear")(x)) + x
    x = L.Conv2D(4, 3)(x + x)
    return keras.Model(given, L.Add()([L.BatchNormalization()(L.Dropout(0.5)(x)), x]))


def _sum_first():
    given = keras.Input((6, 6, 3))
    return keras.Model(given, L.Conv2D(4, 3, activation="relu")(given + given))


@dataclass
class _Power:
    exponent: int

    def __call__(self, inputs):
        return inputs**self.exponent


def _own_activation():
    return keras.Sequential([keras.Input((6, 6, 3)), L.Conv2D(4, 3, activation=_Power(2)), L.Conv2D(4, 3)])


def _given_by_name():
    given = keras.Input((6, 6, 3))
    return keras.Model(given, L.Conv2D(4, 3)(inputs=L.Conv2D(4, 3)(inputs=given)))


def _told():
    return keras.Sequential([keras.Input((6, 6, 3)), L.Conv2D(4, 3), _Told(), L.Conv2D(4, 3)])


@pytest.mark.parametrize("build", [_read_twice, _sum_first, _told, _own_activation, _given_by_name])
def test_graphs_that_are_easily_misread(build):
    fast, sparse = _mended(build)
    images = _images(fast)
    assert flows_of(fast)
    _assert_close(fast(images), sparse(images))
    _assert_close(fast(images, training=False), sparse(images, training=False))


def test_layers_that_are_told_to_train_do():
    given = keras.Input((6, 6, 3))
    x = L.BatchNormalization()(L.Conv2D(4, 3)(given), training=True)
    fast, sparse = _mended(lambda: keras.Model(given, L.Conv2D(4, 3)(x)))
    assert list(map(len, flows_of(fast))) == [1, 1]
    images = _images(fast)
    _assert_close(fast(images), sparse(images))


def test_what_became_of_a_model_since():
    fast, sparse = _mended(_vgg)
    call, images = fast.call, _images(fast)
    for model in (fast, sparse):
        model.get_layer("head").activation = keras.activations.softmax
    _assert_close(fast(images), sparse(images))
    for model in (fast, sparse):
        model.pop()
    _assert_close(fast(images), sparse(images))
    fast = None
    _assert_close(call(images), sparse(images))


def test_images_of_another_size():
    fast, sparse = _mended(_sum_first)
    images = np.ones((20, 9, 5, 3), np.float32)
    _assert_close(fast.call(images), sparse.call(images))


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_losses_are_taken_of_what_an_activation_in_the_end_is_made_of(activation):
    """As Keras does, and with it the masked model: probabilities that are 0 have a loss."""
    stack = [keras.Input((6, 6, 3)), L.Conv2D(4, 3), L.Flatten(), L.Dense(5, activation)]
    fast, sparse = _mended(lambda: keras.Sequential(stack))
    images, losses = 1000 * _images(fast), []
    loss = "sparse_categorical_crossentropy" if activation == "softmax" else "binary_crossentropy"
    targets = np.zeros(20) if activation == "softmax" else np.zeros((20, 5))
    for model in (fast, sparse):
        model.compile("sgd", loss)
        losses.append(model.evaluate(images, targets, batch_size=20, verbose=0))
    assert losses[0] > 100
    np.testing.assert_allclose(*losses, rtol=1e-5)


def test_losses_of_other_layers():
    stack = [keras.Input((6, 6, 3)), L.Conv2D(4, 3), L.ReLU(activity_regularizer="l2"), L.Conv2D(4, 3)]
    fast, sparse = _mended(lambda: keras.Sequential(stack))
    images, losses = _images(fast), []
    for model in (fast, sparse):
        model.compile("sgd", "mse")
        losses.append(model.evaluate(images, np.zeros((20, 2, 2, 4)), batch_size=16, verbose=0))
    np.testing.assert_allclose(*losses, rtol=1e-5)


def test_in_half_precision_around_weights_stay_float32():
    fast, _ = _mended(_sum_first)
    images = _images(fast)
    half = keras.Sequential([keras.Input((6, 6, 3)), fast], name="half")
    half.dtype_policy = "mixed_float16"
    _assert_close(half(images), fast(images), 2e-3)


def test_images_too_large_for_it_are_computed_layer_by_layer():
    given = keras.Input((2048, 2048, 1))
    model, mask = keras.Model(given, L.Conv2D(64, 1, name="wide")(given)), np.arange(64) % 2 == 0
    masks = {"wide/kernel": mask.reshape(1, 1, 1, 64)}
    fast = tfprune.accelerate(model, masks, engine="sparse", compact=False, verify=False)
    assert flows_of(fast) == []


def test_threads_that_call_at_once():
    fast = _fast(_vgg)
    images, found = tf.constant(_images(fast)), []
    call = tf.function(lambda images: fast(images, training=False)).get_concrete_function(images)
    threads = [threading.Thread(target=lambda: found.append(call(images).numpy())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 and len({one.tobytes() for one in found}) == 1
    _assert_close(found[0], with_masks(fast)(images))


def test_nothing_of_a_model_stays():
    def used():
        fast = _fast(_vgg)
        images = tf.constant(_images(fast))
        call = tf.function(lambda images: fast(images, training=False)).get_concrete_function(images)
        call(images)
        return weakref.ref(vars(fast)["call"].flowing[0]), weakref.ref(call.graph)

    left = used()
    keras.backend.clear_session()
    gc.collect()
    assert [each() for each in left] == [None, None]
