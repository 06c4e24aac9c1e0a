"""The keys of the `.ini` input file of iterative magnitude pruning.

`KEYS` is the single table of what may stand in a file; parsing, defaults, `--help` and the record of a run all read it.
Sections `[IO]`, `[Data]`, `[Network]` and `[IMP]` are those of Pellegrini & Biroli's code, with the same meaning and
defaults; `[Run]` holds what this package adds, all of it optional.
"""

from __future__ import annotations

import configparser
import textwrap
from collections.abc import Callable
from dataclasses import dataclass

from tfprune.records.limits import MOST, MOST_BATCH, SEED_LIMIT


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
    if not 1 <= value <= MOST:
        raise ValueError
    return value


def _batch(text: str) -> int:
    value = int(text)
    if not 1 <= value <= MOST_BATCH:
        raise ValueError
    return value


def _seed(text: str) -> int:
    value = int(text)
    if not 0 <= value < SEED_LIMIT:
        raise ValueError
    return value


def _count(text: str) -> int:
    value = int(text)
    if not 0 <= value <= MOST:
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


_ALLOWED = {
    str: "text",
    _file_name: "the start of a file name",
    int: "a whole number",
    _count: f"a whole number in [0, {MOST}]",
    _batch: f"a whole number in [1, {MOST_BATCH}]",
    _seed: "a whole number in [0, 2**32)",
    float: "a number",
    _boolean: "yes or no",
    _fraction: "a number in [0, 1]",
    _positive: f"a whole number in [1, {MOST}]",
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
    Key("Network", "batch_size", _batch, 1000, "Images per step, drawn with replacement."),
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
    Key("Run", "seed", _seed, 0, "Seed of initial weights, initial mask and batches."),
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
