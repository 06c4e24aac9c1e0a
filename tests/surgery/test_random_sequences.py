"""Compacting random networks of sequences with random masks leaves their outputs alone."""

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops

import tfprune


class _Random:
    """Builds one random network; tensors have 3 axes."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def pick(self, *choices):
        return choices[self.rng.integers(len(choices))]

    def step(self, x):
        width, kind = x.shape[-1], int(self.rng.integers(13))
        if kind == 0:
            return L.Dense(int(self.rng.integers(3, 7)), activation=self.pick(None, "relu", "gelu"))(x)
        if kind == 1:
            return self.pick(L.LayerNormalization(), L.RMSNormalization(), L.BatchNormalization())(x)
        if kind in (2, 3):
            heads, options = int(self.rng.integers(1, 4)), self.pick({}, {"value_dim": 3}, {"use_gate": True})
            layer = L.MultiHeadAttention(heads, 2, use_bias=self.pick(True, False), **options)
            return x + layer(x, x, use_causal_mask=self.pick(True, False))
        if kind == 4:
            return x + L.GroupQueryAttention(2, 4, 2)(x, x)
        if kind in (5, 6):
            kind = self.pick(L.SimpleRNN, L.LSTM, L.GRU)
            return kind(4, return_sequences=True, use_bias=self.pick(True, False))(x)
        if kind == 7:
            mode = self.pick("concat", "sum", "mul", "ave")
            return L.Bidirectional(self.pick(L.LSTM, L.GRU)(3, return_sequences=True), merge_mode=mode)(x)
        if kind == 8:
            return L.TimeDistributed(L.Dense(4, self.pick("relu", "sigmoid")))(x)
        if kind == 9:
            query, key = L.Dense(4)(x), L.Dense(4)(x)
            return self.pick(L.Attention(score_mode="concat"), L.Attention(), L.AdditiveAttention())([query, x, key])
        if kind == 10:
            first, second = ops.split(L.Dense(2 * width)(x), 2, axis=-1)
            return first * ops.sigmoid(second)
        if kind == 11:
            return L.Conv1D(6, 2, padding="same", groups=self.pick(1, 6))(L.Dense(6)(x))
        return x + L.Dense(width)(L.Dense(5, "relu")(x))

    def model(self):
        inputs = keras.Input((5,), dtype="int32")
        table = L.ReversibleEmbedding(7, 4)
        x = table(inputs)
        for _ in range(int(self.rng.integers(3, 6))):
            x = self.step(x)
        last = L.GlobalAveragePooling1D()(x) if self.rng.random() < 0.7 else x[:, -1]
        outputs = [L.Dense(3)(last)]
        if self.rng.random() < 0.5:
            outputs.append(table(L.Dense(4)(x), reverse=True))
        model = keras.Model(inputs, outputs)
        for variable in model.weights:
            values = self.rng.normal(0, 0.6, variable.shape) * (self.rng.random(variable.shape) < 0.7)
            variable.assign(np.abs(values) + 0.1 if "variance" in variable.name else values)
        return model


@pytest.mark.slow_beyond(3)
@pytest.mark.parametrize("seed", [*range(6), 12, 79])
@pytest.mark.filterwarnings("ignore:nothing can leave")
def test_outputs_stay(seed):
    random = _Random(seed)
    model = random.model()
    masks = {}
    for path, kernel in tfprune.prunable(model).items():
        masks[path] = random.rng.random(kernel.shape) < (0.9, 0.6, 0.3)[seed % 3]
        for axis in range(len(kernel.shape)):  # whole slices: constants and dead heads, units and columns
            gone = random.rng.random(kernel.shape[axis]) < 0.25
            np.moveaxis(masks[path], axis, 0)[gone] = False
    sparse = tfprune.masked(model, masks)
    small = tfprune.compact(model, masks, verify=False)
    given = random.rng.integers(0, 7, (4, 5))
    for one, other in zip(keras.tree.flatten(small(given)), keras.tree.flatten(sparse(given)), strict=True):
        one, other = one.numpy(), other.numpy()
        assert np.abs(one - other).max() <= 1e-5 * max(np.abs(other).max(), 1e-3)
    again = tfprune.compact(small, verify=False)
    assert again.count_params() == small.count_params() <= model.count_params()
