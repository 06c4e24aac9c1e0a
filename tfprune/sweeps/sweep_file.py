"""The sweep file: which runs there are.

It is TOML, as an INI file has text alone: whether `[0.5, 1]` are numbers, names or one text nobody could tell. Python
reads TOML itself, editors know it, and a mistake in it is told with its line.

    entry_point = "main"                        # or imp, lth, filters, energy, or module:Study of one's own
    words = []                                  # of the command, for imp and lth

    [settings]                                  # of every run: the command's flags, or keys of imp's input file
    data = "digits"

    [cross]                                     # every combination, in this order, the last one fastest
    pruner = ["snip", "random/igq", "lamp"]
    com_exp = [0.5, 1.0, 1.5]
    sample = ["0", "1", "2"]

    [[exclude]]                                 # combinations that have all of these values; a list means any of them
    pruner = "lamp"
    com_exp = [1.0, 1.5]

    [[part]]                                    # each part has what stands above, and its own besides
    name = "dense"
    settings = {pruner = "dense", com_exp = 0}  # takes the place of a list above, as a list does of a setting

Without parts the file is its own only part.
"""

from __future__ import annotations

import itertools
import math
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tfprune.errors import InputError, did_you_mean
from tfprune.records.reading import read_text

_KEYS = ("entry_point", "words", "settings", "cross", "exclude", "part")
_OF_PART = ("name", "words", "settings", "cross", "exclude")
_MOST_BYTES = 16 << 20
_NAME = re.compile(r"[\w.+-]+")


@dataclass(frozen=True)
class Wanted:
    """A run that the file asks for.

    Attributes:
        command: entry point, or `module:Study`.
        words: of the command.
        settings: of the command.
        crossed: those that differ between the runs, by name, with the part's name, or number, where there are parts.
    """

    command: str
    words: tuple[str, ...]
    settings: dict[str, Any]
    crossed: dict[str, Any]

    @property
    def name(self) -> str:
        """The run in a few words: `pruner=snip com_exp=0.5`."""
        return " ".join(f"{name}={shown(value)}" for name, value in self.crossed.items()) or "the run"


@dataclass
class _Part:
    name: str | None
    words: tuple[str, ...]
    settings: dict[str, Any]
    cross: dict[str, list[Any]]
    exclude: list[_Exclusion]

    def combinations(self) -> Iterator[dict[str, Any]]:
        """Those that are not excluded; marks the exclusions that do something."""
        for values in itertools.product(*self.cross.values()):
            crossed = dict(zip(self.cross, values, strict=True))
            hits = [each for each in self.exclude if each.matches(self.settings | crossed)]
            for each in hits:
                each.used = True
            if not hits:
                yield crossed


@dataclass
class _Exclusion:
    values: dict[str, Any]
    where: str
    used: bool = field(default=False)

    def matches(self, settings: Mapping[str, Any]) -> bool:
        return all(name in settings and _is_among(settings[name], value) for name, value in self.values.items())


class SweepFile:
    """A sweep file, checked as far as it is the file's own: what the settings mean, the command knows.

    Args:
        path: of the file.

    Attributes:
        content: the file as Python has it, to compare it with another.
        command: its entry point.

    Raises:
        InputError: it cannot be read, is no TOML, or has a key or value that is not allowed; names file and key.
    """

    def __init__(self, path: str | Path):
        try:
            self.content = tomllib.loads(read_text(path, _MOST_BYTES))
        except tomllib.TOMLDecodeError as error:
            raise InputError(f"{path}: not a TOML file: {error}") from None
        except RecursionError:
            raise InputError(f"{path}: not a sweep file: nested too deeply") from None
        try:
            self.command, self._parts = _read(self.content)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None

    @property
    def most_runs(self) -> int:
        """Number of combinations before exclusions, counted without making them."""
        return sum(math.prod(map(len, part.cross.values())) for part in self._parts)

    def runs(self) -> Iterator[Wanted]:
        """The runs, in the order of the file.

        Raises:
            InputError: there is none, or an exclusion excludes nothing; when all are made.
        """
        some = False
        for part in self._parts:
            for crossed in part.combinations():
                some = True
                name = {"part": part.name} if part.name is not None else {}
                yield Wanted(self.command, part.words, part.settings | crossed, name | crossed)
        if not some:
            raise InputError("there is no run: all combinations are excluded")
        used: dict[str, bool] = {}
        for each in (each for part in self._parts for each in part.exclude):
            used[each.where] = used.get(each.where, False) or each.used
        for where, is_used in used.items():
            if not is_used:
                raise InputError(f"{where} excludes no run: no combination has all of its values")


def shown(value: Any) -> str:
    """A value as people read it."""
    return ",".join(map(shown, value)) if isinstance(value, list) else str(value)


def _read(content: Mapping[str, Any]) -> tuple[str, list[_Part]]:
    _refuse_unknown(content, _KEYS, "")
    command = content.get("entry_point")
    if not isinstance(command, str):
        raise InputError(
            f'entry_point must be given as text, for example entry_point = "main". Received: {_short(command)}'
        )
    common = _Part(None, *_fields(content, ""))
    parts = content.get("part", [])
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise InputError("parts must be written as tables, each below a line [[part]]")
    return command, [_joined(common, _part(part, number)) for number, part in enumerate(parts, 1)] or [common]


def _part(content: Mapping[str, Any], number: int) -> _Part:
    where = f"part {number}: "
    _refuse_unknown(content, _OF_PART, where)
    name = content.get("name")
    if name is not None and not (isinstance(name, str) and _NAME.fullmatch(name)):
        raise InputError(f"{where}name must be a word. Received: {_short(name)}")
    return _Part(name or str(number), *_fields(content, f"part {name or number}: "))


def _fields(content: Mapping[str, Any], where: str) -> tuple[tuple[str, ...], dict, dict, list[_Exclusion]]:
    """Words, settings, lists and exclusions of the file or a part of it."""
    words = content.get("words", [])
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise InputError(f'{where}words must be a list of text, for example ["lottery"]. Received: {_short(words)}')
    settings = _table(content, "settings", where)
    for name, value in settings.items():
        _check_value(value, f"{where}[settings] {name}")
    cross = _table(content, "cross", where)
    for name, values in cross.items():
        _check_list(values, f"{where}[cross] {name}")
        if name in settings:
            raise InputError(f"{where}{name} stands in [settings] and in [cross]; it can be only in one of them")
    return tuple(words), settings, cross, list(_exclusions(content, where))


def _exclusions(content: Mapping[str, Any], where: str) -> Iterator[_Exclusion]:
    given = content.get("exclude", [])
    if not isinstance(given, list) or not all(isinstance(each, dict) and each for each in given):
        raise InputError(f"{where}exclusions must be written as tables with a value each, below a line [[exclude]]")
    for each in given:
        told = ", ".join(f"{name} = {_short(value)}" for name, value in each.items())
        for name, value in each.items():
            _check_value(value, f"{where}[[exclude]] {name}")
        yield _Exclusion(each, f"{where}[[exclude]] {told}")


def _joined(common: _Part, part: _Part) -> _Part:
    """A part with what all parts have; its own settings and lists take the place of those."""
    settings = {name: value for name, value in common.settings.items() if name not in part.cross}
    cross = {name: values for name, values in common.cross.items() if name not in part.settings}
    exclude = [_Exclusion(each.values, each.where) for each in common.exclude] + part.exclude
    return _Part(part.name, part.words or common.words, settings | part.settings, cross | part.cross, exclude)


def _refuse_unknown(content: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    for name in content:
        if name not in known:
            near = did_you_mean(name, known)
            raise InputError(f"{where}a key must be one of {', '.join(known)}. Received: {name!r}{near}")


def _table(content: Mapping[str, Any], name: str, where: str) -> dict[str, Any]:
    table = content.get(name, {})
    if not isinstance(table, dict):
        raise InputError(f"{where}{name} must be a table, below a line [{name}]. Received: {_short(table)}")
    return table


def _check_list(values: Any, where: str) -> None:
    if not isinstance(values, list) or not values:
        raise InputError(f"{where} must be a list of at least one value. Received: {_short(values)}")
    for place, value in enumerate(values):
        _check_value(value, where)
        if any(_same(value, other) for other in values[:place]):
            raise InputError(f"{where} must have each value once. Received twice: {_short(value)}")


def _check_value(value: Any, where: str) -> None:
    if isinstance(value, list):
        for each in value:
            if isinstance(each, list):
                raise InputError(f"{where} must hold no lists in lists. Received: {_short(value)}")
            _check_value(each, where)
    elif not isinstance(value, str | int | float | bool) or (isinstance(value, float) and not math.isfinite(value)):
        raise InputError(f"{where} must be text, a finite number, true or false. Received: {_short(value)}")


def _same(one: Any, other: Any) -> bool:
    """Whether two values are one; for Python true is 1."""
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def _is_among(value: Any, wanted: Any) -> bool:
    return _same(value, wanted) or (isinstance(wanted, list) and any(_same(value, each) for each in wanted))


def _short(value: Any) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
