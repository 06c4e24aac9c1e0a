"""Rows and columns of the overview that a person asks for in words: `pruner=snip`, `-accuracy`."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

import numpy as np
import pandas as pd

from tfprune.errors import InputError, did_you_mean
from tfprune.overview.table import SETTING, setting_column, setting_names

_CONDITION = re.compile(r"\s*(?P<name>[^<>=!]+?)\s*(?P<sign><=|>=|!=|==?|<|>)\s*(?P<value>.*?)\s*")
_ORDERS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_MISSING = ("none", "")
_AS_PRINTED, _DIGITS = 4, 17  # the fewest digits that are printed of a number that is not whole, and all it can have
_BOOLEANS = {"true": True, "false": False}


def column(table: pd.DataFrame, name: str, flag: str) -> pd.Series:
    """A column of the overview, or a setting, also one in which the rows do not differ.

    Args:
        table: of `overview_table`.
        name: of the column; of a setting as `settings.lr`, `training.lr` or `lr`.
        flag: asks for it, for messages.

    Returns:
        It, named as it is, or would be, in the table.

    Raises:
        InputError: there is none of that name, or several settings have it.
    """
    for full in (name, f"{SETTING}{name}"):
        if full in table:
            return table[full]
    known, setting = setting_names(table), name.removeprefix(SETTING)
    found = [setting] if setting in known else [each for each in known if each.endswith(f".{setting}")]
    if len(found) > 1:
        raise InputError(f"{flag}: {name} may mean {' or '.join(found)}; write it out")
    if not found:
        near = did_you_mean(name, [*table.columns, *known, *(each.rpartition(".")[2] for each in known)])
        raise InputError(f"{flag} must name columns or settings of these networks. Received: {name!r}{near}")
    return setting_column(table, found[0]).rename(f"{SETTING}{found[0]}")


def rows_where(table: pd.DataFrame, conditions: Sequence[str]) -> pd.DataFrame:
    """The rows that fulfil all conditions.

    Args:
        table: of `overview_table`.
        conditions: each `name=value`, or with `!=`, `<`, `<=`, `>` or `>=`; name of a column or setting. Text may have
            wildcards, `method=random/*`; `none` stands for what is missing. What is missing fulfils no other condition
            but `!=`. A number of four digits or more equals all that round to it: numbers are printed so.

    Raises:
        InputError: a condition that cannot be understood.
    """
    for condition in conditions:
        match = _CONDITION.fullmatch(condition)
        if match is None:
            raise InputError(f"--where must be name=value, also with !=, <, <=, > or >=. Received: {condition!r}")
        cells = column(table, match["name"], "--where")
        table = table[_fulfilled(cells, match["sign"], match["value"], condition)]
    return table


def _fulfilled(cells: pd.Series, sign: str, value: str, condition: str) -> np.ndarray:
    missing = cells.isna().to_numpy()
    if value.lower() in _MISSING and sign in ("=", "==", "!="):
        return ~missing if sign == "!=" else missing
    if pd.api.types.is_bool_dtype(cells.dtype):
        wanted = _BOOLEANS.get(value.lower())
        if wanted is None or sign in _ORDERS:
            raise InputError(f"--where: {cells.name} is true or false. Received: {condition!r}")
        same = cells.fillna(not wanted).to_numpy(bool) == wanted
    elif pd.api.types.is_numeric_dtype(cells.dtype):
        try:
            wanted = float(value)
        except ValueError:
            raise InputError(f"--where: {cells.name} is a number. Received: {condition!r}") from None
        numbers = cells.to_numpy("float64", na_value=np.nan)
        if sign in _ORDERS:
            return _ORDERS[sign](numbers, wanted)
        same = (numbers == wanted) | _rounds_to(numbers, value)
    elif sign in _ORDERS:
        raise InputError(f"--where: {cells.name} is text and can be equal or not (=, !=). Received: {condition!r}")
    else:
        same = np.array([isinstance(cell, str) and fnmatchcase(cell, value) for cell in cells], bool)
    return ~same if sign == "!=" else same & ~missing


def _rounds_to(numbers: np.ndarray, text: str) -> np.ndarray:
    """Whether numbers that are not whole are this one as it is printed: 31.623, of four digits or more, is 10^1.5."""
    digits = sum(map(str.isdecimal, text.lower().partition("e")[0].lstrip("+-0.")))
    if not _AS_PRINTED <= digits <= _DIGITS or not math.isfinite(wanted := float(text)):
        return np.zeros(len(numbers), bool)
    same = [not number.is_integer() and float(f"{number:.{digits}g}") == wanted for number in numbers.tolist()]
    return np.array(same, bool)


def in_order(table: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """The rows sorted by these columns, the first one first; `-name` from the largest down; what is missing last.

    Raises:
        InputError: a column that the table lacks, or whose cells have no order.
    """
    for name in reversed(names):
        full = name.removeprefix("-")
        full = full if full in table else f"{SETTING}{full}"
        if full not in table:
            near = did_you_mean(name.removeprefix("-"), list(table.columns))
            raise InputError(f"--sort must name columns that are shown. Received: {name!r}{near}")
        if any(isinstance(cell, dict) for cell in table[full]):
            raise InputError(f"--sort must name columns of numbers or text. Received: {name!r}")
        table = table.sort_values(full, ascending=not name.startswith("-"), kind="stable")
    return table
