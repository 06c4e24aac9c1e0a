"""Latency tables: what they hold, how they are read, and the budget that they lead to."""

import json

import keras
import numpy as np
import pytest
from channel_networks import drawn
from keras import layers as L

import tfprune
from tfprune import InputError
from tfprune.pruning.latency_table import LatencyTable, LayerTimes
from tfprune.pruning.layer_calls import layer_calls
from tfprune.pruning.prune_channels import channel_layers


def chain(a=8, b=6):
    parts = []
    for name, width in (("a", a), ("b", b)):
        parts += [L.Conv2D(width, 3, padding="same", name=name), L.BatchNormalization(), L.ReLU()]
    return keras.Sequential([keras.Input((6, 6, 2)), *parts, L.GlobalAveragePooling2D(), L.Dense(3, name="last")])


def products(model):
    """A machine on which a layer takes 0.5 ms, and as long again as it has weights / 100; nothing else takes time."""
    kernels = [v for v in model.trainable_variables if len(v.shape) > 1]
    return 0.5 * bool(kernels) + sum(int(np.prod(v.shape)) for v in kernels) / 100 + 0.25


def test_times_between_widths():
    times = LayerTimes((2, 4, 8), (10, 20), ((1.0, 2.0), (2.0, 4.0), (8.0, 6.0)))
    assert times.milliseconds[2] == (8.0, 8.0)  # no quicker than with fewer outputs
    assert times.at(2, 10) == 1 and times.at(4, 20) == 4 and times.at(8, 15) == 8
    assert times.at(3, 10) == 1.5 and times.at(3, 15) == 2.25 and times.at(6, 10) == 5
    assert times.at(1, 5) == 1  # narrower than the narrowest
    assert times.at(10, 10) == 10 and times.at(2, 30) == 3  # wider than the widest
    alone = LayerTimes((1, 3), (0,), ((2.0,), (6.0,)))
    assert alone.at(2, None) == 4


@pytest.mark.parametrize("seed", range(3))
def test_a_wider_layer_never_takes_less(seed):
    rng = np.random.default_rng(seed)
    times = LayerTimes((1, 3, 7), (2, 5, 6), tuple(map(tuple, rng.random((3, 3)).tolist())))
    found = np.array([[times.at(a, b) for b in range(1, 9)] for a in range(1, 10)])
    assert (np.diff(found, axis=0) >= -1e-12).all() and (np.diff(found, axis=1) >= -1e-12).all()


def test_what_is_measured():
    """Each kind of layer alone, at all pairs of an eighth, a half and all of its widths; then the whole model."""
    met = []

    def clock(model):
        kernels = [tuple(v.shape) for v in model.trainable_variables if len(v.shape) > 1]
        met.append(kernels)
        return products(model) if len(kernels) < 2 else 40.0

    x = inputs = keras.Input((8, 8, 4))
    for name in ("a", "b"):  # one kind, one with half of the widths
        x = L.Conv2D(4 if name == "a" else 8, 3, padding="same", name=name)(x)
    x = L.DepthwiseConv2D(3, name="depthwise")(x)
    model = keras.Model(inputs, L.Dense(3, name="last")(L.Flatten()(x)))
    table = tfprune.latency_table(model, clock=clock)
    assert met[0] == [] and len(met[-1]) == 4
    convolutions = [(3, 3, a, b) for a in (1, 2, 4) for b in (1, 4, 8)]
    assert met[1:10] == [[one] for one in convolutions] and met[10:13] == [[(3, 3, n, 1)] for n in (1, 4, 8)]
    assert met[13:-1] == [[(n, made)] for n in (36, 144, 288) for made in (1, 2, 3)]
    assert table.overhead == 0.25 and table.measured == 40
    alone = [0.5 + n / 100 for n in (9 * 16, 9 * 32, 72, 288 * 3)]
    assert table.scale == pytest.approx(39.75 / sum(alone))
    assert table.predict(model) == pytest.approx(40)


def test_a_narrower_model_is_told_from_the_widths_that_are_left():
    """Products of widths lie on the surface that is linear in each: told exactly."""
    model = drawn(chain())
    table = tfprune.latency_table(model, clock=products, shares=(0.125, 1.0))
    assert table.measured == products(model) and table.predict(model) == pytest.approx(table.measured)
    for small in (tfprune.prune_channels(model, "l2", 0.5), tfprune.prune_filters(model, "l2", {"b": 0.5})):
        widths = channel_layers(small)
        kernels = (18 * widths["a"], 9 * widths["a"] * widths["b"], 3 * widths["b"])
        expected = 0.25 + table.scale * sum(0.5 + n / 100 for n in kernels)
        assert table.predict(small) == pytest.approx(expected)
    masked = tfprune.masked(model)
    assert table.predict(masked) == pytest.approx(table.measured)


def test_a_budget_by_a_table(capfd):
    """The one that is chosen is the widest that the table allows, and the only one that is measured."""
    model, asked = drawn(chain()), []
    table = tfprune.latency_table(model, clock=lambda one: products(one), shares=(0.125, 1.0))

    def engine(small):
        asked.append(small)
        return products(small)

    limit = 4.0
    small = tfprune.prune_filters(model, "l2", latency=limit, table=table, engine=engine, verify=False)
    assert len(asked) == 1 and products(asked[0]) <= limit
    predicted = table.predict(small)
    told = capfd.readouterr().err
    assert f"latency predicted {predicted:.3g} ms, measured {products(small):.3g} ms" in told
    wider = [
        tfprune.prune_filters(model, "l2", parameters=float(count), verify=False)
        for count in range(small.count_params() + 1, small.count_params() + 90, 8)
    ]
    more = min((one for one in wider if products(one) > products(small)), key=products)
    assert predicted <= limit < table.predict(more)


def test_where_the_chosen_model_takes_longer_it_is_chosen_again(capfd):
    model, asked = drawn(chain()), []
    table = tfprune.latency_table(model, clock=products, shares=(0.125, 1.0))

    def slower(small):
        asked.append(1.3 * products(small))
        return asked[-1]

    tfprune.prune_filters(model, "l2", latency=5.0, table=table, engine=slower, verify=False)
    assert 2 <= len(asked) <= 3 and asked[0] > 5 >= asked[-1]
    assert f"measured {asked[-1]:.3g} ms" in capfd.readouterr().err
    with pytest.warns(UserWarning, match=r"^latency=5 is not met: predicted .* ms, measured 9 ms$"):
        tfprune.prune_filters(model, "l2", latency=5.0, table=table, engine=lambda small: 9.0, verify=False)


def test_steps_and_other_budgets_beside_a_table():
    model, met = drawn(chain()), []
    table = tfprune.latency_table(model, clock=products, shares=(0.125, 1.0))

    def finetune(small, step):
        met.append(table.predict(small))

    given = {"latency": 4.0, "table": table, "engine": products, "verify": False}
    small = tfprune.prune_filters(model, "l2", steps=3, finetune=finetune, **given)
    assert met[0] > met[1] > 4 >= table.predict(small)
    fewer = tfprune.prune_filters(model, "l2", flops=0.2, **given)
    assert fewer.count_params() < small.count_params()


def test_files(tmp_path):
    model, path = drawn(chain()), tmp_path / "table.json"
    table = tfprune.latency_table(model, batch=3, clock=products)
    table.save(path)
    assert tfprune.LatencyTable.load(path) == table
    assert {"system", "processor", "cores", "threads"} == set(table.machine) and table.versions["keras"]
    small = tfprune.prune_filters(model, "l2", latency=4.0, table=path, engine=products, verify=False)
    assert table.predict(small) <= 4
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "machine": {**content["machine"], "cores": "1024"}}))
    with pytest.warns(UserWarning, match=r"was measured elsewhere: cores 1024 there, \d+ here$"):
        LatencyTable.load(path)


def _without(content, *names):
    return {name: value for name, value in content.items() if name not in names}


@pytest.mark.parametrize(
    "damage, told",
    [
        (lambda c: _without(c, "tfprune_latency_table"), "it says no tfprune_latency_table: 1"),
        (lambda c: _without(c, "layers"), "'layers'"),
        (lambda c: {**c, "scale": -1}, "numbers from 0 on"),
        (lambda c: {**c, "measured": float("nan")}, "numbers from 0 on"),
        (lambda c: {**c, "layers": {"a": {"inputs": [2, 1], "outputs": [1], "milliseconds": [[1], [2]]}}}, "must rise"),
        (lambda c: {**c, "layers": {"a": {"inputs": [1], "outputs": [1], "milliseconds": [[-1]]}}}, "numbers from 0"),
        (lambda c: {**c, "layers": {"a": {"inputs": [1], "outputs": [1], "milliseconds": [[1, 2]]}}}, "each pair"),
        (lambda c: {**c, "layers": [1]}, "items"),
        (lambda c: {**c, "runtime": "onnx"}, "runtime must be one of"),
        (lambda c: {**c, "batch": 0}, "batch must be"),
        (lambda c: {**c, "more": 1}, "'more', which no table has"),
    ],
)
def test_damaged_files(tmp_path, damage, told):
    path = tmp_path / "table.json"
    times = LayerTimes((1, 2), (1,), ((1.0,), (2.0,)))
    LatencyTable("litert", 1, {"a": times}, 0.0, 1.0, 3.0, {}, {}).save(path)
    assert LatencyTable.load(path).layers == {"a": times}
    path.write_text(json.dumps(damage(json.loads(path.read_text()))))
    with pytest.raises(InputError, match=r"cannot read .*table.json: not a latency table, or a damaged one .*" + told):
        LatencyTable.load(path)


def test_refused(tmp_path):
    model = chain()
    for given, told in (
        ({"runtime": "lite"}, "runtime must be one of litert, keras; received 'lite'; did you mean 'litert'"),
        ({"batch": 0}, "batch must be a whole number of at least 1; received 0"),
        ({"shares": (0.5, 0.2)}, r"shares must rise in \(0, 1\] and end with 1; received \(0.5, 0.2\)"),
    ):
        with pytest.raises(InputError, match=f"^{told}"):
            tfprune.latency_table(model, **given)
    with pytest.raises(InputError, match="leaves sizes of its inputs open"):
        tfprune.latency_table(keras.Sequential([keras.Input((None, None, 3)), L.Conv2D(4, 3)]))
    with pytest.raises(InputError, match="has no dense layer or convolution"):
        tfprune.latency_table(keras.Sequential([keras.Input((4,)), L.ReLU()]))
    table = tfprune.latency_table(model, clock=products)
    with pytest.raises(InputError, match="table= tells milliseconds: give latency="):
        tfprune.prune_filters(model, "l2", flops=0.5, table=table)
    with pytest.raises(
        InputError, match=r"^table must be what tfprune\.latency_table gives, or a file of it; received 3"
    ):
        tfprune.prune_filters(model, "l2", latency=1, table=3)
    with pytest.raises(InputError, match=r"cannot read .*none\.json"):
        tfprune.prune_filters(model, "l2", latency=1, table=tmp_path / "none.json")
    other = keras.Sequential([keras.Input((7, 7, 2)), L.Conv2D(8, 5, name="other"), L.Flatten(), L.Dense(3)])
    with pytest.raises(InputError, match=r"table= has no times for layer 'other' .* it was made of another model"):
        tfprune.prune_filters(other, "l2", latency=1, table=table)
    with pytest.raises(InputError, match=r"latency=0.01 is too little: with one channel left .* needs 1\.\d+ ms"):
        tfprune.prune_filters(model, "l2", latency=0.01, table=table, engine=products)


def test_layers_that_are_not_measured_are_named():
    x = inputs = keras.Input((5, 8))
    x = L.Dense(8, name="dense")(L.LSTM(8, return_sequences=True, name="lstm")(x))
    with pytest.warns(UserWarning, match=r"^latency_table does not measure 'lstm': taken to cost in proportion"):
        table = tfprune.latency_table(keras.Model(inputs, x), clock=products)
    assert len(table.layers) == 1


def test_layers_within_models_and_used_twice():
    inner = keras.Sequential([keras.Input((6,)), L.Dense(6, name="twice")], name="inner")
    inputs = keras.Input((6,))
    calls, others = layer_calls(keras.Model(inputs, inner(inner(inputs))))
    assert [(call.path, call.inputs, call.outputs) for call in calls] == [("inner/twice", 6, 6)] * 2 and not others


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["litert", "keras"])
def test_real_times(runtime):
    model = drawn(chain())
    table = tfprune.latency_table(model, runtime, batch=2, shares=(0.5, 1.0))
    assert 0 <= table.overhead < table.measured < 1e3 and table.scale > 0
    assert table.predict(model) == pytest.approx(table.measured)
