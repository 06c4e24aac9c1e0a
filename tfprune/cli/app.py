"""How every entry point starts and how it ends when something is wrong."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Sequence

from absl import flags

from tfprune.errors import InputError

flags.DEFINE_bool("debug", False, "Show the traceback of an error.")


def run(main: Callable[[Sequence[str]], None], usage: str) -> None:
    """Parses the command line, calls `main` with what is not a flag, and exits.

    Exit codes: 0 done (also `--help`), 2 bad input (one line on stderr), 130 interrupted. `--debug` lets the
    exception through with its traceback. Warnings are one line, too; `--debug` lets them say where they come from.

    Args:
        main: the entry point's function.
        usage: shown by `--help`, above the flags.
    """
    # TensorFlow reads this when it is imported: its start-up notes would stand between the user and our lines.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    values = flags.FLAGS
    if any(word in ("--help", "-h", "-help", "--helpfull", "--helpshort") for word in sys.argv[1:]):
        print(f"{usage.strip()}\n\nFlags:\n{values.module_help(sys.modules['__main__'])}")
        print(values.module_help(sys.modules[__name__]))
        sys.exit(0)
    try:
        arguments = values(sys.argv)[1:]
    except flags.Error as error:
        _fail(f"{error}; --help lists the flags")
    if not values.debug:
        warnings.formatwarning = lambda message, *_args, **_kwargs: f"warning: {_in_one_line(message)}\n"
    try:
        main(arguments)
    except InputError as error:
        if values.debug:
            raise
        _fail(str(error))
    except KeyboardInterrupt:
        print("\ninterrupted; the same command continues", file=sys.stderr)
        sys.exit(130)


def _fail(message: str) -> None:
    print(f"error: {_in_one_line(message)}", file=sys.stderr)
    sys.exit(2)


def _in_one_line(message) -> str:
    return " ".join(str(message).split())
