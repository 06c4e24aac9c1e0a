"""Matrices of own layers make and read channels: models without some, beside models in which these weights are 0."""

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops

from tfprune.errors import InputError
from tfprune.layers.barriers import barriers
from tfprune.layers.convert import masked, strip
from tfprune.layers.weights import set_weights, weights_of
from tfprune.pruning.prune_channels import prune_channels
from tfprune.pruning.remove_channels import remove_channels
from tfprune.surgery.compact import compact
from tfprune.surgery.filter_sets import without
from tfprune.surgery.rebuild import rebuild
from tfprune.surgery.trace import Trace

registered = keras.saving.register_keras_serializable("tests_own_layers")
pytestmark = pytest.mark.filterwarnings("ignore:nothing can leave")
WIDTH, KEPT, GONE = 6, [0, 2, 5], [1, 3, 4]


@registered
class Sized(L.Layer):
    """Has `units` in its configuration."""

    def __init__(self, units=WIDTH, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@registered
class Affine(Sized):
    """A product, then a shift and a scale that lie on all positions, and one for each of them."""

    def build(self, shape):
        self.w = self.add_weight(shape=(self.units, shape[-1]), name="w")
        self.b = self.add_weight(shape=(self.units,), name="b")
        self.scale = self.add_weight(shape=(self.units,), name="scale")
        self.places = self.add_weight(shape=(shape[1], self.units), name="places")

    def call(self, x):
        x = ops.matmul(x, ops.transpose(self.w)) + ops.reshape(self.b, (1, 1, -1))
        return ops.relu(self.scale * x) + ops.expand_dims(self.places, 0)


@registered
class Einsum(Sized):
    """Another matrix at every step."""

    def build(self, shape):
        self.w = self.add_weight(shape=(shape[1], self.units, shape[-1]), name="w")

    def call(self, x):
        return ops.einsum("bti,toi->bto", x, self.w)


@registered
class Gated(Sized):
    """A matrix beside layers; one of these has no bias, and gets none."""

    def __init__(self, units=WIDTH, **kwargs):
        super().__init__(units, **kwargs)
        self.wide, self.gate = L.Dense(8, activation="relu"), L.Dense(units, use_bias=False)

    def build(self, shape):
        self.w = self.add_weight(shape=(8, self.units), name="w")

    def call(self, x):
        return ops.dot(self.wide(x), self.w) * self.gate(x)


@registered
class Within(Sized):
    """Makes channels and reads them itself: nothing of them comes in or out."""

    def build(self, shape):
        self.w = self.add_weight(shape=(shape[-1], 2 * self.units), name="w")
        self.b = self.add_weight(shape=(2 * self.units,), name="b")
        self.back = self.add_weight(shape=(self.units, shape[-1]), name="back")

    def call(self, x):
        value, gate = ops.split(ops.matmul(x, self.w) + self.b, 2, axis=-1)
        return ops.matmul(value * ops.sigmoid(gate), self.back)


@registered
class OwnDense(L.Dense):
    """Computes something else than its base."""

    def call(self, x):
        return 2 * super().call(x)


@registered
class Square(L.Layer):
    """As wide as what comes in, so that neither side can become smaller alone."""

    def build(self, shape):
        self.w = self.add_weight(shape=(shape[-1], shape[-1]), name="w")

    def call(self, x):
        return ops.matmul(x, self.w)


@registered
class Halved(Sized):
    """What its argument says is not the size of anything, or of something else, too."""

    def build(self, shape):
        self.w = self.add_weight(shape=(shape[-1], self.units // 2), name="w")

    def call(self, x):
        return ops.matmul(x, self.w)


@registered
class Scaled(Sized):
    """Has the right sizes with any `units`, but computes with the number itself."""

    def build(self, shape):
        self.w = self.add_weight(shape=(shape[-1], self.units), name="w")

    def call(self, x):
        return ops.matmul(x, self.w) / self.units


@registered
class Picky(Sized):
    """Comes in some sizes only, those that are tried among them."""

    def build(self, shape):
        if self.units not in (1, WIDTH - 1, WIDTH):
            raise ValueError
        self.w = self.add_weight(shape=(shape[-1], self.units), name="w")

    def call(self, x):
        return ops.matmul(x, self.w)


@registered
class Tied(Sized):
    def build(self, shape):
        self.w = self.add_weight(shape=(shape[-1], self.units), name="w")

    def call(self, x, reverse=False):
        return ops.matmul(x, ops.transpose(self.w) if reverse else self.w)


def _drawn(model):
    rng = np.random.default_rng(0)
    for variable in model.weights:
        variable.assign(rng.normal(0, 0.6, variable.shape))
    return model


def _model(layer):
    x = inputs = keras.Input((4, 5))
    x = layer(L.Dense(7, name="first")(x))
    return _drawn(keras.Model(inputs, L.Dense(2, name="last")(x)))


X = np.random.default_rng(1).normal(size=(3, 4, 5))


def _trace(model):
    with barriers(model):
        return Trace(model, weights_of(model))


def _set(model, path, axis, indices, value=0.0):
    weights = weights_of(model)
    np.moveaxis(weights[path], axis, 0)[indices] = value
    set_weights(model, weights)


def _assert_close(found, expected):
    for one, other in zip(keras.tree.flatten(found), keras.tree.flatten(expected), strict=True):
        assert np.abs(one - other).max() <= 1e-5 * np.abs(other).max()


MADE = {
    "affine": (lambda units: Affine(units, name="own"), "own/w", 0),
    "einsum": (lambda units: Einsum(units, name="own"), "own/w", 1),
    "gated": (lambda units: Gated(units, name="own"), "own/w", 1),
    "own dense": (lambda units: OwnDense(units, name="own"), "own/kernel", 1),
}


@pytest.mark.parametrize("case", MADE)
def test_channels_that_nobody_reads(case):
    make, path, axis = MADE[case]
    model = _model(make(WIDTH))
    trace = _trace(model)
    gone = trace.channels.classes[trace.axes[path][axis][GONE]]
    assert not trace.channels.fixed[gone].any()
    small = rebuild(model, trace, without(trace, [gone]))
    _set(model, "last/kernel", 0, GONE)
    for one in (small, compact(model)):
        assert type(one.get_layer("own")) is type(model.get_layer("own"))
        assert one.get_layer("own").units == 3
        assert one.count_params() == _model(make(3)).count_params()
        _assert_close(one(X), model(X))


@pytest.mark.parametrize("case", MADE)
def test_inputs_that_are_not_read(case):
    model = _model(MADE[case][0](WIDTH))
    trace = _trace(model)
    gone = trace.channels.classes[trace.axes["first/kernel"][1][[2, 4]]]
    small = rebuild(model, trace, without(trace, [gone]))
    for path, axes in trace.axes.items():
        for axis, channels in axes.items():
            if path.startswith("own/") and np.isin(trace.channels.classes[channels], gone).any():
                _set(model, path, axis, [2, 4])
    for one in (small, compact(model)):
        assert one.get_layer("first").units == 5
        _assert_close(one(X), model(X))


def test_inputs_that_are_zero_and_constants():
    """Channels 1 and 3 of the first layer are 0 and go; 4 is 0.5, which no bias of the next layer takes in."""
    model = _model(Affine(name="own"))
    _set(model, "first/kernel", 1, [1, 3, 4])
    _set(model, "first/bias", 0, [1, 3])
    _set(model, "first/bias", 0, [4], 0.5)
    small = compact(model)
    assert small.get_layer("first").units == 5
    _assert_close(small(X), model(X))


def test_a_layer_within_gets_no_bias():
    """What is constant goes into the bias of one layer, and stays in front of the other, which has none."""
    model = _model(Gated(name="own"))
    _set(model, "first/kernel", 1, [1, 3])
    small = compact(model)
    assert small.get_layer("first").units == 6  # one stands for both
    _assert_close(small(X), model(X))


def test_channels_that_stay_within_a_layer():
    model = _model(Within(name="own"))
    _set(model, "own/back", 0, GONE)
    small = compact(model)
    assert small.get_layer("own").units == 3 and small.get_layer("own").w.shape == (7, 6)
    _assert_close(small(X), model(X))


@pytest.mark.parametrize("layer", [Square, Halved, Scaled], ids=lambda kind: kind.__name__)
@pytest.mark.filterwarnings("ignore:no rule knows")
def test_what_no_argument_says_stays(layer):
    model = _model(layer(name="own"))
    trace = _trace(model)
    assert trace.channels.fixed[trace.axes["own/w"][1]].all()
    _set(model, "last/kernel", 0, [1])
    small = compact(model)
    assert small.get_layer("own").w.shape == model.get_layer("own").w.shape
    _assert_close(small(X), model(X))
    assert trace.channels.fixed[trace.axes["own/w"][0]].all() == (layer is Square)


def test_what_cannot_be_made_so_small_stays():
    model = _model(Picky(name="own"))
    _set(model, "last/kernel", 0, GONE)
    _set(model, "first/kernel", 1, [6])
    _set(model, "first/bias", 0, [6])
    with pytest.warns(UserWarning, match=r"no rule knows 1 operation .*'own' \(Picky\); around it all channels stay"):
        small = compact(model)
    assert small.get_layer("own").units == WIDTH and small.get_layer("first").units == 7
    _assert_close(small(X), model(X))
    with pytest.warns(UserWarning, match=r"'own' \(Picky\); around it all channels stay"):
        small = prune_channels(model, fractions=0.5)
    assert small.get_layer("own").units == WIDTH
    with pytest.raises(InputError, match=r"'own' \(Picky\) cannot be made smaller"):
        remove_channels(model, {"own": GONE})
    assert remove_channels(model, {"own": [4]}).get_layer("own").units == WIDTH - 1


def test_a_matrix_in_both_directions():
    """A channel goes where neither direction needs it; weights that the other one needs stay."""
    x = inputs = keras.Input((4, 5))
    tied = Tied(name="own")
    y = tied(L.Dense(7, name="first")(x))
    back = tied(L.Dense(WIDTH, name="between")(ops.tanh(y)), reverse=True)
    model = _drawn(keras.Model(inputs, [L.Dense(2, name="last")(y), L.Dense(2, name="back")(back)]))
    for path in ("last/kernel", "between/kernel"):
        _set(model, path, 0, GONE)
    small = compact(model)
    assert small.get_layer("own").w.shape == (7, WIDTH)
    _assert_close(small(X), model(X))
    _set(model, "between/kernel", 1, GONE)
    _set(model, "between/bias", 0, GONE)
    _set(model, "back/kernel", 0, [6])
    small = compact(model)
    assert small.get_layer("own").w.shape == (7, 3)
    _assert_close(small(X), model(X))
    _set(model, "first/kernel", 1, [6])
    _set(model, "first/bias", 0, [6])
    small = compact(model)
    assert small.get_layer("own").w.shape == (6, 3) and small.get_layer("between").units == 3
    _assert_close(small(X), model(X))


@pytest.mark.filterwarnings("ignore:no rule knows")
def test_a_layer_that_the_graph_reaches_first_by_another_call_than_the_one_that_built_it():
    first, second = keras.Input((4, 7)), keras.Input((4, WIDTH))
    tied = Tied(name="own")
    y = tied(first)
    back = L.Dense(3)(ops.tanh(L.Dense(4, name="between")(tied(second, reverse=True))))  # so long that it comes first
    model = _drawn(keras.Model([first, second], [L.Dense(2)(y), back]))
    _set(model, "between/kernel", 1, [2])
    _set(model, "between/bias", 0, [2])
    given = [X[..., [0, 1, 2, 3, 4, 0, 1]], X[..., [0, 1, 2, 3, 4, 2]]]
    small = compact(model)
    assert small.get_layer("between").units == 3
    for one in (small, masked(model), strip(masked(model))):
        _assert_close(one(given), model(given))


def test_two_sizes_at_once_and_a_layer_in_several_places():
    """Both layers are as wide as each other at first, and are used twice; their sizes then differ."""
    x = inputs = keras.Input((4, 5))
    one, other = Tied(name="own"), Tied(name="other")
    for _ in range(2):
        x = other(ops.tanh(one(L.Dense(WIDTH)(x))))
    model = _drawn(keras.Model(inputs, L.Dense(2, name="last")(x)))
    _set(model, "other/w", 0, [0, 1])
    small = compact(model)
    assert (small.get_layer("own").units, small.get_layer("other").units) == (4, WIDTH)
    _assert_close(small(X), model(X))
