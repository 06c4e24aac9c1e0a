"""The hyperparameters of a run, in four groups; each field is the flag of that name."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from tfprune.errors import InputError
from tfprune.experiments.lottery.fields import check_kinds, setting
from tfprune.experiments.lottery.steps import check_step, check_steps, is_zero
from tfprune.models.names import parse
from tfprune.records.limits import MOST_BATCH, SEED_LIMIT

MODEL_INITS = ("kaiming_normal", "kaiming_uniform", "orthogonal", "binary", "standard_normal")
BATCHNORM_INITS = ("uniform", "fixed", "oneone", "positivenegative")
# The last four are small sets beside the published ones; `digits` comes with scikit-learn and needs no download.
DATASETS = (
    *("mnist", "cifar10", "tinyimagenet", "tinyimagenet2", "imagenet"),
    *("digits", "fashion_mnist", "kmnist", "cifar100"),
)
OPTIMIZERS = ("sgd", "adam")
PRECISIONS = ("float32", "mixed_float16", "mixed_bfloat16")
PRUNING_STRATEGIES = ("sparse_global",)
PRUNING_COUNTS = ("exact", "published")
_NAMES = re.compile(r"[A-Za-z0-9_./-]+(,[A-Za-z0-9_./-]+)*")


@dataclass(frozen=True)
class ModelHparams:
    """The network, how its weights are drawn and which of them stay as drawn.

    Raises:
        InputError: a value that is not allowed; names the flag.
    """

    title = "Model"

    model_name: str = setting(str, "Network, for example mnist_lenet_300_100, cifar_resnet_20, cifar_vgg_16.")
    model_init: str = setting(str, f"Distribution of the first weights: one of {', '.join(MODEL_INITS)}.")
    batchnorm_init: str = setting(
        str, f"First scales of batch norm: one of {', '.join(BATCHNORM_INITS)} (fixed: ones)."
    )
    batchnorm_frozen: bool = setting(bool, "Leave batch norm's scales and offsets as they were drawn.", False)
    output_frozen: bool = setting(bool, "Leave the output layer as it was drawn.", False)
    others_frozen: bool = setting(bool, "Leave everything but output layer and batch norm as it was drawn.", False)
    others_frozen_exceptions: str | None = setting(
        str, "Names of weights, separated by commas, that --others_frozen lets train.", None
    )

    def __post_init__(self):
        check_kinds(self)
        parse(self.model_name)
        one_of("model_init", self.model_init, MODEL_INITS)
        one_of("batchnorm_init", self.batchnorm_init, BATCHNORM_INITS)
        _check_names("others_frozen_exceptions", self.others_frozen_exceptions)
        if self.others_frozen_exceptions is not None and not self.others_frozen:
            raise InputError("--others_frozen_exceptions goes with --others_frozen")


@dataclass(frozen=True)
class DatasetHparams:
    """The data and what is done to them.

    Raises:
        InputError: a value that is not allowed; names the flag.
    """

    title = "Data set"

    dataset_name: str = setting(str, f"One of {', '.join(DATASETS)}.")
    batch_size: int = setting(int, "Examples in a batch; the last one of an epoch may be smaller.")
    do_not_augment: bool = setting(bool, "Train without random crops and flips.", False)
    transformation_seed: int | None = setting(int, "Seed of the random labels and of the subsample.", None)
    subsample_fraction: float | None = setting(float, "Share of the training examples that is used, in (0, 1].", None)
    random_labels_fraction: float | None = setting(float, "Share of the labels that is drawn anew, in (0, 1].", None)

    def __post_init__(self):
        check_kinds(self)
        one_of("dataset_name", self.dataset_name, DATASETS)
        _check("batch_size", self.batch_size, self.batch_size >= 1, "be at least 1")
        _check("batch_size", self.batch_size, self.batch_size <= MOST_BATCH, f"be at most {MOST_BATCH}")
        check_seed("transformation_seed", self.transformation_seed)
        for name in ("subsample_fraction", "random_labels_fraction"):
            value = getattr(self, name)
            _check(name, value, value is None or 0 < value <= 1, "lie in (0, 1]")


@dataclass(frozen=True)
class TrainingHparams:
    """The optimizer and its schedule.

    Raises:
        InputError: a value that is not allowed, or values that do not go together; names the flag.
    """

    title = "Training"

    optimizer_name: str = setting(str, f"One of {', '.join(OPTIMIZERS)}.")
    lr: float = setting(float, "Learning rate.")
    training_steps: str = setting(str, "Length of training: epochs (160ep), iterations (1000it) or both (2ep3it).")
    data_order_seed: int | None = setting(int, "Seed of the order of the examples (default: the replicate's).", None)
    momentum: float = setting(float, "Momentum of SGD, in [0, 1).", 0.0)
    nesterov_momentum: float = setting(float, "Nesterov momentum of SGD, in [0, 1), in place of --momentum.", 0.0)
    milestone_steps: str | None = setting(
        str, "Steps, separated by commas, at which the learning rate is multiplied by --gamma.", None
    )
    gamma: float | None = setting(float, "Factor of the learning rate at each of --milestone_steps.", None)
    warmup_steps: str | None = setting(str, "Step until which the learning rate grows linearly from 0.", None)
    weight_decay: float | None = setting(float, "This many times the weights is added to their gradients.", None)
    precision: str = setting(str, f"One of {', '.join(PRECISIONS)}.", "float32")

    def __post_init__(self):
        check_kinds(self)
        one_of("optimizer_name", self.optimizer_name, OPTIMIZERS)
        one_of("precision", self.precision, PRECISIONS)
        _check("lr", self.lr, 0 < self.lr < math.inf, "be above 0")
        for name in ("momentum", "nesterov_momentum"):
            value = getattr(self, name)
            _check(name, value, 0 <= value < 1, "lie in [0, 1)")
            if value and self.optimizer_name != "sgd":
                raise InputError(f"--{name} goes with --optimizer_name=sgd. Received: {self.optimizer_name}")
        if self.momentum and self.nesterov_momentum:
            raise InputError(
                f"--momentum and --nesterov_momentum exclude each other. Received: {self.momentum}, "
                f"{self.nesterov_momentum}"
            )
        for name in ("training_steps", "warmup_steps"):
            if getattr(self, name) is not None:
                check_step(getattr(self, name), f"--{name}")
        if self.milestone_steps is not None:
            check_steps(self.milestone_steps, "--milestone_steps")
        if (self.milestone_steps is None) != (self.gamma is None):
            given, missing = ("gamma", "milestone_steps") if self.gamma is not None else ("milestone_steps", "gamma")
            raise InputError(f"--{given} needs --{missing}. Received: --{given}={getattr(self, given)}")
        for name in ("gamma", "weight_decay"):
            value = getattr(self, name)
            _check(name, value, value is None or 0 <= value < math.inf, "be at least 0")
        check_seed("data_order_seed", self.data_order_seed)


@dataclass(frozen=True)
class PruningHparams:
    """How much goes at each level of a lottery run.

    Raises:
        InputError: a value that is not allowed; names the flag.
    """

    title = "Pruning"

    pruning_strategy: str = setting(str, "sparse_global: the smallest weights of all layers together.")
    pruning_fraction: float = setting(float, "Share of the remaining weights that each level prunes, in (0, 1).", 0.2)
    pruning_layers_to_ignore: str | None = setting(
        str, "Layers, separated by commas, that are never pruned: fc.weight or fc/kernel.", None
    )
    pruning_count: str = setting(
        str,
        "exact prunes ceil(fraction * prunable weights left); published one more, of all weights left, ignored ones "
        "counted.",
        "exact",
    )

    def __post_init__(self):
        check_kinds(self)
        one_of("pruning_strategy", self.pruning_strategy, PRUNING_STRATEGIES)
        one_of("pruning_count", self.pruning_count, PRUNING_COUNTS)
        _check("pruning_fraction", self.pruning_fraction, 0 < self.pruning_fraction < 1, "lie in (0, 1)")
        _check_names("pruning_layers_to_ignore", self.pruning_layers_to_ignore)


def check_fit(model: ModelHparams, dataset: DatasetHparams, training: TrainingHparams) -> None:
    """Refuses groups that are fine alone but not together.

    Raises:
        InputError: names the flags.
    """
    if dataset.dataset_name == "digits" and not model.model_name.startswith(("mnist_lenet", "cifar_")):
        raise InputError(
            "--dataset_name=digits has 8x8 pixels and goes with mnist_lenet_... and cifar_... networks. Received: "
            f"--model_name={model.model_name}"
        )
    if is_zero(training.training_steps):
        raise InputError(f"--training_steps must be above 0. Received: {training.training_steps}")


def one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Refuses a value that is not among the allowed ones.

    Raises:
        InputError: names the flag.
    """
    _check(name, value, value in allowed, f"be one of {', '.join(allowed)}")


def check_seed(name: str, value: int | None) -> None:
    """Refuses a seed that NumPy's or TensorFlow's generators would refuse.

    Raises:
        InputError: names the flag.
    """
    _check(name, value, value is None or 0 <= value < SEED_LIMIT, "lie in [0, 2**32)")


def _check(name: str, value: Any, good: bool, rule: str) -> None:
    if not good:
        raise InputError(f"--{name} must {rule}. Received: {value!r}")


def _check_names(name: str, value: str | None) -> None:
    _check(name, value, value is None or bool(_NAMES.fullmatch(value)), "be names, separated by commas")
