"""What iterative magnitude pruning can be asked for: the keys of its `.ini` input file.

Sections `[IO]`, `[Data]`, `[Network]` and `[IMP]` are those of Pellegrini & Biroli's code, with the same meaning and
defaults; `[Run]` holds what this package adds, all of it optional.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tfprune.data.facts import Facts, image_facts
from tfprune.engine.choice import SPARSE, engine_setting
from tfprune.errors import InputError, did_you_mean
from tfprune.experiments.imp.arch import check_trainable, parse_arch
from tfprune.records.ini import read_ini
from tfprune.records.limits import MOST, MOST_BATCH, SEED_LIMIT
from tfprune.records.own_parts import OWN_WORDS
from tfprune.records.settings import Settings, digest, setting, settings_of

_ANY_SIZE = 1 << 30
_FILE_START = ("the start of a file name", lambda text: bool(text) and "/" not in text and not text.startswith("."))
_POSITIVE = ("a number above 0", lambda value: 0.0 < value < math.inf)
_COUNT = {"at_least": 1, "at_most": MOST}
_FRACTION = {"at_least": 0.0, "at_most": 1.0}
_OF_RESTART = {"restart", "rest_it", "rest_weights_file", "rest_mask_file", "rest_file_step"}


@dataclass(frozen=True)
class ImpSettings(Settings):
    """An input file; made by `read_settings`, which fills in what is None here.

    Attributes:
        source: the file, for messages and to find others beside it.
        warnings: lines that the user should see.
    """

    save_dir: str = setting(str, "Folder of the run; made if missing.", ".", section="IO", place=True)
    prefix: str = setting(
        str, "Start of the name of every file of the run.", "IMP", section="IO", place=True, rule=_FILE_START
    )
    dataset: str = setting(
        str,
        "ImageNet32 or ImageNet64 (downsampled ImageNet batches), digits (8x8, comes with scikit-learn), an image "
        f"classification set of TFDS (mnist, fashion_mnist, kmnist, cifar10, cifar100), or {OWN_WORDS}.",
        "ImageNet32",
        section="Data",
    )
    dataloc: str | None = setting(
        str,
        "Folder of the data: for ImageNet the batch files (default ./ImageNet), for TFDS its data_dir (default: TFDS's "
        "own); unused for digits.",
        None,
        section="Data",
    )
    preload: bool = setting(
        bool,
        "Hold all images in memory as uint8; no: read each batch from the memory-mapped files (ImageNet only).",
        True,
        section="Data",
    )
    data_ratio: float = setting(
        float, "Fraction of the training images to use, clipped to [0, 1].", 1.0, section="Data"
    )
    reclass: str = setting(
        str,
        "n: classes as they are; m,X: label modulo X; f,X,FILE: FILE holds, comma-separated, one super-class in "
        "[0, X) per class. FILE is sought from the current folder, then beside the input file.",
        "n",
        section="Data",
    )
    arch: str | None = setting(
        str,
        "Colon-separated layers, required: fN dense of N units + ReLU; cK,C[,S] convolution KxK, C channels, stride "
        "S + ReLU, no bias; pK,S max-pool KxK, stride S; x final layer. Dense layers normalise their input.",
        None,
        section="Network",
    )
    steps: int = setting(
        int, "Training steps per iteration (steps 0..steps are all taken).", 100000, section="Network", **_COUNT
    )
    batch_size: int = setting(
        int, "Images per step, drawn with replacement.", 1000, section="Network", at_least=1, at_most=MOST_BATCH
    )
    val_size: int = setting(
        int, "Validation images: the first ones of the validation set.", 1000, section="Network", **_COUNT
    )
    minimizer: str = setting(
        str, "Optimizer, without momentum or decay.", "SGD", section="Network", choices=("SGD", "Adam")
    )
    learning_rate: float = setting(float, "Constant learning rate.", 0.1, section="Network", rule=_POSITIVE)
    init_sparsity: float = setting(
        float, "Sparsity of the random mask that iteration 0 starts from.", 0.0, section="Network", **_FRACTION
    )
    validate_step: int = setting(int, "Steps between validations.", 100, section="Network", **_COUNT)
    batch_norm_beta: float = setting(
        float, "Decay of the running averages used for validation.", 0.99, section="Network", **_FRACTION
    )
    restart: bool = setting(
        bool, "Continue from recorded iterations instead of a fresh network.", False, section="Network"
    )
    rest_it: int = setting(int, "First iteration after a restart.", 1, section="Network", **_COUNT)
    rest_weights_file: str | None = setting(
        str,
        "File with the rewinding weights (its first recorded step; default <save_dir>/IMP_itdata_0.pkl).",
        None,
        section="Network",
    )
    rest_mask_file: str | None = setting(
        str,
        "File with the mask and weights to prune from (default <save_dir>/IMP_itdata_<rest_it-1>.pkl).",
        None,
        section="Network",
    )
    rest_file_step: int = setting(
        int,
        "Which recorded step of rest_mask_file to prune from: an index, -1 is the last. Also read as "
        "restart_weights_step.",
        -1,
        section="Network",
        aliases=("restart_weights_step",),
    )
    prune: str = setting(
        str,
        "Colon-separated T or F per layer; only T prunes. Missing: all layers; shorter than arch: the rest are not "
        "pruned (as in the published results; a warning says so).",
        "",
        section="IMP",
    )
    prune_ratio: float = setting(
        float, "Fraction of the remaining weights to prune after each iteration.", 0.3, section="IMP", **_FRACTION
    )
    weights_step: int = setting(
        int,
        "Step of iteration 0 whose weights every later iteration starts from.",
        1000,
        section="IMP",
        at_least=0,
        at_most=MOST,
    )
    prune_step: int | None = setting(
        int,
        "Step whose weights decide the next mask (default: steps).",
        None,
        section="IMP",
        at_least=0,
        at_most=MOST,
    )
    stop_ratio: float = setting(
        float,
        "Stop when, in some pruned layer, the fraction of units with any incoming weight is not above this.",
        0.0,
        section="IMP",
        **_FRACTION,
    )
    max_iterations: int = setting(int, "Stop before this iteration number.", 1000, section="IMP", **_COUNT)
    seed: int = setting(
        int,
        "Seed of initial weights, initial mask and batches.",
        0,
        section="Run",
        at_least=0,
        below=SEED_LIMIT,
    )
    checkpoint_step: int = setting(
        int, "Steps between checkpoints inside an iteration.", 1000, section="Run", place=True, **_COUNT
    )
    precision: str = setting(
        str,
        "Precision of the matrix products and convolutions; everything else is float32.",
        "float32",
        section="Run",
        choices=("float32", "bfloat16"),
    )
    batch_norm_epsilon: float = setting(
        float,
        "Added to the variance in the input normalisation. Raise it (1e-3) for images with constant pixels: units that "
        "see only these have no variance, and with the published value running averages throw them off.",
        1e-10,
        section="Run",
        rule=_POSITIVE,
    )
    device: str = setting(
        str,
        "Where to train; auto takes a GPU if there is one. --device goes before it.",
        "auto",
        section="Run",
        place=True,
        choices=("auto", "cpu", "gpu"),
    )
    engine: str = engine_setting("Run")
    random_baseline: bool = setting(
        bool,
        "After each pruned iteration also train a random mask of the same layer densities from the same weights.",
        False,
        section="Run",
    )
    regrow: bool = setting(
        bool,
        "Published behaviour: a layer already sparser than its ratio gets all its weights back. no: pruned weights "
        "stay pruned.",
        False,
        section="Run",
    )
    source: Path | None = None
    warnings: tuple[str, ...] = ()

    def check(self) -> None:
        """Refuses architectures that cannot be trained, whatever the images, and a rewinding step that is never taken.

        Raises:
            InputError: names the key.
        """
        if not self.arch:
            raise InputError("[Network] arch is required, for example f1024:f1024:f1024:x")
        # Whether it fits the images is seen when these are read; a slip of the pen is told before that.
        check_trainable(self.arch, parse_arch(self.arch, self.prune, (1, _ANY_SIZE, _ANY_SIZE), 1))
        if self.weights_step > self.steps:
            raise InputError(f"[IMP] weights_step must be at most steps = {self.steps}. Received: {self.weights_step}")
        if self.engine == SPARSE and self.precision != "float32":
            raise InputError(f"[Run] engine = sparse computes in float32. Received: precision = {self.precision}")

    @property
    def first_iteration(self) -> int:
        """Iterations before this one belong to the run that this one restarts from."""
        return self.rest_it if self.restart else 0


def read_settings(path: str | Path, **given: Any) -> ImpSettings:
    """Reads and checks an input file.

    Args:
        path: the `.ini` file.
        **given: keys that are used in place of the file's.

    Raises:
        InputError: the file is missing or malformed, or a section, key or value is not allowed.
    """
    names = [field.name for field in settings_of(ImpSettings)]
    for name in given:
        if name not in names:
            raise InputError(f"no key of an input file is called {name!r}{did_you_mean(name, names)}")
    values = read_ini(path, ImpSettings) | given
    try:
        return _completed(ImpSettings(**values, source=Path(path)))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def defining(record: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a run's record, also of an older one, that define its networks: in no folder in particular."""
    left_out = {"device", "checkpoint_step"} | (set() if record.get("restart") else _OF_RESTART)
    return {name: value for name, value in record.items() if name not in left_out}


def study_digest(record: Mapping[str, Any]) -> str:
    """Tells studies apart, whatever their seed; by a run's record."""
    return digest({name: value for name, value in defining(record).items() if name != "seed"}, 8)


def facts_of(settings: ImpSettings) -> Facts:
    """What is known of the images without reading them.

    Raises:
        InputError: they are not there, or fewer than asked for.
    """
    return image_facts(
        settings.dataset,
        settings.dataloc,
        settings.data_ratio,
        settings.reclass,
        settings.val_size,
        search_folder=settings.source.parent,
    )


def _completed(settings: ImpSettings) -> ImpSettings:
    """The settings with defaults that depend on other keys filled in."""
    found, warnings = {}, []
    if settings.dataloc is None and settings.dataset.startswith("ImageNet"):
        found["dataloc"] = "./ImageNet"
    if not 0.0 <= settings.data_ratio <= 1.0:
        found["data_ratio"] = clipped = 1.0 if settings.data_ratio > 0 else 0.0
        warnings.append(f"[Data] data_ratio = {settings.data_ratio} is clipped to {clipped}")
    if settings.prune_step is None or settings.prune_step > settings.steps:
        found["prune_step"] = settings.steps
    if settings.prune_step is not None and settings.prune_step > settings.steps:
        told = f"[IMP] prune_step = {settings.prune_step} is above steps; masks come from step {settings.steps}"
        warnings.append(told)
    for name, iteration in (("rest_weights_file", 0), ("rest_mask_file", settings.rest_it - 1)):
        # The published default says IMP whatever the prefix is.
        found[name] = getattr(settings, name) or str(Path(settings.save_dir, f"IMP_itdata_{iteration}.pkl"))
    layers, flags = settings.arch.count(":") + 1, settings.prune.count(":") + 1
    if settings.prune and flags < layers:
        warnings.append(
            f"[IMP] prune = {settings.prune} is shorter than arch: the last {layers - flags} layer(s) are not pruned"
        )
    return replace(settings, **found, warnings=tuple(warnings))
