"""Merging the classes of a data set into super-classes (`[Data] reclass`)."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from tfprune.errors import InputError
from tfprune.records.reading import read_text


def label_map(reclass: str, classes: int, search_folder: str | Path | None = None) -> np.ndarray:
    """The super-class of each class.

    Args:
        reclass: `n` none; `m,X` the label modulo X; `f,X,FILE` the entries of FILE, a list of one integer in [0, X)
            per class, separated by commas or white space.
        classes: number of classes of the data set.
        search_folder: where FILE is looked for if it isn't in the current folder.

    Returns:
        int32 (classes,).

    Raises:
        InputError: another form of `reclass`, or a FILE that is missing, too short, too long or out of range.
    """
    kind, *rest = (part.strip() for part in reclass.split(",", 2))
    if kind == "n" and not rest:
        return np.arange(classes, dtype=np.int32)
    good = (kind, len(rest)) in (("m", 1), ("f", 2)) and re.fullmatch(r"[0-9]{1,9}", rest[0]) and int(rest[0]) > 0
    if not good or rest[-1] == "":
        raise InputError(f"[Data] reclass = {reclass}: allowed are n | m,X | f,X,FILE with a whole number X >= 1")
    if kind == "m":
        return np.arange(classes, dtype=np.int32) % int(rest[0])
    return _read_map(_find(rest[1], search_folder), classes, int(rest[0]))


def class_count(reclass: str, classes: int) -> int:
    """The number of classes after merging, of a `reclass` that `label_map` accepts."""
    return classes if reclass.strip() == "n" else int(reclass.split(",")[1])


def _find(name: str, search_folder: str | Path | None) -> Path:
    here = Path(name)
    if here.is_absolute() or search_folder is None or here.exists():
        return here
    return Path(search_folder) / name


def _read_map(path: Path, classes: int, allowed: int) -> np.ndarray:
    try:
        entries = read_text(path).replace(",", " , ").split()
    except InputError as error:
        raise InputError(f"[Data] reclass: {error}") from None
    entries = [entry for entry in entries if entry != ","]
    if len(entries) != classes:
        raise InputError(f"[Data] reclass: {path} has {len(entries)} entries, {classes} are needed, one for each class")
    for position, entry in enumerate(entries, start=1):
        if not re.fullmatch(r"[0-9]{1,9}", entry) or int(entry) >= allowed:
            raise InputError(
                f"[Data] reclass: {path} has {entry[:20]!r} as entry {position}, "
                f"whole numbers from 0 to {allowed - 1} are allowed"
            )
    return np.array([int(entry) for entry in entries], np.int32)
