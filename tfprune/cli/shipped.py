"""Input files and flag files that come with the package: `inputs/main.ini`, `flags/synflow.flags`."""

from __future__ import annotations

import site
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

FOLDERS = ("inputs", "flags")
_FLAG = "--flagfile"


def shipped(path: str) -> str:
    """The path itself; where nothing is there, and the package came with a file of that name, the path of this file.

    A working folder need not be that of the sources: an installed package has its files beside its modules' place.

    Args:
        path: as it was given.
    """
    asked = Path(path)
    if asked.exists() or asked.parts[:1] not in [(folder,) for folder in FOLDERS] or ".." in asked.parts:
        return path
    for found in _places(asked):
        if found.is_file():
            print(f"note: {path} is that of the package, {found}", file=sys.stderr)
            return str(found)
    return path


def with_shipped_flag_files(words: Sequence[str]) -> list[str]:
    """The words of a command line, in which `--flagfile=` names files that are there, if the package has them."""
    changed = []
    for word in words:
        name, equals, value = word.partition("=")
        if equals and name in (_FLAG, _FLAG[1:]):
            changed.append(f"{name}={shipped(value)}")
        else:
            changed.append(shipped(word) if changed and changed[-1] in (_FLAG, _FLAG[1:]) else word)
    return changed


def _places(asked: Path) -> Iterator[Path]:
    package = Path(__file__).parents[2]
    yield package / asked  # the sources
    for root in (package, sys.prefix, site.getuserbase()):  # as pip installs with --target, usually, and with --user
        yield Path(root, "share", "tfprune", asked)
