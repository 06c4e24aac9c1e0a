"""What the commands can be asked for, in groups; each field is the flag of that name."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import NamedTuple

from tfprune.engine.choice import SPARSE, engine_setting
from tfprune.errors import InputError
from tfprune.experiments.lottery.steps import MOST_LEVELS, STEP, STEPS, is_zero, level_ranges
from tfprune.models.names import parse
from tfprune.records.limits import MOST, MOST_BATCH, SEED_LIMIT
from tfprune.records.own_parts import OWN_WORDS, is_written
from tfprune.records.settings import Settings, setting

# The last four are small sets beside the published ones; `digits` comes with scikit-learn and needs no download.
DATASETS = (
    *("mnist", "cifar10", "tinyimagenet", "tinyimagenet2", "imagenet"),
    *("digits", "fashion_mnist", "kmnist", "cifar100"),
)
DISTRIBUTIONS = ("none", "mirrored", "multiworker")
WITH_EXAMPLES = ("snip", "grasp", "graspabs")
WITHOUT_EXAMPLES = ("random", "magnitude", "synflow")
DEFAULT_EXAMPLES = 10
_STRATEGY = re.compile(r"(?P<score>[a-z]+)(?P<examples>[1-9][0-9]{0,5})?")
_FORMS = ", ".join((*WITHOUT_EXAMPLES, *(f"{name}N" for name in WITH_EXAMPLES)))
_NAMES = "names, separated by commas", re.compile(r"[A-Za-z0-9_./-]+(,[A-Za-z0-9_./-]+)*").fullmatch
_SEED = {"at_least": 0, "below": SEED_LIMIT}


@dataclass(frozen=True)
class ModelSettings(Settings):
    """The network, how its weights are drawn and which of them stay as drawn."""

    title = "Model"

    model_name: str = setting(str, "Network, for example mnist_lenet_300_100, cifar_resnet_20, cifar_vgg_16.")
    model_init: str = setting(
        str,
        "Distribution of the first weights.",
        choices=("kaiming_normal", "kaiming_uniform", "orthogonal", "binary", "standard_normal"),
    )
    batchnorm_init: str = setting(
        str,
        "First scales of batch norm (fixed: ones).",
        choices=("uniform", "fixed", "oneone", "positivenegative"),
    )
    batchnorm_frozen: bool = setting(bool, "Leave batch norm's scales and offsets as they were drawn.", False)
    output_frozen: bool = setting(bool, "Leave the output layer as it was drawn.", False)
    others_frozen: bool = setting(bool, "Leave everything but output layer and batch norm as it was drawn.", False)
    others_frozen_exceptions: str | None = setting(
        str, "Names of weights, separated by commas, that --others_frozen lets train.", None, rule=_NAMES
    )

    def check(self) -> None:
        parse(self.model_name)
        if self.others_frozen_exceptions is not None and not self.others_frozen:
            raise InputError("--others_frozen_exceptions goes with --others_frozen")


@dataclass(frozen=True)
class DataSettings(Settings):
    """The data and what is done to them."""

    title = "Data set"

    dataset_name: str = setting(str, "Images.", choices=DATASETS, also=(OWN_WORDS, is_written))
    batch_size: int = setting(
        int, "Examples in a batch; the last one of an epoch may be smaller.", at_least=1, at_most=MOST_BATCH
    )
    do_not_augment: bool = setting(bool, "Train without random crops and flips.", False)
    transformation_seed: int | None = setting(int, "Seed of the random labels and of the subsample.", None, **_SEED)
    subsample_fraction: float | None = setting(
        float, "Share of the training examples that is used, in (0, 1].", None, above=0, at_most=1
    )
    random_labels_fraction: float | None = setting(
        float, "Share of the labels that is drawn anew, in (0, 1].", None, above=0, at_most=1
    )


@dataclass(frozen=True)
class TrainingSettings(Settings):
    """The optimizer and its schedule."""

    title = "Training"

    optimizer_name: str = setting(str, "Optimizer.", choices=("sgd", "adam"))
    lr: float = setting(float, "Learning rate.", above=0, below=math.inf)
    training_steps: str = setting(
        str, "Length of training: epochs (160ep), iterations (1000it) or both (2ep3it).", rule=STEP
    )
    data_order_seed: int | None = setting(
        int, "Seed of the order of the examples (default: the replicate's).", None, **_SEED
    )
    momentum: float = setting(float, "Momentum of SGD, in [0, 1).", 0.0, at_least=0, below=1)
    nesterov_momentum: float = setting(
        float, "Nesterov momentum of SGD, in [0, 1), in place of --momentum.", 0.0, at_least=0, below=1
    )
    milestone_steps: str | None = setting(
        str, "Steps, separated by commas, at which the learning rate is multiplied by --gamma.", None, rule=STEPS
    )
    gamma: float | None = setting(
        float, "Factor of the learning rate at each of --milestone_steps.", None, at_least=0, below=math.inf
    )
    warmup_steps: str | None = setting(
        str, "Step until which the learning rate grows linearly from 0.", None, rule=STEP
    )
    weight_decay: float | None = setting(
        float, "This many times the weights is added to their gradients.", None, at_least=0, below=math.inf
    )
    precision: str = setting(
        str, "Numbers to compute in.", "float32", choices=("float32", "mixed_float16", "mixed_bfloat16")
    )

    def check(self) -> None:
        for name in ("momentum", "nesterov_momentum"):
            if getattr(self, name) and self.optimizer_name != "sgd":
                raise InputError(f"--{name} goes with --optimizer_name=sgd. Received: {self.optimizer_name}")
        if self.momentum and self.nesterov_momentum:
            raise InputError(
                f"--momentum and --nesterov_momentum exclude each other. Received: {self.momentum}, "
                f"{self.nesterov_momentum}"
            )
        if (self.milestone_steps is None) != (self.gamma is None):
            given, missing = ("gamma", "milestone_steps") if self.gamma is not None else ("milestone_steps", "gamma")
            raise InputError(f"--{given} needs --{missing}. Received: --{given}={getattr(self, given)}")


@dataclass(frozen=True)
class PruningSettings(Settings):
    """How much goes at each level of a lottery run."""

    title = "Pruning"

    pruning_strategy: str = setting(
        str, "sparse_global: the smallest weights of all layers together.", choices=("sparse_global",)
    )
    pruning_fraction: float = setting(
        float, "Share of the remaining weights that each level prunes, in (0, 1).", 0.2, above=0, below=1
    )
    pruning_layers_to_ignore: str | None = setting(
        str, "Layers, separated by commas, that are never pruned: fc.weight or fc/kernel.", None, rule=_NAMES
    )
    pruning_count: str = setting(
        str,
        "exact prunes ceil(fraction * prunable weights left); published one more, of all weights left, ignored ones "
        "counted.",
        "exact",
        choices=("exact", "published"),
    )


@dataclass(frozen=True)
class RewindingSettings(Settings):
    """Where the weights of every level start."""

    title = "Rewinding and pretraining"

    rewinding_steps: str | None = setting(
        str, "Step to which weights are rewound; reached by the run's own training.", None, rule=STEP
    )
    pretrain: bool = setting(bool, "Train with settings of its own (--pretrain_...) up to the rewinding point.", False)


@dataclass(frozen=True)
class TicketSettings(Settings):
    """How far a lottery run goes."""

    title = "Run"

    levels: int = setting(int, "Number of prunings; 0 trains the dense network.", at_least=0, at_most=MOST_LEVELS)


@dataclass(frozen=True)
class AblationSettings(Settings):
    """Which levels of a lottery run an ablation is made of."""

    title = "Run"

    levels: str = setting(
        str,
        "Levels of the lottery run, for example 0-2,5.",
        rule=("numbers and ranges such as 0-2,5", lambda text: level_ranges(text) is not None),
    )

    def check(self) -> None:
        if not self.numbers:
            raise InputError("--levels must hold a level, for example 0-2,5. Received: a range that runs backwards")

    @property
    def numbers(self) -> tuple[int, ...]:
        """The levels, in order."""
        return tuple(level_ranges(self.levels))


@dataclass(frozen=True)
class PlaceSettings(Settings):
    """Where the files are and what is kept; none of it enters the name of a run."""

    title = "Run"

    root: str = setting(str, "Folder of all runs.", "lottery_runs", rule=("the path of a folder", bool))
    replicate: int = setting(
        int, "Number of the repetition, from 1; everything random follows from it.", 1, at_least=1, at_most=MOST
    )
    path_to_data: str | None = setting(
        str, "Folder of tiny-imagenet-200 or ImageNet's, or TFDS's data_dir (default: TFDS_DATA_DIR).", None
    )
    distribute: str = setting(
        str,
        "mirrored trains on all GPUs at once; multiworker in all processes that TF_CONFIG names; or none.",
        "none",
        choices=DISTRIBUTIONS,
    )
    wait_for_workers: int = setting(
        int, "multiworker: seconds within which the other workers must be there.", 300, at_least=1, at_most=86400
    )
    engine: str = engine_setting()
    evaluate_only_at_end: bool = setting(bool, "Measure the test set at the end only, not after every epoch.", False)
    weight_save_steps: str | None = setting(
        str, "Steps, separated by commas, at which weights are kept; start and end always are.", None, rule=STEPS
    )

    def check(self) -> None:
        if self.engine == SPARSE and self.distribute != "none":
            raise InputError(f"--engine=sparse computes on one device. Received: --distribute={self.distribute}")


class Scoring(NamedTuple):
    """A score and the training examples of each class that it needs; None for a score without data."""

    score: str
    examples_per_class: int | None


def scoring(text: str) -> Scoring | None:
    """`snip20` is SNIP with 20 examples of each class, `snip` with 10; None where there is no such score."""
    match = _STRATEGY.fullmatch(text)
    if match and match["score"] in WITH_EXAMPLES:
        return Scoring(match["score"], int(match["examples"] or DEFAULT_EXAMPLES))
    return Scoring(text, None) if text in WITHOUT_EXAMPLES else None


@dataclass(frozen=True)
class OneshotSettings(Settings):
    """What to prune of a trained run and from where to train it."""

    title = "One-shot pruning"

    strategy: str = setting(
        str,
        f"Score: one of {_FORMS}, where N is the number of examples of each class.",
        rule=(f"one of {_FORMS} (N examples of each class)", scoring),
    )
    prune_fraction: float = setting(float, "Share of the weights that is pruned, in [0, 1).", at_least=0, below=1)
    prune_step: str = setting(
        str, "Saved step whose weights are scored; `last` is the end of training.", "0it", rule=STEP
    )
    state_step: str = setting(
        str, "Saved step whose weights are trained; `last` is the end of training.", "0it", rule=STEP
    )
    prune_iterations: int = setting(int, "Rounds of scoring and pruning.", 1, at_least=1)
    prune_highest: bool = setting(bool, "Prune the highest scores in place of the lowest (for grasp).", False)
    randomize_layerwise: bool = setting(bool, "Shuffle the mask within each layer.", False)
    layers_to_ignore: str | None = setting(
        str, "Layers, separated by commas, that are not pruned: fc.weight or fc/kernel.", None
    )
    reinitialize: bool = setting(bool, "Train newly drawn weights in place of those of --state_step.", False)

    @property
    def scoring(self) -> Scoring:
        """`strategy`, taken apart."""
        return scoring(self.strategy)


def check_fit(model: ModelSettings, dataset: DataSettings, training: TrainingSettings) -> None:
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
