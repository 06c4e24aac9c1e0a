"""A text classifier of all kinds of layers with masks: heads, units and columns that are masked leave it."""

import keras
import numpy as np
from keras import layers as L

import tfprune


def test_a_masked_classifier_gets_smaller():
    rng = np.random.default_rng(0)
    tokens = keras.Input((6,), dtype="int32")
    x = L.Embedding(20, 8, mask_zero=True, name="e")(tokens)
    x = L.Bidirectional(L.LSTM(5, return_sequences=True), name="b")(x)
    x = x + L.MultiHeadAttention(4, 3, name="a")(x, x)
    model = keras.Model(tokens, L.Dense(2, name="last")(L.GRU(6, name="g")(x)))
    for variable in model.weights:
        variable.assign(rng.normal(0, 0.5, variable.shape))
    masks = {path: rng.random(kernel.shape) < 0.7 for path, kernel in tfprune.prunable(model).items()}
    masks["a/output_dense.kernel"][[0, 2]] = False
    masks["last/kernel"][1] = False
    masks["g/cell.recurrent_kernel"][1, [column for column in range(18) if column % 6 != 1]] = False
    masks["e/embeddings"][:, 3] = False
    sparse = tfprune.masked(model, masks)
    small = tfprune.compact(sparse)
    given = rng.integers(0, 20, (4, 6))
    expected, found = sparse(given).numpy(), small(given).numpy()
    assert np.abs(expected - found).max() <= 1e-5 * np.abs(expected).max()
    assert [type(layer) for layer in small.layers] == [type(layer) for layer in model.layers]
    sizes = small.get_layer("a").num_heads, small.get_layer("g").units, small.get_layer("e").output_dim
    assert sizes == (2, 5, 7)
    # e 20 x 7; two directions of 7 x 20 + 5 x 20 + 20; 2 heads: three of 10 x 6 + 6, 6 x 10 + 10; g 10 x 15 + 5 x 15 +
    # 2 x 15; last 5 x 2 + 2
    assert small.count_params() == 140 + 2 * 260 + 3 * 66 + 70 + 255 + 12
