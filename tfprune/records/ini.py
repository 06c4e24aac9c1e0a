"""Settings from an `.ini` file: sections, keys and values, and what is said where they are wrong."""

from __future__ import annotations

import configparser
import difflib
import textwrap
from collections.abc import Iterable
from dataclasses import Field
from pathlib import Path
from typing import Any

from tfprune.errors import InputError
from tfprune.records.reading import one_line, read_text
from tfprune.records.settings import allowed, checked, refusal, settings_of

_MOST_BYTES = 100_000
_MOST_REFERENCES = 20  # a reference to a value with references, and so on, grows without bounds


def read_ini(path: str | Path, group: type) -> dict[str, Any]:
    """The values of a group of settings in a file; where a key is missing, its default.

    Args:
        path: the `.ini` file.
        group: whose fields have a `section`.

    Raises:
        InputError: the file is missing or malformed, or a section, key or value is not allowed.
    """
    path = Path(path)
    parser = _parse(path)
    fields = _keys(group)
    values = {field.name: _value(path, parser, field) for field in fields}
    _refuse_unknown(path, parser, fields)
    return values


def describe(group: type) -> str:
    """The documentation of every key, for `--help`."""
    lines, section = [], None
    for field in _keys(group):
        if field.metadata["section"] != section:
            section = field.metadata["section"]
            lines.append(f"\n[{section}]")
        words = {"None": "see below", "True": "yes", "False": "no", "": "empty"}  # as text: 1 is equal to True
        default = words.get(str(field.default), field.default)
        lines.append(f"  {field.name} ({allowed(field)}; default {default})")
        lines += textwrap.wrap(field.metadata["help"], 96, initial_indent="      ", subsequent_indent="      ")
    return "\n".join(lines).strip("\n")


def _keys(group: type) -> list[Field]:
    return [field for field in settings_of(group) if field.metadata["section"]]


def _parse(path: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    text = read_text(path, _MOST_BYTES)
    if text.count("%(") > _MOST_REFERENCES:
        raise InputError(f"{path}: not an input file: more than {_MOST_REFERENCES} references %(key)s")
    try:
        parser.read_string(text, str(path))
        for section in parser.sections():
            parser.items(section)  # interpolation errors show here
    except (configparser.Error, ValueError) as error:
        raise InputError(f"{path}: not an input file: {one_line(error)}") from None
    return parser


def _value(path: Path, parser: configparser.ConfigParser, field: Field) -> Any:
    section = field.metadata["section"]
    present = [name for name in (field.name, *field.metadata["aliases"]) if parser.has_option(section, name)]
    if not present:
        return field.default
    if len(present) > 1:
        raise InputError(f"{path}: [{section}] {' and '.join(present)} mean the same; give one of them")
    text = parser.get(section, present[0])
    try:
        kind = field.metadata["kind"]
        value = parser.getboolean(section, present[0]) if kind is bool else kind(text)
        return checked(field, value)
    except ValueError:
        hint = " (a comment needs a line of its own)" if "#" in text else ""
        raise InputError(f"{path}: {refusal(field, text, f'[{section}] {present[0]}')}{hint}") from None


def _refuse_unknown(path: Path, parser: configparser.ConfigParser, fields: Iterable[Field]) -> None:
    sections = list(dict.fromkeys(field.metadata["section"] for field in fields))
    names = {name: field.metadata["section"] for field in fields for name in (field.name, *field.metadata["aliases"])}
    if parser.defaults():
        raise InputError(f"{path}: unknown section [DEFAULT]; sections are {', '.join(sections)}")
    for section in parser.sections():
        if section not in sections:
            raise InputError(f"{path}: unknown section [{section}]; {_nearest(section, sections)}")
        for option in parser.options(section):
            if option not in names:
                raise InputError(f"{path}: unknown key {option!r} in [{section}]; {_nearest(option, names)}")
            if names[option] != section:
                raise InputError(f"{path}: key {option!r} stands in [{section}] but belongs in [{names[option]}]")


def _nearest(word: str, known: Iterable[str]) -> str:
    lowered = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), lowered, n=1, cutoff=0.0)
    return f"the nearest known one is {lowered[close[0]]!r}"
