"""The lock of a replicate, whose levels are made one after the other."""

from __future__ import annotations

from pathlib import Path

from tfprune.errors import InputError
from tfprune.experiments.lottery.files import LAYOUT, locations
from tfprune.records.lock import FileLock
from tfprune.records.run_folder import RunFolder


class Replicate:
    """Keeps other processes out of a replicate.

    Args:
        folder: `<root>/<name>/replicate_<r>`; made if missing.
        shared: for a branch, which only reads what is not in its own folder: any number of branches at once, but none
            while a run without `shared` is there.
        overwrite: whether what is asked for is to be made anew; see `clear`.

    Raises:
        InputError: the folder cannot be made or locked, or another process holds the lock.
    """

    def __init__(self, folder: str | Path, shared: bool = False, overwrite: bool = False):
        self.folder, self.overwrite = Path(folder), overwrite
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(self.folder / "replicate.lock", shared)
        except BlockingIOError:
            raise InputError(f"{self.folder}: another process works on this replicate") from None
        except OSError as error:
            raise InputError(f"--root: folder = {self.folder}: cannot use this folder: {error.strerror}") from None

    def clear(self) -> None:
        """Deletes all runs of the replicate, branches too: they were made from what goes."""
        for location in locations(self.folder):
            with RunFolder(location.folder, LAYOUT) as run:
                run.clear()

    def release(self) -> None:
        """Lets others in."""
        self._lock.release()

    def __enter__(self) -> Replicate:
        return self

    def __exit__(self, *_) -> None:
        self.release()
