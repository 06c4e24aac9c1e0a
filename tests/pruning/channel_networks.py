"""Small networks whose readers of each layer's channels are written down, to remove channels by hand."""

import keras
import numpy as np
from keras import layers as L

from tfprune.layers.weights import set_weights, weights_of


def transformer():
    """A block as of keras.io: the residual stream of 12 stays, the feed-forward width of 32 is free."""
    x = inputs = keras.Input((5, 12))
    x = L.LayerNormalization(name="norm_1")(L.Add()([x, L.MultiHeadAttention(2, 4, name="attention")(x, x)]))
    y = L.Dense(12, name="ffn_2")(L.Dropout(0.1)(L.Dense(32, "gelu", name="ffn_1")(x)))
    x = L.LayerNormalization(name="norm_2")(L.Add()([x, y]))
    return keras.Model(inputs, L.Dense(3, name="last")(L.GlobalAveragePooling1D()(x)))


def perceptron():
    layers = [L.Dense(8, "relu", name="a"), L.BatchNormalization(name="norm"), L.Dense(6, "tanh", name="b")]
    return keras.Sequential([keras.Input((4,)), *layers, L.Dense(3, name="last")])


def residual():
    x = inputs = keras.Input((4,))
    x = L.Dense(8, name="a")(x)
    x = L.Add()([x, L.Dense(8, name="c")(L.Dense(6, "relu", name="b")(x))])
    return keras.Model(inputs, L.Dense(3, name="last")(L.ReLU()(x)))


def shared():
    """`twice` reads what it makes: it and `a` have the same channels."""
    x = inputs = keras.Input((4,))
    twice = L.Dense(6, "tanh", name="twice")
    return keras.Model(inputs, L.Dense(3, name="last")(twice(twice(L.Dense(6, name="a")(x)))))


def nested():
    x = inner = keras.Input((8,))
    x = L.Dense(4, name="end")(L.Dense(6, "relu", name="dense")(x))
    block = keras.Model(inner, x, name="block")
    x = inputs = keras.Input((5,))
    return keras.Model(inputs, L.Dense(3, name="last")(L.ReLU()(block(L.Dense(8, name="dense")(x)))))


def flattened():
    """Unit c of `a` is in the rows c, 6 + c, 12 + c and 18 + c of `last`."""
    x = inputs = keras.Input((4, 3))
    return keras.Model(inputs, L.Dense(3, name="last")(L.Flatten()(L.Dense(6, "relu", name="a")(x))))


def squeeze_excite():
    x = inputs = keras.Input((6, 6, 3))
    x = L.Conv2D(8, 3, activation="relu", name="a")(x)
    s = L.Dense(4, "relu", name="squeeze")(L.GlobalAveragePooling2D()(x))
    s = L.Reshape((1, 1, 8))(L.Dense(8, "sigmoid", name="excite")(s))
    return keras.Model(inputs, L.Conv2D(4, 3, name="last")(L.Multiply()([x, s])))


# Network -> layer -> what has its channels too, and the kernels that read these.
READERS = {
    transformer: {"ffn_1": ([], ["ffn_2"])},
    perceptron: {"a": ([], ["b"]), "b": ([], ["last"])},
    residual: {"a": (["c"], ["b", "last"]), "b": ([], ["c"]), "c": (["a"], ["b", "last"])},
    shared: {"a": (["twice"], ["twice", "last"])},
    nested: {
        "dense": ([], ["block/dense"]),
        "block/dense": ([], ["block/end"]),
        "block/end": ([], ["last"]),
    },
    flattened: {"a": ([], ["last"])},
    squeeze_excite: {"squeeze": ([], ["excite"]), "excite": (["a"], ["squeeze", "last"])},
}
CASES = [(build, layer) for build, layers in READERS.items() for layer in layers]


def drawn(model, seed=0):
    """All weights drawn, so that a bias is its channel's fingerprint. Returns the model."""
    rng = np.random.default_rng(seed)

    def draw(path, shape):
        center = path.endswith(("gamma", "moving_variance"))
        return rng.uniform(center - 0.5, center + 0.5, shape) if len(shape) < 2 else rng.normal(0, 0.5, shape)

    set_weights(model, {path: draw(path, array.shape) for path, array in weights_of(model).items()})
    return model


def zeroed(build, layer, gone):
    """The drawn network, with weight 0 wherever a kernel reads these channels of a layer."""
    model = drawn(build())
    weights = weights_of(model)
    width = len(weights[f"{layer}/bias"])
    for reader in READERS[build][layer][1]:
        rows = np.moveaxis(weights[f"{reader}/kernel"], -2, 0)
        rows[np.isin(np.arange(len(rows)) % width, gone)] = 0
    set_weights(model, weights)
    return model


def outputs_of(model):
    """Of three drawn inputs."""
    return np.asarray(model(np.random.default_rng(1).normal(size=(3, *model.input_shape[1:])), training=False))


def left_of(model, small, layer):
    """Which channels of a layer are left, found by their biases."""
    return np.flatnonzero(np.isin(weights_of(model)[f"{layer}/bias"], weights_of(small)[f"{layer}/bias"])).tolist()
