"""Data in every form that `fit` takes give the same masks; what does not fit is told in one line."""

import itertools
import math

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from keras import layers

from tfprune.errors import InputError
from tfprune.pruning import batches
from tfprune.pruning.pruner import prune

SIZE = 8


@pytest.fixture(scope="module")
def pair():
    """Two inputs, two outputs, compiled with a loss each, the one of which weighs double."""
    keras.utils.set_random_seed(0)
    first, second = keras.Input((5,), name="first"), keras.Input((3,), name="second")
    x = layers.Concatenate()([layers.Dense(6, "tanh")(first), layers.Dense(6, "tanh")(second)])
    model = keras.Model([first, second], [layers.Dense(4, name="kind")(x), layers.Dense(1, name="size")(x)])
    classes = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss=[classes, "mse"], loss_weights=[1.0, 2.0])
    return model


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(30, 5)).astype("f4"), rng.normal(size=(30, 3)).astype("f4")
    return inputs, (rng.integers(0, 4, 30), rng.normal(size=(30, 1)).astype("f4")), rng.uniform(0, 2, 30).astype("f4")


def cut(part, start):
    return tf.nest.map_structure(lambda array: array[start : start + SIZE], part)


class Indexed(keras.utils.PyDataset):
    def __init__(self, parts):
        super().__init__()
        self.parts = parts

    def __len__(self):
        return math.ceil(30 / SIZE)

    def __getitem__(self, number):
        return tuple(cut(part, SIZE * number) for part in self.parts)


class Unbounded(keras.utils.PyDataset):
    def __init__(self, parts, num_batches=None):
        super().__init__()
        self.parts = parts

    @property
    def num_batches(self):
        return None

    def __getitem__(self, number):
        return tuple(cut(part, SIZE * (number % 4)) for part in self.parts)


def forms(inputs, labels, *weights):
    """Name -> (data, arguments), all of the same examples in the same batches."""
    named = dict(zip(("first", "second"), inputs, strict=True)), dict(zip(("kind", "size"), labels, strict=True))
    whole = (list(inputs), list(labels), *weights)
    parts = [tuple(cut(part, start) for part in (inputs, labels, *weights)) for start in range(0, 30, SIZE)]
    named_parts = [tuple(cut(part, start) for part in (*named, *weights)) for start in range(0, 30, SIZE)]
    dataset = tf.data.Dataset.from_tensor_slices((inputs, labels, *weights)).batch(SIZE)
    by_name = tf.data.Dataset.from_tensor_slices((*named, *weights)).batch(SIZE)
    return {
        "lists of arrays": (whole, {"batch_size": SIZE}),
        "a list of lists": (list(whole), {"batch_size": SIZE}),
        "tuples": ((tuple(inputs), tuple(labels), *weights), {"batch_size": SIZE}),
        "dicts": ((*named, *weights), {"batch_size": SIZE}),
        "dicts in another order": ((dict(reversed(named[0].items())), named[1], *weights), {"batch_size": SIZE}),
        "dict and list": ((named[0], list(labels), *weights), {"batch_size": SIZE}),
        "tensors": (tf.nest.map_structure(tf.constant, whole), {"batch_size": SIZE}),
        "list of batches": (parts, {}),
        "list of batches of dicts": (named_parts, {}),
        "generator": ((part for part in parts), {}),
        "endless generator": (itertools.cycle(parts), {"steps": 4}),
        "endless iterable": (Cycle(parts), {"steps": 4}),
        "tf.data": (dataset, {}),
        "tf.data of dicts": (by_name, {}),
        "endless tf.data": (dataset.repeat(), {"steps": 4}),
        "PyDataset": (Indexed((inputs, labels, *weights)), {}),
        "PyDataset of dicts": (Indexed((*named, *weights)), {}),
        "PyDataset without end": (Unbounded((inputs, labels, *weights)), {"steps": 4}),
    }


class Cycle:
    def __init__(self, parts):
        self.parts = parts

    def __iter__(self):
        return itertools.cycle(self.parts)


@pytest.mark.filterwarnings("ignore:the scores are of the loss")
@pytest.mark.parametrize("weighted", [False, True])
def test_two_inputs_and_outputs_in_all_forms(pair, data, weighted):
    inputs, labels, weights = data
    given = forms(inputs, labels, *([weights] if weighted else []))
    masks = {name: prune(pair, "snip", 0.6, data=form, **how) for name, (form, how) in given.items()}
    for name, found in masks.items():
        assert found == masks["lists of arrays"], name
    unweighted = prune(pair, "snip", 0.6, data=data[:2])
    assert (masks["tf.data"] == unweighted) != weighted
    each = {"kind": weights, "size": weights}
    if weighted:
        for per_output in (each, [weights, weights]):
            assert prune(pair, "snip", 0.6, data=(inputs, labels, per_output)) == masks["tf.data"]
        other = prune(pair, "snip", 0.6, data=(inputs, labels, {"kind": weights, "size": 0 * weights}))
        # Without a weight in it, the second loss scores nothing: all of its kernel goes first.
        assert other.counts["size/kernel"] == 0 < masks["tf.data"].counts["size/kernel"]
        assert prune(pair, "snip", 0.6, data=(inputs, labels, {"size": np.ones(30)})) == unweighted


@pytest.fixture(scope="module")
def plain():
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((5,)), layers.Dense(12, "tanh"), layers.Dense(4)])


def test_one_input_in_other_forms(plain, data):
    (x, _), (y, _), weights = data
    expected = prune(plain, "snip", 0.5, data=(x, y), batch_size=SIZE)
    frame, series = pd.DataFrame(x, index=range(30, 0, -1)), pd.Series(y, index=range(7, 37))
    named = {plain.inputs[0].name: x}
    for form in (
        (x, list(map(int, y))),
        (frame, series),
        ([x], [y]),
        [x, y],
        (named, y),
        (x, y, None),
        (x, y[:, None]),
    ):
        assert prune(plain, "snip", 0.5, data=form, batch_size=SIZE) == expected
    weighted = prune(plain, "snip", 0.5, data=(x, y, weights), batch_size=SIZE)
    assert weighted != expected
    assert prune(plain, "snip", 0.5, data=[x, y, weights[:, None]], batch_size=SIZE) == weighted
    # The first 16 alone.
    short = prune(plain, "snip", 0.5, data=(x[:16], y[:16]))
    assert prune(plain, "snip", 0.5, data=(x, y), batch_size=SIZE, steps=2) == short
    # A list of two batches of a model with one input is no pair of lists.
    assert prune(plain, "snip", 0.5, data=([x[:8], y[:8]], [x[8:16], y[8:16]])) == short


def test_a_model_whose_inputs_are_a_dict(data):
    (a, b), (y, _), _ = data
    inputs = {"zeta": keras.Input((5,), name="zeta"), "alpha": keras.Input((3,), name="alpha")}
    x = layers.Concatenate()([inputs["zeta"], inputs["alpha"]])
    model = keras.Model(inputs, layers.Dense(4)(layers.Dense(6)(x)))
    expected = prune(model, "grasp", 0.5, data=({"zeta": a, "alpha": b}, y))
    assert prune(model, "grasp", 0.5, data=({"unused": a, "alpha": b, "zeta": a}, y)) == expected
    with pytest.raises(InputError, match="takes inputs zeta, alpha; the data have zeta"):
        prune(model, "snip", 0.5, data=({"zeta": a}, y))


def endless_dataset():
    def batches():
        while True:
            yield np.zeros((2, 5), "f4"), np.zeros(2, "i4")

    signature = tf.TensorSpec((None, 5), tf.float32), tf.TensorSpec((None,), tf.int32)
    return tf.data.Dataset.from_generator(batches, output_signature=signature)


X, Y = np.ones((4, 5), "f4"), np.arange(4)
BATCH = X, Y


class Lengthless(Unbounded):
    @property
    def num_batches(self):
        raise NotImplementedError("You need to implement the `num_batches` property")


@pytest.mark.parametrize(
    ("form", "how", "message"),
    [
        (lambda: itertools.repeat(BATCH), {}, "data have not ended after 20 batches, and may be endless: .* steps="),
        (lambda: Cycle([BATCH]), {}, "data have not ended after 20 batches"),
        (endless_dataset, {}, "data have not ended after 20 batches"),
        (lambda: Unbounded(BATCH), {}, "PyDataset without a length: .* steps="),
        (lambda: Lengthless(BATCH), {}, "PyDataset without a length: .* steps="),
        (lambda: [BATCH], {"steps": 2}, "data ended after 1 batches, fewer than steps=2"),
        (lambda: [BATCH], {"steps": 10**30}, "data ended after 1 batches, fewer than steps=10{30}$"),
        (lambda: iter([BATCH]), {"steps": 2}, "data ended after 1 batches, fewer than steps=2"),
        (lambda: BATCH, {"steps": 0}, "steps must be a positive integer; received 0"),
        (lambda: BATCH, {"steps": True}, "steps must be a positive integer; received True"),
        (lambda: {"x": X}, {}, "data must be .*; received dict"),
        (lambda: X, {}, "data must be .*; received ndarray"),
        (lambda: "mnist", {}, "data must be .*; received str"),
        (lambda: [(X, Y, Y, Y)], {}, "must be a pair .*; received a tuple of 4"),
        (lambda: [X], {}, "must be a pair .*; received ndarray"),
        (lambda: ([X, X], Y), {}, "must be a pair .*; received ndarray"),
        (lambda: [([X, X], Y)], {}, r"takes 1 input \(.*\); the data have 2"),
        (lambda: ({"a": X}, Y), {}, "takes inputs .*; the data have a"),
        (lambda: (X[:, :4], Y), {}, r"of inputs of shape \(5,\); received \(4,\)"),
        (lambda: (X + 1j, Y), {}, r"inputs must be real numbers; received complex\d+\(4, 5\)"),
        (lambda: (X.astype(str), Y), {}, "inputs must be real numbers; received <U"),
        (lambda: (X, Y + 0j), {}, "labels must be numbers"),
        (lambda: (X, np.array(list("abcd"))), {}, "labels must be numbers"),
        (lambda: (X, np.array([0, 1, np.nan, 3])), {}, "labels hold NaN"),
        (lambda: (X, np.array([0, 1, 1.5, 3])), {}, r"labels must be whole numbers, .* 0\.\.3; received 1\.5"),
        (lambda: (X, np.full((4, 4), np.inf)), {}, "labels hold NaN or infinite"),
        (lambda: (X, np.full((4, 4), -0.5)), {}, "are probabilities of classes; received -0.5"),
        (lambda: (X, [Y, Y]), {}, "has one output; the data have 2 arrays"),
        (lambda: (X, {"other": Y}), {}, "has outputs .*; the data have labels or sample weights for other"),
        (lambda: [(X, Y[:3])], {}, "as many labels as inputs; received 3 for 4"),
        (lambda: [(X[:0], Y[:0])], {}, "at least one example"),
    ],
)
def test_refused(plain, monkeypatch, form, how, message):
    monkeypatch.setattr(batches, "MOST_BATCHES", 20)
    with pytest.raises(InputError, match=message) as caught:
        prune(plain, "snip", 0.5, data=form(), **how)
    assert "\n" not in str(caught.value)


def test_refused_for_two_inputs(pair, data):
    (a, b), labels, _ = data
    for inputs, message in (
        (a, r"takes 2 inputs \(first, second\); the data have 1"),
        ([b, a], r"batches of input 'first' of shape \(5,\); received \(3,\)"),
        ({"first": a}, "takes inputs first, second; the data have first"),
    ):
        with pytest.raises(InputError, match=message):
            prune(pair, "snip", 0.5, data=(inputs, labels), loss=lambda y, o: o[1])


def test_endless_data_are_bounded_by_memory_too(plain, monkeypatch):
    monkeypatch.setattr(batches, "MOST_BYTES", 10_000)
    with pytest.raises(InputError, match="not ended after 90 batches"):
        prune(plain, "snip", 0.5, data=itertools.repeat(BATCH))


def test_a_graph_is_no_place_to_prune(plain):
    with tf.Graph().as_default(), pytest.raises(InputError, match=r"outside of tf\.Graph and tf\.function"):
        prune(plain, "snip", 0.5, data=BATCH)

    @tf.function(autograph=False)
    def inside():
        prune(plain, "magnitude", 0.5)

    with pytest.raises(InputError, match="outside"):
        inside()
