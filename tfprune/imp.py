"""Iterative magnitude pruning of an input file's network.

    python -m tfprune.imp inputs/main.ini          train, prune, rewind; then draw the figures
    python -m tfprune.imp --plot RUN_DIR           draw the figures again, from the files of a run alone

A run that was killed continues with the same command; a finished one does nothing.
"""

from tfprune.cli import app
from tfprune.experiments.imp.settings import ImpSettings
from tfprune.experiments.imp.study import command
from tfprune.records.ini import describe

_USAGE = f"{__doc__}\nKeys of the input file (all optional but arch):\n\n{describe(ImpSettings)}"

if __name__ == "__main__":
    app.run_command([command()], _USAGE)
