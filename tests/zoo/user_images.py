"""Networks for images, in the manner of Keras's examples: functional, of stock layers and operations."""

import keras
from keras import layers as L
from keras import ops


def unet():
    """Segmentation: down by strides, up by transposed convolutions, with what was seen on the way down beside it."""
    x = inputs = keras.Input((16, 16, 3))
    seen = []
    for width in (8, 12):
        x = _normal(L.Conv2D(width, 3, padding="same")(x))
        seen.append(x)
        x = _normal(L.Conv2D(width, 3, strides=2, padding="same")(x))
    x = _normal(L.Conv2D(16, 3, padding="same")(x))
    for width, beside in zip((12, 8), reversed(seen), strict=True):
        x = L.Concatenate()([L.Conv2DTranspose(width, 2, strides=2, activation="relu")(x), beside])
        x = L.Dropout(0.1)(_normal(L.Conv2D(width, 3, padding="same", use_bias=False)(x)))
    return keras.Model(inputs, L.Conv2D(4, 1, activation="softmax")(x))


def vit():
    """Patches by reshaping, learned positions, attention before a gelu network of two layers."""
    inputs = keras.Input((16, 16, 3))
    x = ops.reshape(inputs, (-1, 4, 4, 4, 4, 3))
    x = ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, 16, 48))
    x = L.Dense(24)(x) + L.Embedding(16, 24)(ops.arange(16))
    for _ in range(2):
        y = L.LayerNormalization(epsilon=1e-6)(x)
        x = L.Add()([L.MultiHeadAttention(3, 8, dropout=0.1)(y, y), x])
        y = L.Dense(48, activation="gelu")(L.LayerNormalization(epsilon=1e-6)(x))
        x = L.Add()([L.Dense(24)(L.Dropout(0.1)(y)), x])
    return keras.Model(inputs, L.Dense(5)(L.Flatten()(L.LayerNormalization()(x))))


def mlp_mixer():
    """Dense layers over patches and over channels in turn."""
    inputs = keras.Input((16, 16, 3))
    x = L.Reshape((16, 16))(L.Conv2D(16, 4, strides=4)(inputs))
    for _ in range(2):
        y = L.Permute((2, 1))(L.LayerNormalization()(x))
        y = L.Dense(16)(L.Dense(32, activation="gelu")(y))
        x = x + L.Permute((2, 1))(y)
        y = L.Dense(32, activation="gelu")(L.LayerNormalization()(x))
        x = x + L.Dense(16)(y)
    return keras.Model(inputs, L.Dense(5)(L.GlobalAveragePooling1D()(x)))


def conv_mixer():
    """Depthwise convolutions with a shortcut, then pointwise ones."""
    inputs = keras.Input((16, 16, 3))
    x = _gelu(L.Conv2D(16, 2, strides=2)(L.Rescaling(1 / 2)(inputs)))
    for _ in range(3):
        x = L.Add()([_gelu(L.DepthwiseConv2D(3, padding="same")(x)), x])
        x = _gelu(L.Conv2D(16, 1)(x))
    return keras.Model(inputs, L.Dense(5, activation="softmax")(L.GlobalAveragePooling2D()(x)))


def squeeze_excite():
    """Residual blocks whose channels are weighted by a gate of their means."""
    inputs = keras.Input((16, 16, 3))
    x = L.Conv2D(16, 3, padding="same", activation="relu")(inputs)
    for _ in range(2):
        y = _normal(L.Conv2D(16, 3, padding="same", use_bias=False)(x))
        gate = L.GlobalAveragePooling2D(keepdims=True)(y)
        gate = L.Conv2D(16, 1, activation="sigmoid")(L.Conv2D(4, 1, activation="relu")(gate))
        x = L.Activation("relu")(L.Add()([x, L.Multiply()([y, gate])]))
    return keras.Model(inputs, L.Dense(5)(L.GlobalAveragePooling2D()(x)))


def inverted_residual():
    """Wide inside, narrow outside, with a linear end to each block; relu6 and an explicit padding."""
    inputs = keras.Input((16, 16, 3))
    x = L.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(inputs)
    for strides in (1, 2, 1):
        y = L.ReLU(6.0)(L.BatchNormalization()(L.Conv2D(24, 1, use_bias=False)(x)))
        y = L.DepthwiseConv2D(3, strides=strides, use_bias=False)(L.ZeroPadding2D(1)(y))
        y = L.Conv2D(8, 1, use_bias=False)(L.ReLU(6.0)(L.BatchNormalization()(y)))
        y = L.BatchNormalization()(y)
        x = y if strides == 2 else L.Add()([x, y])
    return keras.Model(inputs, L.Dense(5)(L.GlobalMaxPooling2D()(x)))


def super_resolution():
    """Channels become pixels: twice the size in both directions."""
    inputs = keras.Input((8, 8, 1))
    x = L.Conv2D(16, 5, padding="same", activation="tanh")(inputs)
    x = L.Conv2D(16, 3, padding="same", activation="tanh")(x)
    x = ops.reshape(L.Conv2D(12, 3, padding="same")(x), (-1, 8, 8, 2, 2, 3))
    x = ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, 16, 16, 3))
    return keras.Model(inputs, L.Conv2D(1, 3, padding="same")(x))


def siamese():
    """One tower for two images, and the distance of what it makes of them."""
    image = keras.Input((16, 16, 1))
    x = L.MaxPooling2D()(L.Conv2D(12, 3, activation="relu")(image))
    x = L.MaxPooling2D()(L.Conv2D(16, 3, activation="relu")(x))
    tower = keras.Model(image, L.Dense(8)(L.Flatten()(x)), name="tower")
    left, right = keras.Input((16, 16, 1), name="left"), keras.Input((16, 16, 1), name="right")
    square = ops.mean(ops.square(tower(left) - tower(right)), axis=-1, keepdims=True)
    return keras.Model([left, right], ops.sqrt(square + 1e-6))


def _normal(x):
    return L.ReLU()(L.BatchNormalization()(x))


def _gelu(x):
    return L.BatchNormalization()(L.Activation("gelu")(x))


NETWORKS = (unet, vit, mlp_mixer, conv_mixer, squeeze_excite, inverted_residual, super_resolution, siamese)
