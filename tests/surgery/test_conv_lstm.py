"""Filters of convolutional LSTMs are channels: models without some, beside models in which these weights are 0."""

import keras
import numpy as np
import pytest
from keras import layers as L

from tfprune.layers.weights import weights_of
from tfprune.surgery.compact import compact
from tfprune.surgery.filter_sets import without
from tfprune.surgery.rebuild import rebuild
from tfprune.surgery.trace import Trace

KEPT, GONE, FILTERS = [0, 3], [1, 2], 4
CASES = {
    "1d": (L.ConvLSTM1D, (3, 6, 2), {"padding": "same"}),
    "2d": (L.ConvLSTM2D, (3, 5, 6, 2), {"strides": 2, "return_sequences": True}),
    "2d unbiased": (L.ConvLSTM2D, (3, 5, 4, 2), {"use_bias": False, "go_backwards": True}),
    "3d": (L.ConvLSTM3D, (2, 4, 3, 3, 2), {"padding": "same", "return_sequences": True}),
    "channels first": (L.ConvLSTM2D, (3, 2, 5, 4), {"data_format": "channels_first"}),
}


def _model(case, width=FILTERS):
    kind, shape, options = CASES[case]
    x = inputs = keras.Input(shape)
    x = kind(width, 2, name="r", **options)(x)
    if options.get("data_format"):
        x = L.Permute((2, 3, 1))(x)
    model = keras.Model(inputs, L.Dense(3, name="last")(x))
    rng = np.random.default_rng(0)
    for variable in model.weights:
        variable.assign(rng.normal(0, 0.6, variable.shape))
    return model, rng.normal(size=(2, *shape))


def _change(variable, change):
    value = variable.numpy()
    change(value)
    variable.assign(value)


def _by_gate(kernel):
    return kernel.reshape(*kernel.shape[:-1], 4, FILTERS)


def _unread(model):
    """Nothing but filters 1 and 2 themselves reads filters 1 and 2."""

    def recurrent(value):
        _by_gate(value)[..., GONE, :, 0] = _by_gate(value)[..., GONE, :, 3] = 0

    _change(model.get_layer("r").cell.recurrent_kernel, recurrent)

    def last(value):
        value[GONE] = 0

    _change(model.get_layer("last").kernel, last)


def _assert_close(found, expected):
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("case", CASES)
def test_without_filters(case):
    model, x = _model(case)
    trace = Trace(model, weights_of(model))
    cell = model.get_layer("r").cell
    (channels,) = {tuple(axes[cell.rank]) for path, axes in trace.axes.items() if path.endswith("recurrent_kernel")}
    gone = trace.channels.classes[np.array(channels)[GONE]]
    assert not trace.channels.fixed[gone].any()
    small = rebuild(model, trace, without(trace, [gone]))
    _unread(model)
    for one in (small, compact(model)):
        assert one.get_layer("r").filters == 2
        assert one.count_params() == _model(case, 2)[0].count_params()
        _assert_close(one(x).numpy(), model(x).numpy())


@pytest.mark.parametrize("case", ["1d", "2d"])
def test_filters_that_stay_zero_and_inputs_that_no_gate_reads(case):
    """Filter 2 gets nothing new in any step; of the two channels of the inner layer the second is not read."""
    kind, shape, options = CASES[case]
    x = inputs = keras.Input(shape)
    first = kind(3, 1, return_sequences=True, name="first")
    layer = kind(FILTERS, 2, name="r", **options)
    model = keras.Model(inputs, L.Dense(3, name="last")(layer(first(x))))
    rng = np.random.default_rng(0)
    for variable in model.weights:
        variable.assign(rng.normal(0, 0.6, variable.shape))

    def nothing_new(value):
        value[..., 2 * FILTERS + 2] = 0

    for variable in (layer.cell.kernel, layer.cell.recurrent_kernel):
        _change(variable, nothing_new)

    def unread(value):
        value[..., 1, :] = 0

    _change(layer.cell.kernel, unread)
    assert compact(model).get_layer("r").filters == FILTERS  # the bias makes something
    _change(layer.cell.bias, nothing_new)
    _change(first.cell.recurrent_kernel, unread)
    small, given = compact(model), rng.normal(size=(2, *shape))
    assert (small.get_layer("first").filters, small.get_layer("r").filters) == (2, 3)
    _assert_close(small(given).numpy(), model(given).numpy())


def test_states_go_from_one_layer_to_another():
    x = inputs = keras.Input((3, 4, 2))
    one, other = (L.ConvLSTM1D(FILTERS, 2, padding="same", return_state=True, name=name) for name in ("e", "r"))
    _, *states = one(x)
    out, *_ = other(x, initial_state=states)
    model = keras.Model(inputs, L.Dense(2, name="last")(out))
    rng = np.random.default_rng(0)
    for variable in model.weights:
        variable.assign(rng.normal(0, 0.6, variable.shape))
    _unread(model)

    def recurrent(value):
        _by_gate(value)[..., GONE, :, 0] = _by_gate(value)[..., GONE, :, 3] = 0

    def at_first_position(value):
        recurrent(value[:1])

    _change(one.cell.recurrent_kernel, at_first_position)
    assert compact(model).get_layer("r").filters == FILTERS  # others of the first layer read these at the second one

    _change(one.cell.recurrent_kernel, recurrent)
    small, given = compact(model), rng.normal(size=(2, 3, 4, 2))
    assert (small.get_layer("e").filters, small.get_layer("r").filters) == (2, 2)
    _assert_close(small(given).numpy(), model(given).numpy())
