"""The way to the compiled kernels: says when they are compiled, which package they need, and how many threads run."""

from __future__ import annotations

import os
import sys
import threading
import warnings
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from tfprune.errors import InputError
from tfprune.records.extras import extra

_SECONDS_WITHOUT_WORD = 3.0
_SPINS = "1000"  # a few microseconds


def has_engine() -> bool:
    """Whether the package is there that compiles the kernels; does not load it."""
    return find_spec("numba") is not None


def can_compile() -> bool:
    """Whether it is there and of use; loads it, and says why it is of none."""
    try:
        require_engine()
    except InputError as error:
        warnings.warn(f"{error}; all products are dense", stacklevel=2)
        return False
    return True


def require_engine(what: str = "the sparse engine") -> None:
    """Raises InputError where kernels cannot be compiled.

    Args:
        what: needs them, in a word or two, for the error.

    Raises:
        InputError: Numba is not installed, and the command that does it; it cannot be loaded; it is told not to
            compile, and Python cannot carry out what is written for processors; or to use no thread.
    """
    # GNU's threads look for work for milliseconds, and keep what else runs on the machine from a core: two trainings
    # side by side would take ten times as long as one. It is read once, when their library is loaded.
    os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)
    settings = extra("numba", what).config
    if settings.DISABLE_JIT:
        raise InputError(f"{what}: NUMBA_DISABLE_JIT is set, and nothing can be compiled")
    if settings.NUMBA_NUM_THREADS < 1:
        raise InputError(f"{what}: NUMBA_NUM_THREADS is at least 1: received {settings.NUMBA_NUM_THREADS}")


@cache
def kernels(module: str = "kernels") -> ModuleType:
    """A module of compiled kernels.

    The first process on a machine compiles them, for some twenty seconds each, and says so; later ones read what it
    wrote.

    Args:
        module: its name in this room.

    Raises:
        InputError: as `require_engine`.
    """
    require_engine()
    note = threading.Timer(_SECONDS_WITHOUT_WORD, _tell, [keeps_compiled()])
    note.daemon = True
    note.start()
    try:
        return import_module(f"tfprune.engine.{module}")
    finally:
        note.cancel()


def keeps_compiled() -> bool:
    """Whether Numba finds a place for what it compiles; else it compiles in every process."""
    from numba import njit, types

    try:
        njit(types.int64(types.int64), cache=True)(_nothing)
    except RuntimeError:
        return False
    return True


def _nothing(number):
    return number


def _tell(once: bool) -> None:
    how = "for this machine, once"
    if not once:
        how = "in each process, as there is no place to keep it (NUMBA_CACHE_DIR names a folder)"
    print(f"tfprune: compiling the sparse engine {how} ...", file=sys.stderr, flush=True)


def run_with(threads: int) -> None:
    """Lets the kernels that this thread calls use some threads, as far as Numba has them; 0: all that it has."""
    import numba

    most = numba.config.NUMBA_NUM_THREADS
    numba.set_num_threads(min(threads, most) if threads > 0 else most)


def threads() -> int:
    """How many threads the kernels use that this thread calls."""
    import numba

    return numba.get_num_threads()
