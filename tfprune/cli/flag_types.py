"""Kinds of flags that absl lacks."""

from __future__ import annotations

from absl import flags

_YES, _NO = ("1", "true", "t", "yes"), ("0", "false", "f", "no")


class YesNo(flags.ArgumentParser):
    """0/1 or true/false with the value always given, `--save=0` and `--save 0` alike.

    absl's own kind takes the word after `--save 0` for an argument and leaves the flag as it is.
    """

    syntactic_help = "0 or 1"

    def parse(self, argument):
        if isinstance(argument, bool):
            return argument
        text = str(argument).lower()
        if text not in (*_YES, *_NO):
            raise ValueError(f"0, 1, true and false are allowed, received {argument!r}")
        return text in _YES

    def flag_type(self):
        return "0 or 1"


class OrNone(flags.ArgumentParser):
    """Another kind of flag that may also be left out on purpose: `--gamma=none`, or `--gamma=`.

    Takes back a value that a default for a whole group of flags has set.
    """

    def __init__(self, parser: flags.ArgumentParser):
        super().__init__()
        self._parser = parser
        self.syntactic_help = f"{parser.syntactic_help or parser.flag_type()}, or none".removeprefix("a ")

    def parse(self, argument):
        return None if argument in ("", "none") else self._parser.parse(argument)

    def flag_type(self):
        return self._parser.flag_type()
