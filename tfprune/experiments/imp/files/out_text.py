"""The progress text of an iterative-magnitude-pruning run (`<prefix>_out.dat`), as the original wrote it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from tfprune.experiments.imp.files.records import IterationRecord
from tfprune.experiments.imp.masks import connected_fraction

# NumPy's defaults: the print options of whoever calls must not change a file.
_DEFAULT_PRINT_OPTIONS = {
    "precision": 8,
    "linewidth": 75,
    "suppress": False,
    "sign": "-",
    "floatmode": "maxprec",
    "formatter": None,
    "legacy": False,
}


def step_text(step: int, train_error: float, validation_error: float) -> str:
    """What is written at a validation step. It ends with a carriage return: on a terminal the next one covers it."""
    return f"Step: {step:7d}, TE: {train_error:.3f}, VE: {validation_error:.3f}\r"


def iteration_end_text(ratios: np.ndarray, connected: float, best_validation_error: float) -> str:
    """What is written at the end of an iteration.

    Args:
        ratios: float64, one sparsity per pruned layer.
        connected: see `connected_fraction`.
        best_validation_error: the smallest of the iteration; a float32, whose value is shown with all its digits.
    """
    with np.printoptions(**_DEFAULT_PRINT_OPTIONS):
        shown = str(np.asarray(ratios, np.float64))
    best = float(np.float32(best_validation_error))
    return f"Ratios: {shown}; more than 0 connections: {float(connected)}; Emin: {best}\n"


def iteration_text(record: IterationRecord) -> str:
    """All that is written for one iteration."""
    train_errors = dict(zip(record.steps, record.train_errors, strict=True))
    lines = [
        step_text(step, train_errors[step], error)
        for step, error in zip(record.validation_steps, record.validation_errors, strict=True)
    ]
    connected = connected_fraction(record.layers, record.masks)
    return "".join(lines) + iteration_end_text(record.ratios, connected, min(record.validation_errors))


def out_text(records: Iterable[IterationRecord]) -> str:
    """The whole file for the iterations given, which may be read one at a time."""
    return "".join(iteration_text(record) for record in records)
