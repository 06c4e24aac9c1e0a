"""Locks between processes, and what may lie in the place of their files."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from tfprune.errors import InputError
from tfprune.records import lock
from tfprune.records.lock import FileLock, taking_turns

HOLDER = """
import sys
from tfprune.records.lock import FileLock
try:
    lock = FileLock(sys.argv[1], shared=sys.argv[2] == "shared")
except BlockingIOError:
    print("refused", flush=True)
else:
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """`holder("shared")`: a process that asked for the lock; `.said` is whether it has it."""
    started = []

    def start(kind):
        command = [sys.executable, "-c", HOLDER, str(tmp_path / "lock"), kind]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        process.said = process.stdout.readline().strip()
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_lock_of_another_process_is_told_until_it_is_killed(tmp_path, holder):
    process = holder("alone")
    for shared in (False, True):
        with pytest.raises(BlockingIOError):
            FileLock(tmp_path / "lock", shared)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    taken = FileLock(tmp_path / "lock")
    assert holder("alone").said == holder("shared").said == "refused"
    taken.release()
    taken.release()
    assert holder("alone").said == "held"


def test_shared_locks_go_together(tmp_path, holder):
    assert holder("shared").said == "held"
    taken = FileLock(tmp_path / "lock", shared=True)
    with pytest.raises(BlockingIOError):
        FileLock(tmp_path / "lock")
    assert holder("shared").said == "held" and holder("alone").said == "refused"
    taken.release()


def test_a_second_name_of_a_users_file_is_not_changed(tmp_path):
    (tmp_path / "precious").write_text("what a user keeps")
    os.link(tmp_path / "precious", tmp_path / "lock")
    before = (tmp_path / "precious").stat()
    FileLock(tmp_path / "lock").release()
    after = (tmp_path / "precious").stat()
    assert (tmp_path / "precious").read_text() == "what a user keeps"
    assert (after.st_mtime_ns, after.st_mode, after.st_ino) == (before.st_mtime_ns, before.st_mode, before.st_ino)
    FileLock(tmp_path / "lock").remove()
    assert os.listdir(tmp_path) == ["precious"]


@pytest.mark.parametrize("has_flag", [True, False])
@pytest.mark.parametrize("comes", ["before", "meanwhile"])
def test_a_link_is_refused(tmp_path, monkeypatch, has_flag, comes):
    """Also where the system cannot open without following, and where it comes between the check and the opening."""
    (tmp_path / "precious").write_text("what a user keeps")
    if not has_flag:
        for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC"):
            monkeypatch.delattr(os, name)
    usual = os.open

    def put(path, *rest, **more):
        if comes == "meanwhile":
            (tmp_path / "lock").symlink_to(tmp_path / "precious")
        return usual(path, *rest, **more)

    if comes == "before":
        (tmp_path / "lock").symlink_to(tmp_path / "precious")
    monkeypatch.setattr(os, "open", put)
    with pytest.raises((InputError, OSError), match=r"is a symbolic link|Too many levels of symbolic links"):
        FileLock(tmp_path / "lock")
    monkeypatch.undo()
    assert (tmp_path / "precious").read_text() == "what a user keeps"
    (tmp_path / "lock").unlink()
    FileLock(tmp_path / "precious").release()  # nothing holds it


def test_a_lock_that_its_owner_deleted_meanwhile_is_none(tmp_path, monkeypatch):
    first, usual = FileLock(tmp_path / "lock"), lock.portalocker.lock

    def slow(file, flags):
        first.remove()
        usual(file, flags)

    monkeypatch.setattr(lock.portalocker, "lock", slow)
    with pytest.raises(BlockingIOError, match="deleted it"):
        FileLock(tmp_path / "lock")
    assert os.listdir(tmp_path) == []


def test_who_takes_turns_waits_for_the_other_and_leaves_nothing(tmp_path, holder):
    process, entered = holder("alone"), threading.Event()

    def enter():
        with taking_turns(tmp_path / "lock"):
            entered.set()

    thread = threading.Thread(target=enter)
    thread.start()
    assert process.said == "held" and not entered.wait(0.3)
    process.kill()
    thread.join(timeout=30)
    assert entered.is_set() and not list(tmp_path.iterdir())


def test_without_a_place_for_a_lock_nobody_waits(tmp_path):
    with taking_turns(tmp_path / "missing" / "lock"):
        assert not list(tmp_path.iterdir())
