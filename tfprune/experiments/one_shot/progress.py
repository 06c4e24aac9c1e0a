"""Progress of one-shot pruning, and the table at its end."""

from __future__ import annotations

import pandas as pd

from tfprune.cli.progress_old import TrainingProgress


class OneShotProgress(TrainingProgress):
    """Shows a run to the person who started it (the `Report` of `tfprune.experiments.one_shot.recipe`)."""

    def pruned(self, spec, found) -> None:
        self.say(
            f"{spec.architecture}, {spec.pruner}: {found.weights.kept:,} of {found.weights.dense:,} weights kept, "
            f"{found.weights.effective:,} effective; compression {found.weights.direct_compression:.4g} direct, "
            f"{found.weights.effective_compression:.4g} effective"
        )
        if spec.train and spec.schedule is None and found.weights.effective == 0:
            self.say("no path leads from the input to the output: the network answers by chance and is not trained")


def layer_table(found) -> pd.DataFrame:
    """Sparsities and compressions, one row per kernel and one for the total."""
    rows = {**found.weights_of, "total": found.weights}
    return pd.DataFrame(
        {
            "layer": list(rows),
            "weights": [counts.dense for counts in rows.values()],
            "direct sparsity": [counts.direct_sparsity for counts in rows.values()],
            "effective sparsity": [counts.effective_sparsity for counts in rows.values()],
            "direct compression": [counts.direct_compression for counts in rows.values()],
            "effective compression": [counts.effective_compression for counts in rows.values()],
        }
    )


def layer_text(table: pd.DataFrame) -> str:
    """The table printed at the end of a run."""
    formats = dict.fromkeys(("direct sparsity", "effective sparsity"), "{:.6f}".format)
    formats |= dict.fromkeys(("direct compression", "effective compression"), "{:.5g}".format)
    return table.to_string(index=False, formatters={**formats, "weights": "{:,}".format})
