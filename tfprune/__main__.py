"""Finds, measures and uses sparse neural networks. Each of these says more with --help:

    python -m tfprune.demo                   direct against effective sparsity, in a minute
    python -m tfprune.imp inputs/main.ini    iterative magnitude pruning of an input file's network
    python -m tfprune.main                   pruning in one go, directly or effectively, and training of what is left
    python -m tfprune.visualization          figures of runs of tfprune.main
    python -m tfprune.lth                    lottery tickets and one-shot pruning
    python -m tfprune.filters                passive filter pruning
    python -m tfprune.energy                 energy-based pruning: filters are searched while training
    python -m tfprune.results runs           results of any runs as one table, files and a page
    python -m tfprune.data mnist             prepares a data set

In Python: import tfprune; tfprune.prune, tfprune.masked, tfprune.compact, tfprune.export, ... (help(tfprune)).
"""

from __future__ import annotations

import difflib
import re
import sys

from tfprune.cli import app
from tfprune.errors import InputError

_NAMES = re.findall(r"-m tfprune\.(\w+)", __doc__)


def main(arguments: list[str]) -> None:
    if not arguments:
        print(__doc__.strip())
        return
    near = difflib.get_close_matches(arguments[0], _NAMES, n=1)
    hint = f"; did you mean python -m tfprune.{near[0]}?" if near else ""
    names = ", ".join(_NAMES)
    raise InputError(f"the commands are python -m tfprune.X, X one of {names}. Received: {arguments[0]}{hint}")


if __name__ == "__main__":
    app.run(main, sys.modules[__name__].__doc__)
