"""The folder of a run while it is being made: who may write there, with which settings, and whether it is finished.

Everything is written atomically, so a killed run leaves whole files, and a folder holds any number of runs that differ
in their prefix, or one without.
"""

from __future__ import annotations

import fcntl
import io
import json
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tfprune.errors import InputError
from tfprune.records.atomic import atomic_write_bytes, atomic_write_text, remove_stale_temporaries

Checkpoint = dict[str, np.ndarray]


class RunFolder(ABC):
    """Opens a folder for one run, alone: claims it, and keeps its checkpoints.

    Args:
        folder: made if missing.
        prefix: start of every file name, before an underscore; empty for a folder of this run alone.
        named: how the user gave the folder, for messages.

    Raises:
        InputError: the folder cannot be made or locked, or another process is writing this run.
    """

    elsewhere = "another folder"  # what to use where the folder is taken, for messages
    unit = "run"  # what a damaged checkpoint costs
    version: int | None = None  # of the files, where the record holds it

    def __init__(self, folder: str | Path, prefix: str, named: str = "folder"):
        self.folder = Path(folder)
        self.prefix = prefix
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = open(self.path("run.lock"), "w")  # noqa: SIM115 - held until the process ends
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            which = f"the run {prefix!r}" if prefix else "this run"
            raise InputError(f"{self.folder}: another process is writing {which} there") from None
        except OSError as error:
            raise InputError(f"{named} = {self.folder}: cannot use this folder: {error.strerror}") from None
        remove_stale_temporaries(self.folder, f"{prefix}_" if prefix else "")

    def release(self) -> None:
        """Lets others write this run, before the process ends."""
        self._lock.close()

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
            self._clear()
        elif path.exists():
            keys = differing(self._record()["input"])
            if keys and not self._has_work():
                path.unlink()  # for example a first start that ended at a slip in the input
            elif keys:
                raise InputError(
                    f"{self.folder} holds a run with another input: {'; '.join(keys)}. Use {self.elsewhere}, "
                    "or --overwrite to start anew"
                )
        elif self._foreign():
            raise InputError(
                f"{self.folder} holds {self._foreign()}{f' of {self.prefix!r}' if self.prefix else ''} that have no "
                f"{path.name}. Use {self.elsewhere}, or --overwrite to replace them"
            )
        if not path.exists():
            self._write_record({"input": record, "finished": False})

    @property
    def finished(self) -> bool:
        """Whether everything of the run, figures included, is there."""
        return bool(self._record()["finished"])

    def mark_finished(self) -> None:
        """Says so, for the next start."""
        self._write_record({**self._record(), "finished": True})

    def read_checkpoint(self, name: str) -> Checkpoint | None:
        """The arrays of `<prefix>_<name>.npz`, None if there is no such file.

        Raises:
            InputError: the file is damaged.
        """
        path = self.path(f"{name}.npz")
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return dict(arrays)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(f"{path}: a damaged checkpoint ({error}); delete it to redo the {self.unit}") from None

    def write_checkpoint(self, name: str, arrays: Checkpoint) -> None:
        """Writes `<prefix>_<name>.npz`."""
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        atomic_write_bytes(self.path(f"{name}.npz"), buffer.getbuffer())

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
        """Deletes the run, its record first: a folder without it is refused rather than continued."""

    def _record(self) -> dict:
        path = self.path("run.json")
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            found, kept = record.get("version"), {"input": dict(record["input"]), "finished": record["finished"]}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise InputError(f"{path}: not the record of a run; use --overwrite to start anew") from None
        if found != self.version:
            raise InputError(
                f"{path}: files of version {found}, this package writes {self.version}; use {self.elsewhere}, or "
                "--overwrite to start anew"
            )
        return kept

    def _write_record(self, record: dict) -> None:
        version = {} if self.version is None else {"version": self.version}
        atomic_write_text(self.path("run.json"), json.dumps({**version, **record}, indent=1) + "\n")
