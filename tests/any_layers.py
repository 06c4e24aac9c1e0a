"""Small networks, one for each type of layer that the package takes in; a fresh process imports them, too."""

import keras
import numpy as np
from keras import layers as L
from keras import ops

registered = keras.saving.register_keras_serializable("tfprune_any")


@registered
class OwnMatrix(L.Layer):
    """A layer with a matrix of its own, made when it is built."""

    def build(self, input_shape):
        self.mix = self.add_weight(shape=(input_shape[-1], 5))

    def call(self, inputs):
        return ops.tanh(ops.matmul(inputs, self.mix))


@registered
class OwnWidth(L.Layer):
    """A layer without `get_config`: Keras writes the constructor's arguments by itself."""

    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.width = width

    def build(self, input_shape):
        self.mix = self.add_weight(shape=(input_shape[-1], self.width))

    def call(self, inputs):
        return ops.matmul(inputs, self.mix)


@registered
class OwnDense(L.Dense):
    """A subclass that computes something else than its base."""

    def call(self, inputs):
        return super().call(inputs) * 2.0


@registered
class Block(L.Layer):
    """Layers in a list, which get weights when the block is first called; a matrix, noise, averages and a loss."""

    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.parts = [L.Dense(2 * width, activation="relu"), L.Dense(width)]
        self.norm, self.noise = L.BatchNormalization(), L.Dropout(0.2)

    def build(self, input_shape):
        self.scale = self.add_weight(shape=(input_shape[-1], self.width), name="scale")

    def call(self, inputs, training=None):
        x = self.norm(ops.matmul(inputs, self.scale), training=training)
        self.add_loss(1e-3 * ops.mean(x**2))
        for part in self.parts:
            x = part(x)
        return self.noise(x, training=training)

    def get_config(self):
        return {**super().get_config(), "width": self.width}


@registered
class Blocks(L.Layer):
    """A layer of layers of layers, without weights of its own."""

    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.norm = L.BatchNormalization()
        self.wide, self.narrow = L.Dense(2 * width, activation="relu"), L.Dense(width)

    def call(self, inputs):
        return inputs + self.narrow(self.wide(self.norm(inputs)))

    def get_config(self):
        return {**super().get_config(), "width": self.width}


@registered
class Subclassed(keras.Model):
    """A model without a graph."""

    def __init__(self, width=6, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.table, self.step = L.Embedding(20, 4), L.GRU(width)
        self.blocks = [L.Dense(width, activation="tanh") for _ in range(2)]
        self.last = L.Dense(3)

    def call(self, tokens, training=None):
        x = self.step(self.table(tokens))
        for block in self.blocks:
            x = x + block(x)
        return self.last(x)

    def get_config(self):
        return {**super().get_config(), "width": self.width}


def _after(*layers, shape=(6, 4)):
    """Layers in a row, a mean over what is left of steps, and a last dense layer."""
    x = inputs = keras.Input(shape)
    for layer in layers:
        x = layer(x)
    return _ended(inputs, x)


def _ended(inputs, x):
    if len(x.shape) > 2:
        x = ops.mean(x, axis=list(range(1, len(x.shape) - 1)))
    return keras.Model(inputs, L.Dense(3, name="last")(x))


def _tokens(*layers):
    x = inputs = keras.Input((6,), dtype="int32")
    for layer in layers:
        x = layer(x)
    return _ended(inputs, x)


def _attended(layer, together=True):
    inputs = keras.Input((6, 4))
    x = layer(inputs, inputs) if together else layer([inputs, inputs])
    return _ended(inputs, x)


def _masked_steps():
    inputs = keras.Input((6,), dtype="int32")
    x = L.LSTM(4, return_sequences=True, name="it")(L.Embedding(20, 4, mask_zero=True, name="table")(inputs))
    return _ended(inputs, L.LSTM(5, name="other")(x))


def _tied():
    inputs = keras.Input((6,), dtype="int32")
    table = L.ReversibleEmbedding(20, 4, name="table")
    x = L.Dense(4, activation="tanh", name="between")(table(inputs))
    return keras.Model(inputs, ops.mean(table(x, reverse=True), axis=1)[:, :3])


def _subclassed():
    model = Subclassed(name="net")
    model(np.zeros((1, 6), "int32"))
    return model


def _hub(name, *arguments, **options):
    def make():
        import keras_hub

        return _after(getattr(keras_hub.layers, name)(*arguments, **options, name="it"))

    return make


NETWORKS = {
    "dense": lambda: _after(L.Dense(5, activation="relu", name="it")),
    "einsum": lambda: _after(L.EinsumDense("abc,cd->abd", (None, 5), bias_axes="d", name="it")),
    "conv": lambda: _after(L.Conv1D(5, 3, padding="same", name="it")),
    "depthwise": lambda: _after(L.DepthwiseConv2D(3, depth_multiplier=2, name="it"), shape=(6, 6, 2)),
    "separable": lambda: _after(L.SeparableConv2D(5, 3, name="it"), shape=(6, 6, 2)),
    "transposed": lambda: _after(L.Conv2DTranspose(5, 3, strides=2, name="it"), shape=(4, 4, 2)),
    "embedding": lambda: _tokens(L.Embedding(20, 5, name="it")),
    "tied": _tied,
    "simple": lambda: _after(L.SimpleRNN(5, name="it")),
    "lstm": lambda: _after(L.LSTM(5, dropout=0.2, return_sequences=True, name="it")),
    "lstm over masked steps": _masked_steps,
    "gru": lambda: _after(L.GRU(5, name="it")),
    "gru back": lambda: _after(L.GRU(5, go_backwards=True, reset_after=False, name="it")),
    "cells": lambda: _after(L.RNN(L.StackedRNNCells([L.LSTMCell(4), L.GRUCell(5)]), name="it")),
    "both ways": lambda: _after(L.Bidirectional(L.LSTM(4, return_sequences=True), name="it")),
    "step by step": lambda: _after(L.TimeDistributed(L.Dense(5, activation="relu"), name="it")),
    "convlstm": lambda: _after(L.ConvLSTM1D(3, 2, name="it"), shape=(3, 5, 2)),
    "attention": lambda: _attended(L.MultiHeadAttention(2, 3, dropout=0.1, name="it")),
    "grouped queries": lambda: _attended(L.GroupQueryAttention(3, 4, 2, name="it")),
    "scaled attention": lambda: _attended(L.AdditiveAttention(name="it"), together=False),
    "spectral": lambda: _after(L.SpectralNormalization(L.Dense(5), name="it")),
    "own matrix": lambda: _after(OwnMatrix(name="it")),
    "own width": lambda: _after(OwnWidth(5, name="it")),
    "own dense": lambda: _after(OwnDense(5, name="it")),
    "own block": lambda: _after(Block(5, name="it")),
    "own blocks": lambda: _after(Blocks(4, name="it")),
    "nested subclassed": lambda: _tokens(Subclassed(name="it")),
    "subclassed": _subclassed,
    "encoder": _hub("TransformerEncoder", 8, 2),
    "decoder": _hub("TransformerDecoder", 8, 2),
    "mixer": _hub("FNetEncoder", 8),
}


def made(name):
    """The network with seeded weights that are nowhere all the same, and 32 examples for it."""
    keras.utils.set_random_seed(0)
    model = NETWORKS[name]()
    rng = np.random.default_rng(0)
    for variable in model.weights:
        if "float" in variable.dtype:
            value = rng.normal(0, 0.6, variable.shape)
            positive = "variance" in variable.name or "gamma" in variable.name
            variable.assign(np.abs(value) + 0.5 if positive else value)
    if name == "subclassed" or "int" in model.inputs[0].dtype:
        return model, rng.integers(0, 20, (32, 6)).astype("int32")
    return model, rng.normal(size=(32, *model.inputs[0].shape[1:])).astype("float32")
