"""Folders of runs: locks, links that are refused, records that say what they must, disks that are read-only."""

import errno
import json
import os

import numpy as np
import pytest

from tfprune.errors import InputError
from tfprune.experiments.filters.folder import FilterFolder
from tfprune.experiments.imp.folder import ImpFolder
from tfprune.experiments.one_shot.folder import OneShotFolder, is_unfinished
from tfprune.records.atomic import atomic_copy, atomic_write_text
from tfprune.records.metric_log import MetricLog


def _folder(path):
    return ImpFolder(path, "IMP")


def _made(path, finished=True):
    folder = _folder(path)
    folder.claim({"steps": 1}, lambda record: [])
    if finished:
        folder.mark_finished()
    folder.release()


@pytest.fixture
def precious(tmp_path):
    path = tmp_path / "precious"
    path.write_text("what a user keeps")
    yield path
    assert path.read_text() == "what a user keeps"


@pytest.mark.parametrize("name", ["run.lock", "run.json", "checkpoint.npz", "itdata_0.pkl", "summary.csv"])
def test_a_link_in_the_place_of_a_file_is_refused(tmp_path, precious, name):
    place = tmp_path / "run"
    place.mkdir()
    (place / f"IMP_{name}").symlink_to(precious)
    with pytest.raises(InputError, match=f"IMP_{name} is a symbolic link"):
        _folder(place)
    (place / f"IMP_{name}").unlink()
    (place / "IMP_figures").symlink_to(tmp_path)  # figures may lie elsewhere
    _folder(place)


def test_a_lock_is_not_emptied(tmp_path, precious):
    os.link(precious, tmp_path / "IMP_run.lock")  # a second name of the same file
    _folder(tmp_path).release()


def test_a_link_in_the_place_of_a_result_written_later(tmp_path, precious):
    (tmp_path / "result").symlink_to(precious)
    (tmp_path / "other").write_text("other")
    for write in (
        lambda: atomic_write_text(tmp_path / "result", "new"),
        lambda: atomic_copy(tmp_path / "other", tmp_path / "result"),
    ):
        with pytest.raises(InputError, match="result is a symbolic link"):
            write()
    with pytest.raises(InputError, match="must have no NUL"):
        atomic_write_text(f"{tmp_path}/a\0b", "new")


def test_a_lock_that_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "IMP_run.lock")
    with pytest.raises(InputError, match="cannot use this folder: its lock is not an ordinary file"):
        _folder(tmp_path)


@pytest.mark.parametrize("finished", ["no", "false", "", 0, 1, None, [], "masks"])
def test_finished_is_true_or_false(tmp_path, finished):
    _made(tmp_path)
    (tmp_path / "IMP_run.json").write_text(json.dumps({"input": {}, "finished": finished}))
    with pytest.raises(InputError, match=r"IMP_run\.json: .* `finished` must be one of false, true"):
        _ = _folder(tmp_path).finished


def test_a_one_shot_run_may_be_pruned_alone(tmp_path):
    folder = OneShotFolder(tmp_path, "0_10", tmp_path / "dense")
    folder.claim({}, lambda record: [])
    folder.mark_pruned()
    assert folder.pruned and not folder.finished and is_unfinished(tmp_path, "0_10")
    folder.mark_finished()
    assert folder.pruned and folder.finished and not is_unfinished(tmp_path, "0_10")
    (tmp_path / "0_10_run.json").write_text('{"input": {}, "finished": "no"}')
    with pytest.raises(InputError, match='one of false, true, "masks"'):
        is_unfinished(tmp_path, "0_10")


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
def test_a_finished_run_on_a_disk_that_is_read_only(tmp_path, monkeypatch, code):
    _made(tmp_path / "done")
    _made(tmp_path / "open", finished=False)
    (tmp_path / "done" / "IMP_itdata_0.pkl").touch()
    usual = os.open

    def read_only(path, flags, *rest, **more):
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise OSError(code, os.strerror(code))
        return usual(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", read_only)
    folder = _folder(tmp_path / "done")
    folder.claim({"steps": 1}, lambda record: [])
    assert folder.finished
    with pytest.raises(InputError, match="holds a run with another input: steps"):
        folder.claim({"steps": 2}, lambda record: ["steps: 1 -> 2"])
    folder.release()
    with pytest.raises(InputError, match=f"cannot use this folder: {os.strerror(code)}"):
        _folder(tmp_path / "open")


def _interrupted(path):
    """A folder of a network that was killed after its second epoch."""
    folder = FilterFolder(path)
    folder.claim({})
    log = MetricLog()
    for epoch in range(3):
        log.add("test_accuracy", epoch, 0.5)
        log.add("test_loss", epoch, 0.5)
    folder.write_log(log)
    folder.write_checkpoint("checkpoint", {"step": np.array(2)})
    return folder


@pytest.mark.parametrize("kept", [[], [0, 1], [1, 2], [0, 1, 2]])
def test_a_log_that_lacks_what_the_checkpoint_has_seen(tmp_path, kept):
    folder = _interrupted(tmp_path)
    lines = folder.path("logger").read_text().splitlines(keepends=True)
    folder.path("logger").write_text("".join(line for line in lines if int(line.split(",")[1]) in kept))
    if len(kept) == 3:
        assert len(folder.resume_log(2, ("test_accuracy", "test_loss"))) == 6
        return
    with pytest.raises(InputError, match=r"logger: lacks metrics up to iteration 2, .*; delete checkpoint\.npz"):
        folder.resume_log(2, ("test_accuracy", "test_loss"))
