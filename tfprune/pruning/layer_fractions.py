"""A fraction, or one for each of some layers: `sparsity=` before a model is known. Needs no TensorFlow."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Integral

from tfprune.errors import InputError, did_you_mean_fraction


def is_number(value) -> bool:
    """Whether it is a finite number, of Python, NumPy or the like; truth values are none."""
    if isinstance(value, bool) or not hasattr(value, "__float__"):
        return False
    try:
        return math.isfinite(value)
    except TypeError:  # an array of several
        return False


def is_whole(value) -> bool:
    """Whether it is an integer, of Python or NumPy; truth values are none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def check_fraction(value, named: str) -> None:
    """Refuses what is no fraction in [0, 1).

    Raises:
        InputError: says what `named` must be.
    """
    if not is_number(value) or not 0 <= value < 1:
        raise InputError(f"{named} must lie in [0, 1); received {value!r}{did_you_mean_fraction(value)}")


def check_fractions(given: Mapping) -> None:
    """Refuses name -> fraction of layers that holds nothing or something else.

    Raises:
        InputError: names the layer.
    """
    if not given:
        raise InputError("sparsity= holds nothing: give a fraction, or name -> fraction")
    for one, value in given.items():
        check_fraction(value, f"sparsity of {one if isinstance(one, str) else getattr(one, '__name__', one)!r}")


def is_exactly(value, exact: float) -> bool:
    """Whether a sparsity, or of a mapping every one that is not 0, is the one that a pattern N:M has."""
    several = value.values() if isinstance(value, Mapping) else (value,)
    return all(abs(one - exact) <= 1e-6 or (isinstance(value, Mapping) and one == 0) for one in several)
