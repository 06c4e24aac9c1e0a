"""Settings: what a study is asked for, as one checked value that says everything about itself once.

A group of settings is a frozen dataclass whose fields are made by `setting`. From the fields come the flags of a
command (`tfprune.cli.flags`) or the keys of an input file (`tfprune.records.ini`), help, defaults, checks with their
messages, the record of a run and the digest that names it. Values are plain: they can be pickled and compared.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

from tfprune.errors import InputError, did_you_mean, did_you_mean_fraction

REQUIRED = dataclasses.MISSING
_KINDS = {str: "text", int: "a whole number", float: "a number", bool: "yes or no"}
_TRUTHS = ("yes", "no", "true", "false", "on", "off")


def setting(
    kind: type,
    text: str,
    default: Any = REQUIRED,
    *,
    many: bool = False,
    choices: tuple[str, ...] = (),
    also: tuple[str, Callable[[Any], bool]] | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
    above: float | None = None,
    below: float | None = None,
    rule: tuple[str, Callable[[Any], bool]] | None = None,
    section: str | None = None,
    aliases: tuple[str, ...] = (),
    with_value: bool = False,
    place: bool = False,
) -> Any:
    """A field of a group of settings.

    Args:
        kind: str, int, float or bool.
        text: help, a sentence or two.
        default: of the kind, or None, which then is allowed too; a field without one is required.
        many: a tuple of such values, written with commas between them.
        choices: the values that are allowed.
        also: what else is, beside choices: in words ("module:name of your own"), and whether a value is.
        at_least, at_most, above, below: bounds of a number.
        rule: what is allowed in words ("the start of a file name"), and whether a value is.
        section: of the input file in which the key stands; None for a flag.
        aliases: other names of the key.
        with_value: of a bool: as a flag it is always followed by a value, `--save=0`.
        place: says where or how to run, and changes no result: no part of record and digest.
    """
    about = {
        "kind": kind,
        "help": text,
        "many": many,
        "choices": choices,
        "also": also,
        "bounds": (at_least, at_most, above, below),
        "rule": rule,
        "section": section,
        "aliases": aliases,
        "with_value": with_value,
        "place": place,
    }
    return dataclasses.field(default=default, metadata=about)


def settings_of(group: Any) -> Iterator[dataclasses.Field]:
    """The fields of a group (class or value) that were made by `setting`."""
    return (field for field in dataclasses.fields(group) if "kind" in field.metadata)


def is_required(field: dataclasses.Field) -> bool:
    """Whether the field has no default."""
    return field.default is REQUIRED


@dataclasses.dataclass(frozen=True)
class Settings:
    """Base of all groups of settings.

    Raises:
        InputError: a value that is not allowed; names the flag or key, what is allowed and what came.
    """

    title: ClassVar[str] = "Settings"
    """Heads the group in `--help`."""

    def __post_init__(self):
        for field in settings_of(self):
            object.__setattr__(self, field.name, checked(field, getattr(self, field.name)))
        self.check()

    def check(self) -> None:
        """Refuses values that are fine alone but not together; for groups to override."""

    def record(self) -> dict[str, Any]:
        """What defines the results, as JSON values; written into a run's record."""
        values = {field.name: getattr(self, field.name) for field in settings_of(self) if not field.metadata["place"]}
        return as_json(values)

    def differing(self, recorded: Mapping[str, Any]) -> list[str]:
        """`--flag: recorded -> now` for everything in which a record differs from these settings.

        Keys that a record lacks are at their defaults: it was written before there was such a setting. Those that say
        where or how to run may stand in an old record, and may differ.
        """
        fields, now = {field.name: field for field in settings_of(self)}, self.record()
        default = as_json({name: field.default for name, field in fields.items() if not is_required(field)})
        pairs = {
            name: (recorded.get(name, default.get(name)), now.get(name, default.get(name)))
            for name in {**recorded, **now}
            if name not in fields or not fields[name].metadata["place"]
        }
        told = {name: named(fields[name]) if name in fields else f"--{name}" for name in pairs}
        return [f"{told[name]}: {old} -> {new}" for name, (old, new) in pairs.items() if old != new]

    def changed(self) -> dict[str, Any]:
        """The settings that are not at their defaults."""
        values = {field: getattr(self, field.name) for field in settings_of(self)}
        return {field.name: value for field, value in values.items() if is_required(field) or value != field.default}


def checked(field: dataclasses.Field, value: Any) -> Any:
    """A value of a field, whole numbers in fields of decimals made decimals: `lr=1` and `lr=1.0` are one run.

    Raises:
        InputError: it is not allowed.
    """
    about = field.metadata
    if value is None and field.default is None:
        return None
    if about["many"]:
        entries = plain(value)
        entries = entries if isinstance(entries, list | tuple) else (entries,)
        return tuple(_checked_one(field, entry) for entry in entries)
    return _checked_one(field, value)


def allowed(field: dataclasses.Field) -> str:
    """What a field takes, in words: `a whole number in [0, 100]`, `one of sgd, adam`."""
    about = field.metadata
    if about["rule"]:
        return about["rule"][0]
    if about["choices"]:
        also = f", or {about['also'][0]}" if about["also"] else ""
        return f"one of {', '.join(about['choices'])}{also}"
    least, most, above, below = map(_number, about["bounds"])
    kind = _KINDS[about["kind"]]
    if (least or above) and (most or below):
        return f"{kind} in {'[' if least else '('}{least or above}, {most or below}{']' if most else ')'}"
    words = {"at least": least, "at most": most, "above": above, "below": below}
    return " ".join([kind, *(f"{word} {bound}" for word, bound in words.items() if bound)])


def named(field: dataclasses.Field) -> str:
    """How the user knows a field: `--flag` or `[Section] key`."""
    section = field.metadata["section"]
    return f"[{section}] {field.name}" if section else f"--{field.name}"


def refusal(field: dataclasses.Field, value: Any, name: str | None = None) -> InputError:
    """The error that says what a field takes and what came."""
    near = did_you_mean(value, field.metadata["choices"])
    if field.metadata["bounds"][3] == 1 or field.metadata["bounds"][1] == 1:
        near = near or did_you_mean_fraction(value)
    shown = f"{value!r}"
    shown = shown if len(shown) <= 100 else f"{shown[:80]}..."
    # TOML and Python tell 0 from "0", and true from "yes".
    kind = "text: " if field.metadata["rule"] and not isinstance(value, str) and field.metadata["kind"] is str else ""
    if field.metadata["kind"] is bool and str(value).lower() in _TRUTHS:
        near = "; without quotes: true or false"
    return InputError(f"{name or named(field)} must be {kind}{allowed(field)}. Received: {shown}{near}")


def as_json(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as JSON gives them back: tuples become lists."""
    return json.loads(json.dumps(dict(values), default=dataclasses.asdict))


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


def digest(of: str | Any, length: int = 32) -> str:
    """MD5 in hexadecimal of a text, or of a JSON value with sorted keys; it tells runs apart and protects nothing.

    Args:
        of: the text or value.
        length: digits that are kept.
    """
    text = of if isinstance(of, str) else json.dumps(of, sort_keys=True)
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()[:length]


def _checked_one(field: dataclasses.Field, value: Any) -> Any:
    about = field.metadata
    kind, (least, most, above, below) = about["kind"], about["bounds"]
    value = plain(value)
    if kind is float and type(value) is int and abs(value) < 2**1000:
        value = float(value)
    good = type(value) is kind and (not about["choices"] or value in about["choices"] or _is_also(about, value))
    good = good and value == value  # no number takes NaN
    good = good and (least is None or value >= least) and (most is None or value <= most)
    good = good and (above is None or value > above) and (below is None or value < below)
    if not good or (about["rule"] and not about["rule"][1](value)):
        raise refusal(field, value)
    return value


def _is_also(about: Mapping[str, Any], value: Any) -> bool:
    return about["also"] is not None and about["also"][1](value)


def plain(value: Any) -> Any:
    """Numbers and arrays of NumPy as Python has them, and paths as text."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value.tolist() if type(value).__module__ == "numpy" and hasattr(value, "tolist") else value


def _number(bound: float | None) -> str:
    if bound is None:
        return ""
    is_power = isinstance(bound, int) and bound > 2**20 and bound & (bound - 1) == 0
    return f"2**{bound.bit_length() - 1}" if is_power else f"{bound:g}" if isinstance(bound, float) else str(bound)
