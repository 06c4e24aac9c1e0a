"""The folder of an iterative-magnitude-pruning run while it is being made, and its tables.

An iteration is finished when its `<prefix>_itdata_<k>.pkl` exists; that file is the last one of the iteration to
appear that cannot be made again from others.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from tfprune.errors import InputError
from tfprune.experiments.imp.files import find_iterations, iteration_path
from tfprune.records.atomic import atomic_write_text
from tfprune.records.reading import read_text, readable
from tfprune.records.run_folder_old import RunFolder

_MOST_COLUMNS = 1000
_TEXT = "order"


class ImpFolder(RunFolder):
    """Opens a folder for one run, alone, and reads and writes the files beside the original's.

    Args:
        folder: made if missing.
        prefix: start of every file name.

    Raises:
        InputError: the folder cannot be made or locked, or another process is writing this run.
    """

    elsewhere = "another save_dir or prefix"
    unit = "iteration"

    def __init__(self, folder: str | Path, prefix: str):
        super().__init__(folder, prefix, named="[IO] save_dir")
        self._first_iteration = 0

    def claim(
        self, record: dict, differing: Callable[[dict], list[str]], first_iteration: int = 0, overwrite: bool = False
    ) -> None:
        """As `RunFolder.claim`.

        Args:
            record: the run's input as JSON values.
            differing: given the recorded input of the run found there, the keys that differ, one text each.
            first_iteration: iterations before this one belong to the run this one restarts from, and stay.
            overwrite: delete what is there from `first_iteration` on and start anew.
        """
        self._first_iteration = first_iteration
        super().claim(record, differing, overwrite)

    def read_table(self, name: str) -> pd.DataFrame:
        """The CSV `<prefix>_<name>.csv`, with a row for each iteration; empty if there is none."""
        path = self.path(f"{name}.csv")
        if not path.exists():
            return pd.DataFrame()
        table = read_table(path)
        if "iteration" not in table:
            raise InputError(f"{path}: has no column 'iteration'; --overwrite starts anew")
        return table

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

    def _iterations(self) -> list[int]:
        try:
            found = find_iterations(self.folder, self.prefix)[1]
        except InputError:
            return []
        return [k for k in found if k >= self._first_iteration]

    def _has_work(self) -> bool:
        return self.path("checkpoint.npz").exists() or bool(self._iterations())

    def _foreign(self) -> str:
        return "iterations" if self._iterations() else ""

    def _clear(self) -> None:
        names = ("run.json", "findata.pkl", "out.dat", "summary.csv", "random_baseline.csv", "reevaluation.csv")
        doomed = [self.path(name) for name in (*names, "silencing.csv", "checkpoint.npz", "random_checkpoint.npz")]
        doomed += [iteration_path(self.folder, self.prefix, k) for k in self._iterations()]
        for path in doomed:
            path.unlink(missing_ok=True)


def read_table(path: str | Path) -> pd.DataFrame:
    """A CSV table of a run.

    Raises:
        InputError: the file cannot be read as a table of numbers (`order`, of units that are silenced, is text).
    """
    text = read_text(path)
    with readable(path, "a table of a run"):
        if text.partition("\n")[0].count(",") >= _MOST_COLUMNS:
            raise ValueError(f"more than {_MOST_COLUMNS} columns")
        table = pd.read_csv(io.StringIO(text))
        wrong = [name for name in table.columns if name != _TEXT and table[name].dtype.kind not in "iuf"]
        if wrong or not isinstance(table.index, pd.RangeIndex):
            raise ValueError(f"column {wrong[0][:40]!r} must be numbers" if wrong else "a row has too many entries")
        if "iteration" in table and table["iteration"].isna().any():
            raise ValueError("a row has no iteration")
    return table
