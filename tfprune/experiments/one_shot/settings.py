"""What one run of one-shot pruning is asked for, and the published training of each architecture."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from tfprune.engine.choice import SPARSE, engine_setting
from tfprune.errors import InputError
from tfprune.experiments.one_shot.names import run_name
from tfprune.pruning.training_schedules import PolynomialSchedule
from tfprune.records.limits import MOST
from tfprune.records.own_parts import OWN_WORDS, folder_name, is_own, is_written
from tfprune.records.settings import Settings, digest, setting


@dataclass(frozen=True)
class Published:
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


PUBLISHED: dict[str, Published] = {
    "lenet300100": Published("mnist", 0.1, 100, 96_000, 5e-4, (25_000, 50_000, 75_000, 100_000), 100, 1),
    "lenet5": Published("cifar10", 0.1, 128, 120_000, 5e-4, (30_000, 60_000, 90_000, 120_000), 128, 16),
    "vgg16": Published("cifar10", 0.1, 128, 62_500, 1e-4, (31_250, 46_875), 128, 32),
    "vgg19": Published("cifar100", 0.1, 128, 62_500, 1e-4, (31_250, 46_875), 1280, 32),
    "resnet18": Published("tinyimagenet", 0.2, 256, 78_200, 1e-4, (39_100, 58_650), 2560, 8),
}
OWN_NETWORK = replace(PUBLISHED["vgg16"], data="digits", least_side=1)
"""How a network of one's own is trained."""

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
_SCHEDULE = ("begin_step", "end_step", "frequency")
# What the folder and the start of a run's name say already.
_NAMED = ("architecture", "pruner", "pruning_type", "sample", "compression")
_NOT_DENSE = ("pruning_type", "quota_rule", "snip_loss")
_NAME = ("letters, digits, '-' and '.', for it begins file names", r"[A-Za-z0-9-][A-Za-z0-9.-]*")


@dataclass(frozen=True)
class OneShotSettings(Settings):
    """What `python -m tfprune.main` is asked for.

    Raises:
        InputError: a value that is not allowed; names the flag.
    """

    title = "Pruning and training"

    architecture: str = setting(
        str,
        "Network type. One of your own is a function (input_shape, classes) -> keras.Model of logits; it is trained as "
        "vgg16 is.",
        "lenet300100",
        choices=tuple(PUBLISHED),
        also=(OWN_WORDS, is_written),
    )
    pruner: str = setting(
        str,
        "What is pruned, and when.",
        "snip",
        choices=PRUNERS,
        also=(f"{OWN_WORDS}, which scores the initial weights", lambda value: is_own(value, "score")),
    )
    sample: str = setting(
        str,
        "Seed code; begins the names of the run's files.",
        "0",
        rule=(_NAME[0], lambda value: bool(re.fullmatch(_NAME[1], value))),
    )
    com_exp: float | None = setting(
        float, "Target compression 10**com_exp, in place of --target_sparsity.", None, at_least=0, at_most=12
    )
    target_sparsity: float = setting(float, "Target sparsity, in [0, 1).", 0.9, at_least=0, below=1)
    pruning_type: str = setting(str, "What the target is for.", "direct", choices=("direct", "effective"))
    data: str | None = setting(
        str,
        f"Data set: digits, tinyimagenet, one of TFDS, or {OWN_WORDS}; by default the architecture's own (digits for a "
        "network of your own). The network is built for its images; images too small for an architecture are enlarged "
        "by repeating pixels.",
        None,
    )
    iterations: int | None = setting(
        int,
        "Training steps (default: as published). Learning-rate drops move in proportion.",
        None,
        at_least=1,
        at_most=MOST,
    )
    snip_loss: str = setting(
        str,
        "Loss of SNIP: cross-entropy, or with its arguments swapped as published.",
        "standard",
        choices=tuple(SNIP_LOSSES),
    )
    eval_batchnorm: str = setting(
        str,
        "Statistics of batch norm at test time: moving averages or, as published, of the batch.",
        "moving",
        choices=("moving", "batch"),
    )
    quota_rule: str = setting(
        str,
        "Quotas of layers: capped at density 1 and rescaled, or as published.",
        "valid",
        choices=("valid", "published"),
    )
    min_weights: int = setting(
        int,
        "Weights that every kernel keeps, on a path to the output: leads over the cliff where a target of effective "
        "sparsity is missed because a kernel runs empty (published: 0).",
        0,
        at_least=0,
    )
    out_path: str = setting(str, "Folder of all runs.", "EffectiveSparsity", place=True)
    path_to_data: str | None = setting(
        str, "Folder that holds tiny-imagenet-200, or TFDS's data_dir (default: TFDS_DATA_DIR).", None, place=True
    )
    begin_step: int | None = setting(
        int, "tfmot/polynomial: the step from which the sparsity grows (default: 0).", None
    )
    end_step: int | None = setting(
        int, "tfmot/polynomial: the step at which the target is reached (default: half of all steps).", None
    )
    frequency: int | None = setting(
        int, "tfmot/polynomial: steps from one renewal of the masks to the next (default: 100, or fewer).", None
    )
    checkpoint_step: int = setting(int, "Steps between checkpoints.", 1000, at_least=1, at_most=MOST, place=True)
    engine: str = engine_setting()
    train: bool = setting(bool, "Whether to train the pruned network.", True, with_value=True, place=True)
    save: bool = setting(bool, "Whether to write files.", True, with_value=True, place=True)
    train_dense: bool = setting(
        bool,
        "Train the dense network first where a pruner needs its weights and they are missing.",
        False,
        place=True,
    )

    def check(self) -> None:
        if self.min_weights and self.pruner in (DENSE, GRADUAL):
            raise InputError(f"--min_weights is not for --pruner={self.pruner}. Received: {self.min_weights}")
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
        if self.engine == SPARSE:
            raise InputError(f"--pruner={GRADUAL} trains dense kernels: --engine must be auto or dense")
        try:
            _ = self.schedule
        except InputError as error:
            raise InputError(f"--pruner={GRADUAL}: {error}") from None

    @property
    def published(self) -> Published:
        """How the architecture is trained."""
        return PUBLISHED.get(self.architecture, OWN_NETWORK)

    @property
    def dataset(self) -> str:
        """The data set that is used."""
        return self.data or self.published.data

    @property
    def steps(self) -> int:
        """Number of training steps."""
        return self.iterations or self.published.iterations

    @property
    def drops(self) -> list[int]:
        """Steps after which the learning rate falls, in proportion to the number of steps."""
        return [round(drop * self.steps / self.published.iterations) for drop in self.published.drops]

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
        if isinstance(self.repetition, int):
            return self.repetition % 2**31
        return int.from_bytes(hashlib.sha256(self.sample.encode()).digest()[:4], "big") % 2**31

    @property
    def repetition(self) -> int | str:
        """The sample as results tell it: a number if it is one."""
        return int(self.sample) if self.sample.isdecimal() else self.sample

    @property
    def folder(self) -> Path:
        """Where this run lies."""
        of_type = () if self.pruner == DENSE else (self.pruning_type,)
        return Path(self.out_path, folder_name(self.architecture), folder_name(self.pruner), *of_type)

    @property
    def prefix(self) -> str:
        """Beginning of the run's file names, which no other run in its folder has."""
        record = self.record()
        return run_name(self.sample, record["compression"], changed_settings(record))

    @property
    def rounded_prefix(self) -> str:
        """What earlier versions began the file names with: other runs may have had the same."""
        return f"{self.sample}_{round(self.compression)}"

    @property
    def needs_dense(self) -> bool:
        """Whether the pruner scores trained weights."""
        return self.pruner == "lamp" or self.pruner.startswith("magnitude/")

    @property
    def dense(self) -> OneShotSettings:
        """The dense run that gives this one its trained weights: same sample, data and training."""
        kept = ("architecture", "sample", "data", "iterations", "eval_batchnorm", "out_path", "path_to_data")
        values = {name: getattr(self, name) for name in (*kept, "checkpoint_step", "engine")}
        return OneShotSettings(pruner=DENSE, **values)

    def command(self) -> str:
        """The command line of this run, defaults left out."""
        return " ".join(["python -m tfprune.main", *(f"--{name}={value}" for name, value in self.changed().items())])

    def record(self) -> dict[str, Any]:
        names = ("architecture", "pruner", "sample", "snip_loss", "eval_batchnorm", "quota_rule", "pruning_type")
        record = {name: getattr(self, name) for name in names} | {"data": self.dataset, "iterations": self.steps}
        if self.min_weights:  # the record of a run without them is what it always was
            record["min_weights"] = self.min_weights
        if self.schedule is not None:
            record |= {name: getattr(self.schedule, name) for name in _SCHEDULE}
        compression = self.compression
        if self.pruner != DENSE and self.com_exp is None:
            # Of the sparsity as it is written: 1 − 0.9999999 does not have 12 digits any more.
            compression = float(1 / (1 - Fraction(str(self.target_sparsity))))
        return record | {"compression": float(f"{compression:.12g}")}

    def differing(self, recorded: Mapping[str, Any]) -> list[str]:
        now, same = self.record(), _NOT_DENSE if self.pruner == DENSE else ()
        if recorded.get("compression") == float(f"{self.compression:.12g}"):
            same = (*same, "compression")  # as earlier versions wrote it down
        return super().differing({**recorded, **{name: now[name] for name in same}})


def changed_settings(record: Mapping[str, Any]) -> dict[str, Any]:
    """Setting -> value of all that differs from its default in a record.

    Raises:
        InputError: it is the record of no run.
    """
    plain = OneShotSettings(**{name: record.get(name) for name in ("architecture", "pruner", "iterations")})
    defaults = plain.record() | {"iterations": plain.published.iterations, "min_weights": 0}
    left_out = _NAMED + (_NOT_DENSE if plain.pruner == DENSE else ())
    changed = {name: value for name, value in record.items() if name not in left_out}
    return {name: value for name, value in changed.items() if value != defaults.get(name)}


def study_digest(record: Mapping[str, Any]) -> str:
    """Of a record without the sample, which tells repetitions apart."""
    return digest({name: value for name, value in record.items() if name != "sample"}, 8)


def missing_dense(dense: OneShotSettings, pruner: str) -> str:
    """What to do where the trained weights that a pruner scores are missing."""
    path = dense.folder / f"{dense.prefix}_final_weights.npz"
    return (
        f"pruner {pruner} scores trained weights, and there is no {path}; make it with: {dense.command()} (or add "
        "--train_dense)"
    )
