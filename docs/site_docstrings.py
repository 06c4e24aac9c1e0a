"""What the site does to docstrings: `batch_size, steps: as for ...` is an entry for each of the names."""

from __future__ import annotations

import re

import griffe

_TOGETHER = re.compile(r"^( +)(\w+(?:, \w+)+):( .*(?:\n\1 +\S.*)*)", re.MULTILINE)


def apart(text: str) -> str:
    """A docstring in which what is said of several arguments at once is said of each."""
    head, args, rest = text.partition("Args:\n")
    section, blank, after = rest.partition("\n\n")
    each = _TOGETHER.sub(lambda m: "\n".join(f"{m[1]}{name}:{m[3]}" for name in m[2].split(", ")), section)
    return head + args + each + blank + after


class Apart(griffe.Extension):
    def on_instance(self, *, obj: griffe.Object, **_) -> None:
        if obj.docstring is not None:
            obj.docstring.value = apart(obj.docstring.value)
