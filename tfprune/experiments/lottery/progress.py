"""Progress of lottery and one-shot runs, and the table at their end."""

from __future__ import annotations

import pandas as pd

from tfprune.cli.progress_old import TrainingProgress


class LotteryProgress(TrainingProgress):
    """Shows a run to the person who started it (the `Report` of `tfprune.experiments.lottery.training`)."""

    def start(self, what: str, masks) -> None:
        self.say(f"{what}: {masks.kept:,} of {masks.size:,} weights, sparsity {masks.sparsity:.4f}")


def summary_text(table: pd.DataFrame) -> str:
    """The summary over replicates as it is printed.

    Args:
        table: from `tfprune.experiments.lottery.results.summary`.
    """
    shown = pd.DataFrame(
        {
            "branch": table["branch"],
            "level": table["level"],
            "weights kept": table["density"].map("{:.2%}".format),
            "test accuracy": table["test_accuracy_mean"].map("{:.4f}".format),
            "± std": table["test_accuracy_std"].map(lambda value: "" if pd.isna(value) else f"{value:.4f}"),
            "test loss": table["test_loss_mean"].map("{:.4f}".format),
            "replicates": table["test_accuracy_count"],
        }
    )
    return shown.to_string(index=False)
