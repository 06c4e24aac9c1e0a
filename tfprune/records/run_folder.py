"""The folder of a run while it is being made: who may write there, with which settings, and how far it is.

Everything is written atomically, so a killed run leaves whole files, and a folder holds any number of runs that differ
in their prefix, or one without. What a system's folder looks like is data, its `Layout`.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from glob import escape as glob_escape
from pathlib import Path
from typing import Any

import numpy as np

from tfprune.errors import InputError
from tfprune.records.arrays import Header, read_npz, write_npz
from tfprune.records.atomic import atomic_write_text, refuse_link, remove_stale_temporaries
from tfprune.records.lock import FileLock
from tfprune.records.reading import MissingInputError, read_json
from tfprune.records.settings import as_json

Checkpoint = dict[str, np.ndarray]
RECORD = "run.json"
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


@dataclass(frozen=True)
class Layout:
    """What the files of a kind of run are called, and what is said about them.

    Attributes:
        results: names, or patterns with `*`, of the files that hold work; a run with other settings must not go on
            from them, and `--overwrite` deletes them. After the prefix, where there is one.
        extras: further files that go with the run.
        checkpoints: names of checkpoints, without `.npz`; they are work too.
        named: how the user gives the folder, for messages.
        elsewhere: what to use where the folder is taken, for messages.
        unit: what a damaged checkpoint costs.
        stages: what `finished` may be in a record between false and true, in order.
        version: of the files, where the record holds it.
        ignored: keys of the record that may differ when a run goes on.
        mine: whether a file that a pattern finds belongs to this run; by default every one does.
    """

    results: tuple[str, ...]
    extras: tuple[str, ...] = ()
    checkpoints: tuple[str, ...] = ("checkpoint",)
    named: str = "--out_path"
    elsewhere: str = "another --out_path"
    unit: str = "run"
    stages: tuple[str, ...] = ()
    version: int | None = None
    ignored: tuple[str, ...] = ()
    mine: Callable[[str], bool] = lambda name: True


class RunFolder:
    """Opens a folder for one run, alone: claims it, says how far it is, and keeps its checkpoints.

    Args:
        folder: made if missing.
        layout: of the run's files.
        prefix: start of every file name, before an underscore; empty for a folder of this run alone.

    Raises:
        InputError: the folder cannot be made or locked, another process is writing this run, or one of its files is a
            symbolic link. A finished run may lie on a disk that is read-only: there is nothing to lock it for.
    """

    def __init__(self, folder: str | Path, layout: Layout, prefix: str = ""):
        self.folder, self.layout, self.prefix = Path(folder), layout, prefix
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(self.path("run.lock"))
        except BlockingIOError:
            which = f"the run {prefix!r}" if prefix else "this run"
            raise InputError(f"{self.folder}: another process is writing {which} there") from None
        except OSError as error:
            if error.errno not in _READ_ONLY or not self._is_begun():
                raise InputError(
                    f"{layout.named}: folder = {self.folder}: cannot use this folder: {error.strerror}"
                ) from None
            self._lock = None
        for path in self.folder.glob(f"{glob_escape(prefix)}_*" if prefix else "*"):
            if not path.is_dir():  # figures may lie elsewhere
                refuse_link(path)
        remove_stale_temporaries(self.folder)

    def release(self) -> None:
        """Lets others write this run, before the process ends."""
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *_) -> None:
        self.release()

    def path(self, name: str) -> Path:
        """The file `<prefix>_<name>`, or `<name>` without a prefix."""
        return file_of(self.folder, name, self.prefix)

    def claim(
        self,
        record: Mapping[str, Any],
        differing: Callable[[dict], list[str]] | None = None,
        overwrite: bool = False,
    ) -> None:
        """Makes the folder this run's, or continues the run that is there if it has the same settings.

        Args:
            record: what defines the results, as JSON values.
            differing: given the record of the run found there, what differs, one text each (`Settings.differing`);
                None names the keys.
            overwrite: delete what is there and start anew.

        Raises:
            InputError: the folder holds a run with other settings, or results that this package did not write.
        """
        record, path = as_json(record), self.path(RECORD)
        if overwrite:
            self.clear()
        elif path.exists():
            self._refuse_others(record, differing)
        elif foreign := [found.name for found in self._work()]:
            raise InputError(
                f"{self.folder} holds results ({', '.join(foreign[:8])}) that have no {path.name}. Use "
                f"{self.layout.elsewhere}, or --overwrite to replace them"
            )
        if not path.exists():
            self._write_record({"input": record, "finished": False})

    def clear(self) -> None:
        """Deletes the run, its record first: a folder without it is refused rather than continued.

        Files that are not ours stay.

        Raises:
            InputError: the folder is read-only, or the like.
        """
        try:
            for path in (self.path(RECORD), *self._work(), *self._files(self.layout.extras)):
                path.unlink(missing_ok=True)
        except OSError as error:
            raise InputError(f"{error.filename}: cannot be deleted: {error.strerror}") from None

    @property
    def finished(self) -> bool:
        """Whether everything of the run is there, tables and figures included."""
        return self.reached(None)

    def reached(self, stage: str | None) -> bool:
        """Whether the run is at a stage of its layout or beyond; None stands for its end."""
        return _is_at(self._record()["finished"], stage, self.layout)

    def mark(self, stage: str | None = None) -> None:
        """Says, for the next start, that a stage is reached; None: that everything is there."""
        if not self.reached(stage):
            self._write_record({**self._record(), "finished": True if stage is None else stage})

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
        try:
            return read_npz(self.path(f"{name}.npz"), check=check, what="a checkpoint")
        except MissingInputError:
            return None
        except InputError as error:
            raise InputError(f"{error}; delete it to redo the {self.layout.unit}") from None

    def write_checkpoint(self, name: str, arrays: Checkpoint) -> None:
        """Writes `<prefix>_<name>.npz`."""
        write_npz(self.path(f"{name}.npz"), arrays)

    def drop_checkpoint(self, name: str = "checkpoint") -> None:
        """Removes `<prefix>_<name>.npz` if it is there."""
        self.path(f"{name}.npz").unlink(missing_ok=True)

    def _refuse_others(self, record: dict, differing: Callable[[dict], list[str]] | None) -> None:
        found = self._record()["input"]
        keys = differing(found) if differing else self._differing(found, record)
        if keys and not self._work():
            self.path(RECORD).unlink()  # for example a first start that ended at a slip in the settings
        elif keys:
            told = "; ".join(key[:200] for key in keys)
            raise InputError(
                f"{self.folder} holds a run with other settings: {told}. Use {self.layout.elsewhere}, or --overwrite "
                "to start anew"
            )

    def _differing(self, found: dict, record: dict) -> list[str]:
        names = [name for name in {**found, **record} if name not in self.layout.ignored]
        pairs = {name: (found.get(name), record.get(name)) for name in names}
        return [f"{name}: {_short(old)} -> {_short(new)}" for name, (old, new) in pairs.items() if old != new]

    def _work(self) -> list[Path]:
        """Files that a run with other settings must not continue from."""
        checkpoints = tuple(f"{name}.npz" for name in self.layout.checkpoints)
        return list(self._files((*self.layout.results, *checkpoints)))

    def _files(self, names: tuple[str, ...]) -> Iterator[Path]:
        start = f"{self.prefix}_" if self.prefix else ""
        # Runs whose prefix begins as this one's, for example 0_10 and 0_10_c98adb7e.
        longer = glob_escape(start) + f"*_{RECORD}" if self.prefix else ""
        others = tuple(path.name.removesuffix(RECORD) for path in self.folder.glob(longer)) if longer else ()
        for name in names:
            for path in sorted(self.folder.glob(glob_escape(start) + name)):
                if self.layout.mine(path.name.removeprefix(start)) and not (others and path.name.startswith(others)):
                    yield path

    def _record(self) -> dict:
        path = self.path(RECORD)
        try:
            return read_record(self.folder, self.layout, self.prefix)
        except MissingInputError:
            raise InputError(f"{path}: no such record of a run; use --overwrite to start anew") from None
        except InputError as error:
            raise InputError(f"{error}; use {self.layout.elsewhere}, or --overwrite to start anew") from None

    def _is_begun(self) -> bool:
        try:
            return self._record()["finished"] is not False
        except InputError:
            return False

    def _write_record(self, record: dict) -> None:
        version = {} if self.layout.version is None else {"version": self.layout.version}
        atomic_write_text(self.path(RECORD), json.dumps({**version, **record}, indent=1) + "\n")


def file_of(folder: str | Path, name: str, prefix: str = "") -> Path:
    """The file `<prefix>_<name>` of a folder, or `<name>` without a prefix."""
    return Path(folder, f"{prefix}_{name}" if prefix else name)


def is_finished(folder: str | Path, layout: Layout, prefix: str = "", stage: str | None = None) -> bool:
    """Whether a run was made there up to a stage, None: to its end; needs no lock.

    Raises:
        InputError: a damaged or foreign record, or one of another version of this package.
    """
    try:
        return _is_at(read_record(folder, layout, prefix)["finished"], stage, layout)
    except MissingInputError:
        return False


def read_record(folder: str | Path, layout: Layout, prefix: str = "") -> dict:
    """The record of a run, `input` and `finished`; needs no lock. The one reader of `run.json`.

    Raises:
        MissingInputError: there is none.
        InputError: a damaged or foreign file, or one of another version of this package.
    """
    path = file_of(folder, RECORD, prefix)
    content = read_json(path, "the record of a run")
    try:
        found, kept = content.get("version"), {"input": content["input"], "finished": content["finished"]}
    except KeyError as missing:
        raise InputError(f"{path}: not the record of a run (it has no {missing})") from None
    if found != layout.version:
        raise InputError(f"{path}: files of version {str(found)[:20]}, this package reads {layout.version}")
    ends = (False, *layout.stages, True)
    if not isinstance(kept["input"], dict) or not any(_same(kept["finished"], end) for end in ends):
        raise InputError(
            f"{path}: not the record of a run: `finished` must be one of {', '.join(map(json.dumps, ends))}. Received: "
            f"{json.dumps(kept['finished'])[:40]}"
        )
    return kept


def _is_at(finished: bool | str, stage: str | None, layout: Layout) -> bool:
    order = (False, *layout.stages, True)
    return order.index(finished) >= order.index(True if stage is None else stage)


def _same(one: object, other: object) -> bool:
    return type(one) is type(other) and one == other  # for Python 1 is True


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
