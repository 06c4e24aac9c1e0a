"""Searching for the filters to keep: the right ones are found, the numbers are Keras's, and mistakes are told."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as L

import tfprune
from tfprune.errors import InputError
from tfprune.pruning.search_filters import HISTORY, search_filters

EXAMPLES, BATCH = 50, 16  # the last batch has two
SHORT = {"generations": 4, "batch_size": BATCH, "verbose": False}


def told_by_units(*units):
    """Four inputs of which the largest is the class; hidden unit k passes input k on, the other ones are noise."""
    rng = np.random.default_rng(0)
    hidden, classes = rng.normal(size=(4, 8)).astype("f4"), np.zeros((8, 4), "f4")
    hidden[:, units], classes[units, range(4)] = np.eye(4), 3.0
    model = keras.Sequential([keras.Input((4,), name="x"), L.Dense(8, "relu", name="hidden"), L.Dense(4, name="out")])
    model.set_weights([hidden, np.ones(8), classes, np.zeros(4)])
    return model


@pytest.fixture(scope="module")
def data():
    inputs = np.random.default_rng(1).normal(size=(EXAMPLES, 4)).astype("f4")
    return inputs, inputs.argmax(1)


@pytest.fixture(scope="module")
def model():
    return told_by_units(0, 3, 5, 6)


@pytest.fixture(scope="module")
def found(model, data):
    return search_filters(model, data, **SHORT)


def same(one, other):
    assert one.masks == other.masks and np.array_equal(one.state, other.state) and one.filters == other.filters
    assert one.history.equals(other.history) and (one.cost, one.dense_cost) == (other.cost, other.dense_cost)
    return True


def sparse_margin(labels, outputs, state):
    target = tf.gather(outputs, labels, batch_dims=1)
    other = tf.reduce_max(outputs - 1e6 * tf.one_hot(labels, 4), axis=1)
    return other - target + 0.1 * tf.reduce_mean(tf.cast(state, tf.float32))


@pytest.mark.slow_beyond(2)
@pytest.mark.parametrize("evolution", ["published", "binary_de"])
@pytest.mark.parametrize("units", [(0, 3, 5, 6), (1, 2, 4, 7)])
def test_exactly_the_useless_half_leaves(units, evolution, data):
    model = told_by_units(*units)
    result = search_filters(model, data, sparse_margin, evolution=evolution, generations=60, verbose=False)
    assert np.flatnonzero(result.state).tolist() == list(units)
    assert result.filters == {"hidden": (4, 8)}
    small = tfprune.compact(model, result.masks)
    assert small.get_layer("hidden").kernel.shape == (4, 4) and small.count_params() == 40
    np.testing.assert_allclose(small(data[0]), model(data[0]), rtol=1e-5)  # nothing was lost
    assert result.cost == pytest.approx(result.dense_cost - 0.05, abs=1e-5)  # half the filters less
    assert result.history["kept"].iloc[-1] == pytest.approx(0.5)


@pytest.mark.slow_beyond(1)
@pytest.mark.parametrize("batch_size", [BATCH, EXAMPLES])
def test_costs_are_what_keras_evaluates(batch_size, network):
    model, (inputs, labels) = network
    weights = [variable.numpy() for variable in [*model.variables, *model.optimizer.variables]]
    result = search_filters(model, (inputs, labels), "cross_entropy", **{**SHORT, "batch_size": batch_size})
    assert 0 < result.masks.density < 1
    for cost, masks in [(result.cost, result.masks), (result.dense_cost, None)]:
        sparse = tfprune.masked(model, masks)
        assert sparse.evaluate(inputs, labels, batch_size=7, verbose=0) == pytest.approx(cost, rel=1e-5)
    small = tfprune.compact(model, result.masks)
    small.compile(loss=model.loss)
    assert small.evaluate(inputs, labels, verbose=0) == pytest.approx(result.cost, rel=1e-4)
    for variable, value in zip([*model.variables, *model.optimizer.variables], weights, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_what_a_search_tells(found, model, tmp_path):
    assert list(found.history) == list(HISTORY) and len(found.history) == SHORT["generations"]
    assert found.history["kept"].between(0, 1).all() and found.history["diversity"].between(0, 1).all()
    assert (found.history["best_cost"] <= found.history["mean_cost"]).all()
    assert found.filters == {"hidden": (found.state.sum(), 8)} and found.state.shape == (8,)
    np.testing.assert_array_equal(found.masks["hidden/kernel"], np.tile(found.state, (4, 1)))
    np.testing.assert_array_equal(found.masks["out/kernel"], np.tile(found.state[:, None], (1, 4)))
    tfprune.save_masks(tmp_path / "found.npz", found.masks)
    assert tfprune.load_masks(tmp_path / "found.npz") == found.masks
    assert tfprune.masks_of(tfprune.masked(model, found.masks)) == found.masks


def test_seeds(found, model, data):
    assert same(search_filters(model, data, **SHORT), found)
    other = search_filters(model, data, seed=1, **SHORT)
    assert not other.history.equals(found.history)


class Batches(keras.utils.PyDataset):
    def __init__(self, parts):
        super().__init__()
        self.parts = parts

    def __len__(self):
        return math.ceil(EXAMPLES / BATCH)

    def __getitem__(self, number):
        return batch_of(self.parts, number)


def batch_of(parts, number):
    return tuple(part[BATCH * number : BATCH * (number + 1)] for part in parts)


def endless(parts):
    while True:
        for number in range(4):
            yield batch_of(parts, number)


FORMS = {
    "dict": lambda parts: (({"x": parts[0]}, parts[1]), {}),
    "one-hot": lambda parts: ((parts[0], np.eye(4)[parts[1]]), {}),
    "weights": lambda parts: ((*parts, np.ones(EXAMPLES)), {}),
    "tf.data": lambda parts: (tf.data.Dataset.from_tensor_slices(parts).batch(BATCH), {}),
    "endless tf.data": lambda parts: (tf.data.Dataset.from_tensor_slices(parts).batch(BATCH).repeat(), {"steps": 4}),
    "PyDataset": lambda parts: (Batches(parts), {}),
    "generator": lambda parts: ((batch_of(parts, number) for number in range(4)), {}),
    "endless generator": lambda parts: (endless(parts), {"steps": 4}),
}


@pytest.mark.slow_beyond(5)
@pytest.mark.parametrize("form", FORMS)
def test_data_in_all_forms(form, found, model, data):
    given, more = FORMS[form](data)
    assert same(search_filters(model, given, **SHORT, **more), found)


def test_generations_go_through_the_batches_again(found, model, data):
    """Four batches and ten generations: the fifth has the first batch."""
    ten = search_filters(model, data, **{**SHORT, "generations": 10})
    assert ten.history[:4].equals(found.history)
    seen = []

    def noted(labels, outputs, state):
        return tf.numpy_function(lambda own: seen.append(own.tolist()) or np.float32(len(own)), [labels], tf.float32)

    search_filters(model, data, noted, population=4, rescore=False, **{**SHORT, "generations": 10})
    sizes = list(map(len, seen))
    assert sizes[:8] == [16] * 8 and sizes[8:24] == [16] * 8 + [2] * 4 + [16] * 4  # the first one scores parents, too
    assert sizes[-20:] == [16] * 15 + [2] * 5  # at the end four states and the model itself, on each batch
    assert seen[0] == seen[20] == data[1][:16].tolist()


def test_a_search_is_compiled_once_for_batches_of_all_sizes(model, data):
    calls = []

    def counted(labels, outputs, state):
        calls.append(labels.shape)
        return outputs[:, 0]

    search_filters(model, data, counted, **SHORT)
    uneven = len(calls)
    search_filters(model, tuple(part[:48] for part in data), counted, **SHORT)
    assert len(calls) == 2 * uneven


def test_patience_ends_the_search(model, data):
    more = {**SHORT, "batch_size": EXAMPLES, "generations": 60}
    whole = search_filters(model, data, sparse_margin, seed=5, **more).history
    short = search_filters(model, data, sparse_margin, seed=5, patience=5, **more).history
    costs = whole["best_cost"].tolist()
    stop = next(number for number in range(60) if number >= 5 and len(set(costs[number - 5 : number + 1])) == 1)
    assert len(set(costs[:stop])) > 1 and short.equals(whole[: stop + 1])


def test_published_costs_are_half_the_work(model, data):
    """A state keeps the cost of the batch that it came with: parents are not measured again."""
    result = search_filters(model, data, rescore=False, **{**SHORT, "generations": 12})
    assert (result.history["best_cost"].diff().dropna() <= 0).all()
    rescored = search_filters(model, data, **{**SHORT, "generations": 12})
    assert (rescored.history["best_cost"].diff().dropna() > 0).any()


def test_all_filters_at_first(model, data):
    result = search_filters(model, data, init_probability=1, generations=1, batch_size=EXAMPLES, verbose=False)
    assert result.history["best_cost"][0] <= result.dense_cost + 1e-5


def test_a_masked_model_keeps_its_masks(model, data):
    own = {path: np.random.default_rng(2).random(mask.shape) < 0.8 for path, mask in tfprune.masks_of(model).items()}
    sparse = tfprune.masked(model, own)
    result = search_filters(sparse, data, "cross_entropy", **SHORT)
    assert result.masks == result.masks & tfprune.Masks(own)
    assert np.array_equal(result.masks["hidden/kernel"], np.tile(result.state, (4, 1)) & own["hidden/kernel"])
    for cost, masks in [(result.cost, result.masks), (result.dense_cost, own)]:
        again = tfprune.masked(model, masks)
        again.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        assert again.evaluate(*data, verbose=0) == pytest.approx(cost, rel=1e-5)


def test_statistics_of_the_batch(network):
    model, data = network
    before = [variable.numpy() for variable in model.variables]
    more = {**SHORT, "batch_size": 20, "init_probability": 0.9}
    one, other = (search_filters(model, data, "cross_entropy", batch_statistics=way, **more) for way in (False, True))
    assert abs(one.dense_cost - other.dense_cost) > 1e-3  # dropout, and other averages
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_half_precision(data):
    half = keras.DTypePolicy("mixed_float16")
    model = keras.Sequential(
        [keras.Input((4,)), L.Dense(8, "relu", dtype=half), L.Dense(4, dtype=half), L.Softmax(dtype="float32")]
    )
    result = search_filters(model, data, "cross_entropy", **SHORT)
    sparse = tfprune.masked(model, result.masks)
    sparse.compile(loss="sparse_categorical_crossentropy")
    assert sparse.evaluate(*data, verbose=0) == pytest.approx(result.cost, rel=2e-3)


def test_low_rank_updates_are_merged(data):
    model = told_by_units(0, 3, 5, 6)
    model.get_layer("hidden").enable_lora(2)
    model.get_layer("hidden").lora_kernel_b.assign(np.ones((2, 8)))
    result = search_filters(model, data, "cross_entropy", **SHORT)
    merged = tfprune.masked(model, result.masks)
    merged.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    assert merged.evaluate(*data, verbose=0) == pytest.approx(result.cost, rel=1e-5)


NO_FILTERS = keras.Sequential([keras.Input((4,)), L.Dense(4)])
UNKNOWN = keras.Sequential(
    [
        keras.Input((4,)),
        L.Dense(4),
        type("Own", (L.Layer,), {"call": lambda self, x: tf.sort(x), "compute_output_shape": lambda self, s: s})(),
    ]
)
SUBCLASSED = type("Subclassed", (keras.Model,), {"call": lambda self, x: x})()


@pytest.mark.parametrize(
    "change, text",
    [
        ({"population": 3}, "population must be a whole number of at least 4: .* Received: 3"),
        ({"population": 8.0}, r"population must be a whole number .* Received: 8\.0"),
        ({"generations": 0}, "generations must be a whole number of at least 1. Received: 0"),
        ({"generations": 2.5}, r"generations must be a whole number of at least 1. Received: 2\.5"),
        ({"patience": 0}, "patience must be a whole number of at least 1. Received: 0"),
        ({"patience": True}, "patience must be a whole number of at least 1. Received: True"),
        ({"seed": -1}, "seed must be a whole number of at least 0. Received: -1"),
        ({"seed": None}, "seed must be a whole number of at least 0. Received: None"),
        ({"init_probability": 0}, r"init_probability must lie in \(0, 1\]. Received: 0"),
        ({"init_probability": 150}, r"init_probability must lie in \(0, 1\]. Received: 150$"),
        ({"init_probability": 50}, r"Received: 50; did you mean 0\.5\?"),
        ({"init_probability": math.nan}, r"init_probability must lie in \(0, 1\]. Received: nan"),
        ({"init_probability": 1e-9}, r"no finite number for any state, in generation 0: .*\(init_probability=\)"),
        ({"evolution": "publishd"}, "evolution must be one of published, binary_de. .* did you mean 'published'"),
        ({"energy": "margin_"}, "energy must be one of margin, cross_entropy, or .* did you mean 'margin'"),
        ({"energy": lambda labels, outputs, state: outputs * math.nan}, "no finite number for any state, in gener"),
        ({"energy": lambda labels, outputs, state: outputs * -math.inf}, "no finite number for any state, in gener"),
        (
            {"energy": lambda labels, outputs, state: tf.gather(outputs, labels + 9, axis=1)},
            r"the model or the energy cannot use a batch of the data: indices\[.* is not in \[0, 4\)",
        ),
        (
            {"energy": lambda labels, outputs, state: tf.numpy_function(lambda x: {}[0], [labels], tf.float32)},
            "the model or the energy cannot use a batch of the data: KeyError: 0",
        ),
        ({"batch_size": 0}, "batch_size must be a positive integer; received 0"),
        ({"steps": 9}, "data ended after 4 batches, fewer than steps=9"),
        ({"data": None}, "search_filters needs data="),
        ({"data": []}, "data holds no batches"),
        ({"data": iter([])}, "data holds no batches"),
        ({"data": (np.zeros((0, 4)), np.zeros(0, int))}, "data needs as many labels as inputs .* at least one"),
        ({"data": "digits"}, "data must be .* received str"),
        ({"data": tf.data.Dataset.range(0)}, "data is an empty tf.data.Dataset"),
        ({"data": (np.zeros((8, 3)), np.zeros(8, int))}, r"takes batches of inputs of shape \(4,\); received \(3,\)"),
        ({"data": (np.ones((8, 4)), np.zeros(8, int))}, "the outputs are the same for all examples of a batch"),
        ({"data": (np.full((8, 4), np.nan), np.zeros(8, int))}, "no finite number for any state, in generation 0"),
        ({"data": (np.zeros((8, 4)), np.arange(8))}, r"labels must lie in 0\.\.3, the model's outputs; received 7"),
        ({"data": (np.zeros((8, 4)), np.ones((8, 4)))}, "energy margin needs labels with one target per example"),
        ({"model": NO_FILTERS}, "has no filters that could be pruned"),
        ({"model": UNKNOWN}, r"has no filters that could be pruned: all are kept by 'own' \(Own\)"),
        ({"model": UNKNOWN, "unknown": "refuse"}, "nothing says what the layer type Own does to channels"),
        ({"model": SUBCLASSED}, "has no weights yet"),
        ({"model": None}, "a Keras model is needed. Received: NoneType"),
    ],
)
def test_mistakes_are_told_in_a_line(change, text, model, data):
    settings = {"model": model, "data": data, **SHORT, **change}
    with pytest.raises(InputError, match=text) as caught:
        search_filters(settings.pop("model"), settings.pop("data"), **settings)
    assert "\n" not in str(caught.value)


def test_data_without_an_end(model, data):
    with pytest.raises(InputError, match=r"endless tf\.data.Dataset: say how many batches"):
        search_filters(model, tf.data.Dataset.from_tensor_slices(data).batch(BATCH).repeat(), **SHORT)


def test_no_number_in_a_batch_that_no_generation_had(model, data):
    """Generations end before it comes."""

    def lost(labels, outputs, state):
        return tf.where(tf.shape(labels)[0] == 2, np.nan, outputs[:, 0])

    with pytest.raises(InputError, match="no finite number for any state, over all data"):
        search_filters(model, data, lost, **{**SHORT, "generations": 2})
    assert np.isfinite(search_filters(model, data, lost, steps=3, **SHORT).cost)


def test_inside_of_a_compiled_function(model, data):
    with pytest.raises(InputError, match=r"search_filters computes at once: call it outside of tf.Graph and tf.functi"):
        tf.function(lambda: search_filters(model, data, **SHORT).cost, autograph=False)()


def test_progress_is_told(model, data, capsys, monkeypatch):
    monkeypatch.setattr("tfprune.pruning.progress.SILENT_SECONDS", 0)
    monkeypatch.setattr("tfprune.pruning.progress.SECONDS_PER_LINE", 0)
    search_filters(model, data, **{**SHORT, "verbose": True})
    told = capsys.readouterr().err
    assert "searching filters, generations: step 4 of 4, best cost" in told and "% kept" in told
    assert "searching filters, measuring the states: step 4" in told
