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


def _events(folder):
    """(step, tag) -> value."""
    (events,) = folder.iterdir()
    told = {}
    for record in tf.data.TFRecordDataset(str(events)):
        event = tf.compat.v1.Event.FromString(record.numpy())
        told |= {(event.step, value.tag): float(tf.make_ndarray(value.tensor)) for value in event.summary.value}
    return told


def test_numbers_by_hand(tmp_path):
    """A convolution of 2 x 2 over 16 places and a dense layer of 4: which weights lie on a path can be seen."""
    stack = layers.Conv2D(2, 2, name="c", use_bias=False), layers.GlobalMaxPooling2D(), layers.Dense(2, name="d")
    model = keras.Sequential([keras.Input((5, 5, 1)), *stack])
    conv, dense = np.zeros((2, 2, 1, 2), bool), np.array([[True, True], [False, False]])
    conv[:, :, 0, 0] = [[True, True], [True, False]]
    conv[0, 0, 0, 1] = True  # its filter is read by nobody
    model = tfprune.masked(model, {"c/kernel": conv, "d/kernel": dense})
    model.compile("sgd", "mse")
    logger = tfprune.SparsityLogger(tmp_path / "events", tmp_path / "s.csv")
    model.fit(np.ones((4, 5, 5, 1)), np.ones((4, 2)), batch_size=2, verbose=0, callbacks=[logger])
    assert [list(row.values()) for row in _rows(tmp_path / "s.csv")] == [
        ["1", "2", "c/kernel", "8", "4", "3", "0.5", "0.375", "256", "128", "96"],  # twice 16 places for each weight
        ["1", "2", "d/kernel", "4", "2", "2", "0.5", "0.5", "8", "4", "4"],
        ["1", "2", "total", "12", "6", "5", "0.5", "0.416667", "264", "132", "100"],
    ]
    told = _events(tmp_path / "events")
    assert told[1, "flops_kept/c/kernel"] == 128 and told[1, "flops_effective/c/kernel"] == 96
    assert told[1, "flops_kept/total"] == 132 and told[1, "flops_effective/total"] == 100
    assert told[1, "density/total"] == 0.5 and told[1, "effective_density/total"] == pytest.approx(5 / 12)


def test_updates_as_well_as_epochs(tmp_path):
    """12 updates, 4 in each epoch; masks change before the updates 3, 6 and 9."""
    schedule = tfprune.PolynomialSchedule(0.6, 0, 9, 3, power=1)  # of 36 + 192 weights
    expected = {2: 228, 3: 183, 4: 183, 5: 183, 6: 137, 8: 137, 9: 92, 12: 92}

    def logged(name, *others, epochs=3, x=X, **options):
        logger = tfprune.SparsityLogger(tmp_path / name, tmp_path / f"{name}.csv", **options)
        model = _net()
        model.fit(x, Y[: len(x)], batch_size=8, epochs=epochs, verbose=0, callbacks=[
            tfprune.Prune("magnitude", schedule), *others, logger
        ])  # fmt: skip
        rows = [row for row in _rows(tmp_path / f"{name}.csv") if row["kernel"] == "total"]
        return [(int(row["epoch"]), int(row["step"]), int(row["kept"])) for row in rows]

    assert logged("both", every_steps=3) == [
        *((1, 3, 183), (1, 4, 183), (2, 6, 137), (2, 8, 137), (3, 9, 92), (3, 12, 92))
    ]
    told = _events(tmp_path / "both")  # over updates
    assert {step: round(228 * told[step, "density/total"]) for step, tag in told if tag == "density/total"} == {
        step: expected[step] for step in (3, 4, 6, 8, 9, 12)
    }
    assert logged("alone", every=None, every_steps=5) == [(2, 5, 183), (3, 10, 92)]
    assert logged("rare", every=2, every_steps=4) == [(1, 4, 183), (2, 8, 137), (3, 12, 92)]


def test_updates_of_executions_of_several_and_of_data_of_unknown_length(tmp_path):
    def rows(data, per_execution, **options):
        model = _net()
        model.compile("sgd", "sparse_categorical_crossentropy", steps_per_execution=per_execution)
        logger = tfprune.SparsityLogger(csv=tmp_path / "s.csv", every_steps=3)
        model.fit(data, verbose=0, callbacks=[logger], **options)
        return [(row["epoch"], row["step"]) for row in _rows(tmp_path / "s.csv") if row["kernel"] == "total"]

    known = tf.data.Dataset.from_tensor_slices((X[:20], Y[:20])).batch(4)  # 5 batches
    assert rows(known, 2, epochs=2) == [("1", "4"), ("1", "5"), ("2", "7"), ("2", "9"), ("2", "10")]
    unknown = known.filter(lambda x, y: True)
    for per_execution, first in ((1, 1), (2, 0)):
        with pytest.raises(InputError, match="SparsityLogger cannot count the steps of the epochs: give fit steps_per"):
            rows(unknown, per_execution, epochs=2, initial_epoch=first)
    assert rows(unknown, 1, epochs=2) == [("1", "3"), ("1", "5"), ("2", "6"), ("2", "9"), ("2", "10")]
    # Of epochs alone what is not known is left empty.
    model = _net()
    for first in (0, 1):
        logger = tfprune.SparsityLogger(csv=tmp_path / "e.csv")
        model.fit(unknown, epochs=first + 1, initial_epoch=first, verbose=0, callbacks=[logger])
    assert [(row["epoch"], row["step"]) for row in _rows(tmp_path / "e.csv")][::3] == [("1", "5"), ("2", "")]


def test_a_killed_epoch_is_told_once(tmp_path):
    """Rows of an epoch that did not end are not kept by the training that repeats it."""
    path, model = tmp_path / "s.csv", _net()

    class Kill(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.model.optimizer.iterations.numpy() == 6:
                raise KeyboardInterrupt

    def fit(*others, **options):
        logger = tfprune.SparsityLogger(csv=path, every_steps=2)
        model.fit(X, Y, batch_size=8, epochs=3, verbose=0, callbacks=[logger, *others], **options)
        return [row["step"] for row in _rows(path) if row["kernel"] == "total"]

    with pytest.raises(KeyboardInterrupt):
        fit(Kill())
    assert [row["step"] for row in _rows(path)] == ["2"] * 3 + ["4"] * 3 + ["6"] * 3
    assert fit(initial_epoch=1) == ["2", "4", "6", "8", "10", "12"]
    assert not [other for other in tmp_path.iterdir() if other != path]


def test_tables_and_events(tmp_path):
    schedule = tfprune.PolynomialSchedule(0.8, 0, 6, 2)
    logger = tfprune.SparsityLogger(tmp_path / "events", csv=tmp_path / "made" / "s.csv", every=2)
    callbacks = [tfprune.Prune("magnitude", schedule), logger, reports := Reports()]
    _net().fit(X, Y, batch_size=16, epochs=4, verbose=0, callbacks=callbacks)
    rows = _rows(tmp_path / "made" / "s.csv")
    assert [(row["epoch"], row["kernel"]) for row in rows] == [
        (epoch, path) for epoch in "24" for path in ("c/kernel", "d/kernel", "total")
    ]
    told = _events(tmp_path / "events")
    assert len(told) == 24
    for row in rows:
        report, path = reports.found[int(row["epoch"])], row["kernel"]
        weights = report.weights if path == "total" else report.weights_of[path]
        flops = report.flops if path == "total" else report.flops_of[path]
        names = "step", "weights", "kept", "effective", "flops_dense", "flops_kept", "flops_effective"
        assert [int(row[name]) for name in names] == [
            *(2 * int(row["epoch"]), weights.dense, weights.kept, weights.effective),
            *(flops.dense, flops.kept, flops.effective),
        ]
        expected = {"density": 1 - weights.direct_sparsity, "effective_density": 1 - weights.effective_sparsity}
        for name, value in expected.items():
            assert float(row[name]) == pytest.approx(value, rel=1e-5)
            assert told[int(row["epoch"]), f"{name}/{path}"] == pytest.approx(value, rel=1e-5)
        assert told[int(row["epoch"]), f"flops_kept/{path}"] == flops.kept
        assert told[int(row["epoch"]), f"flops_effective/{path}"] == flops.effective
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
    with pytest.raises(InputError, match=r"every must be a positive number of epochs\. Received: 0"):
        tfprune.SparsityLogger("logs", every=0)
    with pytest.raises(InputError, match=r"every_steps must be a positive number of updates\. Received: 0\.5"):
        tfprune.SparsityLogger("logs", every_steps=0.5)
    with pytest.raises(InputError, match="SparsityLogger needs every=, every_steps= or both"):
        tfprune.SparsityLogger("logs", every=None)
