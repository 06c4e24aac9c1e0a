"""The result of one trained network: a small JSON file with the same meaning in every system."""

from __future__ import annotations

import contextlib
import json
import numbers
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache
from importlib import metadata
from operator import ge
from pathlib import Path
from typing import Any

from tfprune.errors import InputError
from tfprune.records.atomic import atomic_write_text
from tfprune.records.reading import read_json

MARK, _FORMAT = "tfprune_result", 1
OURS, ORIGINAL = "tfprune", "original"
"""Whose code made a network."""
LAYER = ("weights", "kept", "effective")
"""What is counted of each prunable kernel."""
_OF_LAYER = frozenset(LAYER)
COUNTED = (
    *("weights", "kept", "effective", "parameters", "parameters_masked", "parameters_compacted"),
    *("flops", "flops_masked", "flops_compacted"),
)
WHOLE = ("level", *COUNTED, "steps", "kept_layers")
NUMBERS = ("accuracy", "loss", "seconds")
_TEXTS = ("family", "label", "digest", "version", "method", "engine", "versions")
_MOST, _LONGEST = 2**63, 1000
_NO_MORE_THAN = {
    "kept": "weights",
    "effective": "kept",
    "parameters_masked": "parameters",
    "flops_masked": "flops",
}
_WHAT = "the result of a training"
_NAME = re.compile(r"(?:.+_)?result(?:_[0-9]+)?\.json")


@dataclass(frozen=True)
class Result:
    """What became of one trained network. What was not measured, or is not known, is None, never 0.

    `tfprune.connectivity.measured.measured(model)` gives the fields that are counted (`COUNTED`), as keyword arguments.

    Attributes:
        family: the system, by the name of its room under `tfprune.experiments`, or the user's own.
        label: the network in a few words, as the run tells them: `level 3`, `operator_norm v3_50`.
        settings: all settings that define the network, as JSON values.
        digest: tells studies apart; of the settings that all networks of the study have in common.
        seed: what tells repetitions apart: a seed, a sample, a replicate.
        level: number of prunings that led to the network, 0 for the dense one; None where pruning is no sequence.
        version: of filter pruning, which p-vector.
        method: pruner, scoring or branch.
        weights: number of prunable weights, nothing pruned.
        kept: number of them that the masks keep.
        effective: number of them on a path from an input to an output.
        parameters: weights, biases and scales and shifts of normalisation, nothing pruned; running averages and masks
            are not among them.
        parameters_masked: those that the masks keep.
        parameters_compacted: those of the network that `tfprune.compact` makes.
        flops: floating-point operations for one example, two for each prunable weight and position, nothing pruned.
        flops_masked: those of weights that the masks keep.
        flops_compacted: those of the network that `tfprune.compact` makes.
        layers: path of each prunable kernel -> its `weights`, and how many of them are `kept` and `effective`, as in
            the whole network, None each where it is not known; in the order of the network.
        accuracy: on the test images at the end of the training (at the last test, where there is none at the end), in
            [0, 1].
        loss: cross-entropy there, in nats; without weight decay.
        steps: training steps of this network, those before a rewinding point not counted.
        seconds: that its training took, all starts together.
        engine: that computed the training: `dense`, or `sparse` where layers were computed by their kept weights alone.
        kept_layers: number of layers that were.
        versions: of the packages that wrote the result, `tfprune 1.0, keras 3.15.0, ...`; `write_result` adds them.
        more: what a system has to say beside, as JSON values; its keys stand beside the fields in the file.

    Raises:
        InputError: a value that its field cannot have; names the field.
    """

    family: str
    label: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    digest: str | None = None
    seed: int | str | None = None
    level: int | None = None
    version: str | None = None
    method: str | None = None
    weights: int | None = None
    kept: int | None = None
    effective: int | None = None
    parameters: int | None = None
    parameters_masked: int | None = None
    parameters_compacted: int | None = None
    flops: int | None = None
    flops_masked: int | None = None
    flops_compacted: int | None = None
    layers: Mapping[str, Mapping[str, int | None]] | None = None
    accuracy: float | None = None
    loss: float | None = None
    steps: int | None = None
    seconds: float | None = None
    engine: str | None = None
    kept_layers: int | None = None
    versions: str | None = None
    more: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        for name in _TEXTS:
            self._check(name, _is_text, "text in one line", needed=name in ("family", "label"))
        self._check("seed", lambda value: _is_text(value) or _is_whole(value, -_MOST), "a whole number or text")
        for name in WHOLE:
            self._check(name, _is_whole, "a whole number of at least 0")
        for name in NUMBERS:
            self._check(name, _is_number, "a number")
        self._check("accuracy", lambda value: 0 <= value <= 1, "in [0, 1]")
        for name in ("settings", "more"):
            self._check(name, lambda value: isinstance(value, Mapping), "names with values", needed=True)
        self._check("layers", _are_layers, "path -> weights, kept and effective, whole numbers of which none grows")
        for name, other in _NO_MORE_THAN.items():
            most = getattr(self, other)
            self._check(name, lambda value, most=most: most is None or value <= most, f"at most {other} = {most}")
        # Numbers of NumPy are welcome, JSON does not know them.
        for names, kind in (((*WHOLE, "seed"), int), (NUMBERS, float)):
            for name in names:
                value = getattr(self, name)
                if type(value) is not kind and isinstance(value, numbers.Real):
                    object.__setattr__(self, name, kind(value))
        if wrong := [key for key in self.more if key in _FIELDS or key == MARK]:
            raise InputError(f"more: {wrong[0]!r} is the name of a field")

    @property
    def density(self) -> float | None:
        """Fraction of the prunable weights that is kept, in [0, 1]."""
        return _ratio(self.kept, self.weights)

    @property
    def effective_density(self) -> float | None:
        """Fraction of the prunable weights that is kept and effective, in [0, 1]."""
        return _ratio(self.effective, self.weights)

    def _check(self, name: str, allows, allowed: str, needed: bool = False) -> None:
        value = getattr(self, name)
        if needed if value is None else not allows(value):
            raise InputError(f"{name} must be {allowed}. Received: {str(value)[:60]!r}")


_FIELDS = frozenset(each.name for each in fields(Result))
_IN_FILE = _FIELDS - {"more"}  # whose keys stand beside them


def result_path(folder: str | Path, prefix: str = "", number: int | None = None) -> Path:
    """Where a result lies: `result.json`, or `<prefix>_result.json` or `<prefix>_result_<number>.json` of several."""
    end = "" if number is None else f"_{number}"
    return Path(folder, f"{prefix}_result{end}.json" if prefix else f"result{end}.json")


def is_result_name(name: str) -> bool:
    """Whether a file of this name may be a result."""
    return _NAME.fullmatch(name) is not None


def write_result(path: str | Path, result: Result) -> None:
    """Writes a result atomically, with the versions of the packages that are installed unless it names others.

    Args:
        path: from `result_path`.
        result: what became of the network.

    Raises:
        InputError: the file cannot be written.
    """
    result = result if result.versions else replace(result, versions=installed_versions())
    content = {each.name: getattr(result, each.name) for each in fields(result) if each.name != "more"}
    text = json.dumps({MARK: _FORMAT, **content, **result.more}, indent=1, ensure_ascii=False)
    atomic_write_text(path, text + "\n")


def read_result(path: str | Path) -> Result:
    """The result in a file.

    Raises:
        MissingInputError: there is none.
        InputError: a damaged file, one that holds no result or one of another version; names file and field.
    """
    return _result_in(read_json(path, _WHAT), path)


def find_result(path: str | Path) -> Result | None:
    """The result in a file of such a name; None where it holds other JSON.

    Raises:
        InputError: as `read_result`.
    """
    content = read_json(path, _WHAT)
    return _result_in(content, path) if MARK in content else None


def has_result(path: str | Path) -> bool:
    """Whether a file is there that means to be a result, damaged or not; other JSON may have its name."""
    try:
        return MARK in read_json(path, "a result")
    except InputError:
        return Path(path).exists()


@contextlib.contextmanager
def tolerated(path: str | Path) -> Iterator[None]:
    """What is wrong with a file costs what the block would have given, and a warning that names it, no more.

    Args:
        path: the file or folder that the block reads.
    """
    try:
        yield
    except InputError as error:
        told = str(error)
        warnings.warn(told if str(path) in told else f"cannot read {path}: {told}", stacklevel=3)


def _result_in(content: dict[str, Any], path: str | Path) -> Result:
    if type(content.get(MARK)) is not int or content[MARK] != _FORMAT:
        came = json.dumps(content.get(MARK))[:40]
        raise InputError(f"cannot read {path}: not a result: {MARK} must be {_FORMAT}. Received: {came}")
    known = {name: value for name, value in content.items() if name in _IN_FILE}
    more = {name: value for name, value in content.items() if name not in _IN_FILE and name != MARK}
    try:
        return Result(**{"family": None, "label": None, **known, "more": more})
    except InputError as error:
        raise InputError(f"cannot read {path}: {error}") from None


@cache
def installed_versions() -> str:
    """Names and versions of this package and of those that its numbers depend on."""
    found = []
    for name in ("tfprune", "tensorflow", "keras", "numpy"):
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue  # run from its sources, say
    return ", ".join(found)


def _are_layers(value: object) -> bool:
    return isinstance(value, Mapping) and all(_is_text(path) and _is_layer(layer) for path, layer in value.items())


def _is_layer(value: object) -> bool:
    if not isinstance(value, Mapping) or value.keys() != _OF_LAYER or value["weights"] is None:
        return False
    counts = [count for name in LAYER if (count := value[name]) is not None]
    return all(map(_is_whole, counts)) and all(map(ge, counts, counts[1:]))


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value.isprintable() and len(value) <= _LONGEST


def _is_whole(value: object, least: int = 0) -> bool:
    # Thousands of files are read at once, and `isinstance` is slow with kinds of numbers.
    whole = type(value) is int or (isinstance(value, numbers.Integral) and not isinstance(value, bool))
    return whole and least <= value < _MOST


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return False
    return not isinstance(value, numbers.Integral) or abs(value) < _MOST


def _ratio(part: int | None, whole: int | None) -> float | None:
    return part / whole if part is not None and whole else None
