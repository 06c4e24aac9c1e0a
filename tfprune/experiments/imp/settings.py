"""The `.ini` input file of iterative magnitude pruning, read into a checked value."""

from __future__ import annotations

import configparser
import dataclasses
import difflib
import json
from pathlib import Path

from tfprune.errors import InputError
from tfprune.experiments.imp.arch import check_trainable, parse_arch
from tfprune.experiments.imp.keys import KEYS, Key
from tfprune.records.reading import one_line, read_text

_ANY_SIZE = 1 << 30
_MOST_BYTES = 100_000
_MOST_REFERENCES = 20  # a reference to a value with references, and so on, grows without bounds

ImpSpec = dataclasses.make_dataclass(
    "ImpSpec",
    [(key.name, object) for key in KEYS] + [("source", Path), ("warnings", tuple)],
    frozen=True,
    namespace={"__doc__": "The checked content of an input file, one attribute per key of `KEYS`; see `read_spec`."},
)


def read_spec(path: str | Path) -> ImpSpec:
    """Reads and checks an input file.

    Args:
        path: the `.ini` file.

    Returns:
        An `ImpSpec`; `.source` is the path, `.warnings` are lines the user should see.

    Raises:
        InputError: the file is missing or malformed, or a section, key or value is not allowed.
    """
    path = Path(path)
    parser = _parse(path)
    values = {key.name: _value(path, parser, key) for key in KEYS}
    _refuse_unknown(path, parser)
    warnings = _complete(path, values)
    return ImpSpec(**values, source=path, warnings=tuple(warnings))


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


def _value(path: Path, parser: configparser.ConfigParser, key: Key) -> object:
    present = [name for name in (key.name, *key.aliases) if parser.has_option(key.section, name)]
    if not present:
        return key.default
    if len(present) > 1:
        raise InputError(f"{path}: [{key.section}] {' and '.join(present)} mean the same; give one of them")
    text = parser.get(key.section, present[0])
    try:
        return key.parse(text)
    except ValueError:
        hint = " (a comment needs a line of its own)" if "#" in text else ""
        raise InputError(
            f"{path}: [{key.section}] {present[0]} must be {key.allowed}. Received: {text[:80]!r}{hint}"
        ) from None


def _refuse_unknown(path: Path, parser: configparser.ConfigParser) -> None:
    sections = list(dict.fromkeys(key.section for key in KEYS))
    names = {name: key.section for key in KEYS for name in (key.name, *key.aliases)}
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


def _nearest(word: str, known) -> str:
    lowered = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), lowered, n=1, cutoff=0.0)
    return f"the nearest known one is {lowered[close[0]]!r}"


def _complete(path: Path, values: dict) -> list[str]:
    """Fills in defaults that depend on other keys and checks the relations between keys."""
    warnings = []
    if not values["arch"]:
        raise InputError(f"{path}: [Network] arch is required, for example f1024:f1024:f1024:x")
    # Whether it fits the images is seen when these are read; a slip of the pen is told before that.
    try:
        check_trainable(values["arch"], parse_arch(values["arch"], values["prune"], (1, _ANY_SIZE, _ANY_SIZE), 1))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    if values["dataloc"] is None and values["dataset"].startswith("ImageNet"):
        values["dataloc"] = "./ImageNet"
    if not 0.0 <= values["data_ratio"] <= 1.0:
        clipped = 0.0 if not values["data_ratio"] > 0 else 1.0
        warnings.append(f"[Data] data_ratio = {values['data_ratio']} is clipped to {clipped}")
        values["data_ratio"] = clipped
    steps = values["steps"]
    if values["weights_step"] > steps:
        raise InputError(
            f"{path}: [IMP] weights_step must be at most steps = {steps}. Received: {values['weights_step']}"
        )
    if values["prune_step"] is None:
        values["prune_step"] = steps
    if values["prune_step"] > steps:
        warnings.append(f"[IMP] prune_step = {values['prune_step']} is above steps; masks come from step {steps}")
        values["prune_step"] = steps
    for name, iteration in (("rest_weights_file", 0), ("rest_mask_file", values["rest_it"] - 1)):
        # The published default says IMP whatever the prefix is.
        values[name] = values[name] or str(Path(values["save_dir"], f"IMP_itdata_{iteration}.pkl"))
    layers, flags = values["arch"].count(":") + 1, values["prune"].count(":") + 1
    if values["prune"] and flags < layers:
        warnings.append(
            f"[IMP] prune = {values['prune']} is shorter than arch: the last {layers - flags} layer(s) are not pruned"
        )
    return warnings


def spec_record(spec: ImpSpec) -> dict:
    """The keys that define a run's results, as JSON values; where the run is stored ([IO]) is not one of them."""
    return {key.name: getattr(spec, key.name) for key in KEYS if key.section != "IO"}


def differing_keys(spec: ImpSpec, record: dict) -> list[str]:
    """`[Section] key: recorded -> now` for every key in which `spec` differs from `record` (see `spec_record`)."""
    now = json.loads(json.dumps(spec_record(spec)))
    defaults = {key.name: key.default for key in KEYS}
    return [
        f"[{key.section}] {key.name}: {record.get(key.name, defaults[key.name])} -> {now[key.name]}"
        for key in KEYS
        if key.name in now and now[key.name] != record.get(key.name, defaults[key.name])
    ]
