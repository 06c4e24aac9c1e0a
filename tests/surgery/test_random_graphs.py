"""Compacting random graphs with random masks leaves their outputs alone."""

import keras
import numpy as np
import pytest
from keras import layers as L

from tfprune.layers.masks import Masks
from tfprune.layers.prunable import prunable

KINDS = 18


class _Random:
    """Builds one random image network; tensors have 4 axes."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def pick(self, *choices):
        return choices[self.rng.integers(len(choices))]

    def conv(self, x, filters=None, strides=1, padding=None):
        return L.Conv2D(
            filters or int(self.rng.integers(2, 7)),
            self.pick(1, 2, 3),
            strides=strides,
            padding=padding or self.pick("same", "valid"),
            use_bias=self.pick(True, False),
            activation=self.pick(None, "relu", "sigmoid"),
        )(x)

    def step(self, x):
        width, rng = x.shape[-1], self.rng
        kind = int(rng.integers(KINDS))
        if kind <= 2:
            return self.conv(x)
        if kind == 3:
            return L.BatchNormalization(scale=self.pick(True, False))(x)
        if kind == 4:
            layer = self.pick(L.ReLU(), L.LeakyReLU(), L.PReLU(shared_axes=[1, 2]), L.Activation("gelu"), L.PReLU())
            return layer(x)
        if kind == 5:
            return self.pick(L.MaxPooling2D, L.AveragePooling2D)(2, strides=1, padding=self.pick("same", "valid"))(x)
        if kind == 6:
            depth = int(rng.integers(1, 3))
            return L.DepthwiseConv2D(2, depth_multiplier=depth, padding=self.pick("same", "valid"), activation="relu")(
                x
            )
        if kind == 7:
            return L.SeparableConv2D(4, 3, depth_multiplier=2, padding="same", use_bias=self.pick(True, False))(x)
        if kind == 8:
            return L.Conv2DTranspose(3, self.pick(1, 2, 3), padding=self.pick("same", "valid"))(x)
        if kind == 9:
            left, right = self.conv(x, width, padding="same"), L.BatchNormalization()(self.conv(x, width, 1, "same"))
            return self.pick(L.Add, L.Subtract, L.Maximum, L.Average, L.Multiply, L.Minimum)()([left, right])
        if kind == 10:
            return L.Concatenate()([self.conv(x, padding="same"), x, self.conv(x, padding="same")])
        if kind == 11:
            gate = L.GlobalAveragePooling2D(keepdims=self.pick(True, False))(x)
            gate = L.Dense(width, "sigmoid")(L.Dense(2, "relu")(gate))
            return L.Multiply()([x, gate])
        if kind == 12:
            return self.pick(L.ZeroPadding2D(1), L.UpSampling2D((1, 2)), L.SpatialDropout2D(0.3), L.Rescaling(2, 0.3))(
                x
            )
        if kind == 13:
            shared = L.Conv2D(width, 3, padding=self.pick("same", "valid"), activation="relu")
            return shared(shared(x)) if x.shape[1] > 4 and x.shape[2] > 4 else x
        if kind == 14:
            inner = keras.Sequential([L.Conv2D(4, 1), L.BatchNormalization(), L.ReLU(), L.Conv2D(width, 1)])
            return x + inner(x) * 0.5
        if kind == 15:
            return L.LayerNormalization()(x)
        if kind == 16:
            return L.Dense(5, activation=self.pick("relu", "softmax"))(x)
        return keras.ops.relu(x) if rng.random() < 0.5 else L.Conv2D(4, 2, groups=2, padding="same")(self.conv(x, 4))

    def model(self):
        inputs = x = keras.Input((7, 6, 3))
        for _ in range(int(self.rng.integers(4, 8))):
            if min(x.shape[1:3]) < 3:
                break
            x = self.step(x)
            if self.rng.random() < 0.4:
                x = self.conv(x, padding="same")
        x = self.pick(L.Flatten(), L.GlobalMaxPooling2D(), L.GlobalAveragePooling2D())(x)
        x = L.Dense(6, activation="relu")(L.Dropout(0.1)(x))
        return keras.Model(inputs, [L.Dense(3)(x), x])


@pytest.mark.slow_beyond(6)
@pytest.mark.parametrize("seed", range(16))
def test_outputs_stay(seed, lively, check):
    random = _Random(seed)
    model = lively(random.model(), seed, off=0.3)
    density = (0.9, 0.6, 0.3, 0.1)[seed % 4]
    masks = {}
    for path, variable in prunable(model).items():
        mask = random.rng.random(variable.shape) < density
        if random.rng.random() < 0.8:  # whole filters: constants arise
            mask[..., random.rng.random(variable.shape[-1]) < 0.4] = False
        masks[path] = mask
    check(model, Masks(masks))
