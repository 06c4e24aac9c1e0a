"""Sparsity layer by layer while a model trains, for TensorBoard and as a table."""

from __future__ import annotations

import csv as tables
import io
from os import PathLike
from pathlib import Path

import keras
import tensorflow as tf

from tfprune.connectivity.report import Counts, sparsity
from tfprune.errors import InputError
from tfprune.records.atomic import atomic_write_text

COLUMNS = (
    *("epoch", "step", "kernel", "weights", "kept", "effective", "density", "effective_density"),
    *("flops_dense", "flops_kept", "flops_effective"),
)
TOTAL = "total"


class SparsityLogger(keras.callbacks.Callback):
    """Writes, per kernel and in total, density, effective density and FLOPs of both after epochs, or some updates, too.

    Of a plain model what is not 0 counts as kept. FLOPs are those of one example, two for each weight and position, of
    kept and of effective weights; they fall in practice only where a runtime leaves zeros out.

    Args:
        log_dir: folder of TensorBoard: `density/<kernel>`, `effective_density/<kernel>`, `flops_kept/<kernel>`,
            `flops_effective/<kernel>`, and the same of `total`; over epochs, or with `every_steps` over updates.
        csv: file of a table: epoch from 1, number of updates so far (empty where it is not known), kernel's path or
            `total`, and counts. Written anew each time; a training that does not begin with its first epoch keeps the
            rows of the earlier ones.
        every: log after every so many epochs; None for updates alone.
        every_steps: log after every so many updates, too, counted as `tfprune.Prune` counts them; with
            `steps_per_execution` after the execution that holds one.
        input_shape, convention, unknown: as for `tfprune.sparsity`.

    Raises:
        InputError: neither a folder nor a file, neither epochs nor updates, a file that cannot be written, updates that
            cannot be counted, or as for `tfprune.sparsity`.
    """

    def __init__(
        self,
        log_dir: str | PathLike | None = None,
        csv: str | PathLike | None = None,
        every: int | None = 1,
        every_steps: int | None = None,
        *,
        input_shape: tuple | list | None = None,
        convention: str = "influence",
        unknown: str = "barrier",
    ):
        super().__init__()
        if log_dir is None and csv is None:
            raise InputError("SparsityLogger needs log_dir=, csv= or both")
        for name, value, what in (("every", every, "epochs"), ("every_steps", every_steps, "updates")):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise InputError(f"{name} must be a positive number of {what}. Received: {value!r}")
        if every is None and every_steps is None:
            raise InputError("SparsityLogger needs every=, every_steps= or both")
        self._folder, self._file = log_dir, None if csv is None else Path(csv)
        self._every, self._every_steps = every, every_steps
        self._options = {"input_shape": input_shape, "convention": convention, "unknown": unknown}
        self._writer = None

    def on_train_begin(self, logs=None) -> None:
        self._lines: list[str] | None = None
        self._per_epoch, self._done, self._logged = (self.params or {}).get("steps"), None, None
        if self._folder is not None and not hasattr(tf.summary, "scalar"):  # which TensorFlow has of TensorBoard
            raise InputError("log_dir= needs TensorBoard: pip install tensorboard")

    def on_epoch_begin(self, epoch: int, logs=None) -> None:
        if self._lines is None:
            self._lines = self._earlier(epoch)
        if self._per_epoch:
            self._done = epoch * self._per_epoch
        elif not epoch and getattr(self.model, "steps_per_execution", 1) == 1:  # else the last one may be a part
            self._done = 0
        if self._done is None and self._every_steps is not None:
            raise InputError("SparsityLogger cannot count the steps of the epochs: give fit steps_per_epoch")
        self._epoch, self._epoch_start = epoch, self._done

    def on_train_batch_end(self, batch: int, logs=None) -> None:
        if self._epoch_start is None:
            return
        done = batch + 1 if self._per_epoch is None else min(batch + 1, self._per_epoch)  # of a whole execution
        before, self._done = self._done, self._epoch_start + done
        at_the_end = done == self._per_epoch and self._is_due(self._epoch)  # once, when other callbacks are done
        every = self._every_steps
        if every is not None and before // every < self._done // every and not at_the_end:
            self._log()

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        if self._is_due(epoch) and (self._done is None or self._logged != self._done):
            self._log()

    def on_train_end(self, logs=None) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _is_due(self, epoch: int) -> bool:
        return self._every is not None and (epoch + 1) % self._every == 0

    def _log(self) -> None:
        report = sparsity(self.model, **self._options)
        counted = {path: (report.weights_of[path], report.flops_of[path]) for path in report.weights_of}
        counted[TOTAL] = report.weights, report.flops
        self._logged = self._done
        if self._file is not None:
            self._lines += _lines(_row(self._epoch + 1, self._done, path, *counts) for path, counts in counted.items())
            self._write_table()
        if self._folder is not None:
            self._write_events(self._epoch + 1 if self._every_steps is None else self._done, counted)

    def _earlier(self, epoch: int) -> list[str]:
        """Lines of the file of before the first epoch of this training."""
        if self._file is None or not epoch or not self._file.exists():
            return []
        with open(self._file, newline="") as file:
            header, *rows = [tuple(row) for row in tables.reader(file)] or [()]
        if header != COLUMNS:
            raise InputError(f"{self._file} is no table of SparsityLogger: its columns are {', '.join(header)}")
        return _lines(row for row in rows if int(row[0]) <= epoch)

    def _write_table(self) -> None:
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot write {self._file}: {error.strerror or error}") from error
        atomic_write_text(self._file, "".join(_lines([COLUMNS]) + self._lines))

    def _write_events(self, step: int, counted: dict[str, tuple[Counts, Counts]]) -> None:
        if self._writer is None:
            self._writer = tf.summary.create_file_writer(str(self._folder))
        with self._writer.as_default(step=step):
            for path, (weights, flops) in counted.items():
                tf.summary.scalar(f"density/{path}", 1 - weights.direct_sparsity)
                tf.summary.scalar(f"effective_density/{path}", 1 - weights.effective_sparsity)
                tf.summary.scalar(f"flops_kept/{path}", flops.kept)
                tf.summary.scalar(f"flops_effective/{path}", flops.effective)
        self._writer.flush()


def _row(epoch: int, step: int | None, path: str, weights: Counts, flops: Counts) -> tuple:
    densities = (f"{1 - part:.6g}" for part in (weights.direct_sparsity, weights.effective_sparsity))
    counts = weights.dense, weights.kept, weights.effective, *densities, flops.dense, flops.kept, flops.effective
    return epoch, "" if step is None else step, path, *counts


def _lines(rows) -> list[str]:
    """Rows as they stand in the file, each with its end."""
    found = []
    for row in rows:
        tables.writer(text := io.StringIO(), lineterminator="\n").writerow(row)
        found.append(text.getvalue())
    return found
