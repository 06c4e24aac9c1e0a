"""The folder of a run while it is being made: who may write there, with which settings, and whether it is finished.

Everything is written atomically, so a killed run leaves whole files, and a folder holds any number of runs that differ
in their prefix, or one without.
"""

from __future__ import annotations

import errno
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from glob import escape as glob_escape
from pathlib import Path

import numpy as np

from tfprune.errors import InputError
from tfprune.records.arrays import Header, read_npz, write_npz
from tfprune.records.atomic import atomic_write_text, refuse_link, remove_stale_temporaries
from tfprune.records.lock import FileLock
from tfprune.records.reading import MissingInputError, read_json

Checkpoint = dict[str, np.ndarray]
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


class RunFolder(ABC):
    """Opens a folder for one run, alone: claims it, and keeps its checkpoints.

    Args:
        folder: made if missing.
        prefix: start of every file name, before an underscore; empty for a folder of this run alone.
        named: how the user gave the folder, for messages.

    Raises:
        InputError: the folder cannot be made or locked, another process is writing this run, or one of its files is a
            symbolic link. A finished run may lie on a disk that is read-only: there is nothing to lock it for.
    """

    elsewhere = "another folder"  # what to use where the folder is taken, for messages
    unit = "run"  # what a damaged checkpoint costs
    version: int | None = None  # of the files, where the record holds it
    ends: tuple[object, ...] = (False, True)  # what `finished` may be in a record

    def __init__(self, folder: str | Path, prefix: str, named: str = "folder"):
        self.folder = Path(folder)
        self.prefix = prefix
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(self.path("run.lock"))
        except BlockingIOError:
            which = f"the run {prefix!r}" if prefix else "this run"
            raise InputError(f"{self.folder}: another process is writing {which} there") from None
        except OSError as error:
            if error.errno not in _READ_ONLY or not self._is_finished_there():
                raise InputError(f"{named} = {self.folder}: cannot use this folder: {error.strerror}") from None
            self._lock = None
        for path in self.folder.glob(f"{glob_escape(prefix)}_*" if prefix else "*"):
            if not path.is_dir():  # figures may lie elsewhere
                refuse_link(path)
        remove_stale_temporaries(self.folder, f"{prefix}_" if prefix else "")

    def release(self) -> None:
        """Lets others write this run, before the process ends."""
        if self._lock is not None:
            self._lock.release()

    def path(self, name: str) -> Path:
        """The file `<prefix>_<name>`, or `<name>` without a prefix."""
        return self.folder / (f"{self.prefix}_{name}" if self.prefix else name)

    def claim(self, record: dict, differing: Callable[[dict], list[str]], overwrite: bool = False) -> None:
        """Makes the folder this run's, or continues the run that is there if it has the same input.

        Args:
            record: the run's input as JSON values.
            differing: given the recorded input of the run found there, the keys that differ, one text each.
            overwrite: delete what is there and start anew.

        Raises:
            InputError: the folder holds a run with another input, or results that this package did not write.
        """
        path = self.path("run.json")
        if overwrite:
            self.clear()
        elif path.exists():
            keys = differing(self._record()["input"])
            if keys and not self._has_work():
                path.unlink()  # for example a first start that ended at a slip in the input
            elif keys:
                told = "; ".join(key[:200] for key in keys)
                raise InputError(
                    f"{self.folder} holds a run with another input: {told}. Use {self.elsewhere}, or --overwrite to "
                    "start anew"
                )
        elif self._foreign():
            raise InputError(
                f"{self.folder} holds {self._foreign()}{f' of {self.prefix!r}' if self.prefix else ''} that have no "
                f"{path.name}. Use {self.elsewhere}, or --overwrite to replace them"
            )
        if not path.exists():
            self._write_record({"input": record, "finished": False})

    def clear(self) -> None:
        """Deletes the run; files that are not ours stay.

        Raises:
            InputError: the folder is read-only, or the like.
        """
        try:
            self._clear()
        except OSError as error:
            raise InputError(f"{error.filename}: cannot be deleted: {error.strerror}") from None

    @property
    def finished(self) -> bool:
        """Whether everything of the run, figures included, is there."""
        return bool(self._record()["finished"])

    def mark_finished(self) -> None:
        """Says so, for the next start."""
        self._write_record({**self._record(), "finished": True})

    def read_checkpoint(
        self, name: str, check: Callable[[Mapping[str, Header]], object] | None = None
    ) -> Checkpoint | None:
        """The arrays of `<prefix>_<name>.npz`, None if there is no such file.

        Args:
            name: the checkpoint's.
            check: sees what its arrays declare before they are read; refuses them by raising.

        Raises:
            InputError: the file is damaged or refused.
        """
        path = self.path(f"{name}.npz")
        try:
            return read_npz(path, check=check, what="a checkpoint")
        except MissingInputError:
            return None
        except InputError as error:
            raise InputError(f"{error}; delete it to redo the {self.unit}") from None

    def write_checkpoint(self, name: str, arrays: Checkpoint) -> None:
        """Writes `<prefix>_<name>.npz`."""
        write_npz(self.path(f"{name}.npz"), arrays)

    def drop_checkpoint(self, name: str) -> None:
        """Removes `<prefix>_<name>.npz` if it is there."""
        self.path(f"{name}.npz").unlink(missing_ok=True)

    @abstractmethod
    def _has_work(self) -> bool:
        """Whether something is there that a run with another input must not continue."""

    @abstractmethod
    def _foreign(self) -> str:
        """What lies there of this prefix without a record, in a word or two; empty if nothing does."""

    @abstractmethod
    def _clear(self) -> None:
        """Does it, the record first: a folder without it is refused rather than continued."""

    def _record(self) -> dict:
        path = self.path("run.json")
        try:
            return read_record(path, self.version, self.ends)
        except MissingInputError:
            raise InputError(f"{path}: no such record of a run; use --overwrite to start anew") from None
        except InputError as error:
            raise InputError(f"{error}; use {self.elsewhere}, or --overwrite to start anew") from None

    def _is_finished_there(self) -> bool:
        try:
            return self._record()["finished"] is not False
        except InputError:
            return False

    def _write_record(self, record: dict) -> None:
        version = {} if self.version is None else {"version": self.version}
        atomic_write_text(self.path("run.json"), json.dumps({**version, **record}, indent=1) + "\n")


def read_record(path: Path, version: int | None = None, ends: tuple[object, ...] = (False, True)) -> dict:
    """The record of a run, `input` and `finished`; needs no lock.

    Args:
        path: its `run.json`.
        version: of its files, where the record has it.
        ends: what `finished` may be.

    Raises:
        MissingInputError: there is none.
        InputError: a damaged or foreign file, or one of another version of this package.
    """
    content = read_json(path, "the record of a run")
    try:
        found, kept = content.get("version"), {"input": content["input"], "finished": content["finished"]}
    except KeyError as missing:
        raise InputError(f"{path}: not the record of a run (it has no {missing})") from None
    if found != version:
        raise InputError(f"{path}: files of version {str(found)[:20]}, this package reads {version}")
    if not isinstance(kept["input"], dict) or not any(_same(kept["finished"], end) for end in ends):
        raise InputError(
            f"{path}: not the record of a run: `finished` must be one of {', '.join(map(json.dumps, ends))}. Received: "
            f"{json.dumps(kept['finished'])[:40]}"
        )
    return kept


def _same(one: object, other: object) -> bool:
    return type(one) is type(other) and one == other  # for Python 1 is True
