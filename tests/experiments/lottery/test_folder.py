"""The folder of one network of a lottery: what is written comes back, what is not ours is refused in one line."""

import json
import subprocess
import sys

import numpy as np
import pytest

from tfprune.errors import InputError
from tfprune.experiments.lottery import files
from tfprune.experiments.lottery.replicate import Replicate
from tfprune.records.reading import MissingInputError
from tfprune.records.run_folder import RunFolder, is_finished, read_record

RECORD = {"label": "main", "seed": 1, "sizes": (300, 100)}
WEIGHTS = {"fc/kernel": np.arange(6, dtype=np.float32).reshape(2, 3), "fc/bias": np.zeros(3, np.float32)}
MASK = {"fc/kernel": np.array([[1, 0, 1], [1, 1, 0]], bool)}


def _opened(path):
    return RunFolder(path, files.LAYOUT)


def _read_record(path):
    return read_record(path, files.LAYOUT)


@pytest.fixture
def folder(tmp_path):
    opened = _opened(tmp_path / "replicate_1/main")
    opened.claim(RECORD)
    yield opened
    opened.release()


def _refused(call, *told):
    with pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    assert all(text in message for text in told), message


def test_everything_comes_back(folder):
    files.write_weights(folder.folder, "ep0_it0", WEIGHTS)
    files.write_mask(folder.folder, MASK)
    folder.write_checkpoint("checkpoint", {"iteration": np.int64(5)})
    found = files.read_weights(folder.folder, "ep0_it0")
    assert list(found) == list(WEIGHTS)
    for name, array in WEIGHTS.items():
        np.testing.assert_array_equal(found[name], array)
    np.testing.assert_array_equal(files.read_mask(folder.folder)["fc/kernel"], MASK["fc/kernel"])
    assert json.loads((folder.folder / "sparsity_report.json").read_text()) == {"total": 6, "unpruned": 4}
    assert files.read_report(folder.folder).density == pytest.approx(2 / 3)
    assert folder.read_checkpoint("checkpoint")["iteration"] == 5
    assert not files.is_trained(folder.folder)
    folder.mark(files.TRAINED)
    assert files.is_trained(folder.folder) and not folder.finished
    folder.mark()
    assert files.is_trained(folder.folder) and is_finished(folder.folder, files.LAYOUT) and folder.finished


def test_absent_files(tmp_path, folder):
    assert files.read_mask(tmp_path) is files.read_report(tmp_path) is None
    with pytest.raises(MissingInputError):
        _read_record(tmp_path)
    assert len(files.read_log(tmp_path)) == 0
    assert not files.is_trained(tmp_path) and not files.is_trained(folder.folder)


def test_steps_are_listed_by_time(folder):
    for step in ("ep10_it0", "ep2_it30", "ep2_it4"):
        files.write_weights(folder.folder, step, WEIGHTS)
    (folder.folder / "model_old.npz").write_bytes(b"")
    assert files.saved_steps(folder.folder) == ["ep2_it4", "ep2_it30", "ep10_it0"]
    _refused(lambda: files.read_weights(folder.folder, "ep1_it0"), "ep1_it0", "kept steps: ep2_it4, ep2_it30, ep10_it0")
    with pytest.raises(ValueError, match="ep2_it3"):
        files.write_weights(folder.folder, "../x", WEIGHTS)
    with pytest.raises(ValueError, match="float32"):
        files.write_weights(folder.folder, "ep0_it1", {"a": np.zeros(1)})


def test_hyperparameters_are_readable(folder):
    groups = {"model": {"model_name": "a", "frozen": False}, "training": {"lr": 0.1}}
    files.write_hparams(folder.folder, groups)
    text = (folder.folder / "hparams.log").read_text()
    assert text == "[model]\nmodel_name = a\nfrozen = False\n\n[training]\nlr = 0.1\n"


def test_the_same_run_continues_and_another_is_refused(folder):
    files.write_weights(folder.folder, "ep0_it0", WEIGHTS)
    folder.claim({**RECORD, "label": "another one"})
    _refused(
        lambda: folder.claim(RECORD | {"seed": 2}), "other settings: seed: 1 -> 2", "another --root", "--overwrite"
    )
    folder.claim(RECORD | {"seed": 2}, overwrite=True)
    assert files.saved_steps(folder.folder) == []
    assert _read_record(folder.folder)["input"]["seed"] == 2


def test_a_start_without_results_gives_way(folder):
    folder.claim(RECORD | {"seed": 2})
    assert _read_record(folder.folder)["input"]["seed"] == 2


def test_results_without_a_record(tmp_path):
    (tmp_path / "logger").write_text("")
    folder = _opened(tmp_path)
    assert not files.is_trained(tmp_path)
    _refused(lambda: folder.claim(RECORD), "results (logger) that have no run.json")
    folder.claim(RECORD, overwrite=True)
    assert not (tmp_path / "logger").exists()


def test_another_version(folder):
    path = folder.folder / "run.json"
    assert json.loads(path.read_text())["version"] == 1
    path.write_text(json.dumps({"version": 2, "input": {}, "finished": True}))
    _refused(lambda: folder.claim(RECORD), "run.json: files of version 2, this package reads 1")
    _refused(lambda: _read_record(folder.folder), "files of version 2, this package reads 1")
    folder.claim(RECORD, overwrite=True)


@pytest.mark.parametrize(
    "text", ["", "[]", "null", "{}", '{"version": 1}', '{"version": 1, "input": 3, "finished": 1}']
)
def test_foreign_records(folder, text):
    (folder.folder / "run.json").write_text(text)
    _refused(lambda: folder.claim(RECORD), "run.json: not the record of a run")
    _refused(lambda: _read_record(folder.folder), "run.json: not the record of a run")


@pytest.mark.parametrize(
    "text", ["", "[1]", '{"total": 5}', '{"total": 5, "unpruned": 6}', '{"total": 0, "unpruned": 0}']
)
def test_foreign_reports(folder, text):
    (folder.folder / "sparsity_report.json").write_text(text)
    _refused(lambda: files.read_report(folder.folder), "sparsity_report.json: not a sparsity report")


def test_damaged_arrays(folder):
    files.write_weights(folder.folder, "ep0_it0", WEIGHTS)
    files.write_mask(folder.folder, MASK)
    folder.write_checkpoint("checkpoint", {"a": np.zeros(100)})
    reads = {
        "model_ep0_it0.npz": lambda: files.read_weights(folder.folder, "ep0_it0"),
        "mask.npz": lambda: files.read_mask(folder.folder),
        "checkpoint.npz": lambda: folder.read_checkpoint("checkpoint"),
    }
    for name, read in reads.items():
        path = folder.folder / name
        whole = path.read_bytes()
        for damaged in (b"", b"no zip", whole[: len(whole) // 2]):
            path.write_bytes(damaged)
            _refused(read, name)


def test_pickled_and_foreign_arrays(folder):
    path = folder.folder / "model_ep0_it0.npz"
    for content in ({"a": np.array([{}], object)}, {"a": np.zeros(2)}, {}):
        np.savez(path, **content)
        _refused(lambda: files.read_weights(folder.folder, "ep0_it0"), path.name)


def test_unreadable_logger(folder):
    (folder.folder / "logger").write_bytes(b"\xff\xfe")
    _refused(lambda: files.read_log(folder.folder), "logger")


def _elsewhere(code):
    lines = [
        "from tfprune.experiments.lottery.files import LAYOUT",
        "from tfprune.experiments.lottery.replicate import Replicate",
        "from tfprune.records.run_folder import RunFolder",
    ]
    code = "\n".join([*lines, code])
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def test_only_one_process_trains_in_a_folder(folder):
    code = f"RunFolder({str(folder.folder)!r}, LAYOUT)"
    assert "another process is writing this run there" in _elsewhere(code).stderr
    folder.release()
    assert _elsewhere(code).returncode == 0


def test_the_lock_of_a_replicate(tmp_path):
    code = f"Replicate({str(tmp_path)!r}, shared={{}})"
    with Replicate(tmp_path):
        for shared in (True, False):
            assert "another process works on this replicate" in _elsewhere(code.format(shared)).stderr
    with Replicate(tmp_path, shared=True):
        assert _elsewhere(code.format(True)).returncode == 0
        assert "another process works" in _elsewhere(code.format(False)).stderr
    assert _elsewhere(code.format(False)).returncode == 0


def test_a_link_in_the_place_of_the_lock_of_a_replicate(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("what a user keeps")
    (tmp_path / "replicate.lock").symlink_to(precious)
    with pytest.raises(InputError, match=r"replicate\.lock is a symbolic link"):
        Replicate(tmp_path)
    assert precious.read_text() == "what a user keeps"


def test_a_replicate_is_cleared_with_its_branches(tmp_path):
    for name in ("level_pretrain/main", "level_0/main", "level_10/main", "level_2/lottery_branch_x", "level_2/main"):
        with _opened(tmp_path / name) as run:
            run.claim(RECORD)
            files.write_weights(run.folder, "ep0_it0", WEIGHTS)
    (tmp_path / "level_0/main/notes.txt").write_text("mine")
    found = [(location.level, location.branch) for location in files.locations(tmp_path)]
    assert found == [(None, "main"), (0, "main"), (2, "main"), (2, "lottery_branch_x"), (10, "main")]
    with Replicate(tmp_path) as lock:
        lock.clear()
    assert not list(files.locations(tmp_path)) and not list(tmp_path.rglob("model_*"))
    assert (tmp_path / "level_0/main/notes.txt").exists()
