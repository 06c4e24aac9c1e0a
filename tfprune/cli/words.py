"""The words of a command line, as people write them, made those that absl takes."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Sequence

from absl import flags

from tfprune.cli.shipped import with_shipped_flag_files
from tfprune.errors import InputError

_OF_ABSL = ("flagfile", "undefok")


def parse(values: flags.FlagValues, words: Sequence[str]) -> list[str]:
    """Reads flags wherever they stand; gives the words that are none.

    The unique beginning of a flag's name will do, as with argparse, and is told; a value may follow after a blank.

    Args:
        values: what the flags are put into.
        words: the program's name, then flags and others.

    Raises:
        InputError: an unknown flag (names the nearest), a value that is not allowed, or a flag file that cannot be
            read.
    """
    values.set_gnu_getopt(True)
    try:
        given = values.read_flags_from_files(with_shipped_flag_files(words[1:]))
        return values([words[0], *_with_full_names(values, given)])[1:]
    except UnicodeDecodeError:
        raise InputError("--flagfile must name a text file in UTF-8, with one flag in each line") from None
    except flags.CantOpenFlagFileError as error:
        raise InputError(f"--flagfile: {re.sub(r'.*Errno [0-9]+] ', '', str(error))}") from None
    except (flags.Error, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{error}; --help lists the flags") from None


def _with_full_names(values: flags.FlagValues, words: Sequence[str]) -> list[str]:
    full, left = [], iter(words)
    for word in left:
        if "\0" in word:
            raise InputError(f"no flag and no name of a file holds a NUL character. Received: {word!r:.80}")
        word = word.removeprefix("\ufeff")  # which some editors put at the start of a flag file
        if word == "--":
            return [*full, word, *left]
        if not word.startswith("-") or not word.strip("-"):
            full.append(word)
            continue
        # A line of a flag file is one word, also where it has a blank in place of the sign.
        name, *value = re.split(r"=|\s+", word.removeprefix("-").removeprefix("-"), maxsplit=1)
        name = _full_name(values, name)
        full.append("=".join([f"--{name}", *value]))
        if not value and name in values and not values[name].boolean and (value := next(left, None)) is not None:
            full.append(value)  # whatever it begins with
    return full


def _full_name(values: flags.FlagValues, name: str) -> str:
    negated = name.removeprefix("no")
    if name in values or (negated != name and negated in values and values[negated].boolean):
        return name
    known = sorted(set(values) - {*_OF_ABSL})
    found = [each for each in known if each.startswith(name)]
    if len(found) == 1:
        print(f"note: --{name} is read as --{found[0]}", file=sys.stderr)
        return found[0]
    if found:
        raise InputError(f"--{name} may mean {' or '.join(f'--{each}' for each in found)}; write it out")
    near = difflib.get_close_matches(name.replace("-", "_"), known, n=1, cutoff=0.65)
    hint = f"the nearest is --{near[0]}; " if near else ""
    raise InputError(f"unknown flag --{name}; {hint}--help lists the flags")
