"""Runs in a storage are whole or not there, whatever the storage is; what is damaged or lies elsewhere is told."""

import json
import uuid
from pathlib import Path

import fsspec
import pytest

from tfprune.errors import InputError
from tfprune.sweeps.engine import Job
from tfprune.sweeps.storage import BEGUN, FINISHED, Storage, key_of, names_of, stamps
from tfprune.sweeps.worker import study_of_job

FILES = {"a/0_2_run.json": "{}", "a/0_2_weights.npz": "w" * 3000, "a/deep/figure.png": "p"}


@pytest.fixture(params=["path", "file", "memory"])
def url(request, tmp_path):
    name = uuid.uuid4().hex
    return {"path": str(tmp_path / name), "file": f"file://{tmp_path}/{name}", "memory": f"memory://{name}"}[
        request.param
    ]


def written(root, files=FILES):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def read(root):
    return {path.relative_to(root).as_posix(): path.read_text() for path in root.rglob("*") if path.is_file()}


def test_a_run_comes_back_as_it_was_stored(url, tmp_path):
    source, target = written(tmp_path / "source"), tmp_path / "target"
    storage = Storage(url)
    storage.check()
    assert not storage.holds("main-1") and storage.fetch("main-1", FINISHED, target) is None
    storage.put("main-1", FINISHED, source, FILES)
    assert Storage(url).holds("main-1") and not storage.holds("main-1", BEGUN) and not storage.holds("main-2")
    names = Storage(url).fetch("main-1", FINISHED, target)
    assert names[-1] == "a/0_2_run.json" and set(names) == set(FILES)  # records last
    assert read(target) == FILES


def test_a_begun_run_is_replaced_and_gone_when_it_is_finished(url, tmp_path):
    storage, key = Storage(url), "main-1"
    for step in range(3):
        storage.put(key, BEGUN, written(tmp_path / "source", {"a/checkpoint": f"step {step}"}), ["a/checkpoint"])
    assert storage.fetch(key, BEGUN, tmp_path / "target") == ["a/checkpoint"]
    assert (tmp_path / "target/a/checkpoint").read_text() == "step 2"
    files, root = fsspec.core.url_to_fs(url)
    assert len(files.ls(f"{root}/{key}")) == 2  # the latest, and what names it
    storage.put(key, FINISHED, written(tmp_path / "source"), FILES)
    assert storage.fetch(key, BEGUN, tmp_path / "target") is None
    assert sorted(Path(name).suffix for name in files.ls(f"{root}/{key}", detail=False)) == [".json", ".tar"]


def test_what_was_broken_off_is_not_there(url, tmp_path, monkeypatch):
    """The note that names a run is written after it: a storage that dies between leaves the run as it was."""
    storage, key = Storage(url), "main-1"
    storage.put(key, BEGUN, written(tmp_path / "source", {"a/checkpoint": "old"}), ["a/checkpoint"])
    write = Storage._write

    def dies(self, name, content):
        if name.endswith(".json"):
            raise PermissionError("gone")
        write(self, name, content)

    monkeypatch.setattr(Storage, "_write", dies)
    with pytest.raises(PermissionError):
        storage.put(key, BEGUN, written(tmp_path / "source", {"a/checkpoint": "new"}), ["a/checkpoint"])
    with pytest.raises(PermissionError):
        storage.put(key, FINISHED, written(tmp_path / "source"), FILES)
    assert not storage.holds(key)
    storage.fetch(key, BEGUN, tmp_path / "target")
    assert (tmp_path / "target/a/checkpoint").read_text() == "old"


def test_damage_is_told(url, tmp_path):
    storage, key = Storage(url), "main-1"
    storage.put(key, FINISHED, written(tmp_path / "source"), FILES)
    files, root = fsspec.core.url_to_fs(url)
    note = json.loads(files.cat_file(f"{root}/{key}/finished.json"))
    content = files.cat_file(f"{root}/{note['tar']}")
    for damaged in (content[:-1], content.replace(b"wwww", b"wwwx", 1)):
        files.pipe_file(f"{root}/{note['tar']}", damaged)
        with pytest.raises(InputError, match="is damaged; delete main-1 there"):
            Storage(url).fetch(key, FINISHED, tmp_path / "target")
    files.rm_file(f"{root}/{note['tar']}")
    with pytest.raises(InputError, match="is missing; delete main-1 there"):
        Storage(url).fetch(key, FINISHED, tmp_path / "target")
    for text in (b"{", b"[]", b"7", json.dumps({**note, "tar": "../../etc/passwd"}).encode()):
        files.pipe_file(f"{root}/{key}/finished.json", text)
        with pytest.raises(InputError, match=r"finished\.json is damaged"):
            Storage(url).holds(key)
    assert not (tmp_path / "target").exists()


def test_a_network_that_fails_once_is_asked_again(tmp_path, monkeypatch):
    storage, left = Storage("memory://again"), [OSError("reset by peer"), TimeoutError()]
    monkeypatch.setattr("tfprune.sweeps.storage.time.sleep", lambda seconds: None)
    write = Storage._write

    def fails(self, name, content):
        if left:
            raise left.pop()
        write(self, name, content)

    monkeypatch.setattr(Storage, "_write", fails)
    storage.put("main-1", FINISHED, written(tmp_path), FILES)
    assert storage.holds("main-1") and not left


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("nosuch://bucket/folder", "--storage=nosuch://bucket/folder: cannot be used: Protocol not known"),
        ("/proc/nowhere", "--storage=/proc/nowhere: cannot be used: "),
    ],
)
def test_a_storage_that_cannot_be_used_is_told(url, told):
    with pytest.raises(InputError) as caught:
        Storage(url).check()
    assert told in str(caught.value) and "\n" not in str(caught.value)


def job(root, **settings):
    return Job(0, "main", (), {"architecture": "lenet300100", "data": "digits", "iterations": 5, **settings}, str(root))


def test_a_key_stands_for_the_run_and_not_for_the_machine(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    of = [key_of(study_of_job(job(root, **changed)), root)
          for root, changed in ((one, {}), (two, {}), (one, {"sample": "1"}), (one, {"iterations": 6}))]  # fmt: skip
    assert of[0] == of[1] and len(set(of)) == 3 and all(key.startswith("one_shot-") for key in of)
    study = study_of_job(job(one, out_path=str(two)))
    with pytest.raises(InputError, match="--storage needs runs whose folder the sweep chooses"):
        key_of(study, one)


def test_files_of_a_run_are_told_from_those_beside_it(tmp_path):
    studies = [study_of_job(job(tmp_path, sample=sample)) for sample in ("0", "00")]
    for study in studies:
        for name in ("run.json", "weights.npz", "run.lock"):
            written(study.folder, {f"{study.prefix}_{name}": "x"})
    found = names_of(studies[0], tmp_path)
    assert {Path(name).name for name in found} == {
        f"{studies[0].prefix}_{name}" for name in ("run.json", "weights.npz")
    }


def test_what_is_not_yet_whole_is_no_part_of_a_run(tmp_path):
    written(tmp_path, {"a/run.json": "", "a/run.lock": "", "a/.x.tmp": "", "a/.folder/y": "", "b": ""})
    assert set(stamps(tmp_path)) == {"a/run.json", "b"}
