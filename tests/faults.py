"""A killed process, played in this one: from the n-th change of a name on nothing is changed any more.

Every file of the package gets its name, and loses it, in one step (`tfprune/records/atomic.py`). A kill in place of
such a step leaves what was written before it, temporary files included, and locks that nobody holds.
"""

import contextlib
import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
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
    with _counted(moment, root), contextlib.suppress(Killed):
        run()
        return False
    gc.collect()  # closes the files, locks among them, that nobody holds any more
    return True


def killed_until_done(run: Callable[[], object], root: str | Path, step: int = 1) -> int:
    """Runs it again and again, killed a little later each time, until it comes to its end.

    Args:
        run: called without arguments.
        root: changes elsewhere are not counted.
        step: kills come at the changes 1, 1 + step, 1 + 2 step, ...

    Returns:
        How often it was killed.
    """
    return next(kills for kills in count() if not killed(run, 1 + step * kills, root))


def kill_when_new(words: Sequence[str], root: Path, pattern: str) -> bool:
    """Starts `python -m` with these words, and really kills it when a file of the pattern is new or another.

    Returns:
        Whether it was killed; if not, it was done before.
    """
    before = stamps(root, pattern)
    process = subprocess.Popen([sys.executable, "-m", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + 120
    while process.poll() is None:
        if stamps(root, pattern) != before:
            os.kill(process.pid, signal.SIGKILL)
            break
        assert time.monotonic() < deadline
        time.sleep(0.0005)
    process.communicate()
    return process.returncode == -signal.SIGKILL


def assert_same_files(came: Path, expected: Path) -> None:
    """Of two folders: the same names and bytes, without anything that is for the time of a run alone."""
    came, expected = tree(came), tree(expected)
    assert sorted(came) == sorted(expected)
    assert not [name for name in came if "checkpoint" in name or "tmp" in name]
    assert [name for name in came if came[name] != expected[name]] == []


def tree(folder: str | Path) -> dict[str, bytes]:
    """All files below a folder, hidden ones too, by their paths in it."""
    folder = Path(folder)
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def stamps(root: Path, pattern: str) -> dict[Path, int]:
    """When the files of a pattern were last written, in nanoseconds."""
    return {path: path.stat().st_mtime_ns for path in root.glob(pattern) if path.exists()}


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
