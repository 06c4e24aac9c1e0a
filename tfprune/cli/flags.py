"""Flags from settings: what a group of settings is on a command line.

Every function takes the `FlagValues` to work on; nothing is defined when this module is imported.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from absl import flags

from tfprune.cli.flag_types import OrNone, YesNo
from tfprune.errors import InputError, did_you_mean
from tfprune.records.settings import Settings, is_required, named, plain, settings_of

_PARSERS = {str: flags.ArgumentParser, int: flags.IntegerParser, float: flags.FloatParser, bool: flags.BooleanParser}


def define(values: flags.FlagValues, group: type[Settings], without: Collection[str] = ()) -> str:
    """Defines a flag for every setting of a group.

    Args:
        values: where.
        group: the settings.
        without: names that are left out, for example those that the command defines itself.

    Returns:
        The title under which `--help` lists them.
    """
    for field in settings_of(group):
        if field.name not in without:
            default = None if is_required(field) else field.default
            if field.metadata["many"] and default is not None:
                default = list(default)
            define_flag(values, parser_of(field), field.name, default, help_of(field), group.title)
    return group.title


def help_of(field) -> str:
    """What a setting is, and the values it may have where these are words."""
    about = field.metadata
    if not about["choices"]:
        return about["help"]
    also = f", or {about['also'][0]}" if about["also"] else ""
    return f"{about['help']} {'Any' if about['many'] else 'One'} of {', '.join(about['choices'])}{also}."


def parser_of(field) -> flags.ArgumentParser:
    """What makes a setting of a flag's text; `none` where the default is None."""
    about = field.metadata
    if about["many"]:
        return flags.ListParser()
    parser = YesNo() if about["with_value"] else _PARSERS[about["kind"]]()
    return OrNone(parser) if field.default is None else parser


def define_flag(values: flags.FlagValues, parser, name: str, default: Any, text: str, title: str) -> None:
    """Defines one flag below a title of `--help`."""
    if isinstance(parser, flags.BooleanParser):
        flags.DEFINE_boolean(name, default, text, flag_values=values, module_name=title)
    elif isinstance(parser, flags.ListParser):
        flags.DEFINE_list(name, default, text, flag_values=values, module_name=title)
    else:
        flags.DEFINE(parser, name, default, text, flag_values=values, module_name=title)


def read(values: flags.FlagValues, group: type[Settings], **given: Any) -> Any:
    """The settings that the parsed flags say.

    Args:
        values: where the flags are.
        group: the settings.
        **given: values that are used in place of the flags'.

    Raises:
        InputError: a required one is missing, or a value is not allowed; names the flag.
    """
    found = dict(given)
    for field in settings_of(group):
        if field.name in found or field.name not in values:
            continue
        value = values[field.name].value
        if is_required(field) and value is None:
            raise InputError(f"{named(field)} must be given: {field.metadata['help']}")
        found[field.name] = _numbers(field, value) if field.metadata["many"] else value
    return group(**found)


def give(values: flags.FlagValues, words: dict[str, Any]) -> None:
    """Sets flags as a command line would: for calls from Python.

    Raises:
        InputError: no such flag; names the nearest.
    """
    values.mark_as_parsed()
    for name, value in words.items():
        if name not in values:
            raise InputError(f"no setting is called {name!r}{did_you_mean(name, list(values))}")
        value = plain(value)
        values[name].value = list(value) if isinstance(value, tuple) else value
        values[name].present += 1
        values[name].using_default_value = False  # defaults that are filled in later give way to it


def _numbers(field, value: Any) -> Any:
    """The entries of a list flag as the field's kind; text that is no number stays, for the check to refuse."""
    kind = field.metadata["kind"]
    if kind is str or not isinstance(value, list):
        return value
    return [_number(kind, entry) if isinstance(entry, str) else entry for entry in value]


def _number(kind: type, text: str) -> Any:
    try:
        return kind(text)
    except ValueError:
        return text
