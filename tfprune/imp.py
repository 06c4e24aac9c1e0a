"""Iterative magnitude pruning of an input file's network.

    python -m tfprune.imp inputs/main.ini          train, prune, rewind; then draw the figures
    python -m tfprune.imp --plot RUN_DIR           draw the figures again, from the files of a run alone

A run that was killed continues with the same command; a finished one does nothing.
"""

from __future__ import annotations

import sys

from absl import flags

from tfprune.cli import app
from tfprune.errors import InputError

_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Delete the run that is in the folder and start anew.")
_PLOT = flags.DEFINE_string("plot", None, "Draw the figures of the run in this folder, also of the original code's.")
_PREFIX = flags.DEFINE_string("prefix", None, "With --plot: prefix of the run, where the folder holds several.")


def main(arguments: list[str]) -> None:
    # Imports stand in the branches: neither --help nor --plot should wait for TensorFlow.
    if _PLOT.value is not None:
        if arguments or _OVERWRITE.value:
            raise InputError("--plot takes the folder of a run, and no input file nor --overwrite")
        from tfprune.experiments.imp.run import plot

        plot(_PLOT.value, _PREFIX.value)
        return
    if _PREFIX.value is not None:
        raise InputError("--prefix goes with --plot; for a run it is the key prefix in [IO]")
    if len(arguments) != 1:
        raise InputError(f"give one input file, for example inputs/main.ini. Received: {arguments or 'none'}")
    from tfprune.experiments.imp.settings import read_spec

    spec = read_spec(arguments[0])
    from tfprune.experiments.imp.run import train

    train(spec, _OVERWRITE.value)


def _usage() -> str:
    from tfprune.experiments.imp.keys import describe_keys

    return f"{sys.modules[__name__].__doc__}\nKeys of the input file (all optional but arch):\n\n{describe_keys()}"


if __name__ == "__main__":
    app.run(main, _usage())
