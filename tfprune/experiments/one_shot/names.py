"""Names of runs of one-shot pruning: `<sample>_<compression>`, and a variant where settings are not the published ones.

A name tells a run from every other one in its folder: a compression that 6 digits do not tell from another one is
written with 12, and settings that differ from their defaults end the name as 8 hexadecimal digits, the variant.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from tfprune.records.settings import digest

DEFAULT = "default"  # how messages and `--variant` call the runs without a variant
NAME = re.compile(r"(?P<sample>[^_]+)_(?P<compression>[0-9]+(\.[0-9]+)?(e\+[0-9]+)?)(_(?P<variant>[0-9a-f]{8}))?")


def run_name(sample: str, compression: float, changed: Mapping[str, Any]) -> str:
    """The start of all file names of a run.

    Args:
        sample: seed code.
        compression: the target, to 12 digits.
        changed: setting -> value where it is not the default.
    """
    return "_".join([sample, _compression_text(compression), *([variant_of(changed)] if changed else [])])


def variant_of(changed: Mapping[str, Any]) -> str:
    """8 digits that stand for the settings that differ from their defaults; empty where none does."""
    return digest(changed, 8) if changed else ""


def variant_text(variant: str, changed: Mapping[str, Any] | None) -> str:
    """A variant for messages; `changed` is None where no record tells what it stands for."""
    words = " ".join(f"--{name}={str(value)[:80]}" for name, value in sorted((changed or {}).items()))
    return f"{variant or DEFAULT} ({words})" if words else variant or DEFAULT


def _compression_text(value: float) -> str:
    if value == round(value):
        return f"{value:.0f}"
    short = f"{value:.6g}"
    near = float(short)
    # What people ask for: an exponent of two decimals, a sparsity of five. One compression has the short name at most.
    asked = (10 ** round(math.log10(near), 2), 1 / (1 - round(1 - 1 / near, 5)) if near < 1e5 else math.inf)
    first = next((each for each in asked if f"{each:.6g}" == short), math.nan)
    return short if f"{first:.12g}" == f"{value:.12g}" and not short.isdigit() else f"{value:#.12g}"
