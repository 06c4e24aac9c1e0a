"""What `SparsityLogger` writes is what `tfprune.sparsity` says at the end of each epoch."""

import csv

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tfprune
from tfprune.errors import InputError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def _net():
    keras.utils.set_random_seed(1)
    stack = layers.Conv2D(4, 3, activation="relu", name="c"), layers.Flatten(), layers.Dense(3, name="d")
    model = keras.Sequential([keras.Input((6, 6, 1)), *stack])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


X, Y = np.random.default_rng(0).normal(size=(32, 6, 6, 1)).astype(np.float32), np.arange(32) % 3


class Reports(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        self.found = {**getattr(self, "found", {}), epoch + 1: tfprune.sparsity(self.model)}


def _rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_tables_and_events(tmp_path):
    schedule = tfprune.PolynomialSchedule(0.8, 0, 6, 2)
    logger = tfprune.SparsityLogger(tmp_path / "events", csv=tmp_path / "made" / "s.csv", every=2)
    callbacks = [tfprune.Prune("magnitude", schedule), logger, reports := Reports()]
    _net().fit(X, Y, batch_size=16, epochs=4, verbose=0, callbacks=callbacks)
    rows = _rows(tmp_path / "made" / "s.csv")
    assert [(row["epoch"], row["kernel"]) for row in rows] == [
        (epoch, path) for epoch in "24" for path in ("c/kernel", "d/kernel", "total")
    ]
    (events,) = (tmp_path / "events").iterdir()
    told = {}
    for record in tf.data.TFRecordDataset(str(events)):
        event = tf.compat.v1.Event.FromString(record.numpy())
        told |= {(event.step, value.tag): float(tf.make_ndarray(value.tensor)) for value in event.summary.value}
    assert len(told) == 18
    for row in rows:
        report, path = reports.found[int(row["epoch"])], row["kernel"]
        weights = report.weights if path == "total" else report.weights_of[path]
        flops = report.flops if path == "total" else report.flops_of[path]
        assert [int(row[name]) for name in ("weights", "kept", "effective", "flops")] == [
            *(weights.dense, weights.kept, weights.effective),
            flops.effective,
        ]
        expected = {"density": 1 - weights.direct_sparsity, "effective_density": 1 - weights.effective_sparsity}
        for name, value in expected.items():
            assert float(row[name]) == pytest.approx(value, rel=1e-5)
            assert told[int(row["epoch"]), f"{name}/{path}"] == pytest.approx(value, rel=1e-5)
        assert told[int(row["epoch"]), f"flops/{path}"] == flops.effective
    assert rows[2]["kept"] != rows[5]["kept"]


def test_a_training_that_goes_on_keeps_the_rows_of_before(tmp_path):
    path, model = tmp_path / "s.csv", _net()
    for first, last in ((0, 3), (2, 4)):
        model.fit(X, Y, epochs=last, initial_epoch=first, verbose=0, callbacks=[tfprune.SparsityLogger(csv=path)])
    rows = _rows(path)
    assert [row["epoch"] for row in rows] == [epoch for epoch in "1234" for _ in range(3)]
    assert {row["density"] for row in rows} == {"1"}  # a plain model is dense
    path.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="is no table of SparsityLogger: its columns are a, b"):
        model.fit(X, Y, epochs=4, initial_epoch=3, verbose=0, callbacks=[tfprune.SparsityLogger(csv=path)])


def test_what_is_refused():
    with pytest.raises(InputError, match="needs log_dir=, csv= or both"):
        tfprune.SparsityLogger()
    with pytest.raises(InputError, match="every must be a positive number of epochs"):
        tfprune.SparsityLogger("logs", every=0)
