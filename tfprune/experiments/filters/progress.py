"""Progress of filter-pruning runs, and the table at their end."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tfprune.cli.progress_old import TrainingProgress


class FiltersProgress(TrainingProgress):
    """Shows a run to the person who started it (the `Report` of `tfprune.experiments.filters.training`)."""

    def start(self, what: str, model) -> None:
        count = sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)
        self.say(f"{what}: {count:,} trainable parameters")


def results_text(table: pd.DataFrame) -> str:
    """The networks as they are printed; parameters are trainable ones, without running averages of normalisation.

    Args:
        table: from `tfprune.experiments.filters.results`, the unpruned network first.
    """
    whole = table.iloc[0]
    shown = pd.DataFrame(
        {
            "scoring": table["scoring"],
            "version": table["version"],
            "trainable parameters": table["parameters"].map("{:,}".format),
            "of all": (table["parameters"] / whole["parameters"]).map("{:.1%}".format),
            "FLOPs of all": (table["flops"] / whole["flops"]).map("{:.1%}".format),
            "just pruned": table["pruned_test_accuracy"].map(lambda value: "" if pd.isna(value) else f"{value:.4f}"),
            "test accuracy": table["test_accuracy"].map("{:.4f}".format),
        }
    )
    return shown.to_string(index=False)
