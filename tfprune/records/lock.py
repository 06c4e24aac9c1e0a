"""Files that keep other processes out while they are held open."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path

from tfprune.records.atomic import refuse_link


class FileLock:
    """Takes a lock that ends with the process at the latest.

    The file is never written: whatever stands in it, for example under a second name, stays.

    Args:
        path: the lock's file; made if missing.
        shared: any number of shared locks go together, but none with another.

    Raises:
        InputError: a symbolic link is in its place.
        BlockingIOError: another process holds it.
        OSError: the file cannot be opened.
    """

    def __init__(self, path: str | Path, shared: bool = False):
        refuse_link(path)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        # A file object: a folder that is let go of lets go of its lock.
        self._file = os.fdopen(os.open(path, flags, 0o666), "rb+", buffering=0)
        try:
            if not stat.S_ISREG(os.fstat(self._file.fileno()).st_mode):
                raise OSError(errno.EINVAL, "its lock is not an ordinary file")
            fcntl.flock(self._file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError:
            self.release()
            raise

    def release(self) -> None:
        """Lets others in; may be called again."""
        self._file.close()
