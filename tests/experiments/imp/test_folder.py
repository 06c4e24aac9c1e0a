"""Who may write into a run's folder, and what is kept there between starts."""

import json
import os

import numpy as np
import pytest

from tfprune.errors import InputError
from tfprune.experiments.imp.folder import ImpFolder


@pytest.fixture
def folder(tmp_path):
    return ImpFolder(tmp_path, "IMP")


def _differing(now):
    return lambda record: [f"{key}: {record[key]} -> {now[key]}" for key in now if record[key] != now[key]]


def _claim(folder, record, **keywords):
    folder.claim(record, _differing(record), **keywords)


def test_same_input_continues_another_is_refused_once_there_is_work(folder, tmp_path):
    _claim(folder, {"steps": 1})
    _claim(folder, {"steps": 2})  # nothing has been done yet
    (tmp_path / "IMP_itdata_0.pkl").touch()
    _claim(folder, {"steps": 2})
    with pytest.raises(InputError, match="steps: 2 -> 3"):
        _claim(folder, {"steps": 3})
    assert json.loads((tmp_path / "IMP_run.json").read_text())["input"] == {"steps": 2}


def test_a_checkpoint_is_work(folder):
    _claim(folder, {"steps": 1})
    folder.write_checkpoint("checkpoint", {"step": np.array(3)})
    with pytest.raises(InputError, match="steps: 1 -> 2"):
        _claim(folder, {"steps": 2})


def test_overwrite_keeps_what_a_restart_builds_on(folder, tmp_path):
    for name in ("IMP_itdata_0.pkl", "IMP_itdata_1.pkl", "IMP_itdata_2.pkl", "OTHER_itdata_2.pkl", "IMP_out.dat"):
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=r"no IMP_run\.json"):
        _claim(folder, {"steps": 1}, first_iteration=2)
    _claim(folder, {"steps": 1}, first_iteration=2, overwrite=True)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"IMP_itdata_0.pkl", "IMP_itdata_1.pkl", "OTHER_itdata_2.pkl", "IMP_run.json", "IMP_run.lock"}


def test_a_restart_beside_the_run_it_continues_needs_no_overwrite(folder, tmp_path):
    (tmp_path / "IMP_itdata_0.pkl").touch()
    _claim(folder, {"steps": 1}, first_iteration=1)
    assert not folder.finished


def test_finished(folder):
    _claim(folder, {"steps": 1})
    assert not folder.finished
    folder.mark_finished()
    assert folder.finished
    _claim(folder, {"steps": 1})
    assert folder.finished


def test_a_record_that_is_none(folder, tmp_path):
    (tmp_path / "IMP_run.json").write_text('{"input": 3')
    with pytest.raises(InputError, match=r"IMP_run\.json: not the record of a run"):
        _claim(folder, {"steps": 1})
    _claim(folder, {"steps": 1}, overwrite=True)


def test_one_writer(folder, tmp_path):
    with pytest.raises(InputError, match="another process is writing the run 'IMP'"):
        ImpFolder(tmp_path, "IMP")
    ImpFolder(tmp_path, "OTHER")


def test_checkpoints(folder, tmp_path):
    assert folder.read_checkpoint("checkpoint") is None
    folder.write_checkpoint("checkpoint", {"a": np.arange(3), "b": np.array(2.5, np.float32)})
    arrays = folder.read_checkpoint("checkpoint")
    assert arrays["a"].tolist() == [0, 1, 2]
    assert arrays["b"].dtype == np.float32
    path = tmp_path / "IMP_checkpoint.npz"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InputError, match=r"IMP_checkpoint\.npz: not a checkpoint, or a damaged one"):
        folder.read_checkpoint("checkpoint")
    folder.drop_checkpoint("checkpoint")
    folder.drop_checkpoint("checkpoint")
    assert folder.read_checkpoint("checkpoint") is None


def test_a_checkpoint_is_never_unpickled(folder, tmp_path):
    np.savez(tmp_path / "IMP_checkpoint.npz", a=np.array([os.getcwd], dtype=object))
    with pytest.raises(InputError, match=r"a damaged one \(an array of type object\); delete it to redo the iteration"):
        folder.read_checkpoint("checkpoint")


def test_rows_keep_every_bit_and_replace_their_iteration(folder):
    values = np.random.default_rng(0).random(50)
    for iteration, value in enumerate(values):
        folder.add_row("summary", {"iteration": iteration, "value": float(value)})
    folder.add_row("summary", {"iteration": 7, "value": 0.1})
    table = folder.read_table("summary")
    assert table["iteration"].tolist() == list(range(50))
    values[7] = 0.1
    assert table["value"].tolist() == values.tolist()
