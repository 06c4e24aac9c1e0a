"""The folder in which a network of a lottery or one-shot run is being trained, and the lock of a replicate."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfprune.errors import InputError
from tfprune.experiments.lottery import files as files
from tfprune.records.arrays import write_npz
from tfprune.records.atomic import atomic_write_text
from tfprune.records.lock import FileLock
from tfprune.records.mask_file import write_masks
from tfprune.records.network_folder import CHECKPOINT, LOGGER, NetworkFolder


class LotteryFolder(NetworkFolder):
    """Opens the folder of one training run (a level, a branch, ...), alone; see `NetworkFolder`.

    Args:
        folder: made if missing.

    Raises:
        InputError: the folder cannot be made or locked, or another process trains there.
    """

    elsewhere = "another --root"
    version = files.VERSION
    ignored = ("label",)  # names the run in tables

    def __init__(self, folder: str | Path):
        super().__init__(folder, "--root")

    def write_hparams(self, groups: Mapping[str, Mapping[str, Any]]) -> None:
        """Writes `hparams.log`, settings by group for people to read."""
        blocks = [
            "\n".join([f"[{group}]", *(f"{name} = {value}" for name, value in settings.items())])
            for group, settings in groups.items()
        ]
        atomic_write_text(self.path(files.HPARAMS), "\n\n".join(blocks) + "\n")

    def write_weights(self, step: object, weights: Mapping[str, np.ndarray]) -> None:
        """Writes `model_<step>.npz`: path -> float32 array, in the order of the network."""
        wrong = [name for name, array in weights.items() if array.dtype != np.float32]
        if wrong:
            raise ValueError(f"weights must be float32. Received: {', '.join(wrong)}")
        write_npz(self.path(files.weights_name(step)), weights)

    def write_mask(self, masks: Mapping[str, np.ndarray]) -> None:
        """Writes `mask.npz` and, counted from it, `sparsity_report.json`."""
        total, unpruned = (sum(int(count(mask)) for mask in masks.values()) for count in (np.size, np.count_nonzero))
        write_masks(self.path(files.MASK), masks)
        self.write_report(total, unpruned)

    def write_report(self, total: int, unpruned: int) -> None:
        """Writes `sparsity_report.json` alone, for a network without a mask."""
        report = {"total": int(total), "unpruned": int(unpruned)}
        atomic_write_text(self.path(files.REPORT), json.dumps(report) + "\n")

    def finish(self) -> None:
        """Marks the run finished and removes its checkpoint."""
        self.mark_finished()
        self.drop_checkpoint(CHECKPOINT)

    def _found(self) -> list[str]:
        names = [files.weights_name(step) for step in files.saved_steps(self.folder)]
        names += [LOGGER, files.MASK, files.REPORT, f"{CHECKPOINT}.npz"]
        return [name for name in names if self.path(name).exists()]

    def _clear(self) -> None:
        super()._clear()
        self.path(files.HPARAMS).unlink(missing_ok=True)


class ReplicateLock:
    """Keeps other processes out of a replicate while its levels are made one after the other.

    Args:
        folder: `<root>/<name>/replicate_<r>`; made if missing.
        shared: for a branch, which only reads what is not in its own folder: any number of branches at once, but none
            while a run without `shared` is there.

    Raises:
        InputError: the folder cannot be made or locked, or another process holds the lock.
    """

    def __init__(self, folder: str | Path, shared: bool = False):
        self.folder = Path(folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(self.folder / "replicate.lock", shared)
        except BlockingIOError:
            raise InputError(f"{self.folder}: another process works on this replicate") from None
        except OSError as error:
            raise InputError(f"--root: folder = {self.folder}: cannot use this folder: {error.strerror}") from None

    def clear(self) -> None:
        """Deletes all runs of the replicate, branches too: they were made from what goes."""
        for location in files.locations(self.folder):
            run = LotteryFolder(location.folder)
            run.clear()
            run.release()

    def release(self) -> None:
        """Lets others in."""
        self._lock.release()

    def __enter__(self) -> ReplicateLock:
        return self

    def __exit__(self, *_) -> None:
        self.release()
