"""Dataclass fields that say enough about themselves to become command-line flags, and the names made of them."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from typing import Any

from tfprune.errors import InputError

_MISSING = dataclasses.MISSING


def setting(kind: type, text: str, default: Any = _MISSING) -> Any:
    """A field of a group of settings.

    Args:
        kind: str, int, float or bool; a default of None allows None too.
        text: one line of help.
        default: None, or of the kind; a field without one is required.
    """
    return dataclasses.field(default=default, metadata={"kind": kind, "help": text})


def settings_of(group: Any) -> Iterator[dataclasses.Field]:
    """The fields of a group (class or value) that were made by `setting`."""
    return (field for field in dataclasses.fields(group) if "kind" in field.metadata)


def is_required(field: dataclasses.Field) -> bool:
    """Whether the field has no default."""
    return field.default is _MISSING


def check_kinds(group: Any) -> None:
    """Makes whole numbers in fields of decimals decimals, and refuses values of other kinds.

    Without it `lr=1` and `lr=1.0` would be two runs.

    Raises:
        InputError: names the flag.
    """
    for field in settings_of(group):
        value, kind = getattr(group, field.name), field.metadata["kind"]
        if value is None and field.default is None:
            continue
        if kind is float and type(value) is int:
            object.__setattr__(group, field.name, float(value))
        elif type(value) is not kind:
            raise InputError(f"--{field.name} must be of type {kind.__name__}. Received: {value!r}")


def canonical(group: Any) -> str:
    """The text by which a group of settings enters the name of a run: `Hparams(lr=0.1, optimizer_name='sgd')`.

    Names are sorted; a value that is the field's default is left out, so that a new field with a default leaves old
    names as they are.
    """
    texts = {}
    for field in dataclasses.fields(group):
        value = getattr(group, field.name)
        if is_required(field) or value != field.default:
            nested = dataclasses.is_dataclass(value)
            texts[field.name] = canonical(value) if nested else f"'{value}'" if isinstance(value, str) else str(value)
    return f"Hparams({', '.join(f'{name}={texts[name]}' for name in sorted(texts))})"


def digest(text: str) -> str:
    """MD5 of a text in UTF-8, in hexadecimal; it tells runs apart and protects nothing."""
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
