"""Which engine computes a training: how it is asked for, and what of it is refused before anything is loaded."""

from __future__ import annotations

from typing import Any

from tfprune.engine.compiling import require_engine
from tfprune.errors import InputError, did_you_mean
from tfprune.records.settings import setting

AUTO, DENSE, SPARSE = ENGINES = ("auto", "dense", "sparse")


def engine_setting(section: str | None = None) -> Any:
    """The setting `engine` of a study.

    It is one of those that say how to run, and so no part of record and digest: as another kind of processor does, an
    engine gives the same numbers but for the last digits of their sums. Names of runs stay as they are, finished runs
    stay finished, and one that was killed may go on by another engine, as on another machine. Which one it was is in
    the results (`Result.engine`).

    Args:
        section: of the input file in which the key stands; None for a flag.
    """
    return setting(
        str,
        "How pruned layers are computed: dense, with masked kernels; sparse, with kept weights alone wherever a fixed "
        "rule of shape, density and batch says that it pays (on CPUs, by the package numba); auto, sparse where that "
        "can be, else dense.",
        AUTO,
        choices=ENGINES,
        section=section,
        place=True,
    )


def check_engine(engine: str, named: str = "--engine") -> None:
    """Refuses an engine that there is not, or not here.

    Args:
        engine: as asked for.
        named: what the user gave it by.

    Raises:
        InputError: another name than those of `ENGINES`, or `sparse` without the package that it needs, with the
            command that brings it, or with one that is of no use here.
    """
    if engine not in ENGINES:
        near = did_you_mean(engine, ENGINES)
        raise InputError(f"{named} must be one of {', '.join(ENGINES)}. Received: {engine!r}{near}")
    if engine == SPARSE:
        require_engine(f"{named}={engine}")
