"""What would lie on the stack of an unpickler, without the objects: how deep each is, and whether it is text.

Python's unpickler hashes keys as they come, and hashing walks through tuples in C, without bounds. So keys must be text
or single numbers, which is all that files of arrays need.
"""

from __future__ import annotations

import pickle
import pickletools

_TEXT, _SINGLE, _EMPTY = -1, 0, 1  # other containers: how deep they are
_DEEPEST = 100
_MOST_CONTAINERS = 1 << 17  # lists and dicts; each takes one byte of a file and some hundred of memory
_MOST_OTHER_KEYS = 1000  # numbers can be chosen so that their hashes collide; those of text can't

_TEXT_NAMES = ("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8")
_TEXT_NAMES += ("BINBYTES", "SHORT_BINBYTES", "BINBYTES8")
_SINGLE_NAMES = ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "NONE", "NEWTRUE", "NEWFALSE")
_SINGLE_NAMES += ("FLOAT", "BINFLOAT", "GLOBAL", "BYTEARRAY8")
_CODES = {opcode.name: ord(opcode.code) for opcode in pickletools.opcodes}

PUSHED: dict[int, int] = {
    **{_CODES[name]: _TEXT for name in _TEXT_NAMES},
    **{_CODES[name]: _SINGLE for name in _SINGLE_NAMES},
    _CODES["EMPTY_TUPLE"]: _EMPTY,
}
"""What an opcode pushes that does nothing else."""

EFFECTS: dict[int, str] = {
    _CODES[name.upper()]: name
    for name in (
        *("mark", "pop", "pop_mark", "dup", "empty_list", "empty_dict", "tuple1", "tuple2", "tuple3"),
        *("append", "appends", "setitem", "setitems", "stack_global", "reduce", "build", "memoize"),
    )
} | {_CODES[name]: f"to_{name.lower()}" for name in ("TUPLE", "LIST", "DICT")}
"""Methods of `Stack` by opcode."""


class Stack:
    """The stack and the memo.

    A container that is changed after it was stored may be deeper than its copies tell. Only lists and dicts can be,
    which can't be keys, and which are let go of without recursion.

    Attributes:
        items: how deep each object is.

    Every method raises `pickle.UnpicklingError` for what the unpickler would refuse, or should.
    """

    def __init__(self):
        self.items: list[int] = []
        self._marks: list[int] = []
        self._memo: dict[int, int] = {}
        self._containers = self._other_keys = 0

    def end(self) -> None:
        """The pickle's last opcode: one object must be left to take."""
        self._take(1)

    def put(self, index: int, opcodes_so_far: int) -> None:
        """Stores the top of the stack."""
        # Every writer numbers its memo without gaps, so an index can't exceed the number of opcodes before it.
        if index > opcodes_so_far:
            raise pickle.UnpicklingError("its memo index is out of range")
        self._memo[index] = self._top()

    def get(self, index: int) -> None:
        """Pushes what was stored."""
        if index not in self._memo:
            raise pickle.UnpicklingError("it asks for what it has not stored")
        self.items.append(self._memo[index])

    def memoize(self) -> None:
        self._memo[len(self._memo)] = self._top()

    def mark(self) -> None:
        self._marks.append(len(self.items))

    def pop(self) -> None:
        if self._marks and self._marks[-1] == len(self.items):
            self._marks.pop()
        else:
            self._take(1)

    def pop_mark(self) -> None:
        self._take_to_mark()

    def dup(self) -> None:
        self.items.append(self._top())

    def empty_list(self) -> None:
        self._new_container([])

    def empty_dict(self) -> None:
        self._new_container([])

    def to_list(self) -> None:
        self._new_container(self._take_to_mark())

    def to_dict(self) -> None:
        pairs = self._take_to_mark()
        self._check_keys(pairs)
        self._new_container(pairs)

    def to_tuple(self) -> None:
        self.items.append(_over(self._take_to_mark()))

    def tuple1(self) -> None:
        self.items.append(_over(self._take(1)))

    def tuple2(self) -> None:
        self.items.append(_over(self._take(2)))

    def tuple3(self) -> None:
        self.items.append(_over(self._take(3)))

    def append(self) -> None:
        self._extend(self._take(1))

    def appends(self) -> None:
        self._extend(self._take_to_mark())

    def setitem(self) -> None:
        pair = self._take(2)
        self._check_keys(pair)
        self._extend(pair)

    def setitems(self) -> None:
        pairs = self._take_to_mark()
        self._check_keys(pairs)
        self._extend(pairs)

    def stack_global(self) -> None:
        self._take(2)
        self.items.append(_SINGLE)

    def reduce(self) -> None:
        self._take(2)
        self.items.append(_SINGLE)  # the names that may be called give arrays, numbers and bytes

    def build(self) -> None:
        self._take(1)
        self._top()

    def _top(self) -> int:
        if len(self.items) <= (self._marks[-1] if self._marks else 0):
            raise pickle.UnpicklingError("it takes more than there is")
        return self.items[-1]

    def _take(self, count: int) -> list[int]:
        start = len(self.items) - count
        if start < (self._marks[-1] if self._marks else 0):
            raise pickle.UnpicklingError("it takes more than there is")
        taken = self.items[start:]
        del self.items[start:]
        return taken

    def _take_to_mark(self) -> list[int]:
        if not self._marks:
            raise pickle.UnpicklingError("it takes more than there is")
        start = self._marks.pop()
        taken = self.items[start:]
        del self.items[start:]
        return taken

    def _new_container(self, parts: list[int]) -> None:
        self._containers += 1
        if self._containers > _MOST_CONTAINERS:
            raise pickle.UnpicklingError(f"it has more than {_MOST_CONTAINERS} lists and dicts")
        self.items.append(_over(parts))

    def _extend(self, parts: list[int]) -> None:
        if self._top() < _EMPTY:
            raise pickle.UnpicklingError("it adds to something that is no list or dict")
        self.items[-1] = max(self.items[-1], _over(parts))

    def _check_keys(self, pairs: list[int]) -> None:
        keys = pairs[::2]
        self._other_keys += keys.count(_SINGLE)
        if max(keys, default=_TEXT) > _SINGLE or self._other_keys > _MOST_OTHER_KEYS or len(pairs) % 2:
            raise pickle.UnpicklingError("it has keys that are containers, or too many that are not text")


def _over(parts: list[int]) -> int:
    """How deep a container of these is."""
    depth = 1 + max(_SINGLE, max(parts, default=_SINGLE))
    if depth > _DEEPEST:
        raise pickle.UnpicklingError(f"it is nested more than {_DEEPEST} deep")
    return depth
