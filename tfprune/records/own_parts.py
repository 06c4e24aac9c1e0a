"""Parts of one's own from a file of one's own: `module:name` on a command line or in a call. Loads no TensorFlow.

The module is imported as Python imports it, the working folder first. The name is that of a function in it (or of a
`tfprune.Pruner`), or one that it registers.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from tfprune.errors import InputError
from tfprune.records.registry import NAME, OWN

_WORDS = re.compile(rf"([^\W\d]\w*(?:\.[^\W\d]\w*)*):({NAME})")
OWN_WORDS = "module:name of your own"


def is_written(name: str) -> bool:
    """Whether it is written `module:name`."""
    return isinstance(name, str) and bool(_WORDS.fullmatch(name))


def is_own(name: str, what: str) -> bool:
    """Whether it is written `module:name`, or was registered beside ours.

    Args:
        name: given.
        what: `"score"`, `"filter score"` or `"quota"`.
    """
    return is_written(name) or (isinstance(name, str) and name in OWN.get(what, ()))


def folder_name(name: str) -> str:
    """A name as a part of a path: some systems allow no `:` there."""
    return name.replace(":", ".")


def check_module(name: str, flag: str) -> None:
    """Refuses `module:name` where there is no such module; imports none but the packages around it.

    Args:
        name: as it was given, also a name of ours.
        flag: for messages.

    Raises:
        InputError: says which.
    """
    if match := _WORDS.fullmatch(name):
        with _working_folder():
            try:
                found = importlib.util.find_spec(match[1])
            except ImportError:
                found = None
        if found is None:
            raise InputError(f"{flag}={name}: there is no module {match[1]} in {os.getcwd()} or installed")


def imported(name: str, what: str, registry: Mapping[str, Any]) -> Any:
    """What `module:name` means: the object of that name in the module, or the name itself where it is registered.

    Args:
        name: as it was given.
        what: for messages, as `"pruner"`.
        registry: of registered parts, which importing the module may fill.

    Raises:
        InputError: not written so, no such module, it cannot be imported (says why), or it has no such name.
    """
    match = _WORDS.fullmatch(name)
    if not match:
        raise InputError(f"{what} {name!r} is not written module:name")
    module, own = match.groups()
    found = _module(module, what, name)
    if hasattr(found, own):
        return getattr(found, own)
    if own in registry:
        return own
    raise InputError(f"{what} {name}: module {module} ({_place(found)}) neither has nor registers {own!r}")


def _module(module: str, what: str, name: str) -> Any:
    try:
        with _working_folder():
            return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and (module == error.name or module.startswith(f"{error.name}.")):
            raise InputError(f"{what} {name}: there is no module {error.name} in {os.getcwd()} or installed") from None
        raise InputError(f"{what} {name}: module {module} cannot be imported: {error}") from error
    except (Exception, SystemExit) as error:  # code of the module's author; a script without a guard ends itself
        raise InputError(
            f"{what} {name}: module {module} cannot be imported: {type(error).__name__}: {error}"
        ) from error


@contextlib.contextmanager
def _working_folder() -> Iterator[None]:
    """Meanwhile modules are looked for there first."""
    path = list(sys.path)
    sys.path.insert(0, os.getcwd())
    try:
        yield
    finally:
        sys.path[:] = path


def _place(module: Any) -> str:
    return getattr(module, "__file__", None) or "a package without a file"
