"""States of filters: what a bit switches off is gone from the network, in masks, in a scope and after compaction."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as L

import tfprune
from tfprune.errors import InputError
from tfprune.layers.weights import set_weights, weights_of
from tfprune.pruning.filter_states import StateSpace, Stretch, channel_states


def plain():
    x = inputs = keras.Input((8, 8, 3))
    x = L.ReLU()(L.BatchNormalization()(L.Conv2D(7, 3, padding="same", name="a")(x)))
    x = L.PReLU(shared_axes=[1, 2])(L.Conv2D(6, 3, name="b")(L.MaxPooling2D()(x)))
    return inputs, L.Dense(4, "softmax")(L.Flatten()(x)), {"a": 7, "b": 6}


def residual():
    x = inputs = keras.Input((8, 8, 3))
    x = L.Conv2D(7, 3, padding="same", name="a")(x)
    y = L.BatchNormalization()(L.Conv2D(5, 3, padding="same", activation="relu", name="b")(x))
    y = L.BatchNormalization()(L.Conv2D(7, 3, padding="same", name="c")(y))
    x = L.ReLU()(L.Add()([x, y]))
    return inputs, L.Dense(4)(L.GlobalAveragePooling2D()(x)), {"a": 7, "b": 5}


def concatenated():
    x = inputs = keras.Input((6, 6, 3))
    both = L.Conv2D(7, 3, name="both")(x)  # its filters are added to those of two layers
    x = L.Concatenate()([L.Conv2D(4, 1, name="a")(both), L.Conv2D(3, 1, name="b")(both)])
    x = L.BatchNormalization()(L.Add()([both, x]))
    return inputs, L.Conv2D(4, 3)(x), {"both": 4, "both (2)": 3}


def depthwise():
    x = inputs = keras.Input((6, 6, 3))
    x = L.Conv2D(5, 1, name="a")(x)
    x = L.BatchNormalization()(L.DepthwiseConv2D(3, depth_multiplier=2)(x))
    x = L.SeparableConv2D(6, 3, activation="relu", name="b")(x)
    return inputs, L.Dense(4)(L.GlobalMaxPooling2D()(x)), {"a": 5, "b": 6}


def grouped():
    x = inputs = keras.Input((6, 6, 4))
    x = L.Conv2D(6, 3, groups=2)(L.Conv2D(4, 3)(x))  # grouped convolutions keep what they read and make
    return inputs, L.Dense(4)(L.Flatten()(L.Conv2D(5, 1, name="b")(x))), {"b": 5}


def dense_only():
    x = inputs = keras.Input((6,))
    x = L.Dense(5, "relu", name="b")(L.Dense(8, "tanh", name="a")(x))
    return inputs, L.Dense(1, "sigmoid")(x), {"a": 8, "b": 5}


def shared():
    x = inputs = keras.Input((6,))
    twice = L.Dense(7, "relu", name="twice")
    x = twice(L.Dense(7, "relu", name="a")(x))
    return inputs, L.Dense(3)(twice(x)), {"a": 7}


def nested():
    x = block = keras.Input((8, 8, 7))
    x = L.Conv2D(5, 3, activation="relu", name="inner")(x)
    block = keras.Model(block, L.Conv2D(4, 1, name="end")(x), name="block")
    x = inputs = keras.Input((8, 8, 3))
    x = block(L.Conv2D(7, 3, padding="same", name="a")(x))
    return inputs, L.Dense(2)(L.Flatten()(x)), {"a": 7, "block/inner": 5, "block/end": 4}


def squeeze_excite():
    x = inputs = keras.Input((8, 8, 3))
    x = L.Conv2D(6, 3, activation="relu", name="a")(x)
    s = L.Dense(4, "relu", name="squeeze")(L.GlobalAveragePooling2D()(x))
    s = L.Reshape((1, 1, 6))(L.Dense(6, "sigmoid", name="excite")(s))
    return inputs, L.Conv2D(4, 3)(L.Multiply()([x, s])), {"a": 6, "squeeze": 4}


def recurrent():
    x = inputs = keras.Input((5, 4))
    x = L.LayerNormalization()(L.LSTM(6)(x))
    return inputs, L.Dense(3)(L.Dense(5, "relu", name="b")(x)), {"b": 5}


NETWORKS = [plain, residual, concatenated, depthwise, grouped, dense_only, shared, nested, squeeze_excite, recurrent]


def drawn(model):
    """All weights drawn: biases, offsets and averages are not 0 either."""
    rng = np.random.default_rng(0)
    shapes = {path: array.shape for path, array in weights_of(model).items()}
    set_weights(model, {path: rng.uniform(0.2, 1, shape) * _signs(rng, path, shape) for path, shape in shapes.items()})
    return model


def _signs(rng, path, shape):
    return 1 if path.endswith("variance") else rng.choice([-1, 1], shape)


def inputs_of(model):
    return np.random.default_rng(1).normal(size=(3, *model.input_shape[1:])).astype("f4")


def states_of(space, count=3):
    """Drawn states in which every stretch has a bit that is on, and one that is off where it has two."""
    rng, found = np.random.default_rng(2), []
    for _ in range(count):
        state = rng.random(space.size) < 0.5
        for each in space.stretches:
            state[each.start], state[each.start + each.size - 1] = False, True
        found.append(state)
    return found


def in_scope(model, space, state, given):
    with keras.StatelessScope(space.masked(tf.constant(state))):
        return model(given, training=False).numpy()


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("build", NETWORKS)
def test_what_is_off_is_gone(build):
    *ends, sizes = build()
    model = drawn(keras.Model(*ends))
    space, given, weights = channel_states(model), inputs_of(model), weights_of(model)
    assert {each.name: each.size for each in space.stretches} == sizes
    assert [each.start for each in space.stretches] == [0, *np.cumsum(list(sizes.values()))[:-1]]
    assert set(range(space.size)) <= set(np.concatenate([site.bits for site in space.sites]))  # each acts somewhere
    for state in states_of(space):
        masks = space.masks(state)
        small = tfprune.compact(tfprune.masked(model, masks, verify=False), verify=False)
        expected = in_scope(model, space, state, given)
        close(tfprune.masked(model, masks, verify=False)(given), expected)
        close(small(given), expected)
        assert sum(kernel.value.shape.num_elements() for kernel in tfprune.prunable(small).values()) == masks.kept
        assert float(space.kept(tf.constant(state))) == pytest.approx(masks.density, abs=1e-6)
        assert space.counts(state) == {
            each.name: state[each.start : each.start + each.size].sum() for each in space.stretches
        }
    assert all(np.array_equal(array, weights[path]) for path, array in weights_of(model).items())
    close(in_scope(model, space, np.ones(space.size, bool), given), model(given).numpy())


@pytest.mark.slow_beyond(5)
@pytest.mark.parametrize("build", NETWORKS)
def test_each_bit_alone_makes_a_channel_leave(build):
    model = drawn(keras.Model(*build()[:2]))
    space, given = channel_states(model), inputs_of(model)
    for bit in range(space.size):
        state = np.arange(space.size) != bit
        masks = space.masks(state)
        assert float(space.kept(tf.constant(state))) == pytest.approx(masks.density, abs=1e-6)
        assert masks.kept < masks.size
        small = tfprune.compact(model, masks, verify=False)
        assert small.count_params() <= model.count_params() - (masks.size - masks.kept)
        close(small(given), in_scope(model, space, state, given))


def test_masks_of_the_model_itself_stay():
    model = drawn(keras.Model(*plain()[:2]))
    own = {path: np.random.default_rng(3).random(mask.shape) < 0.6 for path, mask in tfprune.masks_of(model).items()}
    sparse = tfprune.masked(model, own)
    space, given = channel_states(sparse), inputs_of(model)
    assert space.size == channel_states(model).size
    for state in states_of(space):
        both = space.masks(state) & tfprune.Masks(own)
        expected = tfprune.masked(model, both, verify=False)(given).numpy()
        close(in_scope(sparse, space, state, given), expected)
        close(tfprune.compact(model, both)(given), expected)


def test_gradients_pass_through_what_is_on():
    model = drawn(keras.Model(*dense_only()[:2]))
    space = channel_states(model)
    state = states_of(space)[0]
    kernel = model.get_layer("b").kernel
    with tf.GradientTape() as tape, keras.StatelessScope(space.masked(tf.constant(state))):
        outputs = model(inputs_of(model))
    gradient = tape.gradient(outputs, kernel.value).numpy()
    mask = space.masks(state)["b/kernel"]
    sparse = tfprune.strip(tfprune.masked(model, space.masks(state)))
    with tf.GradientTape() as tape:
        outputs = sparse(inputs_of(model))
    expected = tape.gradient(outputs, sparse.get_layer("b").kernel.value).numpy()
    assert expected[mask].any()
    np.testing.assert_allclose(gradient, np.where(mask, expected, 0), rtol=1e-5)


def test_half_precision_keeps_its_types():
    half = keras.DTypePolicy("mixed_float16")
    model = keras.Sequential([keras.Input((6,)), L.Dense(8, "relu", dtype=half), L.Dense(3, dtype=half)])
    space = channel_states(model)
    state = states_of(space)[0]
    assert in_scope(model, space, state, inputs_of(model)).dtype == np.float16
    assert [value.dtype for _, value in space.masked(tf.constant(state))] == [tf.float32] * 2


def test_what_cannot_have_states():
    def told(model, text, **how):
        with pytest.raises(InputError, match=text):
            channel_states(model, **how)

    told(keras.Sequential([keras.Input((6,)), L.Dense(3)]), "has no filters that could be pruned")
    told(keras.Sequential([keras.Input((6, 6, 3)), L.Conv2D(4, 3), L.Softmax()]), "has no filters")
    own = type(
        "Own", (L.Layer,), {"call": lambda self, x: tf.sort(x), "compute_output_shape": lambda self, shape: shape}
    )
    unknown = keras.Sequential([keras.Input((6,)), L.Dense(5), own(), L.Dense(3)])
    told(unknown, "has no filters that could be pruned: all are kept by 'own.*' \\(Own\\)")
    told(unknown, "nothing says what the layer type Own", unknown="refuse")
    subclassed = type("Sub", (keras.Model,), {"call": lambda self, x: x})()
    told(subclassed, "has no weights yet")


def test_units_of_recurrent_layers_have_bits():
    space = channel_states(keras.Sequential([keras.Input((6, 2)), L.LSTM(4, name="it"), L.Dense(3, name="last")]))
    assert [(one.name, one.size) for one in space.stretches] == [("it", 4)]


def test_a_state_of_another_network_is_refused():
    space = channel_states(keras.Model(*dense_only()[:2]))
    for state in (np.ones(12, bool), np.ones(14, bool), np.ones((13, 1), bool), True):
        for use in (space.masks, space.counts):
            with pytest.raises(InputError, match="a state of this model has 13 bits"):
                use(state)


def test_bits_without_a_site_change_nothing():
    model = keras.Model(*dense_only()[:2])
    space = StateSpace(model, [Stretch("classes", 0, 3)], [])
    off = np.zeros(3, bool)
    assert space.masks(off).density == 1 == float(space.kept(tf.constant(off)))
    assert space.counts(off) == {"classes": 0} and space.masked(tf.constant(off)) == []
