"""Figures of runs of `python -m tfprune.main`, from their files, also from those that the published code wrote.

    python -m tfprune.visualization --pruners_to_display snip synflow random/igq --num_samples 3
    python -m tfprune.visualization --plot_type=compressions --pruning_type=direct --pruners_to_display=snip,synflow

Means over samples with bands from the worst to the best, to <out_path>/<architecture>/figures. Runs of different
settings are never taken together: those with the published ones are drawn, or the only others, or those of --variant.
"""

from __future__ import annotations

import sys

from tfprune.cli import app
from tfprune.experiments.one_shot.visualization import command

if __name__ == "__main__":
    app.run_command([command()], sys.modules[__name__].__doc__)
