"""What moves, cuts and pools entries: channels go around it, outputs stay the same."""

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops

from tfprune.surgery.compact import compact

X = np.random.default_rng(0).normal(size=(2, 6, 4, 3))


def _drawn(model, seed=0):
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        variable.assign(rng.normal(0, 0.6, variable.shape))
    return model


def _gated(x):
    first, second = ops.split(x, 2, axis=-1)
    return first * ops.sigmoid(second)


def _shuffled(x):
    return ops.depth_to_space(x, 2)


def _shuffled_by_layers(x):
    x = L.Reshape((6, 4, 2, 2, 2))(x)
    x = L.Permute((1, 3, 2, 4, 5))(x)
    return L.Reshape((12, 8, 2))(x)


# What stands between a convolution with 8 filters and one along the last axis -> filters that are left when filters 1
# and 5 make nothing, or nothing reads what they make: of both ways, of one.
MOVES = {
    "transpose": (lambda x: ops.transpose(x, (0, 2, 1, 3)), 6),
    "swap": (lambda x: ops.swapaxes(ops.swapaxes(x, 1, 3), 3, 1), 6),
    "move": (lambda x: ops.moveaxis(ops.moveaxis(x, 3, 1), 1, 3), 6),
    "expand": (lambda x: ops.squeeze(ops.expand_dims(x, 2), 2), 6),
    "pick": (lambda x: x[:, 1:4, -1], 6),
    "new axis": (lambda x: x[:, 0, None, ::2], 6),
    "softmax": (lambda x: ops.softmax(x, axis=1), 6),
    "softmax layer": (lambda x: L.Softmax(axis=[1, 2])(x), 6),
    "flip": (lambda x: ops.flip(ops.roll(x, 1, axis=2), axis=1), 6),
    "split positions": (lambda x: ops.concatenate(ops.split(x, [1, 3], axis=1)[::-1], axis=1), 6),
    "split channels": (_gated, 6),
    "stack": (lambda x: ops.stack([x, 2 * x], axis=2), 6),
    "pad": (lambda x: ops.pad(x, ((0, 0), (1, 1), (0, 2), (0, 0))), 6),
    "pad by reflection": (lambda x: ops.pad(x, ((0, 0), (1, 1), (0, 2), (0, 0)), mode="reflect"), 6),
    "pool": (lambda x: ops.average_pool(ops.max_pool(x, 2, 1, "same"), 2), 6),
    "resize": (lambda x: ops.image.resize(x, (5, 5)), 6),
    "resizing": (lambda x: L.Resizing(5, 5)(x), 6),
    "sum": (lambda x: ops.sum(x, axis=(1, 2)), 6),
    "variance": (lambda x: ops.concatenate([ops.var(x, axis=1), ops.std(x, axis=[1])], axis=1), 6),
    "where": (lambda x: ops.where(ops.mean(x, axis=-1, keepdims=True) > 0, x, 0.3), 8),
    "where else": (lambda x: ops.where(ops.expand_dims(ops.max(x, axis=(2, 3)), (2, 3)) > 0, x, -x), 8),
    "cast": (lambda x: ops.cast(ops.stop_gradient(x), "float32") + ops.erf(x), 6),
    "flat": (lambda x: ops.reshape(x, (2, 24, -1)), 6),
    "pixel shuffle": (_shuffled, 6),
    "pixel shuffle by layers": (_shuffled_by_layers, 6),
    "blocks": (lambda x: ops.space_to_depth(x, 2), 6),
    "slice of channels": (lambda x: x[:, 2, None, ..., 1:7], 4),
    "slices of channels": (lambda x: ops.concatenate([x[..., :5], x[..., 3:]], axis=-1), 6),
    "every other channel": (lambda x: x[..., ::2], 8),
    "parts of channels": (lambda x: ops.concatenate(ops.split(x, [2, 5], axis=-1)[::-1], axis=-1), 6),
    "softmax of channels": (lambda x: ops.softmax(x, axis=-1), 8),
    "reshape to a number": (lambda x: ops.reshape(x, (-1, 24, 8)), 6),
    "reshape to all numbers": (lambda x: ops.reshape(x, (2, 192)), 6),
}


def _gone(case):
    """Pairs that go together where parts of the channels do, else any two."""
    return {"split channels": [1, 5], "pixel shuffle": [1, 3, 5, 7], "pixel shuffle by layers": [1, 3, 5, 7]}.get(
        case, [1, 5]
    )


@pytest.mark.parametrize("case", MOVES)
@pytest.mark.filterwarnings("ignore:nothing can leave", "ignore:no rule knows")
def test_filters_that_make_nothing(case):
    function, left = MOVES[case]
    x = inputs = keras.Input(batch_shape=(2, 6, 4, 3))
    first, last = L.Conv2D(8, 1, name="first"), L.Dense(2, name="last")
    model = _drawn(keras.Model(inputs, last(function(first(x)))))
    kernel, bias = (variable.numpy() for variable in first.weights)
    gone = _gone(case)
    kernel[..., gone] = bias[gone] = 0
    first.kernel.assign(kernel)
    first.bias.assign(bias)
    small = compact(model)
    expected, found = model(X).numpy(), small(X).numpy()
    assert np.abs(expected - found).max() <= 1e-5 * np.abs(expected).max()
    assert small.get_layer("first").filters == LEFT.get(case, 8 - len(gone) if left == 6 else 8)


# What is 0 at all positions is something else behind these.
LEFT = dict.fromkeys(["softmax", "softmax layer", "resize", "resizing"], 8) | {"slice of channels": 4}


READERS = {name: (function, left) for name, (function, left) in MOVES.items() if name not in ("flat", "blocks")}


@pytest.mark.parametrize("case", READERS)
@pytest.mark.filterwarnings("ignore:nothing can leave", "ignore:no rule knows")
def test_channels_that_nobody_reads(case):
    """The rows of the last kernel that belong to a channel are 0."""
    function, left = READERS[case]
    x = inputs = keras.Input(batch_shape=(2, 6, 4, 3))
    first, last = L.Conv2D(8, 1, name="first"), L.Dense(2, name="last")
    middle = function(first(x))
    model = _drawn(keras.Model(inputs, last(middle)))
    kernel = last.kernel.numpy()
    rows = len(kernel)
    kernel[[row for row in range(rows) if row % min(rows, 8) in [1, 5]]] = 0
    last.kernel.assign(kernel)
    small = compact(model)
    expected, found = model(X).numpy(), small(X).numpy()
    assert np.abs(expected - found).max() <= 1e-5 * np.abs(expected).max()
    expected_filters = {"pixel shuffle": 4, "pixel shuffle by layers": 4, "split channels": 6}.get(case, left)
    assert small.get_layer("first").filters == expected_filters
