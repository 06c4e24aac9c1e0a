"""Where runs are kept that are carried out on machines with no disk in common: a folder, or any fsspec URL.

Every run is one tar file, named by a small JSON file that is written after it, so that a run is there as a whole or not
at all, whatever the storage makes of writes that were broken off:

    <storage>/<key>/finished.json    names the tar file of the finished run, with its size and SHA-256
    <storage>/<key>/begun.json       the same of a run that is under way, as it was when it was last stored
    <storage>/<key>/<digest>.tar

A key stands for where a run's files lie below the root of all runs, and so for its settings.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from tfprune.cli.run import Study
from tfprune.errors import InputError
from tfprune.records.atomic import atomic_write, temporary_folder
from tfprune.records.extras import extra
from tfprune.records.run_folder import RECORD

FINISHED, BEGUN = "finished", "begun"
_LONGEST_NOTE = 10_000
_ATTEMPTS, _PAUSE_SECONDS = 3, 1.0
Stamp = tuple[int, int, int]
"""What changes when a file does: time of its last change, size, inode."""
T = TypeVar("T")


class Storage:
    """Runs by key.

    Args:
        url: path of a folder, absolute, or an fsspec URL: `s3://bucket/folder`, `file:///folder`, ...

    Raises:
        InputError: there is no such kind of storage, or its package is missing.
    """

    def __init__(self, url: str):
        self.url = url
        fsspec = extra("fsspec", f"--storage={url}")
        try:
            self._files, self._root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError, TypeError) as error:
            raise InputError(f"--storage={url}: cannot be used: {error}") from None
        # Each machine, and time, should see what others have written meanwhile.
        self._files.use_listings_cache = False
        self._is_local = "file" in _protocols(self._files)

    def check(self) -> None:
        """Writes, reads and deletes a small file.

        Raises:
            InputError: one of it failed.
        """
        name, content = f"tfprune-check-{os.getpid()}", b"tfprune"
        try:
            self._write(name, lambda file: file.write(content))
            if self._files.cat_file(self._path(name)) != content:
                raise OSError("reads something else than was written")
            self._files.rm_file(self._path(name))
        except Exception as error:  # of whatever package stands behind the URL
            raise InputError(f"--storage={self.url}: cannot be used: {type(error).__name__}: {error}") from None

    def holds(self, key: str, state: str = FINISHED) -> bool:
        """Whether a run is there, in a state."""
        return self._note(key, state) is not None

    def put(self, key: str, state: str, root: Path, names: Iterable[str]) -> None:
        """Stores a run.

        Args:
            key: of the run.
            state: `FINISHED` or `BEGUN`.
            root: below which its files lie.
            names: of its files, relative to the root.
        """
        before = None if state == FINISHED else self._note(key, state)
        with tempfile.TemporaryFile() as held:
            with tarfile.open(fileobj=held, mode="w") as archive:
                for name in sorted(names):
                    archive.add(root / name, name, recursive=False)
            size = held.tell()
            held.seek(0)
            digest = hashlib.file_digest(held, "sha256").hexdigest()

            def write(file: BinaryIO) -> None:
                held.seek(0)
                shutil.copyfileobj(held, file, 1 << 20)

            tar = f"{key}/{digest[:32]}.tar"
            _tried(lambda: self._write(tar, write))
        note = json.dumps({"tar": tar, "size": size, "sha256": digest}).encode()
        _tried(lambda: self._write(f"{key}/{state}.json", lambda file: file.write(note)))
        if before is not None and before["tar"] != tar:
            self._drop(before["tar"])
        if state == FINISHED and (begun := self._note(key, BEGUN)) is not None:
            self._drop(f"{key}/{BEGUN}.json")
            if begun["tar"] != tar:
                self._drop(begun["tar"])

    def fetch(self, key: str, state: str, root: Path) -> list[str] | None:
        """Brings a run.

        Args:
            key: of the run.
            state: `FINISHED` or `BEGUN`.
            root: below which its files are put; those that are there are replaced, one by one.

        Returns:
            Their names, relative to the root, records of runs last; None if the run is not there in this state.

        Raises:
            InputError: it is damaged.
        """
        note = self._note(key, state)
        if note is None:
            return None
        with tempfile.TemporaryFile() as held:
            try:
                _tried(lambda: self._read(note["tar"], held))
            except FileNotFoundError:
                if state == FINISHED:
                    raise InputError(
                        f"{self.url}/{note['tar']} is missing; delete {key} there to redo the run"
                    ) from None
                return None  # stored anew meanwhile, or not to its end
            if held.tell() != note["size"] or _digest(held) != note["sha256"]:
                raise InputError(f"{self.url}/{note['tar']} is damaged; delete {key} there to redo the run")
            held.seek(0)
            return _unpacked(held, root)

    def _note(self, key: str, state: str) -> Mapping[str, Any] | None:
        path = self._path(f"{key}/{state}.json")
        try:
            content = _tried(lambda: self._files.cat_file(path))
        except FileNotFoundError:
            return None
        try:
            note = json.loads(content[:_LONGEST_NOTE])
            if isinstance(note["tar"], str) and note["tar"].startswith(f"{key}/") and isinstance(note["size"], int):
                return note
        except (ValueError, KeyError, TypeError, RecursionError):
            pass
        raise InputError(f"{self.url}/{key}/{state}.json is damaged; delete {key} there to redo the run")

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"

    def _write(self, name: str, write: Callable[[BinaryIO], Any]) -> None:
        path = self._path(name)
        if self._is_local:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            atomic_write(path, write)
            return
        with contextlib.suppress(FileExistsError):
            self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
        with self._files.open(path, "wb") as file:
            write(file)

    def _read(self, name: str, held: BinaryIO) -> None:
        held.seek(0)
        held.truncate()
        with self._files.open(self._path(name), "rb") as file:
            shutil.copyfileobj(file, held, 1 << 20)

    def _drop(self, name: str) -> None:
        with contextlib.suppress(Exception):  # costs space, nothing else
            self._files.rm_file(self._path(name))


def key_of(study: Study, root: str | Path) -> str:
    """The key of a run, the same on all machines.

    Args:
        study: the run.
        root: below which all its files lie.

    Raises:
        InputError: they lie elsewhere.
    """
    try:
        names = sorted(Path(place).relative_to(root).as_posix() for place in study.places)
    except ValueError:
        raise InputError(f"--storage needs runs whose folder the sweep chooses. Received: {study.folder}") from None
    return f"{study.family}-{hashlib.sha256('/'.join((study.family, *names)).encode()).hexdigest()[:24]}"


def names_of(study: Study, root: Path) -> list[str]:
    """The files of a run, relative to the root, where those of others may lie beside them: no more than needed."""
    found = set()
    for place in study.places:
        start = Path(place).name.removesuffix(RECORD)
        files = Path(place).parent.rglob("*") if not start else Path(place).parent.glob("*")
        found |= {path for path in files if path.name.startswith(start)}
    return [path.relative_to(root).as_posix() for path in found if _is_kept(path, root)]


def stamps(root: Path) -> dict[str, Stamp]:
    """All files below a root, without locks and what is not yet whole."""
    found = {}
    for path in root.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # replaced meanwhile
            if _is_kept(path, root):
                status = path.stat()
                found[path.relative_to(root).as_posix()] = status.st_mtime_ns, status.st_size, status.st_ino
    return found


def _is_kept(path: Path, root: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(root).parts)  # what is not yet whole
    return not hidden and path.suffix != ".lock" and not path.is_symlink() and path.is_file()


def _unpacked(held: BinaryIO, root: Path) -> list[str]:
    """Records of runs last: until then a run that is not all there is not taken for a finished one."""
    with temporary_folder() as folder:
        with tarfile.open(fileobj=held, mode="r:") as archive:
            archive.extractall(folder, (member for member in archive if member.isreg()), filter="data")
        names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
        names.sort(key=lambda name: (name.endswith(RECORD), name))
        for name in names:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            with open(folder / name, "rb") as source:
                atomic_write(root / name, lambda file, source=source: shutil.copyfileobj(source, file, 1 << 20))
    return names


def _digest(held: BinaryIO) -> str:
    held.seek(0)
    return hashlib.file_digest(held, "sha256").hexdigest()


def _protocols(files: Any) -> tuple[str, ...]:
    return (files.protocol,) if isinstance(files.protocol, str) else tuple(files.protocol)


def _tried(work: Callable[[], T]) -> T:
    """Once more, and again, where a network or its service fails."""
    for attempt in range(_ATTEMPTS):
        try:
            return work()
        except (FileNotFoundError, PermissionError, InputError):
            raise
        except Exception:
            if attempt == _ATTEMPTS - 1:
                raise
            time.sleep(_PAUSE_SECONDS * 2**attempt)
    raise AssertionError("not reached")
