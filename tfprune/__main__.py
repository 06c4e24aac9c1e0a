"""Finds, measures and uses sparse neural networks. Each of these says more with --help:

    tfprune demo                    direct against effective sparsity, in a minute
    tfprune imp inputs/main.ini     iterative magnitude pruning of an input file's network
    tfprune main                    pruning in one go, directly or effectively, and training of what is left
    tfprune visualization           figures of runs of tfprune main
    tfprune lth                     lottery tickets and one-shot pruning
    tfprune filters                 passive filter pruning
    tfprune energy                  energy-based pruning: filters are searched while training
    tfprune sweep SWEEP_FILE        many runs of one of these, from one small file
    tfprune results FOLDER          one table, and one page, of all runs below folders
    tfprune data mnist              prepares a data set

python -m tfprune.imp inputs/main.ini is the same as tfprune imp inputs/main.ini.
In Python: import tfprune; tfprune.prune, tfprune.masked, tfprune.compact, tfprune.export, ... (help(tfprune)).
"""

from __future__ import annotations

import difflib
import re
import runpy
import sys
from importlib.metadata import version

from tfprune.cli import app
from tfprune.errors import InputError

NAMES = tuple(re.findall(r"^    tfprune (\w+)", __doc__, re.MULTILINE))


def main(arguments: list[str]) -> None:
    if not arguments:
        print(__doc__.strip())
        return
    if arguments[0] in NAMES:
        raise InputError(f"flags go behind the command: tfprune {arguments[0]} --debug")
    near = difflib.get_close_matches(arguments[0], NAMES, n=1)
    hint = f"; did you mean tfprune {near[0]}?" if near else ""
    raise InputError(f"the commands are tfprune X, X one of {', '.join(NAMES)}. Received: {arguments[0]}{hint}")


def command() -> None:
    """`tfprune imp ...` is `python -m tfprune.imp ...`; without one of the commands it tells which there are."""
    name = sys.argv[1] if len(sys.argv) > 1 else None
    if name in NAMES:
        del sys.argv[1]
        runpy.run_module(f"tfprune.{name}", run_name="__main__", alter_sys=True)
    elif name == "--version":
        print(f"tfprune {version('tfprune')}")
    else:
        app.run(main, __doc__)


if __name__ == "__main__":
    command()
