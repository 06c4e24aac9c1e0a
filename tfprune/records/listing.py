"""The files of a folder that results are looked for in, read from the disk once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Listing:
    """What a folder holds.

    Attributes:
        folder: it, absolute: names of the folders above say what is in this one.
        names: of all its files.
        results: of those that are results of networks, or mean to be.
    """

    folder: Path
    names: frozenset[str]
    results: frozenset[str]
