"""Files from others, read without trusting them: whole, of bounded size, and refused in one line.

Damaged bytes make NumPy, zipfile, json and pickle raise almost anything, MemoryError and RecursionError included. What
is wrong with a file is told in one place, here.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from tfprune.errors import InputError

_MOST_TEXT = 256 << 20
_DEEPEST_JSON = 50
# Their words alone say nothing: KeyError's is the key.
_CURT = (LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError, MemoryError)


class MissingInputError(InputError):
    """There is no file of that name."""


def one_line(error: BaseException) -> str:
    """What an exception says, as a short part of a line; never empty."""
    text, name = " ".join(str(error).split())[:200], type(error).__name__
    return f"{name}: {text}".removesuffix(": ") if isinstance(error, _CURT) or not text else text


def first_line(error: BaseException) -> str:
    """The first line of what an exception says, which may explain itself at length; never empty."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def cause_line(error: BaseException) -> str:
    """As `first_line`, of at most 200 characters, of the cause that Keras wraps into frames, colours and all it has."""
    said = re.sub(r"\x1b\[\d*m", "", str(error)).rpartition("Exception encountered: ")[2]
    lines = (line.strip() for line in said.splitlines())
    told = (line for line in lines if line and not line.startswith("Exception encountered"))
    return next(told, type(error).__name__)[:200]


def operation_line(message: str) -> str:
    """What the message of an error says that TensorFlow raises in an operation, without where that was."""
    lines = (re.sub(r"\{\{.*?\}\}", "", line).strip() for line in message.splitlines())
    places = "Graph execution error:", "Detected at node", 'File "', "<stack traces unavailable>", "[["
    return next((line for line in lines if line and not line.startswith(places)), "it fails")[:200]


def os_flags(*names: str) -> int:
    """These flags of `os.open`, without those that the system lacks: Windows some, the others `O_BINARY`."""
    return sum(getattr(os, name, 0) for name in names)


def open_file(path: str | Path) -> BinaryIO:
    """Opens an ordinary file for binary reading; never waits, as a named pipe would make it.

    Raises:
        MissingInputError: there is none.
        InputError: something else is there, or it cannot be opened.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os_flags("O_NONBLOCK", "O_BINARY"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingInputError(f"cannot read {path}: {error.strerror}") from None
    except (OSError, ValueError, TypeError) as error:  # a NUL in the name; something that is no name
        raise InputError(f"cannot read {path!s}: {getattr(error, 'strerror', None) or error}") from None
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise InputError(f"cannot read {path}: it is {'a directory' if stat.S_ISDIR(mode) else 'no ordinary file'}")
    return os.fdopen(descriptor, "rb")


@contextlib.contextmanager
def readable(path: str | Path, what: str) -> Iterator[None]:
    """Turns whatever the block raises into an InputError.

    Args:
        path: the file that the block reads.
        what: what it should be, with its article: "a mask file".
    """
    try:
        yield
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or one_line(error)}") from error
    except Exception as error:
        raise InputError(f"cannot read {path}: not {what}, or a damaged one ({one_line(error)})") from error


def read_text(path: str | Path, most: int = _MOST_TEXT) -> str:
    """The text of a UTF-8 file; a byte order mark at its start is left out.

    Args:
        path: the file.
        most: the largest size in bytes that is read.

    Raises:
        MissingInputError: there is none.
        InputError: it cannot be read, is larger, or is no text.
    """
    with open_file(path) as file, readable(path, "text"):
        data = file.read(most + 1)
    if len(data) > most:
        raise InputError(f"cannot read {path}: larger than {most} bytes")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise InputError(f"cannot read {path}: it is no text in UTF-8")
    return text


def read_json(path: str | Path, what: str) -> dict[str, Any]:
    """The object in a JSON file.

    Args:
        path: the file.
        what: what it should be, with its article.

    Raises:
        MissingInputError: there is none.
        InputError: it cannot be read, or holds no object, or one that is nested more than 50 deep.
    """
    text = read_text(path)
    with readable(path, what):
        content = json.loads(text)
        if not isinstance(content, dict):
            raise ValueError("it must be an object in braces")
        _check_depth(content)
    return content


def _check_depth(content: Any) -> None:
    # Later code may print, compare or copy what it finds, which fails on deep values in other ways.
    level, depth = [content], 0
    while level:
        if depth == _DEEPEST_JSON:
            raise ValueError(f"it is nested more than {_DEEPEST_JSON} deep")
        parts = [part.values() if isinstance(part, dict) else part for part in level if isinstance(part, dict | list)]
        level, depth = [item for part in parts for item in part], depth + 1
