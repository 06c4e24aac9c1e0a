"""What the report of an accelerated model says: bytes that can be worked out by hand, times, reasons."""

import keras
import numpy as np
import pytest
from keras import layers as L

import tfprune
from tfprune.errors import InputError

pytest.importorskip("numba")


@pytest.fixture(scope="module")
def model():
    """4,096 + 40 weights, of which 128 + 40 are kept."""
    model = keras.Sequential([keras.Input((64,)), L.Dense(64, name="a"), L.ReLU(), L.Dense(10, name="b")], name="net")
    masks = {"a/kernel": np.eye(64, dtype=bool) | np.eye(64, k=1, dtype=bool), "b/kernel": np.ones((64, 10), bool)}
    masks["a/kernel"][0, 5] = True
    return tfprune.masked(model, masks)


def test_bytes_and_counts_are_those_of_values_and_places(model):
    report = tfprune.acceleration_report(model, engine="sparse", compact=False, repeats=3)
    first, second, total = report.costs["a"], report.costs["b"], report.total
    assert (first.weights, first.kept, first.density) == (4096, 128, 1 / 32)
    assert (first.bytes_dense, first.bytes) == (4096 * 4, 128 * 8)
    assert (first.adam_dense, first.adam) == (4096 * 12, 128 * 8 + 128 * 8)  # two slots for each value
    assert first.is_sparse and first.reason == "" and first.speedup == first.ms_dense / first.ms_sparse
    assert (second.bytes, second.adam) == (second.bytes_dense, second.adam_dense) == (2560, 7680)
    assert not second.is_sparse and second.ms_dense > 0 and second.ms_sparse is None is second.speedup
    assert second.reason == "it has no pruned weights"
    assert (total.kept, total.bytes, total.adam) == (768, 1024 + 2560, 2048 + 7680) and total.is_sparse
    assert min(total.ms_dense, total.ms_sparse) > 0


def test_table_and_text(model):
    report = tfprune.acceleration_report(model, engine="dense", compact=False, repeats=1, batch_size=3)
    table = report.table
    assert list(table.index) == ["a", "b", "total"] and table.loc["a", "bytes"] == table.loc["a", "bytes dense"]
    assert list(table["holds"]) == ["kernel"] * 3
    lines = str(report).splitlines()
    assert lines[1].split()[:6] == ["a", "kernel", "4,096", "128", "0.0312", "16,384"]
    assert lines[1].endswith("engine is dense") and lines[-1].endswith("a batch of 3")


def test_an_accelerated_model_is_told_as_it_is(model):
    """Whatever the rule would choose for this batch."""
    fast = tfprune.accelerate(model, engine="sparse")
    costs = tfprune.acceleration_report(fast, batch_size=1, repeats=1).costs
    assert costs["a"].is_sparse and costs["a"].ms_sparse > 0 and costs["b"].ms_sparse is None
    costs = tfprune.acceleration_report(tfprune.accelerate(model, engine="dense"), engine="sparse", repeats=1).costs
    assert costs["a"].is_sparse  # a masked model is one to accelerate


def test_tokens_nested_models_and_layers_that_cannot_be_sparse():
    inner = keras.Sequential([keras.Input((None, 16)), L.LSTM(16, name="lstm"), L.Dense(16, name="d")], name="inner")
    given = keras.Input((6,), dtype="int32", name="tokens")
    net = keras.Model(given, L.Dense(2, name="head")(inner(L.Embedding(20, 16, name="table")(given))))
    masks = tfprune.prune(net, "magnitude/uniform", 0.5)
    sparse = tfprune.masked(net, masks)
    with pytest.raises(InputError, match=r"input 'tokens' of model .* cannot be made up: give examples"):
        tfprune.acceleration_report(sparse)
    found = tfprune.acceleration_report(sparse, examples=np.arange(12).reshape(2, 6), compact=False, repeats=1)
    assert list(found.costs) == ["table", "inner/lstm", "inner/d", "head"] and found.batch_size == 32
    assert found.costs["inner/lstm"].reason == "LSTM has no class of kept weights"
    assert found.costs["inner/lstm"].ms_dense > 0 and found.costs["inner/lstm"].ms_sparse is None
    assert found.costs["inner/d"].reason == "slower by the rule" and found.costs["inner/d"].ms_sparse > 0


def test_a_model_of_a_fixed_batch_is_measured_with_it():
    net = keras.Sequential([keras.Input(batch_shape=(4, 8)), L.Dense(8)])
    report = tfprune.acceleration_report(net, repeats=1)
    assert report.batch_size == 4 and str(report).endswith("a batch of 4")


def test_bad_input(model):
    for arguments, told in (
        ({"repeats": 0}, "repeats must be at least 1. Received: 0"),
        ({"batch_size": -1}, "batch_size must be a number of examples, 1 or more. Received: -1"),
        ({"engine": "fast"}, "engine must be one of auto, dense, sparse. Received: 'fast'"),
        ({"examples": np.zeros((2, 3))}, "examples: shapes must be .* Received: float64 .2, 3."),
    ):
        with pytest.raises(InputError, match=told) as caught:
            tfprune.acceleration_report(model, **arguments)
        assert "\n" not in str(caught.value)
