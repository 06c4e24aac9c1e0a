"""A walk over the opcodes of a pickle, without running any of them.

Two things need it. A pickle can harm before it names any class: a memo index of four billion makes the interpreter fill
a table of that length, the hash of a tuple of a million levels exhausts its stack, that of one whose parts are shared
takes for ever. And an array's bytes can be mapped from the file once it is known where they lie.
"""

from __future__ import annotations

import pickle
import pickletools
from mmap import mmap
from typing import NamedTuple

from tfprune.records.pickle_stack import EFFECTS, PUSHED, Stack

_REFUSED = {
    **dict.fromkeys(b"PQ", "a persistent id"),
    **dict.fromkeys(b"\x82\x83\x84", "an extension code"),
    **dict.fromkeys(b"\x97\x98", "an out-of-band buffer"),
    **dict.fromkeys(b"io\x81\x92", "an instance of a class"),
    **dict.fromkeys(b"\x8f\x90\x91", "a set"),
}
_BYTES_OPCODES = frozenset(b"BC\x8e\x96")  # BINBYTES, SHORT_BINBYTES, BINBYTES8, BYTEARRAY8
_PYTHON_2_BYTES_OPCODES = frozenset(b"TU")  # BINSTRING, SHORT_BINSTRING
_MOST_DIGITS = 9  # of a memo index


class Buffer(NamedTuple):
    """A bytes object inside a pickle.

    Attributes:
        start: position of its opcode in the file.
        offset: position of its first byte.
        size: its number of bytes.
    """

    start: int
    offset: int
    size: int


def _argument_sizes() -> tuple[list[int], dict[int, int], dict[int, int]]:
    """Tables by opcode: bytes of a fixed argument (-1: other), lines of a text argument, width of a length prefix."""
    fixed, lines, prefixes = [-1] * 256, {}, {}
    for opcode in pickletools.opcodes:
        code, argument = ord(opcode.code), opcode.arg
        if argument is None:
            fixed[code] = 0
        elif argument.n >= 0:
            fixed[code] = argument.n
        elif argument.n == pickletools.UP_TO_NEWLINE:
            lines[code] = 2 if opcode.name in ("GLOBAL", "INST") else 1
        else:
            is_one_byte = argument.n == pickletools.TAKEN_FROM_ARGUMENT1
            is_eight_bytes = argument.n == pickletools.TAKEN_FROM_ARGUMENT8U
            prefixes[code] = 1 if is_one_byte else 8 if is_eight_bytes else 4
    return fixed, lines, prefixes


_FIXED, _LINES, _PREFIXES = _argument_sizes()
_PUT, _BINPUT, _LONG_BINPUT, _STOP, _FRAME = b"pqr.\x95"
_GET, _BINGET, _LONG_BINGET = b"ghj"
_PUTS, _GETS = frozenset((_BINPUT, _LONG_BINPUT)), frozenset((_BINGET, _LONG_BINGET))


def scan(data: bytes | mmap, large: int = 1 << 62, encoding: str = "ASCII") -> list[Buffer]:
    """Checks the opcodes of a pickle up to its end and finds its large bytes objects.

    Args:
        data: the file's bytes.
        large: the least size in bytes of a `Buffer` to report.
        encoding: `"bytes"` counts Python 2's strings as bytes, as unpickling with that encoding does.

    Returns:
        The bytes objects of at least `large` bytes, in file order. Text is never among them: arrays in pickles that
        Python 3 wrote with protocol 2 are text and not bytes.

    Raises:
        pickle.UnpicklingError: not a whole pickle, or one that plain data never needs: foreign opcodes, containers
            nested too deep or too many of them, keys that are containers.
    """
    bytes_opcodes = _BYTES_OPCODES | _PYTHON_2_BYTES_OPCODES if encoding == "bytes" else _BYTES_OPCODES
    end, position, count, frame_end = len(data), 0, 0, 0
    buffers, stack = [], Stack()
    items, effects = stack.items, {code: getattr(stack, name) for code, name in EFFECTS.items()}
    while position < end:
        code = data[position]
        position += 1
        count += 1
        if code == _STOP:
            stack.end()
            return buffers
        if code in _REFUSED:
            raise pickle.UnpicklingError(f"it uses {_REFUSED[code]}")
        size = _FIXED[code]
        if size >= 0:
            if code in _GETS:
                stack.get(int.from_bytes(data[position : position + size], "little"))
            elif code in _PUTS:
                stack.put(int.from_bytes(data[position : position + size], "little"), count)
            elif code == _FRAME:
                frame_end = position + size + int.from_bytes(data[position : position + size], "little")
                if frame_end > end:
                    break
            position += size
        elif code in _LINES:
            start = position
            for _ in range(_LINES[code]):
                position = data.find(b"\n", position) + 1
                if position == 0:
                    raise pickle.UnpicklingError("it is cut short")
            if code == _PUT:
                stack.put(_index(data[start : min(position - 1, start + _MOST_DIGITS + 1)]), count)
            elif code == _GET:
                stack.get(_index(data[start : min(position - 1, start + _MOST_DIGITS + 1)]))
        elif code in _PREFIXES:
            width = _PREFIXES[code]
            size = int.from_bytes(data[position : position + width], "little")
            start = position - 1
            position += width
            # Writers put large objects between frames; one inside a frame can't be taken out of the stream.
            if size >= large and code in bytes_opcodes and frame_end <= start and position + size <= end:
                buffers.append(Buffer(start, position, size))
            position += size
        else:
            raise pickle.UnpicklingError("it is not a pickle")
        if code in PUSHED:
            items.append(PUSHED[code])
        elif code in effects:
            effects[code]()
    raise pickle.UnpicklingError("it is cut short")


def _index(digits: bytes) -> int:
    if not digits.isdigit() or len(digits) > _MOST_DIGITS:
        raise pickle.UnpicklingError("its memo index is out of range")
    return int(digits)
