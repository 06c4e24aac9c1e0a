"""Prune a network in one go, directly or effectively, and train what is left (Vysogorets & Kempe 2021).

    python -m tfprune.main --pruner=snip --pruning_type=effective --com_exp=2          LeNet-300-100 on MNIST
    python -m tfprune.main --pruner=synflow --data=digits --iterations=2000            needs no download
    python -m tfprune.main --flagfile=flags/vgg16.flags --flagfile=flags/synflow.flags
    python -m tfprune.main --pruner=tfmot/polynomial --target_sparsity=0.9             prunes while it trains

A run that was killed continues with the same command; a finished one does nothing. Runs of other settings have names
of their own in the same folder.
"""

from __future__ import annotations

import sys

from tfprune.cli import app
from tfprune.cli.run import flags_command
from tfprune.experiments.one_shot.study import OneShotStudy

if __name__ == "__main__":
    app.run_command([flags_command(OneShotStudy)], sys.modules[__name__].__doc__)
