"""Lottery tickets (Frankle & Carbin 2019; Frankle et al. 2020) and one-shot pruning (Frankle et al. 2021).

    python -m tfprune.lth train --default_hparams=mnist_lenet_300_100 --weight_save_steps=1000it
    python -m tfprune.lth lottery --default_hparams=cifar_resnet_20 --levels=3 --rewinding_steps=500it
    python -m tfprune.lth lottery_branch randomly_prune --default_hparams=... --levels=0-3 --seed=1
    python -m tfprune.lth branch train oneshot --default_hparams=... --strategy=snip10 --prune_fraction=0.75

A run that was killed continues with the same command; a finished one does nothing.
"""

from __future__ import annotations

import sys

from tfprune.cli import app
from tfprune.experiments.lottery.flags import commands

if __name__ == "__main__":
    app.run_command(commands(), sys.modules[__name__].__doc__)
