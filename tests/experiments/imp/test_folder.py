"""Who may write into a run's folder, and what is kept there between starts."""

import json
import os

import numpy as np
import pytest

from tfprune.errors import InputError
from tfprune.experiments.imp.files.tables import add_row, read_rows
from tfprune.experiments.imp.study import layout_of
from tfprune.records.run_folder import RunFolder


def _open(place, first_iteration=0, prefix="IMP"):
    return RunFolder(place, layout_of(first_iteration), prefix)


@pytest.fixture
def folder(tmp_path):
    with _open(tmp_path) as opened:
        yield opened


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


def test_overwrite_keeps_what_a_restart_builds_on(tmp_path):
    kept = {"IMP_itdata_0.pkl", "IMP_itdata_1.pkl", "IMP_result_1.json", "OTHER_itdata_2.pkl", "IMP_itdata_x.pkl"}
    for name in (*kept, "IMP_itdata_2.pkl", "IMP_result_2.json", "IMP_random_result_2.json", "IMP_out.dat"):
        (tmp_path / name).touch()
    folder = _open(tmp_path, first_iteration=2)
    with pytest.raises(InputError, match=r"no IMP_run\.json"):
        _claim(folder, {"steps": 1})
    _claim(folder, {"steps": 1}, overwrite=True)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {*kept, "IMP_run.json", "IMP_run.lock"}


def test_a_restart_beside_the_run_it_continues_needs_no_overwrite(tmp_path):
    (tmp_path / "IMP_itdata_0.pkl").touch()
    folder = _open(tmp_path, first_iteration=1)
    _claim(folder, {"steps": 1})
    assert not folder.finished


def test_finished(folder):
    _claim(folder, {"steps": 1})
    assert not folder.finished
    folder.mark()
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
        _open(tmp_path)
    _open(tmp_path, prefix="OTHER").release()


def test_a_checkpoint_is_never_unpickled(folder, tmp_path):
    np.savez(tmp_path / "IMP_checkpoint.npz", a=np.array([os.getcwd], dtype=object))
    with pytest.raises(InputError, match=r"a damaged one \(an array of type object\); delete it to redo the iteration"):
        folder.read_checkpoint("checkpoint")


def test_rows_keep_every_bit_and_replace_their_iteration(folder):
    values = np.random.default_rng(0).random(50)
    for iteration, value in enumerate(values):
        add_row(folder.path("summary.csv"), {"iteration": iteration, "value": float(value)})
    add_row(folder.path("summary.csv"), {"iteration": 7, "value": 0.1})
    table = read_rows(folder.path("summary.csv"))
    assert table["iteration"].tolist() == list(range(50))
    values[7] = 0.1
    assert table["value"].tolist() == values.tolist()
