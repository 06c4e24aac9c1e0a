"""Copies keep the functions, initializers and regularizers of a model themselves, whatever their names."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as L
from keras import ops

import tfprune
from tfprune.layers.convert import masked, strip


# Functions that have the names of Keras's, and compute something else.
def leaky_relu(x):
    return tf.nn.leaky_relu(x, alpha=0.1)


def relu(x):
    return tf.nn.relu(x) + 0.25


def sigmoid(x):
    return tf.nn.sigmoid(2 * x)


def tanh(x):
    return tf.nn.tanh(x) * 1.5


def softmax(x):
    return tf.nn.softmax(3 * x)


def gelu(x):
    return tf.nn.gelu(x, approximate=True)


class Scaled:
    """A callable that says nothing of a configuration."""

    def __init__(self, factor):
        self.factor = factor

    def __call__(self, x):
        return x * self.factor


class Bounded(keras.constraints.Constraint):
    """Not registered with Keras."""

    def __init__(self, bound):
        self.bound = bound

    def __call__(self, weight):
        return ops.clip(weight, -self.bound, self.bound)

    def get_config(self):
        return {"bound": self.bound}


def ones(shape, dtype=None):
    return ops.ones(shape, dtype) * 0.125


def l2(weight):
    return 0.5 * ops.sum(weight**2)


class OwnAct(L.Layer):
    """Holds a function; Keras cannot copy it, because it has no `get_config`."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def call(self, x):
        return self.function(x)


class Gate(L.Layer):
    """Holds functions in a list and a dict, and a layer."""

    def __init__(self, functions, named, inner, **kwargs):
        super().__init__(**kwargs)
        self.functions = [keras.activations.get(function) for function in functions]
        self.named = {name: keras.activations.get(function) for name, function in named.items()}
        self.inner = inner

    def build(self, shape):
        self.inner.build(shape)

    def call(self, x):
        for function in [*self.functions, *self.named.values()]:
            x = function(x)
        return self.inner(x)

    def compute_output_shape(self, shape):
        return self.inner.compute_output_shape(shape)

    def get_config(self):
        serialize = keras.saving.serialize_keras_object
        held = {"functions": serialize(self.functions), "named": serialize(self.named), "inner": serialize(self.inner)}
        return {**super().get_config(), **held}

    @classmethod
    def from_config(cls, config):
        for name in ("functions", "named", "inner"):
            config[name] = keras.saving.deserialize_keras_object(config[name])
        return cls(**config)


class Cell(L.Layer):
    """A recurrent cell that is not registered with Keras."""

    def __init__(self, units, activation="tanh", **kwargs):
        super().__init__(**kwargs)
        self.units = self.state_size = units
        self.activation = keras.activations.get(activation)

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], self.units), initializer="glorot_uniform")

    def call(self, x, states):
        state = self.activation(ops.matmul(x, self.kernel) + states[0])
        return state, [state]

    def get_config(self):
        return {**super().get_config(), "units": self.units, "activation": keras.activations.serialize(self.activation)}


class Block(L.Layer):
    """Keras cannot copy it: no name is taken, and a function is an argument."""

    def __init__(self, units, function):
        super().__init__()
        self.units, self._function = units, function
        self.parts = [L.Dense(units, function), L.Dense(units, tanh)]

    def build(self, shape):
        for part in self.parts:
            part.build(shape)
            shape = (*shape[:-1], self.units)

    def call(self, x):
        for part in self.parts:
            x = part(x)
        return x


class RawBlock(Block):
    """Writes the function down as it is."""

    def __init__(self, units, function, **kwargs):
        super().__init__(units, function)
        self.name = kwargs.get("name", self.name)

    def get_config(self):
        return {**super().get_config(), "units": self.units, "function": self._function}


class Times(L.Layer):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def call(self, x):
        return x * self.factor


def _inner_model():
    given = keras.Input((5,))
    return keras.Model(given, L.Dense(4, sigmoid)(L.Dense(3, lambda x: x * 3)(given)))


def _bidirectional(layer, function, **arguments):
    with keras.saving.custom_object_scope({"Cell": Cell}):  # its constructor looks names up
        layer = L.Bidirectional(layer, **arguments)
    layer.forward_layer.cell.activation = function
    layer.backward_layer.cell.activation = tanh
    return layer


FUNCTIONS = {
    "leaky_relu": leaky_relu,
    "relu": relu,
    "sigmoid": sigmoid,
    "tanh": tanh,
    "softmax": softmax,
    "gelu": gelu,
    "lambda": lambda x: tf.abs(x),
    "partial": functools.partial(tf.nn.leaky_relu, alpha=0.4),
    "object": Scaled(3.0),
    "bound method": Scaled(0.5).__call__,
    "tf.nn": tf.nn.softsign,
    "keras.ops": ops.gelu,  # approximate, unlike the activation of that name
    "tf.function": tf.function(leaky_relu),
    "layer": L.LeakyReLU(0.7),
    "layer with weights": L.PReLU("ones"),
    "own layer": OwnAct(gelu),
    "builtin": keras.activations.leaky_relu,
}
IN_VECTOR = {
    "Dense": lambda f: L.Dense(4, f),
    "EinsumDense": lambda f: L.EinsumDense("ab,bc->ac", 4, activation=f),
    "Activation": lambda f: L.Activation(f),
    "Lambda": lambda f: L.Lambda(f),
    "own layer": OwnAct,
    "own block": lambda f: Block(4, f),
    "own block with a function in its configuration": lambda f: RawBlock(4, f),
    "nested": lambda f: Gate([f, tanh], {"last": f}, L.Dense(3, f)),
    "model": lambda f: keras.Sequential([keras.Input((5,)), L.Dense(4, f), L.Activation(f)]),
}
IN_SEQUENCE = {
    "Conv1D": lambda f: L.Conv1D(4, 2, activation=f),
    "SeparableConv1D": lambda f: L.SeparableConv1D(4, 2, activation=f),
    "TimeDistributed": lambda f: L.TimeDistributed(L.Dense(4, f)),
    "LSTM": lambda f: L.LSTM(4, activation=f, recurrent_activation=sigmoid),
    "RNN": lambda f: L.RNN([Cell(3, f), L.SimpleRNNCell(2, f)]),
    "Bidirectional": lambda f: _bidirectional(L.GRU(3), f),
    "TimeDistributed model": lambda f: L.TimeDistributed(_inner_model()),
    "GRU": lambda f: L.GRU(4, activation="tanh", recurrent_activation=f),
    "Bidirectional of two": lambda f: _bidirectional(L.LSTM(3), f, backward_layer=L.LSTM(3, go_backwards=True)),
    "Bidirectional of an own cell": lambda f: _bidirectional(L.RNN(Cell(3)), f),
    "stacked cells": lambda f: L.RNN(L.StackedRNNCells([L.LSTMCell(3, f), L.GRUCell(2, tanh)])),
}


def _model(layer, shape):
    keras.utils.set_random_seed(1)
    given = keras.Input(shape)
    x = layer(given)
    model = keras.Model(given, L.Dense(2, name="last")(x if len(x.shape) == 2 else L.Flatten()(x)))
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(size=variable.shape))
    return model


def _copies(model, **options):
    sparse = masked(model, **options)
    yield sparse
    yield strip(sparse, **options)
    yield strip(model, **options)


def _check(model, inputs):
    """Without the package's own check: outputs of the copies are those of the model."""
    expected = model(inputs)
    for copy in _copies(model, verify=False):
        np.testing.assert_allclose(copy(inputs), expected, rtol=1e-6, atol=1e-6)
        assert [layer.name for layer in copy.layers] == [layer.name for layer in model.layers]
    for _ in _copies(model):  # the package's check finds nothing wrong
        pass


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_functions_of_a_dense_layer(function):
    _check(_model(L.Dense(4, function), (5,)), np.random.default_rng(2).normal(size=(3, 5)).astype("f4"))


@pytest.mark.parametrize("make", IN_VECTOR.values(), ids=IN_VECTOR)
def test_layers_of_vectors(make):
    for function in (leaky_relu, lambda x: ops.abs(x) - 1):
        _check(_model(make(function), (5,)), np.random.default_rng(2).normal(size=(3, 5)).astype("f4"))


@pytest.mark.slow_beyond(7)
@pytest.mark.parametrize("make", IN_SEQUENCE.values(), ids=IN_SEQUENCE)
def test_layers_of_sequences(make):
    for function in (sigmoid, functools.partial(tf.nn.leaky_relu, alpha=0.4)):
        _check(_model(make(function), (4, 5)), np.random.default_rng(2).normal(size=(3, 4, 5)).astype("f4"))


def test_functions_of_lambda_layers():
    """Its mask, its shape and its arguments; a function that asks for `training`."""
    given = keras.Input((4, 5))
    x = L.Lambda(lambda x, k: k(x), lambda shape: shape, lambda x, _: x[..., 0] > 0, arguments={"k": gelu})(given)
    x = L.Lambda(lambda x, training: x * (2 if training else 3), mask=lambda x, mask: mask)(x)
    model = keras.Model(given, L.GRU(3)(x))
    inputs = np.random.default_rng(2).normal(size=(3, 4, 5)).astype("f4")
    _check(model, inputs)
    assert np.abs(model(inputs) - keras.Model(given, model.layers[-1](x * 1.0))(inputs)).max() > 0.01  # masked steps


def test_layers_without_a_name_and_what_is_set_later():
    layer = Times(3.0)
    layer.trainable, layer.supports_masking = False, True
    model = _model(layer, (5,))
    for copy in _copies(model):
        own = copy.layers[1]
        assert (own.name, own.factor, own.trainable, own.supports_masking) == (layer.name, 3.0, False, True)
    given = keras.Input((5,))
    block = Block(4, lambda x: x * 3)
    block.trainable, block.dtype_policy = False, keras.DTypePolicy("float64")
    own = masked(keras.Model(given, block(given))).layers[1]
    assert not own.trainable and own.dtype_policy.name == "float64" and own.name == block.name


def test_all_four_calls_keep_own_functions():
    keras.utils.set_random_seed(0)
    layers = [keras.Input((8, 8, 3)), L.Conv2D(6, 3), L.ReLU(), L.Conv2D(4, 3, activation="relu"), L.Flatten()]
    model = keras.Sequential([*layers, L.Dense(5, gelu), L.Dense(3, softmax)])
    images = np.random.default_rng(1).normal(size=(4, 8, 8, 3)).astype("f4")
    for copy in (*_copies(model), tfprune.compact(model), tfprune.compact(masked(model), fold_batchnorm=True)):
        np.testing.assert_allclose(copy(images), model(images), rtol=1e-5, atol=1e-6)
        assert copy.layers[-1].activation is softmax
    # Both convolutions lose half of their filters: the outputs are those with zeros in the kernels that read them.
    small = tfprune.prune_filters(model, "l1_norm", 0.5)
    first, second, dense = (model.layers[index].kernel.numpy() for index in (0, 2, 4))
    gone, also_gone = (np.argsort(np.abs(kernel).sum((0, 1, 2)))[: kernel.shape[-1] // 2] for kernel in (first, second))
    second[:, :, gone] = 0
    dense.reshape(4, 4, 4, 5)[:, :, also_gone] = 0
    model.layers[2].kernel.assign(second)
    model.layers[4].kernel.assign(dense)
    np.testing.assert_allclose(small(images), model(images), rtol=1e-5, atol=1e-6)
    assert small.layers[-1].activation is softmax


def test_what_variables_are_made_with_stays():
    bound, initial = Bounded(0.5), np.full((3, 2), 0.25, "f4")
    layer = L.Dense(
        2, kernel_initializer=initial, bias_initializer=ones, kernel_regularizer=l2, kernel_constraint=bound
    )
    layer.activity_regularizer = l2
    norm = L.BatchNormalization(beta_initializer=ones, gamma_regularizer=l2, gamma_constraint=bound)
    model = keras.Sequential([keras.Input((3,)), layer, norm, L.Embedding(4, 2, embeddings_regularizer=l2)])
    for copy in _copies(model):
        dense, normal, embedding = copy.layers
        assert dense.kernel_initializer is layer.kernel_initializer and dense.bias_initializer is ones
        assert dense.kernel_constraint is bound
        assert getattr(dense.kernel.constraint, "_constraint", dense.kernel.constraint) is bound  # of kept weights
        assert dense.kernel_regularizer is dense.activity_regularizer is l2 and embedding.embeddings_regularizer is l2
        assert normal.beta_initializer is ones and normal.gamma.constraint is bound
        assert normal.gamma.regularizer is l2
        np.testing.assert_allclose(sum(map(float, copy.losses)), sum(map(float, model.losses)), rtol=1e-6)
    # An initializer for one shape is no obstacle to another one.
    layer = L.Dense(2, kernel_initializer=initial, name="a")
    model = keras.Sequential([keras.Input((3,)), layer, L.Dense(1, name="b")])
    small = tfprune.compact(model, {"a/kernel": np.array([[1, 0]] * 3, bool), "b/kernel": np.ones((2, 1), bool)})
    assert small.layers[0].units == 1 and small.layers[0].kernel_initializer is layer.kernel_initializer


def test_copies_are_saved_as_the_model_would_be():
    model = _model(L.Dense(4, leaky_relu, kernel_regularizer=l2), (5,))
    for copy in (strip(masked(model)), tfprune.compact(model)):
        assert copy.get_config() == model.get_config()
    model = _model(L.Bidirectional(L.LSTM(3, activation="relu")), (4, 5))
    assert strip(masked(model)).get_config() == model.get_config()


def test_functions_that_a_file_would_lose_are_told(tmp_path, recwarn):
    same = _model(L.Dense(4, tf.nn.relu), (5,)), _model(L.Dense(4, ops.tanh), (5,)), _model(L.Dense(4, "gelu"), (5,))
    for model in (*same, _model(L.Dense(4, lambda x: x * 2), (5,)), _model(L.Dense(4, own_metric), (5,))):
        masked(model, verify=False)
    assert not [str(told.message) for told in recwarn if "activation of that name" in str(told.message)]
    model = _model(L.TimeDistributed(L.Dense(4, leaky_relu), name="steps"), (3, 5))
    with pytest.warns(
        UserWarning, match=r"layer 'steps' has a function 'leaky_relu', and Keras an activation of that name"
    ):
        masked(model).save(tmp_path / "model.keras")
    given = -np.ones((1, 3, 5))  # what the warning is about
    assert np.abs(tfprune.load_model(tmp_path / "model.keras")(given) - model(given)).max() > 1e-3


def test_copies_of_lambdas_are_saved_and_read(tmp_path):
    model = _model(L.Lambda(lambda x: x * 2), (5,))
    copy = masked(model)
    copy.save(tmp_path / "model.keras")
    loaded = tfprune.load_model(tmp_path / "model.keras", safe_mode=False)
    np.testing.assert_array_equal(loaded(np.ones((1, 5))), model(np.ones((1, 5))))


def own_loss(truth, guess):
    return ops.mean(ops.square(truth - guess)) * 3


def own_metric(truth, guess):
    return ops.max(ops.abs(truth - guess))


class OwnLoss(keras.losses.Loss):
    """Its configuration leaves the factor out."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def call(self, truth, guess):
        return ops.mean(ops.square(truth - guess), -1) * self.factor


class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """Not registered, without a configuration."""

    def __call__(self, step):
        return 0.25 / (1.0 + ops.cast(step, "float32"))


@pytest.mark.parametrize("loss", [own_loss, OwnLoss(2.0), "mse", lambda truth, guess: ops.mean(truth - guess)])
def test_copies_are_compiled_with_the_functions_themselves(loss):
    x, y = np.random.default_rng(0).normal(size=(16, 3)).astype("f4"), np.ones((16, 1), "f4")
    model = keras.Sequential([keras.Input((3,)), L.Dense(1)])
    own = keras.metrics.MeanMetricWrapper(own_metric, name="own")
    optimizer = keras.optimizers.SGD(Schedule(), momentum=0.5)
    metrics = {"metrics": ["mae", own_metric, own], "weighted_metrics": [own_metric]}
    model.compile(optimizer, loss, **metrics, run_eagerly=True)
    model.fit(x, y, verbose=0)
    sparse = masked(model)
    plain = strip(sparse)
    expected = model.evaluate(x, y, verbose=0, return_dict=True)
    for copy in (sparse, plain):
        assert copy.loss is loss and copy.run_eagerly
        assert copy.optimizer is not optimizer and int(copy.optimizer.iterations) == 0
        assert copy.optimizer._learning_rate is optimizer._learning_rate
        found = copy.evaluate(x, y, verbose=0, return_dict=True)
        assert found.keys() == expected.keys()
        np.testing.assert_allclose(list(found.values()), list(expected.values()), rtol=1e-6)
    for copy in (sparse, plain, model):
        copy.compile(keras.optimizers.SGD(Schedule()), loss, run_eagerly=True)
        copy.fit(x, y, verbose=0, shuffle=False)
    np.testing.assert_allclose(plain.layers[0].kernel, model.layers[0].kernel, rtol=1e-5)
    np.testing.assert_allclose(sparse.layers[0].kernel, model.layers[0].kernel, rtol=1e-5)


def test_other_optimizers_are_new_and_alike():
    model = keras.Sequential([keras.Input((3,)), L.Dense(1)])
    decayed = keras.optimizers.AdamW(0.125, weight_decay=0.5)
    decayed.exclude_from_weight_decay(var_names=["bias"])
    model.compile(keras.optimizers.LossScaleOptimizer(decayed), "mse")
    model.optimizer.inner_optimizer.learning_rate.assign(0.0625)
    inner = masked(model).optimizer.inner_optimizer
    assert inner is not decayed and float(inner.learning_rate) == 0.0625 and inner.weight_decay == 0.5
    kernel, bias = inner._trainable_variables
    assert inner._use_weight_decay(kernel) and not inner._use_weight_decay(bias)


class Forgetful(keras.metrics.Metric):
    def __init__(self, necessary):
        super().__init__()

    def update_state(self, *args, **kwargs):
        pass

    def result(self):
        return 0.0


def test_what_cannot_be_compiled_alike_is_told():
    model = keras.Sequential([keras.Input((3,)), L.Dense(1)])
    model.compile("sgd", "mse", metrics=[Forgetful(1)])
    with pytest.warns(UserWarning, match="call compile yourself.*Forgetful") as told:
        assert not masked(model).compiled
    assert told[0].filename == __file__
