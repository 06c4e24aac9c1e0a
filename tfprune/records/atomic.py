"""Files that are either the old whole or the new whole, whatever kills the process in between."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from tfprune.errors import InputError

# `.` hides the file from listings and from `<prefix>_*` patterns; the word makes it ours to delete.
_TEMPORARY = re.compile(r"\.(?P<name>.+)\.tfprune-tmp-[0-9a-f]{8}")


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
    temporary = _temporary(path)
    try:
        try:
            # Not tempfile.mkstemp: its files are readable by the owner only, ours should follow the umask.
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        _sync(path.parent)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}; finished results are intact") from error


def refuse_link(path: str | Path) -> None:
    """Refuses a symbolic link in the place of a file that is ours to write: what it points to is not ours.

    Raises:
        InputError: there is one, or the name is none that a file can have.
    """
    if "\0" in str(path):
        raise InputError(f"the name of a file must have no NUL. Received: {str(path)!r}")
    if os.path.islink(path):
        raise InputError(f"{path} is a symbolic link; locks, records and results must be files: remove the link")


def atomic_write_bytes(path: str | Path, data: bytes) -> None:
    """Writes `data` to `path` as `atomic_write` does."""
    atomic_write(path, lambda file: file.write(data))


def atomic_write_text(path: str | Path, text: str) -> None:
    """Writes `text` to `path` as UTF-8, line ends unchanged, as `atomic_write` does."""
    atomic_write_bytes(path, text.encode("utf-8"))


def atomic_copy(source: str | Path, path: str | Path) -> None:
    """Gives `path` the content of the file or folder `source`, or leaves what is there.

    A folder that is there is moved aside and removed when the new one has its name: a power cut between the two leaves
    it whole under the temporary name, beside the new one.

    Args:
        source: stays as it is.
        path: file or folder, as `source` is, to make or replace; the folder it is in must exist.

    Raises:
        InputError: as in `atomic_write`.
    """
    source, path = Path(source), Path(path)
    refuse_link(path)
    if not source.is_dir():
        with open(source, "rb") as content:
            atomic_write(path, lambda file: shutil.copyfileobj(content, file))
        return
    temporary, aside = _temporary(path), _temporary(path)
    try:
        try:
            shutil.copytree(source, temporary)
            for inner in [*temporary.rglob("*"), temporary]:
                _sync(inner)
            if path.exists():
                os.rename(path, aside)
            os.rename(temporary, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            if aside.exists() and not path.exists():
                os.rename(aside, path)
            shutil.rmtree(aside, ignore_errors=True)
        _sync(path.parent)
    except (OSError, shutil.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot write {path}: {reason}; finished results are intact") from error


def remove_stale_temporaries(folder: str | Path, ours: Callable[[str], bool]) -> list[Path]:
    """Removes the temporary files that killed runs left in `folder`.

    Args:
        folder: where to look, not below it; may be missing.
        ours: whether a temporary of a file of this name may go: other runs may be writing here now.

    Returns:
        The removed files.
    """
    removed = []
    for path in sorted(Path(folder).glob(".*.tfprune-tmp-*")):
        match = _TEMPORARY.fullmatch(path.name)
        if match and ours(match["name"]) and path.is_file():
            with contextlib.suppress(OSError):
                path.unlink()
                removed.append(path)
    return removed


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.tfprune-tmp-{secrets.token_hex(4)}")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems can't sync a folder; the file itself is already safe there.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
