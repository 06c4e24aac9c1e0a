"""The folder of an iterative-magnitude-pruning run while it is being made: who may write there, and what is finished.

An iteration is finished when its `<prefix>_itdata_<k>.pkl` exists; that file is the last one of the iteration to
appear that cannot be made again from others. Everything is written atomically, so a killed run leaves whole files.
"""

from __future__ import annotations

import fcntl
import io
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from tfprune.errors import InputError
from tfprune.records.atomic import atomic_write_bytes, atomic_write_text, remove_stale_temporaries
from tfprune.records.imp_files import find_iterations, iteration_path

Checkpoint = dict[str, np.ndarray]


class ImpFolder:
    """Opens a folder for one run, alone, and reads and writes the files beside the original's.

    Args:
        folder: made if missing.
        prefix: start of every file name.

    Raises:
        InputError: the folder cannot be made or locked, or another process is writing this run.
    """

    def __init__(self, folder: str | Path, prefix: str):
        self.folder = Path(folder)
        self.prefix = prefix
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = open(self.path("run.lock"), "w")  # noqa: SIM115 - held until the process ends
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{self.folder}: another process is writing the run {prefix!r} there") from None
        except OSError as error:
            raise InputError(f"[IO] save_dir = {self.folder}: cannot use this folder: {error.strerror}") from None
        remove_stale_temporaries(self.folder, f"{prefix}_")

    def path(self, name: str) -> Path:
        """The file `<prefix>_<name>`."""
        return self.folder / f"{self.prefix}_{name}"

    def claim(
        self, record: dict, differing: Callable[[dict], list[str]], first_iteration: int = 0, overwrite: bool = False
    ) -> None:
        """Makes the folder this run's, or continues the run that is there if it has the same input.

        Args:
            record: the run's input as JSON values.
            differing: given the recorded input of the run found there, the keys that differ, one text each.
            first_iteration: iterations before this one belong to the run this one restarts from, and stay.
            overwrite: delete what is there from `first_iteration` on and start anew.

        Raises:
            InputError: the folder holds a run with another input, or iterations that this package did not write.
        """
        path = self.path("run.json")
        if overwrite:
            self._clear(first_iteration)
        elif path.exists():
            keys = differing(self._record()["input"])
            if keys and not self._has_work(first_iteration):
                path.unlink()  # for example a first start that ended at a slip in the input
            elif keys:
                raise InputError(
                    f"{self.folder} holds a run with another input: {'; '.join(keys)}. Use another save_dir or prefix, "
                    "or --overwrite to start anew"
                )
        elif any(k >= first_iteration for k in self._iterations()):
            raise InputError(
                f"{self.folder} holds iterations of {self.prefix!r} that have no {path.name}. Use another save_dir or "
                "prefix, or --overwrite to replace them"
            )
        if not path.exists():
            self._write_record({"input": record, "finished": False})

    @property
    def finished(self) -> bool:
        """Whether everything of the run, figures included, is there."""
        return bool(self._record()["finished"])

    def mark_finished(self) -> None:
        """Says so, for the next start."""
        self._write_record({**self._record(), "finished": True})

    def read_table(self, name: str) -> pd.DataFrame:
        """The CSV `<prefix>_<name>.csv`, empty if there is none."""
        path = self.path(f"{name}.csv")
        return read_table(path) if path.exists() else pd.DataFrame()

    def write_table(self, name: str, table: pd.DataFrame) -> None:
        """Writes `<prefix>_<name>.csv`."""
        atomic_write_text(self.path(f"{name}.csv"), table.to_csv(index=False))

    def add_row(self, name: str, row: Mapping[str, object]) -> None:
        """Adds a row to a table, or replaces the row of the same iteration."""
        table = self.read_table(name)
        if len(table):
            table = table[table["iteration"] != row["iteration"]]
        table = pd.concat([table, pd.DataFrame([row])]).sort_values("iteration")
        self.write_table(name, table)

    def read_checkpoint(self, name: str) -> Checkpoint | None:
        """The arrays of `<prefix>_<name>.npz`, None if there is no such file.

        Raises:
            InputError: the file is damaged.
        """
        path = self.path(f"{name}.npz")
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return dict(arrays)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(f"{path}: a damaged checkpoint ({error}); delete it to redo the iteration") from None

    def write_checkpoint(self, name: str, arrays: Checkpoint) -> None:
        """Writes `<prefix>_<name>.npz`."""
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        atomic_write_bytes(self.path(f"{name}.npz"), buffer.getbuffer())

    def drop_checkpoint(self, name: str) -> None:
        """Removes `<prefix>_<name>.npz` if it is there."""
        self.path(f"{name}.npz").unlink(missing_ok=True)

    def _iterations(self) -> list[int]:
        try:
            return list(find_iterations(self.folder, self.prefix)[1])
        except InputError:
            return []

    def _has_work(self, first_iteration: int) -> bool:
        return self.path("checkpoint.npz").exists() or any(k >= first_iteration for k in self._iterations())

    def _clear(self, first_iteration: int) -> None:
        # The record goes first: a folder without it is refused rather than continued.
        names = ("run.json", "findata.pkl", "out.dat", "summary.csv", "random_baseline.csv", "reevaluation.csv")
        doomed = [self.path(name) for name in (*names, "silencing.csv", "checkpoint.npz", "random_checkpoint.npz")]
        doomed += [iteration_path(self.folder, self.prefix, k) for k in self._iterations() if k >= first_iteration]
        for path in doomed:
            path.unlink(missing_ok=True)

    def _record(self) -> dict:
        path = self.path("run.json")
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            return {"input": dict(record["input"]), "finished": record["finished"]}
        except (OSError, ValueError, KeyError, TypeError):
            raise InputError(f"{path}: not the record of a run; use --overwrite to start anew") from None

    def _write_record(self, record: dict) -> None:
        atomic_write_text(self.path("run.json"), json.dumps(record, indent=1) + "\n")


def read_table(path: str | Path) -> pd.DataFrame:
    """A CSV table of a run.

    Raises:
        InputError: the file cannot be read as a table.
    """
    try:
        return pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a table of a run: {' '.join(str(error).split())}") from None
