"""Runs on machines without a disk in common: what is stored, what is brought, and what a lost machine costs."""

import threading
import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from tfprune.sweeps import stored_run
from tfprune.sweeps.engine import Job
from tfprune.sweeps.storage import BEGUN, FINISHED, Storage, key_of
from tfprune.sweeps.stored_run import perform_stored
from tfprune.sweeps.worker import study_of_job

ROOT = "/sweep/runs"  # of the machine that waits; there is none such on the one that works


@pytest.fixture
def url():
    return f"memory://{uuid.uuid4().hex}"


def job(**settings):
    return Job(0, "trivial_system:TrivialStudy", (), settings, ROOT)


def key(one):
    return key_of(study_of_job(one), ROOT)


def brought(url, one, root):
    Storage(url).fetch(key(one), FINISHED, root)
    return (study_of_job(replace(one, root=str(root))).folder / "sum.txt").read_text()


def test_a_run_is_stored_when_it_has_ended(url, tmp_path):
    outcome = perform_stored(job(x=3, y=0.5), url)
    assert (outcome.error, outcome.job) == (None, job(x=3, y=0.5))
    assert brought(url, job(x=3, y=0.5), tmp_path) == "3.5"
    assert not Path(ROOT).exists()


def test_a_stored_run_is_not_repeated(url, monkeypatch):
    perform_stored(job(), url)
    monkeypatch.setattr(stored_run, "perform", None)
    assert perform_stored(job(), url).error is None


def test_a_needed_run_is_brought_and_not_stored_twice(url, tmp_path):
    needy = job(x=1, word="b", after="c")
    assert "FileNotFoundError" in perform_stored(needy, url).error  # it has not been carried out yet
    assert perform_stored(replace(needy, back=1), url).error is None
    assert perform_stored(needy, url).error is None
    names = Storage(url).fetch(key(needy), FINISHED, tmp_path)
    folders = {Path(name).parent.name for name in names if name.endswith("sum.txt")}
    assert folders == {study_of_job(needy).folder.name}
    assert brought(url, needy, tmp_path) == "3.0"  # 1 + 1, and 1 of the run that it needs


def test_a_failed_run_is_told_and_not_stored(url):
    outcome = perform_stored(job(fault="error"), url)
    assert outcome.error == "RuntimeError: something went wrong" and "said before" in outcome.details
    assert not Storage(url).holds(key(job(fault="error")))


def test_a_storage_that_fails_is_told(url, monkeypatch):
    monkeypatch.setattr("tfprune.sweeps.storage.time.sleep", lambda seconds: None)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Storage, "_write", full)
    outcome = perform_stored(job(), url)
    assert outcome.error.startswith("storage: OSError") and outcome.full and outcome.job == job()


def test_a_run_is_stored_while_it_is_under_way_and_goes_on_from_there(url, tmp_path, monkeypatch):
    """Its state at one moment, at most so many seconds old; the next start has it before it begins."""
    one, seen = job(x=5), {}
    stored = threading.Event()
    put = Storage.put

    def told(self, key, state, root, names):
        put(self, key, state, root, names)
        if state == BEGUN and "0" in (root / next(iter(names))).read_text():
            stored.set()

    def begins(local):
        folder = study_of_job(local).folder
        seen["there"] = sorted(path.name for path in folder.glob("*"))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "notes.txt").write_text("step 100")
        (folder / ".half").write_text("not whole")
        assert stored.wait(20)
        raise KeyboardInterrupt  # the machine is gone

    monkeypatch.setattr(Storage, "put", told)
    monkeypatch.setattr(stored_run, "perform", begins)
    with pytest.raises(KeyboardInterrupt):
        perform_stored(one, url, seconds=0.01)
    assert seen["there"] == [] and Storage(url).holds(key(one), BEGUN) and not Storage(url).holds(key(one))
    with pytest.raises(KeyboardInterrupt):
        perform_stored(one, url, seconds=0.01)
    assert seen["there"] == ["notes.txt"]
    monkeypatch.undo()
    assert perform_stored(one, url).error is None
    assert not Storage(url).holds(key(one), BEGUN)
    assert brought(url, one, tmp_path) == "6.0"


def test_a_run_that_changes_while_it_is_copied_is_not_stored(url, tmp_path, monkeypatch):
    """Files of two moments together are a state that no killed run leaves."""
    (tmp_path / "a").write_text("1")
    storage, states = Storage(url), iter([{"a": (1, 1, 1)}, {"a": (2, 1, 1)}, {"a": (2, 1, 1)}, {"a": (2, 1, 1)}])
    monkeypatch.setattr(stored_run, "_own", lambda root, brought: next(states))
    last = stored_run._stored(storage, "k", tmp_path, {}, {})
    assert last == {} and not storage.holds("k", BEGUN)
    last = stored_run._stored(storage, "k", tmp_path, {}, last)
    assert last == {"a": (2, 1, 1)} and storage.holds("k", BEGUN)
