"""The `.ini` input file of iterative magnitude pruning: its keys, their defaults, and the checked value they make.

`KEYS` is the single table of what may stand in a file; parsing, defaults, `--help` and the record of a run all read it.
Sections `[IO]`, `[Data]`, `[Network]` and `[IMP]` are those of Pellegrini & Biroli's code, with the same meaning and
defaults; `[Run]` holds what this package adds, all of it optional.
"""

from __future__ import annotations

import configparser
import dataclasses
import difflib
import json
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tfprune.errors import InputError
from tfprune.models.imp_arch import check_trainable, parse_arch


def _boolean(text: str) -> bool:
    try:
        return configparser.ConfigParser.BOOLEAN_STATES[text.lower()]
    except KeyError:
        raise ValueError from None


def _fraction(text: str) -> float:
    value = float(text)
    if not 0.0 <= value <= 1.0:
        raise ValueError
    return value


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise ValueError
    return value


def _rate(text: str) -> float:
    value = float(text)
    if not 0.0 < value < float("inf"):
        raise ValueError
    return value


def _file_name(text: str) -> str:
    if not text or "/" in text or text.startswith("."):
        raise ValueError
    return text


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError
        return text

    parse.allowed = " or ".join(choices)
    return parse


_ANY_SIZE = 1 << 30

_ALLOWED = {
    str: "text",
    _file_name: "the start of a file name",
    int: "a whole number",
    _count: "a whole number, 0 or more",
    float: "a number",
    _boolean: "yes or no",
    _fraction: "a number in [0, 1]",
    _positive: "a whole number above 0",
    _rate: "a number above 0",
}


@dataclass(frozen=True)
class Key:
    """One key of the input file: where it stands, how its text becomes a value, and what it does."""

    section: str
    name: str
    parse: Callable
    default: object
    help: str
    aliases: tuple[str, ...] = ()

    @property
    def allowed(self) -> str:
        return getattr(self.parse, "allowed", None) or _ALLOWED[self.parse]


# A default of None is filled in by `read_spec` and explained in the key's help.
KEYS: tuple[Key, ...] = (
    Key("IO", "save_dir", str, ".", "Folder of the run; made if missing."),
    Key("IO", "prefix", _file_name, "IMP", "Start of the name of every file of the run."),
    Key(
        "Data",
        "dataset",
        str,
        "ImageNet32",
        "ImageNet32 or ImageNet64 (downsampled ImageNet batches), digits (8x8, comes with scikit-learn), or an image "
        "classification set of TFDS: mnist, fashion_mnist, kmnist, cifar10, cifar100.",
    ),
    Key(
        "Data",
        "dataloc",
        str,
        None,
        "Folder of the data: for ImageNet the batch files (default ./ImageNet), for TFDS its data_dir (default: TFDS's "
        "own); unused for digits.",
    ),
    Key(
        "Data",
        "preload",
        _boolean,
        True,
        "Hold all images in memory as uint8; no: read each batch from the memory-mapped files (ImageNet only).",
    ),
    Key("Data", "data_ratio", float, 1.0, "Fraction of the training images to use, clipped to [0, 1]."),
    Key(
        "Data",
        "reclass",
        str,
        "n",
        "n: classes as they are; m,X: label modulo X; f,X,FILE: FILE holds, comma-separated, one super-class in "
        "[0, X) per class. FILE is sought from the current folder, then beside the input file.",
    ),
    Key(
        "Network",
        "arch",
        str,
        None,
        "Colon-separated layers, required: fN dense of N units + ReLU; cK,C[,S] convolution KxK, C channels, stride "
        "S + ReLU, no bias; pK,S max-pool KxK, stride S; x final layer. Dense layers normalise their input.",
    ),
    Key("Network", "steps", _positive, 100000, "Training steps per iteration (steps 0..steps are all taken)."),
    Key("Network", "batch_size", _positive, 1000, "Images per step, drawn with replacement."),
    Key("Network", "val_size", _positive, 1000, "Validation images: the first ones of the validation set."),
    Key("Network", "minimizer", _one_of("SGD", "Adam"), "SGD", "Optimizer, without momentum or decay."),
    Key("Network", "learning_rate", _rate, 0.1, "Constant learning rate."),
    Key("Network", "init_sparsity", _fraction, 0.0, "Sparsity of the random mask that iteration 0 starts from."),
    Key("Network", "validate_step", _positive, 100, "Steps between validations."),
    Key("Network", "batch_norm_beta", _fraction, 0.99, "Decay of the running averages used for validation."),
    Key("Network", "restart", _boolean, False, "Continue from recorded iterations instead of a fresh network."),
    Key("Network", "rest_it", _positive, 1, "First iteration after a restart."),
    Key(
        "Network",
        "rest_weights_file",
        str,
        None,
        "File with the rewinding weights (its first recorded step; default <save_dir>/IMP_itdata_0.pkl).",
    ),
    Key(
        "Network",
        "rest_mask_file",
        str,
        None,
        "File with the mask and weights to prune from (default <save_dir>/IMP_itdata_<rest_it-1>.pkl).",
    ),
    Key(
        "Network",
        "rest_file_step",
        int,
        -1,
        "Which recorded step of rest_mask_file to prune from: an index, -1 is the last. Also read as "
        "restart_weights_step.",
        aliases=("restart_weights_step",),
    ),
    Key(
        "IMP",
        "prune",
        str,
        "",
        "Colon-separated T or F per layer; only T prunes. Missing: all layers; shorter than arch: the rest are not "
        "pruned (as in the published results; a warning says so).",
    ),
    Key("IMP", "prune_ratio", _fraction, 0.3, "Fraction of the remaining weights to prune after each iteration."),
    Key("IMP", "weights_step", _count, 1000, "Step of iteration 0 whose weights every later iteration starts from."),
    Key("IMP", "prune_step", _count, None, "Step whose weights decide the next mask (default: steps)."),
    Key(
        "IMP",
        "stop_ratio",
        _fraction,
        0.0,
        "Stop when, in some pruned layer, the fraction of units with any incoming weight is not above this.",
    ),
    Key("IMP", "max_iterations", _positive, 1000, "Stop before this iteration number."),
    Key("Run", "seed", _count, 0, "Seed of initial weights, initial mask and batches."),
    Key("Run", "checkpoint_step", _positive, 1000, "Steps between checkpoints inside an iteration."),
    Key(
        "Run",
        "precision",
        _one_of("float32", "bfloat16"),
        "float32",
        "Precision of the matrix products and convolutions; everything else is float32.",
    ),
    Key(
        "Run",
        "batch_norm_epsilon",
        _rate,
        1e-10,
        "Added to the variance in the input normalisation. Raise it (1e-3) for images with constant pixels: units that "
        "see only these have no variance, and with the published value running averages throw them off.",
    ),
    Key("Run", "device", _one_of("auto", "cpu", "gpu"), "auto", "Where to train; auto takes a GPU if there is one."),
    Key(
        "Run",
        "random_baseline",
        _boolean,
        False,
        "After each pruned iteration also train a random mask of the same layer densities from the same weights.",
    ),
    Key(
        "Run",
        "regrow",
        _boolean,
        False,
        "Published behaviour: a layer already sparser than its ratio gets all its weights back. no: pruned weights "
        "stay pruned.",
    ),
)

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
    try:
        with open(path, encoding="utf-8") as file:
            parser.read_file(file)
        for section in parser.sections():
            parser.items(section)  # interpolation errors show here
    except OSError as error:
        raise InputError(f"{path}: cannot read the input file: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: an input file must be UTF-8 text") from None
    except configparser.Error as error:
        raise InputError(f"{path}: not an input file: {' '.join(str(error).split())}") from None
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
            f"{path}: [{key.section}] {present[0]} must be {key.allowed}. Received: {text!r}{hint}"
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


def describe_keys() -> str:
    """The documentation of every key, for `--help`."""
    lines, section = [], None
    for key in KEYS:
        if key.section != section:
            section = key.section
            lines.append(f"\n[{section}]")
        default = {"None": "see below", "True": "yes", "False": "no", "": "all layers"}.get(
            str(key.default), key.default
        )
        lines.append(f"  {key.name} ({key.allowed}; default {default})")
        lines += textwrap.wrap(key.help, 96, initial_indent="      ", subsequent_indent="      ")
    return "\n".join(lines).strip("\n")
