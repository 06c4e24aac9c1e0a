"""One run of one-shot pruning as a checked value, and the published settings of each architecture."""

from __future__ import annotations

import hashlib
import re
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

from tfprune.errors import InputError, did_you_mean, did_you_mean_fraction
from tfprune.experiments.one_shot.names import run_name
from tfprune.pruning.schedules import PolynomialSchedule
from tfprune.records.limits import MOST


@dataclass(frozen=True)
class Settings:
    """How an architecture is trained. Learning-rate drops are the steps after which it is multiplied by 0.1."""

    data: str
    learning_rate: float
    batch_size: int
    iterations: int
    weight_decay: float
    drops: tuple[int, ...]
    snip_batch_size: int
    least_side: int  # of its images, in pixels
    momentum: float = 0.9


SETTINGS: dict[str, Settings] = {
    "lenet300100": Settings("mnist", 0.1, 100, 96_000, 5e-4, (25_000, 50_000, 75_000, 100_000), 100, 1),
    "lenet5": Settings("cifar10", 0.1, 128, 120_000, 5e-4, (30_000, 60_000, 90_000, 120_000), 128, 16),
    "vgg16": Settings("cifar10", 0.1, 128, 62_500, 1e-4, (31_250, 46_875), 128, 32),
    "vgg19": Settings("cifar100", 0.1, 128, 62_500, 1e-4, (31_250, 46_875), 1280, 32),
    "resnet18": Settings("tinyimagenet", 0.2, 256, 78_200, 1e-4, (39_100, 58_650), 2560, 8),
}

DENSE = "dense"
GRADUAL = "tfmot/polynomial"  # prunes while it trains; all others before
# Written out, so that a wrong flag is refused before TensorFlow loads; a test compares them with the registry.
PRUNERS = (
    DENSE,
    "lamp",
    "snip",
    "snip/iterative",
    "synflow",
    *(f"random/{name}" for name in ("uniform", "erk", "igq", "uniform_plus", "synflow", "snip")),
    *(f"magnitude/{name}" for name in ("global", "uniform", "erk", "igq", "uniform_plus")),
    GRADUAL,
)
SNIP_LOSSES = {"standard": "cross_entropy", "published": "published"}
_CHOICES = {
    "architecture": tuple(SETTINGS),
    "pruner": PRUNERS,
    "pruning_type": ("direct", "effective"),
    "snip_loss": tuple(SNIP_LOSSES),
    "eval_batchnorm": ("moving", "batch"),
    "quota_rule": ("valid", "published"),
}
_SCHEDULE = ("begin_step", "end_step", "frequency")
# What the folder and the start of a run's name say already.
_NAMED = ("architecture", "pruner", "pruning_type", "sample", "compression")
_NOT_DENSE = ("pruning_type", "quota_rule", "snip_loss")


@dataclass(frozen=True)
class OneShotSpec:
    """What `python -m tfprune.main` is asked for; each attribute is the flag of that name.

    Args:
        data: name of a data set; None is the architecture's own.
        com_exp: target compression 10**com_exp, in place of `target_sparsity`.
        min_weights: weights that every kernel keeps, see `tfprune.prune`.
        iterations: training steps; None for the published number. Learning-rate drops scale with it.
        begin_step, end_step, frequency: of `tfmot/polynomial` alone; see `PolynomialSchedule.within`.

    Raises:
        InputError: a value that is not allowed; names the flag.
    """

    architecture: str = "lenet300100"
    pruner: str = "snip"
    sample: str = "0"
    pruning_type: str = "direct"
    target_sparsity: float = 0.9
    com_exp: float | None = None
    data: str | None = None
    iterations: int | None = None
    snip_loss: str = "standard"
    eval_batchnorm: str = "moving"
    quota_rule: str = "valid"
    min_weights: int = 0
    out_path: str = "EffectiveSparsity"
    path_to_data: str | None = None
    train: bool = True
    checkpoint_step: int = 1000
    begin_step: int | None = None
    end_step: int | None = None
    frequency: int | None = None

    def __post_init__(self):
        for name, allowed in _CHOICES.items():
            given = getattr(self, name)
            if given not in allowed:
                near = did_you_mean(given, allowed)
                raise InputError(f"--{name} must be one of {', '.join(allowed)}. Received: {given!r}{near}")
        if not re.fullmatch(r"[A-Za-z0-9.-]+", self.sample) or self.sample.startswith("."):
            raise InputError(
                f"--sample begins file names: letters, digits, '-' and '.' are allowed. Received: {self.sample!r}"
            )
        if self.com_exp is not None and not (0 <= self.com_exp <= 12):
            raise InputError(f"--com_exp must lie in [0, 12]. Received: {self.com_exp}")
        if not 0 <= self.target_sparsity < 1:
            near = did_you_mean_fraction(self.target_sparsity)
            raise InputError(f"--target_sparsity must lie in [0, 1). Received: {self.target_sparsity}{near}")
        if self.min_weights < 0:
            raise InputError(f"--min_weights must be at least 0. Received: {self.min_weights}")
        if self.min_weights and self.pruner in (DENSE, GRADUAL):
            raise InputError(f"--min_weights is not for --pruner={self.pruner}. Received: {self.min_weights}")
        for name in ("iterations", "checkpoint_step"):
            if getattr(self, name) is not None and not 1 <= getattr(self, name) <= MOST:
                raise InputError(f"--{name} must be at least 1 and at most {MOST}. Received: {getattr(self, name)}")
        if self.pruner.endswith("uniform_plus") and self.architecture == "lenet300100":
            raise InputError(
                f"--pruner={self.pruner} keeps the first convolution whole; lenet300100 has none. Use another pruner"
            )
        if self.pruner == GRADUAL:
            self._check_gradual()
        elif given := [name for name in _SCHEDULE if getattr(self, name) is not None]:
            raise InputError(f"--{given[0]} is for --pruner={GRADUAL} alone. Received: --pruner={self.pruner}")

    def _check_gradual(self) -> None:
        if self.pruning_type != "direct":
            raise InputError(
                f"--pruner={GRADUAL} prunes to a direct sparsity: --pruning_type must be direct. "
                f"Received: {self.pruning_type!r}"
            )
        if not self.train:
            raise InputError(f"--pruner={GRADUAL} prunes while it trains: --train must be true")
        try:
            _ = self.schedule
        except InputError as error:
            raise InputError(f"--pruner={GRADUAL}: {error}") from None

    @property
    def settings(self) -> Settings:
        """The published settings of the architecture."""
        return SETTINGS[self.architecture]

    @property
    def dataset(self) -> str:
        """The data set that is used."""
        return self.data or self.settings.data

    @property
    def steps(self) -> int:
        """Number of training steps."""
        return self.iterations or self.settings.iterations

    @property
    def drops(self) -> list[int]:
        """Steps after which the learning rate falls, in proportion to the number of steps."""
        return [round(drop * self.steps / self.settings.iterations) for drop in self.settings.drops]

    @property
    def compression(self) -> float:
        """The target, 1 for a dense run."""
        if self.pruner == DENSE:
            return 1.0
        return 10**self.com_exp if self.com_exp is not None else 1 / (1 - self.target_sparsity)

    @property
    def sparsity(self) -> float:
        """The target as a sparsity, in [0, 1)."""
        return 1 - 1 / self.compression

    @property
    def schedule(self) -> PolynomialSchedule | None:
        """How the sparsity grows during training, None where the network is pruned before."""
        if self.pruner != GRADUAL:
            return None
        return PolynomialSchedule.within(self.steps, self.sparsity, self.begin_step, self.end_step, self.frequency)

    @property
    def seed(self) -> int:
        """Of everything random: the sample if it is a number, else made from its letters."""
        if self.sample.isdecimal():
            return int(self.sample) % 2**31
        return int.from_bytes(hashlib.sha256(self.sample.encode()).digest()[:4], "big") % 2**31

    @property
    def dense_folder(self) -> Path:
        """Where the dense run of this architecture lies."""
        return Path(self.out_path, self.architecture, DENSE)

    @property
    def folder(self) -> Path:
        """Where this run lies."""
        if self.pruner == DENSE:
            return self.dense_folder
        return Path(self.out_path, self.architecture, self.pruner, self.pruning_type)

    @property
    def prefix(self) -> str:
        """Beginning of the run's file names, which no other run in its folder has."""
        record = spec_record(self)
        return run_name(self.sample, record["compression"], changed_settings(record))

    @property
    def rounded_prefix(self) -> str:
        """What earlier versions began the file names with: other runs may have had the same."""
        return f"{self.sample}_{round(self.compression)}"

    @property
    def needs_dense(self) -> bool:
        """Whether the pruner scores trained weights."""
        return self.pruner == "lamp" or self.pruner.startswith("magnitude/")

    def command(self) -> str:
        """The command line of this run, defaults left out."""
        plain = OneShotSpec()
        flags = {name: value for name, value in asdict(self).items() if value != getattr(plain, name)}
        return " ".join(["python -m tfprune.main", *(f"--{name}={value}" for name, value in flags.items())])


def spec_record(spec: OneShotSpec) -> dict:
    """What defines a run's results, as JSON values."""
    record = {
        name: getattr(spec, name)
        for name in ("architecture", "pruner", "sample", "snip_loss", "eval_batchnorm", "quota_rule")
    }
    record |= {"pruning_type": spec.pruning_type, "data": spec.dataset, "iterations": spec.steps}
    if spec.min_weights:  # the record of a run without them is what it always was
        record["min_weights"] = spec.min_weights
    if spec.schedule is not None:
        record |= {name: getattr(spec.schedule, name) for name in _SCHEDULE}
    compression = spec.compression
    if spec.pruner != DENSE and spec.com_exp is None:
        # Of the sparsity as it is written: 1 − 0.99999 has 12 digits no more.
        compression = float(1 / (1 - Fraction(str(float(spec.target_sparsity)))))
    return record | {"compression": float(f"{compression:.12g}")}


def changed_settings(record: dict) -> dict:
    """Setting -> value of all that differs from its default in a record.

    Raises:
        InputError: it is the record of no run.
    """
    given = {name: record.get(name) for name in ("architecture", "pruner", "iterations")}
    plain = OneShotSpec(**given)
    defaults = spec_record(plain) | {"iterations": plain.settings.iterations, "min_weights": 0}
    left_out = _NAMED + (_NOT_DENSE if plain.pruner == DENSE else ())
    changed = {name: value for name, value in record.items() if name not in left_out}
    return {name: value for name, value in changed.items() if value != defaults.get(name)}


def differing_flags(spec: OneShotSpec, record: dict) -> list[str]:
    """`--flag: recorded -> now` for everything in which `spec` differs from a record."""
    now, record = ({"min_weights": 0, **each} for each in (spec_record(spec), record))
    changed = [name for name in now if now[name] != record.get(name)]
    if spec.pruner == DENSE:
        changed = [name for name in changed if name not in _NOT_DENSE]
    if "compression" in changed and record.get("compression") == float(f"{spec.compression:.12g}"):
        changed.remove("compression")  # as earlier versions wrote it down
    return [f"--{name}: {record.get(name)} -> {now[name]}" for name in changed]


def missing_dense(spec: OneShotSpec) -> str:
    """What to do where the trained weights that a spec needs are missing."""
    dense = dense_spec(spec)
    path = dense.folder / f"{dense.prefix}_final_weights.npz"
    return (
        f"pruner {spec.pruner} scores trained weights, and there is no {path}; make it with: {dense.command()} (or add "
        "--train_dense)"
    )


def dense_spec(spec: OneShotSpec) -> OneShotSpec:
    """The dense run that gives a spec its trained weights: same sample, data and training."""
    kept = ("architecture", "sample", "data", "iterations", "eval_batchnorm", "out_path", "path_to_data")
    return OneShotSpec(
        pruner=DENSE, checkpoint_step=spec.checkpoint_step, **{name: getattr(spec, name) for name in kept}
    )
