import errno
import os
import resource

import pytest

from tfprune.errors import InputError
from tfprune.records.atomic import (
    atomic_copy,
    atomic_write,
    atomic_write_bytes,
    atomic_write_text,
    remove_stale_temporaries,
)


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


def test_stale_temporaries_of_one_prefix_are_removed(tmp_path, monkeypatch):
    for name in ("IMP_out.dat", "IMP2_out.dat"):
        with monkeypatch.context() as patch:
            # What a kill leaves: the content is written, the rename and the clean-up never happen.
            patch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            patch.setattr("pathlib.Path.unlink", lambda _: None)
            with pytest.raises(KeyboardInterrupt):
                atomic_write_bytes(tmp_path / name, b"x")
    (tmp_path / ".IMP_notes.tmp").write_text("not ours")
    (tmp_path / "IMP_itdata_0.pkl").write_text("a result")
    assert len(os.listdir(tmp_path)) == 4
    removed = remove_stale_temporaries(tmp_path, lambda name: name.startswith("IMP_"))
    assert [path.name.startswith(".IMP_out.dat.") for path in removed] == [True]
    left = sorted(os.listdir(tmp_path))
    assert left[0].startswith(".IMP2_out.dat.")
    assert left[1:] == [".IMP_notes.tmp", "IMP_itdata_0.pkl"]
    assert remove_stale_temporaries(tmp_path / "none", lambda name: True) == []


def _tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


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
        assert _tree(target) == {"a": b"new a", "inner/b": b"new b"}
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
    assert _tree(target) == {"old": b"old"}
    assert sorted(os.listdir(tmp_path)) == ["source", "target"]


def test_a_folder_that_cannot_be_copied_leaves_the_old_one(tmp_path, source):
    target = tmp_path / "target"
    target.mkdir()
    (source / "inner/c").symlink_to(source / "nothing")
    with pytest.raises(InputError, match=f"cannot write {target}: "):
        atomic_copy(source, target)
    assert sorted(os.listdir(tmp_path)) == ["source", "target"] and not _tree(target)
