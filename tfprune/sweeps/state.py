"""The folder of a sweep: whose it is, and what came of its runs.

    sweep.json      the sweep file's content, to tell it from another one's
    sweep.lock      keeps a second sweep out
    outcomes.jsonl  a line for every run that ended: what it took, or why it failed
    runs/           the runs' own folders, for `tfprune.read_results`
    logs/           a file for every run that failed

Whether a run is finished its own files say. The lines only add what these do not hold: that it failed, and how long it
took. Any of them may be lost.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from tfprune.errors import InputError
from tfprune.records.atomic import atomic_write_text, refuse_link
from tfprune.records.lock import FileLock
from tfprune.records.reading import MissingInputError, open_file, read_json, readable

RECORD, OUTCOMES, LOCK, RUNS, LOGS = "sweep.json", "outcomes.jsonl", "sweep.lock", "runs", "logs"
_VERSION = 1
_SECONDS_PER_SYNC = 1.0


@dataclass(frozen=True)
class Ended:
    """How a run ended when it last did.

    Attributes:
        run: its key.
        error: why it failed, in one line; None where it did not.
        seconds: that it took.
        whole: whether these are all that it takes: it was not begun before.
    """

    run: str
    error: str | None
    seconds: float
    whole: bool


class SweepFolder:
    """Opens the folder of a sweep, alone.

    Args:
        folder: made if missing.
        content: of the sweep file.
        changed: whether the folder may be that of another file, whose place this one takes.

    Raises:
        InputError: it cannot be used, another process is at work in it, or it is another file's.
    """

    def __init__(self, folder: Path, content: Mapping[str, Any], changed: bool = False):
        self.folder = folder
        refuse_other(folder, content, changed)  # before anything is made
        try:
            (folder / RUNS).mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(folder / LOCK)
        except BlockingIOError:
            raise InputError(f"{folder}: another process carries out a sweep there") from None
        except OSError as error:
            raise InputError(f"--out: cannot use the folder {folder}: {error.strerror}") from None
        try:
            refuse_other(folder, content, changed)
            if recorded(folder) != content:
                text = json.dumps({"version": _VERSION, "file": content}, indent=1)
                atomic_write_text(folder / RECORD, text + "\n")
            self.ended = read_ended(folder)
            self._lines = self._opened()
        except BaseException:
            self._lock.release()
            raise
        self._synced = time.monotonic()

    def __enter__(self) -> SweepFolder:
        return self

    def __exit__(self, *_) -> None:
        try:
            with self._writing():
                os.fsync(self._lines.fileno())
        finally:
            self._lines.close()
            self._lock.release()

    def add(self, ended: Ended) -> None:
        """Keeps how a run ended; survives a kill at once, a power cut after a second.

        Raises:
            InputError: no space is left, or the like.
        """
        self.ended[ended.run] = ended
        with self._writing():
            self._lines.write(json.dumps(asdict(ended)).encode() + b"\n")
            if time.monotonic() - self._synced > _SECONDS_PER_SYNC:
                os.fsync(self._lines.fileno())
                self._synced = time.monotonic()

    def log(self, key: str, text: str) -> Path:
        """Keeps what a run that failed said; gives the file.

        Raises:
            InputError: no space is left, or the like.
        """
        path = self.folder / LOGS / f"{key}.log"
        with _told(path):
            path.parent.mkdir(exist_ok=True)
        atomic_write_text(path, text)
        return path

    def _opened(self) -> BinaryIO:
        """The lines' file, behind a whole line: the last one of a killed sweep may be torn."""
        path = self.folder / OUTCOMES
        refuse_link(path)
        with _told(path):
            file = open(path, "ab+", buffering=0)  # noqa: SIM115 - closed on leaving
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    file.write(b"\n")
        return file

    def _writing(self) -> _told:
        return _told(self.folder / OUTCOMES)


class _told:
    """Tells in one line that a file of the sweep cannot be written."""

    def __init__(self, path: Path):
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind, error, trace) -> None:
        if isinstance(error, OSError):
            why = error.strerror or error
            raise InputError(f"cannot write {self._path}: {why}; finished runs are intact") from error


def refuse_other(folder: Path, content: Mapping[str, Any], changed: bool = False) -> None:
    """Refuses the folder of another sweep file, and one that holds something else.

    Raises:
        InputError: says what differs.
    """
    if not folder.is_dir():
        return
    found = recorded(folder)
    if found is None:
        if (folder / RUNS).is_dir() and any((folder / RUNS).iterdir()):
            raise InputError(f"--out: {folder / RUNS} is no sweep's (there is no {RECORD} beside it); give another")
    elif found != content and not changed:
        differing = "; ".join(_differing(found, content))[:600]
        raise InputError(
            f"{folder} is the folder of another sweep file: {differing}. Give another --out, or --changed to go on "
            "with this file: runs that both have are not repeated"
        )


def read_ended(folder: Path) -> dict[str, Ended]:
    """How runs ended, by key; lines that are none are left out.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        with open_file(folder / OUTCOMES) as file, readable(folder / OUTCOMES, "the outcomes of runs"):
            found = [_ended(line) for line in file]
    except MissingInputError:
        return {}
    return {ended.run: ended for ended in found if ended is not None}


def _ended(line: bytes) -> Ended | None:
    try:
        ended = Ended(**json.loads(line))
    except (ValueError, TypeError, RecursionError):
        return None
    good = isinstance(ended.run, str) and isinstance(ended.error, str | None) and isinstance(ended.whole, bool)
    return ended if good and type(ended.seconds) in (int, float) and ended.seconds >= 0 else None


def recorded(folder: Path) -> dict[str, Any] | None:
    """The content of the sweep file whose folder it is; None where it is nobody's.

    Raises:
        InputError: it is no record, or one of another version.
    """
    try:
        record = read_json(folder / RECORD, "the record of a sweep")
    except MissingInputError:
        return None
    if record.get("version") != _VERSION or not isinstance(record.get("file"), dict):
        raise InputError(f"{folder / RECORD}: not the record of a sweep of this version; give another --out")
    return record["file"]


def _differing(found: Any, now: Any, where: str = "") -> list[str]:
    """`key: recorded -> now` for everything in which two contents differ."""
    if isinstance(found, dict) and isinstance(now, dict):
        keys = dict.fromkeys([*found, *now])
        return [text for key in keys for text in _differing(found.get(key), now.get(key), f"{where}.{key}".lstrip("."))]
    return [] if found == now else [f"{where}: {_short(found)} -> {_short(now)}"]


def _short(value: Any) -> str:
    text = "nothing" if value is None else json.dumps(value)
    return text if len(text) <= 80 else f"{text[:50]}...{text[-27:]}"
