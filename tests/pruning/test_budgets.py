"""Channels of all layers leave until a model costs no more than allowed: how many, in which order, what is refused."""

import channel_networks as networks
import keras
import numpy as np
import pytest
import tensorflow as tf
from channel_networks import drawn
from keras import layers as L

import tfprune
from tfprune.connectivity.compaction import size_of
from tfprune.pruning import budgets
from tfprune.pruning.channel_choice import convolutions
from tfprune.pruning.channel_costs import CostModel
from tfprune.pruning.channel_network import ChannelNetwork
from tfprune.pruning.channel_order import leaving_order
from tfprune.pruning.channel_scores import Scorer
from tfprune.pruning.filter_scores import FILTER_SCORES, MODEL_SCORES
from tfprune.pruning.latency import REPEATS, WARM, median_milliseconds
from tfprune.pruning.prune_channels import channel_layers

COSTS = ("parameters", "flops", "bytes")


def chain():
    parts = []
    for name, width in (("a", 8), ("b", 6)):
        parts += [L.Conv2D(width, 3, padding="same", name=name), L.BatchNormalization(), L.ReLU()]
    return keras.Sequential([keras.Input((6, 6, 2)), *parts, L.GlobalAveragePooling2D(), L.Dense(3, name="last")])


def coupled():
    """`a` and `c` have the same channels."""
    x = inputs = keras.Input((6, 6, 2))
    x = L.ReLU()(L.BatchNormalization()(L.Conv2D(8, 3, padding="same", name="a")(x)))
    y = L.ReLU()(L.BatchNormalization()(L.Conv2D(6, 3, padding="same", name="b")(x)))
    y = L.BatchNormalization()(L.Conv2D(8, 3, padding="same", name="c")(y))
    x = L.GlobalAveragePooling2D()(L.ReLU()(L.Add()([x, y])))
    return keras.Model(inputs, L.Dense(3, name="last")(x))


def transformer():
    return networks.transformer()


def examples(model, count=6):
    rng = np.random.default_rng(5)
    return rng.normal(size=(count, *model.input_shape[1:])).astype(np.float32), rng.integers(0, 3, count)


def dearest(model, names):
    """What the dearest group of coupled channels costs, found by removing one of each layer."""
    dense, found = size_of(model), dict.fromkeys(names, 0)
    for layer, count in channel_layers(model).items():
        try:
            less = size_of(tfprune.remove_channels(model, {layer: [count - 1]}, verify=False))
        except tfprune.InputError:  # the outputs need it
            continue
        for name in names:
            found[name] = max(found[name], getattr(dense, name) - getattr(less, name))
    return found


NOT_FOR = {("batch_norm_scale", transformer), ("average_zeros", transformer), ("gradient_activation", transformer)}


_SLOW = [pytest.param(build, marks=pytest.mark.slow) for build in (coupled, transformer)]


@pytest.fixture(scope="module", params=[chain, *_SLOW])
def subject(request):
    """(how it was built, a drawn model, what its dearest group costs)"""
    model = drawn(request.param())
    return request.param, model, dearest(model, COSTS)


@pytest.mark.parametrize("scoring", [*FILTER_SCORES, *MODEL_SCORES])
def test_budgets_are_met_from_below_within_one_group(subject, scoring):
    """A group costs most in the whole model: a model with one more would cost at most so much more."""
    build, model, most = subject
    name = COSTS[len(scoring) % 3]
    if (scoring, build) in NOT_FOR:
        with pytest.raises(
            tfprune.InputError, match=r"scoring has nothing for layer 'attention', .*layers= leaves it out"
        ):
            tfprune.prune_channels(model, scoring, flops=0.6, data=examples(model))
        return
    small = tfprune.prune_channels(model, scoring, data=examples(model), verify=False, **{name: 0.6})
    limit, cost = 0.6 * getattr(size_of(model), name), getattr(size_of(small), name)
    assert limit - most[name] < cost <= limit
    assert min(channel_layers(small).values()) >= 1


def test_the_order_and_the_count_are_those_of_a_search_by_hand():
    """Scores over their mean: of `a` with `c` 1/9 ... 16/9, of `b` 2/7 ... 12/7; one after the other leaves."""
    model = drawn(coupled())
    scores = {"a": np.arange(1, 9), "b": 10 * np.arange(1, 7)}
    order = sorted([(2 * (i + 1) / 9, "a", i) for i in range(7)] + [(2 * (i + 1) / 7, "b", i) for i in range(5)])
    dense, costs = size_of(model).flops, []
    for count in range(1, len(order) + 1):
        gone = {layer: [i for _, own, i in order[:count] if own == layer] for layer in "ab"}
        costs.append(size_of(tfprune.remove_channels(model, gone, verify=False)).flops)
    assert costs == sorted(costs, reverse=True) and len(set(costs)) == len(costs)
    for share in (0.9, 0.5, 0.2):
        small = tfprune.prune_filters(model, scores, flops=share, verify=False)
        assert size_of(small).flops == max(cost for cost in costs if cost <= share * dense)
    exact = tfprune.prune_filters(model, scores, flops=costs[4], verify=False)
    below = tfprune.prune_filters(model, scores, flops=costs[4] - 1, verify=False)
    assert (size_of(exact).flops, size_of(below).flops) == (costs[4], costs[5])
    assert size_of(tfprune.prune_filters(model, scores, flops=1, verify=False)) == size_of(model)


@pytest.mark.parametrize(
    "normalize, order",
    [
        ("mean", "b1 b2 a1 a2 a3 a4 a5 b3 b4 b5 a6 a7"),  # a 0.73 and 1.45; b 0.29, 0.57, 0.86, 1.14, 1.43
        ("max", "b1 b2 a1 a2 a3 a4 a5 b3 b4 b5 a6 a7"),  # a 0.5 and 1; b 0.17, 0.33, 0.5, 0.67, 0.83
        ("sum", "b1 a1 a2 a3 a4 a5 b2 b3 a6 a7 b4 b5"),  # a 0.09 and 0.18; b 0.05, 0.1, 0.14, 0.19, 0.24
        ("l2", "b1 b2 a1 a2 a3 a4 a5 b3 b4 a6 a7 b5"),  # a 0.24 and 0.49; b 0.1, 0.21, 0.31, 0.42, 0.52
        (None, "b1 b2 b3 b4 b5 a1 a2 a3 a4 a5 a6 a7"),
    ],
)
def test_normalize(normalize, order):
    """One of each layer stays; of equal scores the first leaves first."""
    network = ChannelNetwork(chain())
    choice = convolutions(network.makers)
    scores = Scorer({"a": [1, 1, 1, 1, 1, 2, 2, 2], "b": np.arange(1, 7) / 100})
    found = scores.classes(network, choice.makers.values(), relative=False)
    blocks = leaving_order(network, choice, found, normalize, 1).blocks
    names = {}
    for layer in "ab":
        names |= {channel: f"{layer}{place}" for place, channel in enumerate(network.makers[layer].channels, 1)}
    assert " ".join(names[int(channel)] for (channel,) in blocks) == order


def test_several_budgets_are_all_kept():
    model = drawn(chain())
    alone = [size_of(tfprune.prune_filters(model, "l2", **{name: 0.5})) for name in COSTS]
    both = size_of(tfprune.prune_filters(model, "l2", flops=0.5, parameters=0.5, bytes=0.5))
    assert both == min(alone, key=lambda size: size.parameters)


def separable():
    x = inputs = keras.Input((6, 6, 2))
    x = L.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise")(L.SeparableConv2D(8, 3, name="a")(x))
    x = L.Conv2DTranspose(6, 3, name="b")(x)
    return keras.Model(inputs, L.Dense(3, name="last")(L.Flatten()(x)))


def recurrent():
    layers = [L.Embedding(9, 5), L.Bidirectional(L.GRU(4, return_sequences=True)), L.LSTM(6), L.Dense(2, name="last")]
    return keras.Sequential([keras.Input((7,), dtype="int32"), *layers])


@pytest.mark.parametrize(
    "build",
    [
        *(networks.transformer, networks.nested, networks.flattened, networks.squeeze_excite, separable),
        pytest.param(recurrent, marks=pytest.mark.slow),
    ],
)
def test_costs_told_in_advance_are_those_of_the_smaller_model(build):
    network = ChannelNetwork(build())
    costs, rng = CostModel(network, COSTS, None, "barrier"), np.random.default_rng(0)
    gone = [rng.permutation(one.channels)[: len(one.channels) // 2] for one in network.sets if not one.fixed]
    assert sum(map(len, gone))
    for leaving in ([], gone):
        size = size_of(network.smaller(leaving, verify=False))
        assert costs.without(leaving) == {name: getattr(size, name) for name in COSTS}


@pytest.mark.parametrize("wrong", [0.8, 1.3])
def test_where_shapes_told_something_else_the_built_models_decide(wrong, monkeypatch):
    """As a rule of others could make it, that takes channels for positions."""
    model = drawn(chain())
    expected = tfprune.prune_channels(model, "l2", flops=0.4)
    told = CostModel.without
    monkeypatch.setattr(CostModel, "without", lambda self, gone: {"flops": wrong * told(self, gone)["flops"]})
    small = tfprune.prune_channels(model, "l2", flops=0.4 * size_of(model).flops)
    assert size_of(small) == size_of(expected)


def test_widths_are_multiples():
    x = inputs = keras.Input((6, 6, 2))
    for name, width in (("a", 30), ("b", 3), ("c", 16)):
        x = L.Conv2D(width, 3, padding="same", name=name)(x)
    model = drawn(keras.Model(inputs, L.Dense(3)(L.GlobalAveragePooling2D()(x))))

    def widths(**how):
        small = tfprune.prune_filters(model, "l2", round_to=8, verify=False, **how)
        return [small.get_layer(layer).filters for layer in "abc"]

    assert widths(flops=1) == [24, 3, 16]
    for share in (0.9, 0.6, 0.4):
        a, b, c = widths(flops=share)
        assert a in (8, 16, 24) and b == 3 and c in (8, 16)
    assert widths(fractions=0.5) == [16, 3, 8] and widths(fractions=0.1) == [24, 3, 16]
    with pytest.raises(tfprune.InputError, match=r"with 8 channels left in each of 3 groups the model needs"):
        widths(flops=0.01)


def test_steps_go_straight_to_the_budget():
    model, met = drawn(coupled()), []
    dense = size_of(model).flops

    def finetune(small, step):
        met.append((step, size_of(small).flops))
        return keras.models.clone_model(small) if step == 2 else None

    small = tfprune.prune_filters(model, "l2", flops=0.4, steps=4, finetune=finetune)
    assert [step for step, _ in met] == [1, 2, 3]
    group = dearest(model, ["flops"])["flops"]
    for share, cost in zip((0.85, 0.7, 0.55, 0.4), [cost for _, cost in met] + [size_of(small).flops], strict=True):
        assert share * dense - group < cost <= share * dense


def test_what_finetuning_gives_back_is_pruned_further():
    """The trained model has other weights: they say what leaves."""
    model, tuned = drawn(chain()), []

    def finetune(small, step):
        tuned.append(drawn(keras.models.clone_model(small), seed=9))
        return tuned[0]

    small = tfprune.prune_filters(model, "l2", flops=0.5, steps=2, finetune=finetune)
    own = tfprune.prune_filters(tuned[0], "l2", flops=float(size_of(small).flops))
    for first, second in zip(small.get_weights(), own.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)


def test_latency_is_what_the_engine_says_of_the_models_that_are_tried():
    model, asked = drawn(chain()), []

    def engine(small):
        asked.append(small.count_params())
        return asked[-1] / 1000

    small = tfprune.prune_filters(model, "l2", latency=0.3, engine=engine)
    assert small.count_params() <= 300 < model.count_params()
    group = dearest(model, ["parameters"])["parameters"] + 4
    assert small.count_params() > 300 - group
    assert len(asked) <= 2 + 5 + 1 and max(asked) == model.count_params()
    with pytest.raises(
        tfprune.InputError, match=r"^latency=0.001 is too little: with one channel left .* needs 0.\d+ ms$"
    ):
        tfprune.prune_filters(model, "l2", latency=0.001, engine=engine)


def test_measured_times_are_told_no_finer_than_they_are(monkeypatch):
    monkeypatch.setattr(budgets, "FINEST", 4)
    asked = []
    model = drawn(chain())
    tfprune.prune_filters(model, "l2", latency=200, engine=lambda small: asked.append(small) or small.count_params())
    assert len(asked) == 4 + 1  # without all 12 groups, none, and two between; the last one again


def test_a_machine_whose_times_vary_is_told_of():
    times = iter([3, 1, 2, 1, 2])  # whole, smallest, and three between
    with pytest.warns(
        UserWarning, match=r"^latency=2.2 was met .* second measurement gives 2.5 ms: times vary"
    ) as told:
        tfprune.prune_filters(drawn(chain()), "l2", latency=2.2, engine=lambda small: next(times, 2.5))
    assert told[0].filename == __file__


def test_the_median_of_the_calls_that_count():
    times, calls = iter(range(10_000)), []
    slow = {WARM, WARM + 1}  # calls that something else disturbs

    def clock():
        return next(times) + (100 if len(calls) - 1 in slow else 0)

    assert median_milliseconds(calls.append, "inputs", clock) == 1000
    assert len(calls) == WARM + REPEATS


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["litert", "keras"])
def test_engines_give_times(engine):
    from tfprune.pruning.latency import Timer

    assert 0 < Timer(engine)(drawn(transformer())) < 1e4
    texts = np.ones((3, 7), np.int32), np.zeros(3)
    assert 0 < Timer(engine, [texts])(recurrent()) < 1e4


@pytest.mark.parametrize(
    "given, message",
    [
        ({"flops": 0}, r"flops must be a fraction in \(0, 1\] of the dense model, or a count above 0; received 0"),
        ({"bytes": "1 MB"}, "bytes must be a fraction .*; received '1 MB'"),
        ({"latency": -1}, "latency must be milliseconds above 0; received -1"),
        ({"parameters": True}, "parameters must be .*; received True"),
        ({"flops": 0.5, "fractions": 0.5}, "fractions and flops both say how much leaves: give one of them"),
        (
            {"flops": 0.5, "normalize": "avg"},
            "normalize must be one of 'mean', 'max', 'sum', 'l2', None; received 'avg'",
        ),
        ({"flops": 0.5, "round_to": 0}, "round_to must be a whole number of at least 1; received 0"),
        (
            {"flops": 0.5, "round_to": 32},
            "no layer of the model can lose channels: none has more than round_to=32 that .*",
        ),
        ({"steps": 3}, "steps=3 go towards a budget: give flops, parameters, bytes, latency"),
        ({"flops": 0.5, "finetune": print}, "finetune must be a function .* between steps; steps=1 has no between"),
        ({"flops": 0.5, "steps": 2, "finetune": 1}, "finetune must be a function .* between steps; received 1"),
        ({"flops": 0.5, "steps": 2, "finetune": lambda model, step: 1}, "finetune must return a model or None; .* int"),
        (
            {"latency": 1, "engine": "lite"},
            "engine must be litert, keras or a function .*; received 'lite'; did you mean 'litert'.*",
        ),
        (
            {"latency": 1, "engine": lambda model: None},
            "engine must give milliseconds, a number above 0; received None",
        ),
        ({"flops": 0.5, "scoring": "taylor"}, "scoring 'taylor' looks at data: give data=, as `fit` takes it"),
        ({"flops": 0.5, "scoring": "tailor"}, "scoring must be one of .*; received 'tailor'; did you mean 'taylor'.*"),
        (
            {"parameters": 10},
            "parameters=10 is too little: with one channel left in each of 2 groups .* needs 43 parameters",
        ),
        ({"flops": 0.01}, r"flops=0.01 allows \d\d\d? FLOPs; with one .* needs 1,\d+, at least flops=0\.0\d+"),
    ],
)
def test_refused(given, message):
    with pytest.raises(tfprune.InputError, match=f"^{message}$"):
        tfprune.prune_channels(chain(), given.pop("scoring", "l2"), **given)


def test_what_keeps_all_channels_is_named():
    model = keras.Sequential([keras.Input((4, 3)), L.Dense(4, name="a"), L.LayerNormalization(name="n"), L.Dense(2)])
    with pytest.raises(
        tfprune.InputError, match=r"^no layer of the model can lose channels: .* 'n' \(LayerNormalization"
    ):
        tfprune.prune_channels(model, "l2", flops=0.5)
    small = tfprune.prune_channels(model, "l2", flops=0.5, renormalize=True)
    assert small.get_layer("a").units == 2


class Known(L.Layer):
    """What it does no rule knows."""

    def call(self, x):
        return tf.py_function(lambda y: y * 2, [x], x.dtype)

    def compute_output_shape(self, shape):
        return shape


def test_operations_that_no_flops_are_counted_of_are_told():
    layers = [L.Dense(8, name="a"), L.Dense(6, name="b"), Known(), L.Dense(2)]
    model = keras.Sequential([keras.Input((4,)), *layers])
    with pytest.warns(UserWarning) as told:
        tfprune.prune_channels(model, "l2", flops=0.7, verify=False)
    assert [one.filename for one in told] == [__file__] * 2
    assert "all channels stay" in str(told[0].message) and "counts no floating-point" in str(told[1].message)
    with pytest.raises(tfprune.InputError, match="Known"):
        tfprune.prune_channels(model, "l2", flops=0.7, unknown="refuse")


@pytest.mark.parametrize("scoring", ["l2", "taylor"])
def test_subclassed_and_masked_models(scoring):
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.a, self.last = L.Dense(8, "relu"), L.Dense(3)

        def call(self, x):
            return self.last(self.a(x))

    own = Own()
    own(np.zeros((1, 4)))
    data = np.random.default_rng(0).normal(size=(5, 4)), np.arange(5) % 3
    for model in (own, tfprune.masked(drawn(networks.perceptron()))):
        small = tfprune.prune_channels(model, scoring, parameters=0.5, data=data)
        assert 0.4 * size_of(model).parameters < size_of(small).parameters <= 0.5 * size_of(model).parameters


def test_the_least_that_is_told_is_enough():
    model = drawn(chain())
    with pytest.raises(tfprune.InputError) as told:
        tfprune.prune_filters(model, "l2", flops=0.01)
    least = float(str(told.value).rpartition("flops=")[2])
    small = tfprune.prune_filters(model, "l2", flops=least)
    assert [small.get_layer(layer).filters for layer in "ab"] == [1, 1]
    with pytest.raises(tfprune.InputError):
        tfprune.prune_filters(model, "l2", flops=least - 1e-4)
