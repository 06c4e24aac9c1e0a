"""Files that are either the old whole or the new whole, whatever kills the process in between."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
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
        InputError: the disk is full, the folder is missing or read-only, ... (any `OSError`). Whatever `write` itself
            raises passes through. The temporary file is removed in both cases.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tfprune-tmp-{secrets.token_hex(4)}")
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
        _sync_folder(path.parent)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}; finished results are intact") from error


def atomic_write_bytes(path: str | Path, data: bytes) -> None:
    """Writes `data` to `path` as `atomic_write` does."""
    atomic_write(path, lambda file: file.write(data))


def atomic_write_text(path: str | Path, text: str) -> None:
    """Writes `text` to `path` as UTF-8, line ends unchanged, as `atomic_write` does."""
    atomic_write_bytes(path, text.encode("utf-8"))


def remove_stale_temporaries(folder: str | Path, prefix: str = "") -> list[Path]:
    """Removes the temporary files that killed runs left in `folder`.

    Args:
        folder: where to look, not below it; may be missing.
        prefix: only temporaries of files whose name starts so, e.g. `IMP_`: other runs may be writing here now.

    Returns:
        The removed files.
    """
    removed = []
    for path in sorted(Path(folder).glob(".*.tfprune-tmp-*")):
        match = _TEMPORARY.fullmatch(path.name)
        if match and match["name"].startswith(prefix) and path.is_file():
            with contextlib.suppress(OSError):
                path.unlink()
                removed.append(path)
    return removed


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems can't sync a folder; the file itself is already safe there.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
