"""Images in one folder per class, as their names tell them: no image is opened.

<folder>/<part>/<class>/<image>
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from tfprune.errors import InputError

SUFFIXES = (".jpeg", ".jpg", ".png")
_TOLD = 5


def class_names(folder: str | Path, parts: tuple[str, str], kind: str) -> list[str]:
    """Names of the classes of a folder's two parts, in the order of their numbers.

    Args:
        folder: holds the parts.
        parts: names of their folders.
        kind: how messages call the images, for example `*.png`.

    Raises:
        InputError: a part is not there, holds no class, or holds others than the other part: the first five of each
            part are named.
    """
    names, others = (_class_folders(Path(folder, part), parts, kind) for part in parts)
    odd = [sorted(set(names) - set(others)), sorted(set(others) - set(names))]
    told = [f"only {part} has {_listing(extra)}" for part, extra in zip(parts, odd, strict=True) if extra]
    if told:
        raise InputError(f"{folder}: {' and '.join(parts)} must hold the same classes; {', '.join(told)}")
    return names


def class_files(part: str | Path, names: list[str], each: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """All image files of a part as byte strings (n,), by class and name, and their int32 (n,) labels.

    Args:
        part: holds the classes' folders.
        names: of the classes.
        each: whether every class must have some.

    Raises:
        InputError: there are none, or, with `each`, none of a class.
    """
    files, labels = [], []
    for number, name in enumerate(names):
        place = Path(part, name)
        found = sorted(os.fsencode(path) for path in place.iterdir() if path.suffix.lower() in SUFFIXES)
        if each and not found:
            raise InputError(f"{place}: holds no images ({', '.join(SUFFIXES)})")
        files += found
        labels += [number] * len(found)
    if not files:
        raise InputError(f"{part}: holds no images ({', '.join(SUFFIXES)})")
    return np.array(files), np.array(labels, np.int32)


def _class_folders(part: Path, parts: tuple[str, str], kind: str) -> list[str]:
    if not part.is_dir():
        needed = " and ".join(f"{name}/<class>/{kind}" for name in parts)
        raise InputError(f"{part}: no such folder; {needed} are needed")
    names = sorted(path.name for path in part.iterdir() if path.is_dir())
    if not names:
        raise InputError(f"{part}: holds no folders of classes")
    return names


def _listing(names: list[str]) -> str:
    listed = ", ".join(map(repr, names[:_TOLD]))
    return listed if len(names) <= _TOLD else f"{listed} and {len(names) - _TOLD} more"
