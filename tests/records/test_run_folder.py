"""Folders of runs: claims, locks, links that are refused, records that say what they must, disks that are read-only."""

import errno
import json
import os

import numpy as np
import pytest

from tfprune.errors import InputError
from tfprune.records.atomic import atomic_copy, atomic_write_text
from tfprune.records.lock import FileLock
from tfprune.records.reading import MissingInputError
from tfprune.records.run_folder import Layout, RunFolder, file_of, is_finished, read_record

LAYOUT = Layout(results=("itdata_*.pkl", "summary.csv"), extras=("out.dat",), unit="iteration", stages=("masks",))


def _folder(path, prefix="IMP"):
    return RunFolder(path, LAYOUT, prefix)


def _made(path, finished=True):
    with _folder(path) as folder:
        folder.claim({"steps": 1})
        if finished:
            folder.mark()


@pytest.fixture
def folder(tmp_path):
    return _folder(tmp_path)


@pytest.fixture
def precious(tmp_path):
    path = tmp_path / "precious"
    path.write_text("what a user keeps")
    yield path
    assert path.read_text() == "what a user keeps"


@pytest.mark.parametrize("prefix", ["IMP", ""])
@pytest.mark.parametrize("name", ["run.lock", "run.json", "checkpoint.npz", "itdata_0.pkl", "summary.csv"])
def test_a_link_in_the_place_of_a_file_is_refused(tmp_path, precious, name, prefix):
    place = tmp_path / "run"
    place.mkdir()
    path = file_of(place, name, prefix)
    path.symlink_to(precious)
    with pytest.raises(InputError, match=f"{path.name} is a symbolic link"):
        _folder(place, prefix)
    path.unlink()
    file_of(place, "figures", prefix).symlink_to(tmp_path)  # figures may lie elsewhere
    _folder(place, prefix)


def test_links_of_other_runs_are_none_of_ours(tmp_path, precious):
    (tmp_path / "OTHER_run.json").symlink_to(precious)
    _folder(tmp_path)


def test_a_lock_is_not_emptied(tmp_path, precious):
    os.link(precious, tmp_path / "IMP_run.lock")  # a second name of the same file
    _folder(tmp_path).release()


def test_a_link_in_the_place_of_a_lock(tmp_path, precious):
    (tmp_path / "replicate.lock").symlink_to(precious)
    with pytest.raises(InputError, match=r"replicate\.lock is a symbolic link"):
        FileLock(tmp_path / "replicate.lock", shared=True)


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


def test_one_writer(tmp_path):
    with _folder(tmp_path):
        with pytest.raises(InputError, match="another process is writing the run 'IMP' there"):
            _folder(tmp_path)
        _folder(tmp_path, "OTHER")
        with _folder(tmp_path, ""), pytest.raises(InputError, match="another process is writing this run there"):
            _folder(tmp_path, "")
    _folder(tmp_path)


def test_same_settings_continue_others_are_refused_once_there_is_work(folder, tmp_path):
    folder.claim({"steps": 1})
    folder.claim({"steps": 2})  # nothing has been done yet
    (tmp_path / "IMP_itdata_0.pkl").touch()
    folder.claim({"steps": 2})
    told = r"holds a run with other settings: steps: 2 -> 3\. Use another --out_path, or --overwrite to start anew"
    with pytest.raises(InputError, match=told):
        folder.claim({"steps": 3})
    assert read_record(tmp_path, LAYOUT, "IMP") == {"input": {"steps": 2}, "finished": False}


def test_a_checkpoint_is_work(folder):
    folder.claim({"steps": 1})
    folder.write_checkpoint("checkpoint", {"step": np.array(3)})
    with pytest.raises(InputError, match="steps: 1 -> 2"):
        folder.claim({"steps": 2})


def test_what_differs_may_be_told_by_the_settings(folder, tmp_path):
    folder.claim({"p": (0.5, 0.25), "lr": 0.1})
    (tmp_path / "IMP_summary.csv").touch()
    seen = []
    folder.claim({"p": (0.5, 0.75)}, lambda found: seen.append(found) or [])  # they may call two records one run
    assert seen == [{"p": [0.5, 0.25], "lr": 0.1}]
    with pytest.raises(InputError, match=r"other settings: --lr: 0\.1 -> 1; --p: x{190}"):
        folder.claim({}, lambda found: ["--lr: 0.1 -> 1", f"--p: {'x' * 300}"])


def test_keys_that_may_differ(tmp_path):
    with RunFolder(tmp_path, Layout(results=("model",), ignored=("device",))) as folder:
        folder.claim({"steps": 1, "device": "cpu"})
        (tmp_path / "model").touch()
        folder.claim({"steps": 1, "device": "gpu"})
        with pytest.raises(InputError, match=r"other settings: width: None -> 2\. Use"):
            folder.claim({"steps": 1, "width": 2})


def test_results_of_nobody_are_replaced_on_request_only(folder, tmp_path):
    for name in ("IMP_itdata_0.pkl", "IMP_itdata_1.pkl", "OTHER_itdata_2.pkl", "IMP_out.dat", "IMP_notes.txt"):
        (tmp_path / name).touch()
    told = r"holds results \(IMP_itdata_0\.pkl, IMP_itdata_1\.pkl\) that have no IMP_run\.json"
    with pytest.raises(InputError, match=told):
        folder.claim({"steps": 1})
    folder.claim({"steps": 1}, overwrite=True)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"OTHER_itdata_2.pkl", "IMP_notes.txt", "IMP_run.json", "IMP_run.lock"}


def test_files_that_a_pattern_finds_and_that_are_not_the_runs(tmp_path):
    layout = Layout(results=("itdata_*.pkl",), mine=lambda name: name != "itdata_0.pkl")
    for name in ("itdata_0.pkl", "itdata_1.pkl"):
        (tmp_path / name).touch()
    with RunFolder(tmp_path, layout) as folder:
        with pytest.raises(InputError, match=r"holds results \(itdata_1\.pkl\)"):
            folder.claim({})
        folder.claim({}, overwrite=True)
    assert {path.name for path in tmp_path.iterdir()} == {"itdata_0.pkl", "run.json", "run.lock"}


def test_prefixes_with_signs_of_patterns(tmp_path):
    (tmp_path / "a1_summary.csv").touch()
    with _folder(tmp_path, "a[0-9]") as folder:
        folder.claim({})
        folder.clear()
    assert (tmp_path / "a1_summary.csv").exists()


def test_stages_come_in_their_order(folder, tmp_path):
    folder.claim({})
    assert not folder.reached("masks") and not folder.finished and not is_finished(tmp_path, LAYOUT, "IMP", "masks")
    folder.mark("masks")
    assert folder.reached("masks") and not folder.finished
    assert is_finished(tmp_path, LAYOUT, "IMP", "masks") and not is_finished(tmp_path, LAYOUT, "IMP")
    folder.mark()
    folder.mark("masks")  # no way back
    assert folder.reached("masks") and folder.finished
    assert is_finished(tmp_path, LAYOUT, "IMP", "masks") and is_finished(tmp_path, LAYOUT, "IMP")
    folder.claim({})
    assert folder.finished
    (tmp_path / "IMP_run.json").write_text('{"input": {}, "finished": "no"}')
    with pytest.raises(InputError, match='one of false, "masks", true'):
        is_finished(tmp_path, LAYOUT, "IMP")


@pytest.mark.parametrize("finished", ["no", "false", "", 0, 1, None, [], "trained"])
def test_finished_is_a_stage(tmp_path, finished):
    _made(tmp_path)
    (tmp_path / "IMP_run.json").write_text(json.dumps({"input": {}, "finished": finished}))
    with pytest.raises(InputError, match=r'IMP_run\.json: .* `finished` must be one of false, "masks", true'):
        _ = _folder(tmp_path).finished


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"input": 3', "not the record of a run"),
        ("[]", "not the record of a run"),
        ('{"finished": true}', r"not the record of a run \(it has no 'input'\)"),
        ('{"input": [], "finished": true}', "not the record of a run"),
        ('{"input": {}, "finished": true, "version": 2}', "files of version 2, this package reads None"),
    ],
)
def test_a_record_that_is_none(folder, tmp_path, text, told):
    (tmp_path / "IMP_run.json").write_text(text)
    with pytest.raises(InputError, match=rf"IMP_run\.json: {told}"):
        read_record(tmp_path, LAYOUT, "IMP")
    with pytest.raises(InputError, match=rf"IMP_run\.json: {told}.*; use another --out_path, or --overwrite to start"):
        folder.claim({"steps": 1})
    folder.claim({"steps": 1}, overwrite=True)
    assert read_record(tmp_path, LAYOUT, "IMP")["input"] == {"steps": 1}


def test_versions_of_files(tmp_path):
    layout = Layout(results=("model",), version=3)
    with RunFolder(tmp_path, layout) as folder:
        folder.claim({})
        folder.mark()
    assert json.loads((tmp_path / "run.json").read_text()) == {"version": 3, "input": {}, "finished": True}
    with pytest.raises(InputError, match="files of version 3, this package reads 4"):
        is_finished(tmp_path, Layout(results=("model",), version=4))


def test_no_record(tmp_path, folder):
    assert not is_finished(tmp_path, LAYOUT, "IMP") and not is_finished(tmp_path / "none", LAYOUT)
    with pytest.raises(MissingInputError):
        read_record(tmp_path, LAYOUT, "IMP")
    with pytest.raises(InputError, match=r"IMP_run\.json: no such record of a run; use --overwrite to start anew"):
        folder.mark()


def test_checkpoints(folder, tmp_path):
    assert folder.read_checkpoint("checkpoint") is None
    folder.write_checkpoint("checkpoint", {"a": np.arange(3), "b": np.array(2.5, np.float32)})
    arrays = folder.read_checkpoint("checkpoint")
    assert arrays["a"].tolist() == [0, 1, 2]
    assert arrays["b"].dtype == np.float32
    path = tmp_path / "IMP_checkpoint.npz"
    path.write_bytes(path.read_bytes()[:-30])
    told = r"IMP_checkpoint\.npz: not a checkpoint, or a damaged one .*; delete it to redo the iteration"
    with pytest.raises(InputError, match=told):
        folder.read_checkpoint("checkpoint")
    folder.drop_checkpoint()
    folder.drop_checkpoint()
    assert folder.read_checkpoint("checkpoint") is None


def test_a_checkpoint_is_never_unpickled(folder, tmp_path):
    np.savez(tmp_path / "IMP_checkpoint.npz", a=np.array([os.getcwd], dtype=object))
    with pytest.raises(InputError, match=r"a damaged one \(an array of type object\); delete it to redo the iteration"):
        folder.read_checkpoint("checkpoint")


def _read_only(monkeypatch, code):
    usual = os.open

    def read_only(path, flags, *rest, **more):
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise OSError(code, os.strerror(code))
        return usual(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", read_only)


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
def test_a_finished_run_on_a_disk_that_is_read_only(tmp_path, monkeypatch, code):
    _made(tmp_path / "done")
    _made(tmp_path / "open", finished=False)
    (tmp_path / "done" / "IMP_itdata_0.pkl").touch()
    _read_only(monkeypatch, code)
    folder = _folder(tmp_path / "done")
    folder.claim({"steps": 1})
    assert folder.finished
    with pytest.raises(InputError, match="holds a run with other settings: steps: 1 -> 2"):
        folder.claim({"steps": 2})
    folder.release()
    with pytest.raises(InputError, match=f"cannot use this folder: {os.strerror(code)}"):
        _folder(tmp_path / "open")


def test_files_of_a_run_with_a_longer_prefix_stay(tmp_path):
    layout = Layout(results=("*.npz", "table.csv"))
    for prefix in ("0_1", "0_1_b"):
        with RunFolder(tmp_path, layout, prefix) as folder:
            folder.claim({"steps": 1})
            folder.path("w.npz").write_bytes(b"1")
    with RunFolder(tmp_path, layout, "0_1") as folder:
        folder.claim({"steps": 2}, overwrite=True)
    assert {path.name for path in tmp_path.glob("*.npz")} == {"0_1_b_w.npz"}
    assert read_record(tmp_path, layout, "0_1_b")["input"] == {"steps": 1}
