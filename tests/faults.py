"""A killed process, played in this one: from the n-th change of a name on nothing is changed any more.

Every file of the package gets its name, and loses it, in one step (`tfprune/records/atomic.py`). A kill in place of
such a step leaves what was written before it, temporary files included, and locks that nobody holds.
"""

import contextlib
import gc
import os
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

_COUNTED = ("replace", "rename", "unlink")
_CHANGES = (*_COUNTED, "rmdir", "mkdir")


class Killed(BaseException):
    """Raised in place of the n-th change and, so that nobody tidies up, of all that are tried after it."""


def killed(run: Callable[[], object], moment: int, root: str | Path = "/") -> bool:
    """Runs it, and kills it in place of its n-th change of a name.

    Args:
        run: called without arguments.
        moment: n, from 1.
        root: changes elsewhere are not counted.

    Returns:
        Whether it was killed; if not, it came to its end.
    """
    with _counted(moment, root):
        try:
            run()
            return False
        except Killed:
            pass  # and with it goes all that still holds a file or a lock
        gc.collect()
        return True


def killed_until_done(run: Callable[[], object], root: str | Path) -> int:
    """Runs it again and again, killed at the 1st, 2nd, 3rd, ... change below `root`, until it comes to its end.

    Returns:
        How often it was killed.
    """
    return next(kills for kills in count() if not killed(run, kills + 1, root))


def tree(folder: str | Path) -> dict[str, bytes]:
    """All files below a folder, hidden ones too, by their paths in it."""
    folder = Path(folder)
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@contextlib.contextmanager
def _counted(moment: int, root: str | Path) -> Iterator[None]:
    left = moment

    def counted(name: str) -> Callable:
        usual = getattr(os, name)

        def change(path, *rest, dir_fd=None, **more):
            nonlocal left
            if name in _COUNTED and dir_fd is None and Path(os.path.abspath(path)).is_relative_to(root):
                left -= 1
            if left <= 0:
                raise Killed
            return usual(path, *rest, **more if dir_fd is None else {**more, "dir_fd": dir_fd})

        return change

    with pytest.MonkeyPatch.context() as patch:
        for name in _CHANGES:
            patch.setattr(os, name, counted(name))
        yield
