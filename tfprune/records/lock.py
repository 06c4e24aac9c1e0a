"""Files that keep other processes out while they are held open."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from tfprune.errors import InputError
from tfprune.records.reading import os_flags

try:
    import portalocker
except ImportError:  # the library writes its files without locks then, as on file systems that have none
    portalocker = None

_SECONDS_BETWEEN_TRIES = 0.05


class FileLock:
    """Takes a lock that ends with the process at the latest.

    The file is never written: whatever stands in it, for example under a second name, stays.

    Args:
        path: the lock's file; made if missing.
        shared: any number of shared locks go together, but none with another.

    Raises:
        InputError: a symbolic link is in its place.
        BlockingIOError: another process holds it.
        OSError: the file cannot be opened or locked.
    """

    def __init__(self, path: str | Path, shared: bool = False):
        refuse_link(path)
        flags = os.O_RDWR | os.O_CREAT | os_flags("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY")
        # A file object: a folder that is let go of lets go of its lock.
        self._file = os.fdopen(os.open(path, flags, 0o666), "rb+", buffering=0)
        self._path = path
        try:
            refuse_link(path)  # not every system can refuse to follow one that has come meanwhile
            if not stat.S_ISREG(os.fstat(self._file.fileno()).st_mode):
                raise OSError(errno.EINVAL, "its lock is not an ordinary file")
            hold(self._file, path, shared)
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Lets others in; may be called again."""
        self._file.close()

    def remove(self) -> None:
        """Deletes the file and lets others in: none of them can hold it then under the name that is gone."""
        with contextlib.suppress(PermissionError):
            os.unlink(self._path)
            return self.release()
        # Windows deletes no file that is open, and so none that another process holds by now.
        self.release()
        with contextlib.suppress(OSError):
            os.unlink(self._path)


@contextlib.contextmanager
def taking_turns(path: str | Path) -> Iterator[None]:
    """Keeps others out of a block that they enter by the same file, which is there meanwhile; waits for them.

    Where nothing can be locked, on a disk that is read-only for example, nobody is kept out.

    Args:
        path: the lock's file.
    """
    lock = None
    while lock is None:
        try:
            lock = FileLock(path)
        except BlockingIOError:
            time.sleep(_SECONDS_BETWEEN_TRIES)
        except OSError:
            break
    try:
        yield
    finally:
        if lock is not None:
            lock.remove()


def can_lock() -> bool:
    """Whether this process has what locks a file; a file system may still have no locks."""
    return portalocker is not None


def hold(file: IO[bytes], path: str | Path, shared: bool = False) -> None:
    """Locks an open file until it is closed.

    Args:
        file: open for reading and writing, or for writing.
        path: its name.
        shared: see `FileLock`.

    Raises:
        BlockingIOError: another process holds it, or has deleted it meanwhile.
        OSError: it cannot be locked, for example on a file system without locks.
    """
    if not can_lock():
        raise OSError(errno.ENOTSUP, "it cannot be locked: the package portalocker is missing")
    kind = portalocker.LockFlags.SHARED if shared else portalocker.LockFlags.EXCLUSIVE
    try:
        portalocker.lock(file, kind | portalocker.LockFlags.NON_BLOCKING)
    except portalocker.AlreadyLocked:
        raise BlockingIOError(errno.EAGAIN, "another process holds it") from None
    except portalocker.LockException as error:
        cause = error.__cause__
        raise cause if isinstance(cause, OSError) else OSError(errno.EIO, f"it cannot be locked: {error}") from None
    try:
        kept = os.path.samestat(os.fstat(file.fileno()), os.lstat(path))
    except FileNotFoundError:
        kept = False
    if not kept:
        raise BlockingIOError(errno.EAGAIN, "another process has deleted it")


def refuse_link(path: str | Path) -> None:
    """Refuses a symbolic link in the place of a file that is ours to write: what it points to is not ours.

    Raises:
        InputError: there is one, or the name is none that a file can have.
    """
    if "\0" in str(path):
        raise InputError(f"the name of a file must have no NUL. Received: {str(path)!r}")
    if os.path.islink(path):
        raise InputError(f"{path} is a symbolic link; locks, records and results must be files: remove the link")
