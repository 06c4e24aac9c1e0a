import errno
import os
import resource
import tempfile

import portalocker
import pytest
from faults import killed, tree

from tfprune.errors import InputError
from tfprune.records import atomic, lock
from tfprune.records.atomic import (
    atomic_copy,
    atomic_folder,
    atomic_write,
    atomic_write_bytes,
    atomic_write_text,
    remove_stale_temporaries,
    temporary_folder,
)
from tfprune.records.lock import FileLock


def test_replaces_the_whole_file_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "a.dat"
    atomic_write_text(path, "a\r long first content\n")
    assert path.read_bytes() == b"a\r long first content\n"
    atomic_write_bytes(path, b"short")
    assert path.read_bytes() == b"short"
    assert os.listdir(tmp_path) == ["a.dat"]


def test_permissions_follow_the_umask(tmp_path):
    old = os.umask(0o022)
    try:
        atomic_write_bytes(tmp_path / "a", b"x")
    finally:
        os.umask(old)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_os_errors_become_one_line_and_the_old_file_stays(tmp_path, code):
    path = tmp_path / "a.dat"
    path.write_bytes(b"old")

    def write(file):
        file.write(b"half")
        raise OSError(code, os.strerror(code))

    with pytest.raises(InputError) as caught:
        atomic_write(path, write)
    assert str(caught.value) == f"cannot write {path}: {os.strerror(code)}; finished results are intact"
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.dat"]


def test_file_size_limit_of_the_system(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        with pytest.raises(InputError, match="File too large; finished results are intact"):
            atomic_write_bytes(tmp_path / "a", bytes(2 << 20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(tmp_path) == []


def test_missing_folder(tmp_path):
    with pytest.raises(InputError, match=r"cannot write .*none/a: No such file or directory"):
        atomic_write_bytes(tmp_path / "none" / "a", b"x")


def test_interruption_passes_through_and_removes_the_temporary(tmp_path):
    def write(file):
        file.write(b"half")
        assert len(os.listdir(tmp_path)) == 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        atomic_write(tmp_path / "a", write)
    assert os.listdir(tmp_path) == []


def test_what_a_kill_left_is_removed_and_what_is_being_written_stays(tmp_path):
    (tmp_path / ".IMP_notes.tmp").write_text("not ours")
    (tmp_path / "IMP_itdata_0.pkl").write_text("a result")
    (tmp_path / ".link.tfprune-tmp-01234567").symlink_to("IMP_itdata_0.pkl")
    ours = {".IMP_notes.tmp", "IMP_itdata_0.pkl", ".link.tfprune-tmp-01234567"}
    assert killed(lambda: atomic_write_bytes(tmp_path / "IMP_out.dat", b"x"), 1)
    (left,) = set(os.listdir(tmp_path)) - ours
    assert left.startswith(".IMP_out.dat.") and (tmp_path / left).read_bytes() == b"x"

    def write(file):
        """While another file is written, the rest goes and the temporary of the first stays."""
        file.write(b"half")
        file.flush()
        (held,) = set(os.listdir(tmp_path)) - ours
        assert held.startswith(".IMP2_out.dat.")
        atomic_write_bytes(tmp_path / "other", b"y")
        assert remove_stale_temporaries(tmp_path) == []
        assert (tmp_path / held).read_bytes() == b"half"

    atomic_write(tmp_path / "IMP2_out.dat", write)
    assert set(os.listdir(tmp_path)) == ours | {"IMP2_out.dat", "other"}
    assert (tmp_path / "IMP2_out.dat").read_bytes() == b"half"
    assert remove_stale_temporaries(tmp_path / "none") == []


def test_temporaries_of_one_name(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f".{name}.tfprune-tmp-01234567").write_bytes(b"")
        (tmp_path / f".{name}.tfprune-tmp-89abcdef").mkdir()  # as earlier versions left it, without a lock
    removed = remove_stale_temporaries(tmp_path, "a")
    assert [path.name for path in removed] == [".a.tfprune-tmp-01234567", ".a.tfprune-tmp-89abcdef"]
    assert len(os.listdir(tmp_path)) == 2


def test_a_temporary_that_was_taken_for_one_that_was_left(tmp_path, monkeypatch):
    """Between being made and being locked: another process may remove it, or hold it to do so."""
    usual, taken = atomic.hold, []

    def hold(file, path, shared=False):
        if not taken:
            taken.append(path)
            assert remove_stale_temporaries(tmp_path) == [path]
        usual(file, path, shared)

    monkeypatch.setattr(atomic, "hold", hold)
    atomic_write_bytes(tmp_path / "a", b"x")
    assert (tmp_path / "a").read_bytes() == b"x" and os.listdir(tmp_path) == ["a"] and taken


def test_without_locks_nothing_is_taken_for_left(tmp_path, monkeypatch):
    def none(*_):
        raise portalocker.LockException("none") from OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    monkeypatch.setattr(portalocker, "lock", none)
    (tmp_path / ".a.tfprune-tmp-01234567").write_bytes(b"")
    atomic_write_bytes(tmp_path / "a", b"x")
    with atomic_folder(tmp_path / "b") as new:
        (new / "c").write_bytes(b"y")
    assert sorted(os.listdir(tmp_path)) == [".a.tfprune-tmp-01234567", "a", "b"]
    with pytest.raises(OSError, match=os.strerror(errno.ENOTSUP)):
        FileLock(tmp_path / "lock")


def test_what_a_process_without_portalocker_makes_is_left_alone_by_one_with_it(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def clean_up():
        with monkeypatch.context() as another:
            another.setattr(lock, "portalocker", portalocker)
            with temporary_folder():
                return remove_stale_temporaries(tmp_path)

    def write(file):
        file.write(b"half")
        file.flush()
        assert clean_up() == [left]

    monkeypatch.setattr(lock, "portalocker", None)
    with temporary_folder() as folder, atomic_folder(tmp_path / "b") as new:
        for place in (folder, new):
            (place / "c").write_bytes(b"x")
        left = tmp_path / ".a.tfprune-tmp-01234567"
        left.write_bytes(b"")
        atomic_write(tmp_path / "a", write)
        assert (folder / "c").read_bytes() == b"x"
    assert tree(tmp_path) == {"a": b"half", "b/c": b"x"}


def test_folders_among_the_temporary_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / ".another.tfprune-tmp-01234567").mkdir()
    with temporary_folder() as folder:
        assert os.listdir(folder) == [] and folder.parent.stat().st_mode & 0o777 == 0o700
        with temporary_folder() as other:
            assert folder.exists() and other != folder

    def fill():
        with temporary_folder() as folder:
            (folder / "a").mkdir()
            made.append(folder)
            atomic_write_bytes(folder / "a/b", b"x")

    made = []
    assert killed(fill, 1)
    (folder,) = made
    assert (folder / "a").exists()
    with temporary_folder():
        assert not folder.parent.exists()
    assert os.listdir(tmp_path) == [".another.tfprune-tmp-01234567"]


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    (folder / "inner").mkdir(parents=True)
    (folder / "a").write_bytes(b"new a")
    (folder / "inner/b").write_bytes(b"new b")
    return folder


def test_a_copied_folder_replaces_the_old_one_whole(tmp_path, source):
    target = tmp_path / "target"
    for _ in range(2):
        atomic_copy(source, target)
        assert tree(target) == {"a": b"new a", "inner/b": b"new b"}
        (target / "old").write_bytes(b"old")
    atomic_copy(source / "a", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"new a"
    assert sorted(os.listdir(tmp_path)) == ["file", "source", "target"]


@pytest.mark.parametrize("failing", [1, 2])
def test_a_folder_that_cannot_be_put_in_place_leaves_the_old_one(tmp_path, source, failing, monkeypatch):
    target = tmp_path / "target"
    target.mkdir()
    (target / "old").write_bytes(b"old")
    calls, rename = [], os.rename

    def fail(*arguments):
        calls.append(arguments)
        if len(calls) == failing:
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        rename(*arguments)

    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(InputError, match=f"cannot write {target}: Permission denied; finished results are intact"):
        atomic_copy(source, target)
    assert tree(target) == {"old": b"old"}
    assert sorted(os.listdir(tmp_path)) == ["source", "target"]


@pytest.mark.parametrize("moment", [1, 2])
def test_a_folder_that_was_moved_aside_by_a_killed_process_comes_back(tmp_path, source, moment):
    target = tmp_path / "target"
    target.mkdir()
    (target / "old").write_bytes(b"old")
    assert killed(lambda: atomic_copy(source, target), moment)
    assert target.exists() == (moment == 1)
    atomic_write_bytes(tmp_path / "other", b"x")
    assert tree(target) == {"old": b"old"}
    assert sorted(os.listdir(tmp_path)) == ["other", "source", "target"]


def test_a_folder_that_the_block_does_not_fill(tmp_path):
    with pytest.raises(ValueError, match="own"), atomic_folder(tmp_path / "a") as new:
        (new / "b").write_bytes(b"x")
        raise ValueError("own")
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_copied_leaves_the_old_one(tmp_path, source):
    target = tmp_path / "target"
    target.mkdir()
    (source / "inner/c").symlink_to(source / "nothing")
    with pytest.raises(InputError, match=f"cannot write {target}: "):
        atomic_copy(source, target)
    assert sorted(os.listdir(tmp_path)) == ["source", "target"] and not tree(target)
