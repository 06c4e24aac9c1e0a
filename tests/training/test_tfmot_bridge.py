"""Legacy twins compute what their models do; what is pruned is what tfmot prunes; nothing of the old Keras stays."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tfprune
from tfprune.errors import InputError
from tfprune.layers.weights import weight_variables, weights_of
from tfprune.models.registry import build
from tfprune.pruning.training_schedules import PolynomialSchedule
from tfprune.training.tfmot_bridge import _KEYS, Twin, _packages, gradual_prune

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def _named(name, shape):
    return lambda: build(name, input_shape=shape, classes=7, seed=0)


def _two_ended():
    """Two inputs, two outputs, a shared layer, layers of images."""
    first, second = keras.Input((8, 8, 3)), keras.Input((4,))
    x = layers.Conv2D(6, 3, padding="same", groups=3, activation="gelu")(first)
    x = layers.LeakyReLU(0.3)(layers.BatchNormalization()(x))
    # This name means another function in the old Keras.
    x = layers.SeparableConv2D(6, 3, depth_multiplier=2, padding="same", activation="hard_sigmoid")(x)
    x = layers.DepthwiseConv2D(3, strides=2, depth_multiplier=2, activation="silu")(x)
    x = layers.Conv2DTranspose(5, 3, strides=2, padding="same")(x)
    gate = layers.Dense(5, activation="sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(x))
    x = layers.ReLU(max_value=2.0, negative_slope=0.1, threshold=0.2)(layers.Multiply()([x, gate]))
    x = layers.MaxPooling2D(2, padding="same")(layers.UpSampling2D(2, interpolation="bilinear")(x))
    x = layers.Flatten()(layers.ZeroPadding2D(1)(x))
    shared = layers.Dense(4, activation="relu", name="shared")
    y = shared(shared(second))
    x = layers.Concatenate()([x, layers.EinsumDense("ab,bc->ac", 3, bias_axes="c")(y)])
    outputs = [layers.Dense(3, activation="softmax")(layers.Dropout(0.3)(x)), layers.Reshape((2, 2))(y)]
    return keras.Model([first, second], outputs)


def _sequences():
    stack = [
        layers.Conv1D(4, 3, padding="causal", dilation_rate=2),
        layers.Conv1DTranspose(4, 3, strides=2),
        layers.SeparableConv1D(4, 3),
        layers.DepthwiseConv1D(3),
        layers.LayerNormalization(),
        layers.MaxPooling1D(2),
        layers.UpSampling1D(2),
        layers.ZeroPadding1D(2),
        layers.Permute((2, 1)),
        layers.AveragePooling1D(2),
        layers.GlobalMaxPooling1D(),
        layers.RepeatVector(2),
        layers.Rescaling(2.0, 1.0),
    ]
    return keras.Sequential([keras.Input((12, 3)), *stack])


def _volumes():
    inputs = keras.Input((6, 6, 6, 2))
    x = layers.Conv3D(4, 3, padding="same", groups=2)(inputs)
    x = layers.AveragePooling3D(2)(layers.Conv3DTranspose(4, 3)(x))
    x = layers.Average()([x, layers.ELU(0.5)(x), layers.Activation("tanh")(x)])
    return keras.Model(inputs, layers.Softmax()(layers.ZeroPadding3D(1)(layers.UpSampling3D(2)(x))))


def _nested():
    inner = keras.Sequential([keras.Input((5,)), layers.Dense(5, activation="relu", name="dense")], name="inner")
    inputs = keras.Input((5,))
    x = layers.Subtract()([inner(inner(inputs)), layers.Dense(5, name="dense")(inputs)])
    return keras.Model(inputs, layers.Maximum()([x, layers.Minimum()([inputs, inner(x)])]))


NETS = {
    "lenet300100": _named("lenet300100", (8, 8, 1)),
    "lenet5": _named("lenet5", (32, 32, 3)),
    "vgg16": _named("vgg16", (32, 32, 3)),
    "resnet18": _named("resnet18", (16, 16, 3)),
    "two-ended": _two_ended,
    "sequences": _sequences,
    "volumes": _volumes,
    "nested": _nested,
}


def _randomised(model):
    rng = np.random.default_rng(0)
    for path, variable in weight_variables(model).items():
        low = 0.5 if path.endswith("variance") else -0.3
        variable.assign(rng.uniform(low, low + 1, variable.shape) * (1 if len(variable.shape) < 2 else 0.3))
    return model


@pytest.mark.slow_beyond(2)
@pytest.mark.parametrize("name", NETS)
def test_a_twin_has_the_same_outputs(name):
    model = _randomised(NETS[name]())
    rng = np.random.default_rng(1)
    inputs = [rng.normal(size=(3, *tensor.shape[1:])).astype(np.float32) for tensor in model.inputs]
    inputs = inputs[0] if len(inputs) == 1 else inputs
    twin = Twin(model)
    for mine, theirs in zip(tf.nest.flatten(model(inputs, training=False)), tf.nest.flatten(twin(inputs)), strict=True):
        np.testing.assert_allclose(theirs, mine, rtol=0, atol=2e-6 * np.abs(mine).max())
    assert list(twin.kernels) == list(tfprune.prunable(model))
    assert twin.masks.density == 1
    own = weights_of(model)
    assert list(twin.weights) == list(own)
    for path, array in own.items():
        np.testing.assert_array_equal(twin.weights[path], array)


def test_every_class_of_the_table_is_in_both_versions():
    _, tf_keras = _packages()
    assert all(hasattr(library.layers, name) for library in (keras, tf_keras) for name in _KEYS)


def test_a_masked_model_is_copied_with_its_zeros():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2, name="d")])
    sparse = tfprune.masked(model, {"d/kernel": np.eye(3, 2, dtype=bool)})
    twin = Twin(sparse)
    np.testing.assert_array_equal(twin.weights["d/kernel"] != 0, np.eye(3, 2, dtype=bool))
    np.testing.assert_allclose(twin(np.ones((1, 3), np.float32)), sparse(np.ones((1, 3))), rtol=1e-6)


@keras.saving.register_keras_serializable("test_tfmot")
class Own(layers.Layer):
    def call(self, inputs):
        return inputs


@keras.saving.register_keras_serializable("test_tfmot")
class OwnDense(layers.Dense):
    pass


@pytest.mark.parametrize(
    ("layer", "told"),
    [
        (Own(name="mine"), "layer 'mine': the layer type Own has no twin"),
        (OwnDense(3, name="mine"), "layer 'mine': the layer type OwnDense has no twin"),
        (layers.Dense(3, kernel_regularizer="l2", name="fat"), r"layer 'fat' \(Dense\): kernel_regularizer"),
        (layers.Dense(3, bias_constraint="non_neg", name="fat"), r"layer 'fat' \(Dense\): bias_constraint"),
        (layers.Lambda(keras.ops.abs, name="any"), "layer 'any': the layer type Lambda has no twin"),
    ],
)
def test_layers_without_a_twin_are_named(layer, told):
    with pytest.raises(InputError, match=told):
        Twin(keras.Sequential([keras.Input((3,)), layer]))


def test_operations_without_a_twin_are_named():
    inputs = keras.Input((3,))
    with pytest.raises(InputError, match=r"operation 'add\w*' \(Add\) has no twin .* use the layer"):
        Twin(keras.Model(inputs, layers.Dense(3)(inputs) + inputs))


def _classes(count=320, features=6):
    x = np.random.default_rng(0).normal(size=(count, features)).astype(np.float32)
    return x, (x[:, 0] * x[:, 1] > 0).astype(np.int32)


def _batches(size=32):
    x, y = _classes()
    return [(x[start : start + size], y[start : start + size]) for start in range(0, len(x), size)]


def _net():
    keras.utils.set_random_seed(1)
    stack = [layers.Dense(20, activation="relu", name="a"), layers.BatchNormalization(name="bn")]
    return keras.Sequential([keras.Input((6,)), *stack, layers.Dense(2, activation="softmax", name="b")])


SCHEDULE = PolynomialSchedule(0.8, 0, 30, 10)
LOSS = "sparse_categorical_crossentropy"


def test_prunes_and_trains_as_tfmot_does_with_fit():
    model = _net()
    before = weights_of(model)
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    pruned = gradual_prune(model, _batches(), 47, SCHEDULE, optimizer=optimizer, loss=LOSS)
    for path, array in weights_of(model).items():
        np.testing.assert_array_equal(array, before[path])

    tfmot, tf_keras = _packages()
    prune = tfmot.sparsity.keras
    decay = prune.PolynomialDecay(0.0, 0.8, 0, 30, power=3, frequency=10)
    dense = [tf_keras.layers.Dense(20, activation="relu"), tf_keras.layers.Dense(2, activation="softmax")]
    wrapped = [prune.prune_low_magnitude(layer, pruning_schedule=decay) for layer in dense]
    norm = tf_keras.layers.BatchNormalization()
    legacy = tf_keras.Sequential([tf_keras.Input((6,)), wrapped[0], norm, wrapped[1]])
    for layer, own in zip((dense[0], norm, dense[1]), model.layers, strict=True):
        layer.set_weights(own.get_weights())
    legacy.compile(tf_keras.optimizers.SGD(0.1, momentum=0.9), LOSS)
    batches = [_batches()[step % 10] for step in range(47)]
    x, y = (np.concatenate(arrays) for arrays in zip(*batches, strict=True))
    legacy.fit(x, y, batch_size=32, shuffle=False, verbose=0, callbacks=[prune.UpdatePruningStep()])

    masks = tfprune.masks_of(pruned)
    for path, wrapper in zip(("a/kernel", "b/kernel"), wrapped, strict=True):
        _, mask, _ = wrapper.pruning_vars[0]
        np.testing.assert_array_equal(masks[path], mask.numpy() == 1)
    assert masks.counts == {"a/kernel": 24, "b/kernel": 8}
    found = weights_of(pruned)
    expected = [array for layer in (dense[0], norm, dense[1]) for array in layer.get_weights()]
    for (path, array), other in zip(found.items(), expected, strict=True):
        np.testing.assert_allclose(array, other, rtol=1e-4, atol=1e-5, err_msg=path)
        assert (array[~masks[path]] == 0).all() if path in masks else (array != before[path]).any()


def test_all_prunable_kernels_of_all_layers_end_at_the_sparsity():
    model = _two_ended()
    rng = np.random.default_rng(0)
    inputs = [rng.normal(size=(4, *tensor.shape[1:])).astype(np.float32) for tensor in model.inputs]
    targets = [np.zeros((4, 3), np.float32), np.zeros((4, 2, 2), np.float32)]

    def loss(targets, outputs):
        return sum(tf.reduce_mean((a - b) ** 2) for a, b in zip(targets, outputs, strict=True))

    pruned = gradual_prune(model, [(inputs, targets)], 4, PolynomialSchedule(0.75, 0, 4, 2), loss=loss)
    masks = tfprune.masks_of(pruned)
    assert list(masks) == list(tfprune.prunable(model)) and len(masks) == 9
    for path, kept in masks.counts.items():
        assert kept == round(masks[path].size * 0.25), path


def test_the_schedule_counts_steps_and_not_calls():
    inputs = keras.Input((4,))
    shared = layers.Dense(4, name="shared")
    twin = Twin(keras.Model(inputs, shared(shared(shared(inputs)))), PolynomialSchedule(0.75, 2, 8, 2))

    @tf.function
    def step():
        return twin(tf.ones((1, 4)), training=True)

    kept = []
    for _ in range(10):
        step()
        kept.append(twin.masks.kept)
    # Sparsities 0, 0.75·(1 − (2/3)³), 0.75·(1 − (1/3)³), 0.75 at steps 2, 4, 6, 8, of 16 weights.
    assert kept == [16, 16, 16, 8, 8, 4, 4, 4, 4, 4]


def test_too_few_steps_or_batches():
    with pytest.raises(InputError, match=r"steps must be at least the schedule's end_step, 30\. Received: 29"):
        gradual_prune(_net(), _batches(), 29, SCHEDULE)
    with pytest.raises(InputError, match="batches ended after 10 of 30 steps"):
        gradual_prune(_net(), iter(_batches()), 30, SCHEDULE)


IMPORTED = """
import os, sys
os.environ.pop("TF_USE_LEGACY_KERAS", None)
if {before!r} is not None:
    os.environ["TF_USE_LEGACY_KERAS"] = {before!r}
import pkgutil, importlib, tfprune
for name in ("experiments", "training", "cli", "plots", "surgery", "pruning"):
    package = importlib.import_module(f"tfprune.{{name}}")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"tfprune.{{name}}.{{module.name}}")
importlib.import_module("tfprune.main")
old = {{"tensorflow_model_optimization", "tf_keras"}}
assert not old & set(sys.modules)
import keras
from tfprune.training.tfmot_bridge import Twin
Twin(keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]))
assert old <= set(sys.modules)
assert os.environ.get("TF_USE_LEGACY_KERAS") == {before!r}
import tensorflow as tf
assert tf.keras.__version__.startswith("3"), tf.keras.__version__
"""


@pytest.mark.slow
@pytest.mark.parametrize("before", [None, "0"])
def test_the_old_packages_load_late_and_leave_no_trace(before):
    code = IMPORTED.format(before=before)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 0, done.stderr[-2000:]
