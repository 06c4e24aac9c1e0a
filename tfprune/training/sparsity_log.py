"""Sparsity layer by layer while a model trains, for TensorBoard and as a table."""

from __future__ import annotations

import csv as tables
import os
from os import PathLike
from pathlib import Path

import keras
import tensorflow as tf

from tfprune.connectivity.report import Counts, sparsity
from tfprune.errors import InputError

COLUMNS = ("epoch", "kernel", "weights", "kept", "effective", "density", "effective_density", "flops")
TOTAL = "total"


class SparsityLogger(keras.callbacks.Callback):
    """Writes, per kernel and in total, density, effective density and effective FLOPs after epochs.

    Of a plain model what is not 0 counts as kept. FLOPs are those of one example, two for each effective weight and
    position; they fall in practice only where a runtime leaves zeros out.

    Args:
        log_dir: folder of TensorBoard: `density/<kernel>`, `effective_density/<kernel>`, `flops/<kernel>`, and the same
            of `total`.
        csv: file of a table: epoch from 1, kernel's path or `total`, and counts. Written after every epoch; a training
            that does not begin with its first epoch keeps the rows of the earlier ones.
        every: log every so many epochs.
        input_shape, convention, unknown: as for `tfprune.sparsity`.

    Raises:
        InputError: neither a folder nor a file, a file that cannot be written, or as for `tfprune.sparsity`.
    """

    def __init__(
        self,
        log_dir: str | PathLike | None = None,
        csv: str | PathLike | None = None,
        every: int = 1,
        *,
        input_shape: tuple | list | None = None,
        convention: str = "influence",
        unknown: str = "barrier",
    ):
        super().__init__()
        if log_dir is None and csv is None:
            raise InputError("SparsityLogger needs log_dir=, csv= or both")
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise InputError(f"every must be a positive number of epochs. Received: {every!r}")
        self._folder, self._file, self._every = log_dir, None if csv is None else Path(csv), every
        self._options = {"input_shape": input_shape, "convention": convention, "unknown": unknown}
        self._writer = None

    def on_train_begin(self, logs=None) -> None:
        self._rows: list[tuple] | None = None
        if self._folder is not None and not hasattr(tf.summary, "scalar"):  # which TensorFlow has of TensorBoard
            raise InputError("log_dir= needs TensorBoard: pip install tensorboard")

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        if self._rows is None:
            self._rows = self._earlier(epoch)
        if (epoch + 1) % self._every:
            return
        report = sparsity(self.model, **self._options)
        counted = {path: (report.weights_of[path], report.flops_of[path]) for path in report.weights_of}
        counted[TOTAL] = report.weights, report.flops
        if self._file is not None:
            self._rows += [_row(epoch + 1, path, *counts) for path, counts in counted.items()]
            self._write_table()
        if self._folder is not None:
            self._write_events(epoch + 1, counted)

    def on_train_end(self, logs=None) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _earlier(self, epoch: int) -> list[tuple]:
        """Rows of the file of before the first epoch of this training."""
        if self._file is None or not epoch or not self._file.exists():
            return []
        with open(self._file, newline="") as file:
            header, *rows = [tuple(row) for row in tables.reader(file)] or [()]
        if header != COLUMNS:
            raise InputError(f"{self._file} is no table of SparsityLogger: its columns are {', '.join(header)}")
        return [row for row in rows if int(row[0]) <= epoch]

    def _write_table(self) -> None:
        beside = self._file.with_name(self._file.name + ".new")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with open(beside, "w", newline="") as file:
                tables.writer(file).writerows([COLUMNS, *self._rows])
            os.replace(beside, self._file)
        except OSError as error:
            raise InputError(f"cannot write {self._file}: {error.strerror or error}") from error

    def _write_events(self, epoch: int, counted: dict[str, tuple[Counts, Counts]]) -> None:
        if self._writer is None:
            self._writer = tf.summary.create_file_writer(str(self._folder))
        with self._writer.as_default(step=epoch):
            for path, (weights, flops) in counted.items():
                tf.summary.scalar(f"density/{path}", 1 - weights.direct_sparsity)
                tf.summary.scalar(f"effective_density/{path}", 1 - weights.effective_sparsity)
                tf.summary.scalar(f"flops/{path}", flops.effective)
        self._writer.flush()


def _row(epoch: int, path: str, weights: Counts, flops: Counts) -> tuple:
    densities = (f"{1 - part:.6g}" for part in (weights.direct_sparsity, weights.effective_sparsity))
    return epoch, path, weights.dense, weights.kept, weights.effective, *densities, flops.effective
