"""Files and folders that are either the old whole or the new whole, whatever kills the process in between.

What is not yet whole lies beside its place under a temporary name, locked by the process that makes it. One that is
locked by nobody was left by a killed process: the next that is made in the same folder removes it. A process that can
lock nothing uses another name, which nobody takes for one that was left.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from tfprune.errors import InputError
from tfprune.records.lock import FileLock, can_lock, hold, refuse_link

# `.` hides the file from listings and from `<prefix>_*` patterns; the word makes it ours to delete.
_TEMPORARY = re.compile(r"\.(?P<name>.+)\.tfprune-tmp-[0-9a-f]{8}")
# In a temporary folder: its lock, what is made there, and what was in its place before.
_LOCK, _NEW, _OLD = "lock", "new", "old"


def atomic_write(path: str | Path, write: Callable[[BinaryIO], None]) -> None:
    """Gives `path` the content that `write` produces, or leaves it untouched.

    The content goes to a temporary file in the same folder, is forced to disk and then takes the name `path` in one
    step; the folder is forced to disk too, so that the new name survives a power cut.

    Args:
        path: the file to make or replace; its folder must exist.
        write: is given the temporary file, open for binary writing.

    Raises:
        InputError: the disk is full, the folder is missing or read-only, ... (any `OSError`), or a symbolic link is in
            the file's place. Whatever `write` itself raises passes through. The temporary file is removed in all cases.
    """
    path = Path(path)
    refuse_link(path)
    remove_stale_temporaries(path.parent)
    try:
        temporary, file = _open_temporary(path)
        try:
            with file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
                try:
                    os.replace(temporary, path)
                except PermissionError:  # Windows renames no file that is open
                    file.close()
                    os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        _sync(path.parent)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}; finished results are intact") from error


def atomic_write_bytes(path: str | Path, data: bytes) -> None:
    """Writes `data` to `path` as `atomic_write` does."""
    atomic_write(path, lambda file: file.write(data))


def atomic_write_text(path: str | Path, text: str) -> None:
    """Writes `text` to `path` as UTF-8, line ends unchanged, as `atomic_write` does."""
    atomic_write_bytes(path, text.encode("utf-8"))


@contextlib.contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Gives `path` the folder that the block fills, or leaves what is there.

    A folder that is there is moved aside and removed when the new one has its name. Killed between the two, it is put
    back by the next that is made in the same place.

    Args:
        path: folder to make or replace; the folder it is in must exist.

    Yields:
        An empty folder beside it, to be filled.

    Raises:
        InputError: as in `atomic_write`.
    """
    path = Path(path)
    refuse_link(path)
    try:
        with _temporary_folder(path) as folder:
            new, old = folder / _NEW, folder / _OLD
            yield new
            for inner in [*new.rglob("*"), new]:
                _sync(inner)
            if path.exists():
                os.rename(path, old)
            try:
                os.rename(new, path)
            except OSError:
                _put_back(old, path)
                raise
            _sync(path.parent)
    except (OSError, shutil.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot write {path}: {reason}; finished results are intact") from error


def atomic_copy(source: str | Path, path: str | Path) -> None:
    """Gives `path` the content of the file or folder `source`, or leaves what is there.

    Args:
        source: stays as it is.
        path: file or folder, as `source` is, to make or replace; the folder it is in must exist.

    Raises:
        InputError: as in `atomic_write`.
    """
    if Path(source).is_dir():
        with atomic_folder(path) as new:
            shutil.copytree(source, new, dirs_exist_ok=True)
        return
    refuse_link(path)
    with open(source, "rb") as content:
        atomic_write(path, lambda file: shutil.copyfileobj(content, file))


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """An empty folder among the system's temporary ones, removed with the block, or by the next one after a kill."""
    with _temporary_folder(Path(tempfile.gettempdir(), "tfprune")) as folder:
        yield folder / _NEW


def remove_stale_temporaries(folder: str | Path, name: str = "*") -> list[Path]:
    """Removes the temporary files and folders that killed processes left in `folder`; those in use stay.

    Args:
        folder: where to look, not below it; may be missing.
        name: a pattern of what they were to become.

    Returns:
        What was removed.
    """
    removed = []
    for path in sorted(Path(folder).glob(f".{name}.tfprune-tmp-*")):
        match = _TEMPORARY.fullmatch(path.name)
        if match and not path.is_symlink():
            with contextlib.suppress(OSError, InputError):
                if path.is_dir():
                    lock = FileLock(path / _LOCK)
                    _put_back(path / _OLD, path.with_name(match["name"]))
                    _remove_folder(path, lock)
                else:
                    FileLock(path).remove()
                removed.append(path)
    return removed


def _temporary(path: Path) -> Path:
    word = "tmp" if can_lock() else "unlocked"
    return path.with_name(f".{path.name}.tfprune-{word}-{secrets.token_hex(4)}")


def _open_temporary(path: Path) -> tuple[Path, BinaryIO]:
    while True:
        temporary = _temporary(path)
        # Not tempfile.mkstemp: its files are readable by the owner only, ours should follow the umask.
        file = open(temporary, "xb")  # noqa: SIM115 - its lock ends when it is closed
        try:
            hold(file, temporary)
        except BlockingIOError:  # another process took it for one that was left
            file.close()
            continue
        except OSError:
            pass  # without locks none is taken for that
        return temporary, file


@contextlib.contextmanager
def _temporary_folder(path: Path) -> Iterator[Path]:
    """A folder beside `path` with an empty one in it."""
    remove_stale_temporaries(path.parent, glob.escape(path.name))
    folder, lock = _make_temporary_folder(path)
    try:
        (folder / _NEW).mkdir()
        yield folder
    finally:
        _remove_folder(folder, lock)


def _make_temporary_folder(path: Path) -> tuple[Path, FileLock | None]:
    while True:
        folder = _temporary(path)
        folder.mkdir(0o700)
        try:
            return folder, FileLock(folder / _LOCK)
        except (BlockingIOError, FileNotFoundError):  # as for a file
            continue
        except OSError:
            return folder, None


def _remove_folder(folder: Path, lock: FileLock | None) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if lock is not None:
        lock.release()
        shutil.rmtree(folder, ignore_errors=True)  # Windows deletes no file that is open


def _put_back(old: Path, path: Path) -> None:
    if old.exists() and not path.exists():
        os.rename(old, path)


def _sync(path: Path) -> None:
    """Forces a file or the names in a folder to disk, where the system can."""
    writable = not path.is_dir() and os.access(path, os.W_OK)  # Windows asks for that
    try:
        descriptor = os.open(path, os.O_RDWR if writable else os.O_RDONLY)
    except PermissionError:
        return  # Windows opens no folder
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems can't sync a folder; the file itself is already safe there.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)
