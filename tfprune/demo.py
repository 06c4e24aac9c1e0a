"""Direct against effective sparsity in a minute: LeNet-300-100 pruned at random with IGQ densities. Takes no flags.

    python -m tfprune.demo

At 21 compressions from 10 to 100,000, both ways of pruning: to that direct and to that effective sparsity. Prints what
each gives and saves the figure. Nothing is trained and no data are needed.

Reference: Vysogorets & Kempe 2021, arXiv 2107.02306.
"""

from __future__ import annotations

import sys

from tfprune.cli import app
from tfprune.errors import InputError


def main(arguments: list[str]) -> None:
    if arguments:
        raise InputError(f"the demo takes no arguments. Received: {' '.join(arguments)}")
    from tfprune.experiments.one_shot.demo import run

    run()


if __name__ == "__main__":
    app.run(main, sys.modules[__name__].__doc__)
