"""Named parts: the registries of scores, filter scores and quotas, and how one's own get there. Loads no TensorFlow."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tfprune.errors import InputError, did_you_mean

NAME = r"[A-Za-z_][\w\-]*(?:[./][\w\-]+)*"
"""What a name is."""
OWN: dict[str, set[str]] = {}
"""What kind of part -> names that were registered beside ours."""


class Parts(dict):
    """Name -> first line of what the part is; prints as a table."""

    def __repr__(self) -> str:
        wide = max(map(len, self), default=0)
        return "\n".join(f"{name:<{wide}}  {text}".rstrip() for name, text in self.items())


class Registry(dict):
    """Name -> part of one kind.

    Args:
        what: such a part is called so, as `"score"`.
        parts: ours.
        called: as the argument of a call that takes the name; None for `what`.
    """

    def __init__(self, what: str, parts: Mapping[str, Any], called: str | None = None):
        super().__init__(parts)
        self._what, self._called = what, called or what

    def named(self, name: str) -> Any:
        """The part of that name.

        Raises:
            InputError: there is none; lists those that there are.
        """
        if not isinstance(name, str) or name not in self:
            near = did_you_mean(name, self)
            raise InputError(f"{self._called} must be one of {', '.join(self)}; received {name!r}{near}")
        return self[name]

    def check_name(self, name: str) -> None:
        """Refuses what is no name, as the function itself below a decorator without parentheses.

        Raises:
            InputError: no such name.
        """
        if not isinstance(name, str) or not re.fullmatch(NAME, name):
            raise InputError(
                f"the name of a {self._what} is letters, digits, '_', '-', '.' and '/', from a letter on; received "
                f"{name!r:.80}"
            )

    def register(self, name: str, function: Callable, part: Any, taken: Iterable[str] = ()) -> None:
        """Adds one's own part. The same function, defined anew as a notebook's cell does, takes its own place.

        Args:
            name: letters, digits, `_`, `-`, `.` and `/`.
            function: what the part is made of.
            part: it.
            taken: names that mean something else, beside those of the registry.

        Raises:
            InputError: no such name, or it is taken; no function.
        """
        self.check_name(name)
        if not callable(function) or isinstance(function, type):
            raise InputError(f"{self._what} {name!r} must be a function; received {function!r:.80}")
        own = OWN.setdefault(self._what, set())
        if name in taken or (name in self and not (name in own and _same(self[name], function))):
            raise InputError(f"there is a {self._what} {name!r} already; take another name")
        self[name] = part
        own.add(name)

    def parts(self) -> Parts:
        """What the registry holds."""
        return Parts({name: first_line(part) for name, part in self.items()})


def first_line(part: Any) -> str:
    """What a part, or the function that it is made of, says of itself before the first full stop or semicolon."""
    text = " ".join((inspect.getdoc(function_of(part)) or "").split("\n\n")[0].split())
    return re.split(r"[.;](?: |$)", text)[0]


def function_of(part: Any) -> Callable:
    """The function that was registered."""
    return inspect.unwrap(getattr(part, "function", part))


def _same(part: Any, function: Callable) -> bool:
    """Whether one function is the other, or what its definition made when it ran again."""
    old = function_of(part)
    names = [(getattr(one, "__module__", ""), getattr(one, "__qualname__", "<")) for one in (old, function)]
    return old is function or (names[0] == names[1] and "<" not in names[1][1])
