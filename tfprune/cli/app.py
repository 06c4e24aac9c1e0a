"""How every entry point starts and how it ends when something is wrong."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from absl import flags

from tfprune.cli.interrupts import prompt_interrupts
from tfprune.cli.words import parse
from tfprune.errors import InputError

flags.DEFINE_bool("debug", False, "Show the traceback of an error.")

_HELP = ("--help", "-h", "-help", "--helpfull", "--helpshort")


@dataclass(frozen=True)
class Command:
    """One of an entry point's commands, with flags of its own.

    Attributes:
        words: how it is called, for example `("branch", "train", "oneshot")`; none for an entry point's only command.
        summary: one line for `--help`.
        define: defines the flags and gives the titles of their groups (absl: modules), in the order of `--help`.
        fill: is called with the parsed flags before `--help` shows them and before `main`; sets defaults that follow
            from other flags.
        main: does what was asked for; is given the parsed flags and the words that are none.
        takes_words: whether there may be such words.
    """

    words: tuple[str, ...]
    summary: str
    define: Callable[[flags.FlagValues], Sequence[str]]
    main: Callable[[flags.FlagValues, Sequence[str]], None]
    fill: Callable[[flags.FlagValues], None] = lambda values: None
    takes_words: bool = False


def run(main: Callable[[Sequence[str]], None], usage: str) -> None:
    """Parses the command line, calls `main` with what is not a flag, and exits.

    Exit codes: 0 done (also `--help`), 2 bad input (one line on stderr), 130 interrupted. `--debug` lets the
    exception through with its traceback. Warnings are one line, too; `--debug` lets them say where they come from.

    Args:
        main: the entry point's function.
        usage: shown by `--help`, above the flags.
    """
    values = flags.FLAGS
    if any(word in _HELP for word in sys.argv[1:]):
        _show_help(values, usage, [sys.modules["__main__"]])
    with _told(values):
        main(parse(values, sys.argv))


def run_command(
    commands: Sequence[Command],
    usage: str,
    values: flags.FlagValues = flags.FLAGS,
    given: Sequence[str] | None = None,
) -> None:
    """As `run`, for an entry point whose first words say which of its commands is meant.

    `--help` without a command lists the commands, after one it lists the flags of that command.

    Args:
        commands: all there are.
        usage: shown by `--help`, above the commands.
        values: where the command's flags are defined.
        given: words and flags; None for those of the command line.
    """
    given = sys.argv[1:] if given is None else given
    rest = [word for word in given if word not in _HELP]
    wants_help = len(rest) < len(given)
    with _told(values):
        command = _find(commands, rest)
        if command is None:
            width = max(len(" ".join(each.words)) for each in commands)
            listed = "\n".join(f"  {' '.join(each.words):<{width}}  {each.summary}" for each in commands)
            if wants_help:
                print(f"{usage.strip()}\n\nCommands, each with its own --help:\n{listed}")
                sys.exit(0)
            raise InputError(f"begin with one of {_names(commands)}. Received: {' '.join(rest) or 'nothing'}")
        groups = command.define(values)
        arguments = parse(values, [sys.argv[0], *rest[len(command.words) :]])
        if arguments and not command.takes_words:
            name = " ".join(command.words) or "this command"
            raise InputError(f"{name} takes flags only. Received: {' '.join(arguments)}")
        command.fill(values)
        if wants_help:
            _show_help(values, f"{' '.join(command.words)}: {command.summary}" if command.words else usage, groups)
        command.main(values, arguments)


def _find(commands: Sequence[Command], words: Sequence[str]) -> Command | None:
    found = [command for command in commands if command.words == tuple(words[: len(command.words)])]
    return found[0] if found else None


def _names(commands: Sequence[Command]) -> str:
    return "; ".join(" ".join(command.words) for command in commands)


def _show_help(values: flags.FlagValues, usage: str, groups: Sequence) -> None:
    shown = "\n".join(values.module_help(group) for group in groups)
    print(f"{usage.strip()}\n\nFlags:\n{shown}")
    print(values.module_help(sys.modules[__name__]))
    sys.exit(0)


@contextlib.contextmanager
def _told(values: flags.FlagValues) -> Iterator[None]:
    """Tells what went wrong in one line and exits."""
    _plain_warnings(values)
    try:
        with prompt_interrupts():
            yield
    except InputError as error:
        if values["debug"].value:
            raise
        print(f"error: {_in_one_line(error)}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # as `| head` leaves it: whoever read has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        # One that nobody expected; its file is the user's all the same.
        if values["debug"].value or error.filename is None:
            raise
        print(f"error: cannot use {error.filename}: {error.strerror}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\ninterrupted; the same command continues", file=sys.stderr)
        sys.exit(130)


def _plain_warnings(values: flags.FlagValues) -> None:
    """Shows a warning as one line, without the place in the code unless `--debug` asks for it."""
    usual = warnings.formatwarning

    def one_line(message, *place, **more):
        return usual(message, *place, **more) if values["debug"].value else f"warning: {_in_one_line(message)}\n"

    warnings.formatwarning = one_line


def _in_one_line(message) -> str:
    return " ".join(str(message).split())
