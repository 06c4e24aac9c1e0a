"""The one exception that means "what you gave me is wrong", shared by every room."""

from __future__ import annotations

import difflib
import numbers
import unicodedata
from collections.abc import Iterable

_LONGEST = 2000
_OBEYED = ("Cc", "Cf", "Cs")  # characters that are done, not shown; and halves of one


class InputError(ValueError):
    """Input from outside (a file, a key, a flag) cannot be used.

    The message is a single line for the person who gave the input: it names the file, key or flag, says what is
    allowed and what came. What came may itself hold line breaks, codes that a terminal obeys, or be very long: the line
    is kept one, and plain, and of bounded length. Entry points print it without a traceback and exit with code 2.
    """

    _keras_call_info_injected = True  # by which Keras leaves an error within a layer's call as it is

    def __init__(self, message: str):
        line = " ".join(part.strip() for part in str(message).expandtabs(1).splitlines())
        line = "".join(repr(each)[1:-1] if unicodedata.category(each) in _OBEYED else each for each in line)
        super().__init__(line if len(line) <= _LONGEST else f"{line[: _LONGEST // 2]} ... {line[-_LONGEST // 3 :]}")


def did_you_mean(given, known: Iterable[str]) -> str:
    """What to add to a message about a word that is none of the known ones: `; did you mean 'snip'?`, or nothing."""
    if not isinstance(given, str):
        return ""
    names, word = {name.lower(): name for name in reversed(list(known))}, given.lower().strip()
    near = difflib.get_close_matches(word, names, n=3, cutoff=0.6)
    near.sort(key=lambda name: not name.startswith(word))  # what was not written to its end, of words as near
    return f"; did you mean {names[near[0]]!r}?" if near else ""


def did_you_mean_fraction(given) -> str:
    """What to add to a message about a fraction that was given in per cent: `; did you mean 0.9?`, or nothing."""
    number = isinstance(given, numbers.Real) and not isinstance(given, bool) and 1 < given < 100
    return f"; did you mean {float(given) / 100:g}?" if number else ""
