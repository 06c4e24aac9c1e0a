"""The public names exist and load late; saved sparse models load in a fresh process."""

import inspect
import subprocess
import sys

import keras
import numpy as np
import pytest

import tfprune


def test_every_name_is_there_and_listed():
    for name in tfprune.__all__:
        assert getattr(tfprune, name) is not None
        assert name in dir(tfprune)
    assert not hasattr(tfprune, "no_such_name")


def test_sparsity_is_a_room_and_a_function():
    import tfprune.sparsity.graph
    from tfprune.sparsity.report import sparsity

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="d")])
    report = tfprune.sparsity(model, {"d/kernel": np.eye(3, 2, dtype=bool)})
    assert (report.weights.kept, report.weights.effective) == (2, 2)
    given = list(inspect.signature(tfprune.sparsity).parameters)
    assert given == list(inspect.signature(sparsity).parameters)


def test_a_saved_sparse_model_loads_in_a_fresh_process(tmp_path):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="d")])
    path = tmp_path / "sparse.keras"
    tfprune.masked(model, {"d/kernel": np.eye(3, 2, dtype=bool)}).save(path)
    code = f"import tfprune; print(tfprune.masks_of(tfprune.load_model({str(path)!r})).kept)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "2", done.stderr[-2000:]


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "sparse.keras"
    with pytest.raises(tfprune.InputError, match=f"cannot read {path}"):
        tfprune.load_model(path)
    path.write_bytes(b"PK not a model")
    with pytest.raises(tfprune.InputError, match=f"cannot read {path}") as caught:
        tfprune.load_model(path)
    assert "\n" not in str(caught.value)
