"""How long networks take for one example, measured on request and kept beside their results.

A network's numbers lie in `latency_<machine>_<engine>.json` where its result is `result.json`, in
`a_50_latency_<machine>_<engine>.json` where it is `a_50_result.json`. They say of which network they are: those of one
that has been made anew since are not read.
"""

from __future__ import annotations

import json
import os
import platform
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from tfprune.errors import InputError
from tfprune.experiments.told import told_of
from tfprune.records.atomic import atomic_write_text
from tfprune.records.reading import one_line, read_json
from tfprune.records.result import installed_versions, is_result_name, tolerated

MARK, _FORMAT = "tfprune_latency", 1
_FILE = re.compile(
    r"(?P<start>(?:.+_)?)latency_(?P<machine>[A-Za-z0-9.-]+)_(?P<engine>[a-z]+)(?P<end>(?:_[0-9]+)?\.json)"
)
_OF = ("digest", "kept", "effective", "parameters_compacted", "flops_compacted")
MEASURED = ("latency_ms", "latency_dense_ms")


def this_machine() -> str:
    """The name of this machine as files are named after it."""
    return re.sub(r"[^A-Za-z0-9.-]+", "-", platform.node()) or "unknown"


def name_of(machine: str, engine: str) -> str:
    """What the overview calls a machine with an engine."""
    return f"{machine}, {engine}"


def latency_path(folder: str | Path, file: str, machine: str, engine: str) -> Path:
    """Where the latency of a network lies.

    Args:
        folder: of the network.
        file: name of its result there.
        machine: on which it is measured.
        engine: of `tfprune.pruning.latency`.
    """
    start, _, end = file.rpartition("result")
    return Path(folder, f"{start}latency_{machine}_{engine}{end}")


def measure(rows: Iterable[Mapping[str, Any]], engine: str, machine: str) -> int:
    """Measures the networks among the rows that were not measured on this machine, as far as their files give them.

    Args:
        rows: of `overview_table`.
        engine: `litert` or `keras`, see `tfprune.pruning.latency.Timer`.
        machine: name of this one, in which files with numbers are named.

    Returns:
        How many were measured. What is wrong with one costs a warning, not the others.

    Raises:
        InputError: another engine, or a file that cannot be written.
    """
    import keras

    from tfprune.pruning.latency import Timer

    timer, count = Timer(engine), 0
    for row in rows:
        path = latency_path(row["folder"], row["file"], machine, engine)
        if not is_result_name(row["file"]) or _is_measured(path, row):
            continue
        try:
            found = _measured(row, timer)
        except Exception as error:  # of thousands one that cannot be compacted, or held by the engine
            warnings.warn(f"no latency of {row['folder']}/{row['file']}: {one_line(error)}", stacklevel=2)
            continue
        finally:
            keras.utils.clear_session()  # thousands of networks do not fit into memory at once
        if found is not None:
            told = {MARK: _FORMAT, "machine": machine, "processor": platform.processor() or platform.machine()}
            told |= {"engine": engine, **found, "of": _identity(row), "versions": installed_versions()}
            atomic_write_text(path, json.dumps(told, indent=1) + "\n")
            count += 1
    return count


def _is_measured(path: Path, row: Mapping[str, Any]) -> bool:
    try:
        return _of_this(path, row) is not None
    except InputError:  # damaged
        return False


def _measured(row: Mapping[str, Any], timer: Any) -> dict[str, float | None] | None:
    network = told_of(row["family"]).network(Path(row["folder"]), row["file"], row["settings"])
    if network is None:
        return None
    from tfprune.connectivity.measured import parameters_of
    from tfprune.surgery.compact import compact

    model, masks = network
    whole = not pd.isna(row["parameters"]) and parameters_of(model) == row["parameters"]  # else it has lost channels
    return {
        "latency_ms": timer(compact(model, masks, verify=False)),
        "latency_dense_ms": timer(model) if whole else None,
    }


def read_latencies(rows: Iterable[Mapping[str, Any]], machine: str | None = None) -> list[dict[str, Any]]:
    """`latency_ms`, `latency_dense_ms` and `latency_machine` of each row, as far as they were measured.

    All are of one machine and engine: others cannot be compared with them. Where it was not chosen, a warning says how
    many networks were measured on others alone.

    Args:
        rows: of `tfprune.read_results`.
        machine: and engine, `name_of` them; None for those of most networks.
    """
    rows = list(rows)
    names = {folder: _names(folder) for folder in {row["folder"] for row in rows}}
    found: list[dict[str, dict[str, Any]]] = []
    for row in rows:
        here: dict[str, dict[str, Any]] = {}
        for name, match in names[row["folder"]].items():
            if latency_path("", row["file"], match["machine"], match["engine"]).name == name:
                with tolerated(Path(row["folder"], name)):
                    content = _of_this(Path(row["folder"], name), row)
                    if content is not None:
                        here[name_of(match["machine"], match["engine"])] = content
        found.append(here)
    counts = Counter(each for here in found for each in here)
    if not counts:
        return [{} for _ in rows]
    first = machine or min(counts, key=lambda each: (-counts[each], each))
    if machine is None and (others := sum(bool(here) and first not in here for here in found)):
        told = f"latencies are those on {first}; {others} of networks that were measured elsewhere are left out"
        warnings.warn(told, stacklevel=3)
    return [
        {name: here[first][name] for name in MEASURED} | {"latency_machine": first} if first in here else {}
        for here in found
    ]


def _names(folder: str) -> dict[str, re.Match]:
    try:
        return {name: match for name in os.listdir(folder) if (match := _FILE.fullmatch(name))}
    except OSError:  # gone, or told of already
        return {}


def _of_this(path: Path, row: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a file says of the network of a row; None where there is none, or it is of another network."""
    if not path.exists():
        return None
    content = read_json(path, "the latency of a network")
    numbers = [content.get(name) for name in MEASURED]
    if content.get(MARK) != _FORMAT or not _is_time(numbers[0]) or not (numbers[1] is None or _is_time(numbers[1])):
        raise InputError(f"cannot read {path}: not the latency of a network; it can be deleted")
    return content if content.get("of") == _identity(row) else None


def _is_time(value: object) -> bool:
    return type(value) in (int, float) and 0 < value < float("inf")


def _identity(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: None if pd.isna(row[name]) else row[name] for name in _OF}
