"""What `python -m tfprune.lth` was asked for, one value for each command."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tfprune.errors import InputError
from tfprune.experiments.lottery.fields import check_kinds, setting
from tfprune.experiments.lottery.hparams import one_of
from tfprune.experiments.lottery.names import LotteryDescription, TrainingDescription, branch_label, branch_name
from tfprune.experiments.lottery.oneshot_arguments import OneshotArguments
from tfprune.experiments.lottery.steps import MOST_LEVELS, check_steps
from tfprune.records.limits import MOST

DEVICES = ("auto", "cpu", "gpu")
DISTRIBUTIONS = ("none", "mirrored")


@dataclass(frozen=True)
class RunOptions:
    """Where and how to run; none of it enters the name of a run.

    Raises:
        InputError: a value that is not allowed; names the flag.
    """

    title = "Run"

    root: str = setting(str, "Folder of all runs.", "lottery_runs")
    replicate: int = setting(int, "Number of the repetition, from 1; everything random follows from it.", 1)
    path_to_data: str | None = setting(
        str, "Folder of tiny-imagenet-200 or ImageNet's, or TFDS's data_dir (default: TFDS_DATA_DIR).", None
    )
    device: str = setting(str, f"Where to train: one of {', '.join(DEVICES)}.", "auto")
    distribute: str = setting(str, "mirrored trains on all GPUs at once; or none.", "none")
    display_output_location: bool = setting(bool, "Print the folder of the run and stop.", False)
    overwrite: bool = setting(bool, "Delete what is there of this run and start anew.", False)
    quiet: bool = setting(bool, "Show no progress.", False)
    evaluate_only_at_end: bool = setting(bool, "Measure the test set at the end only, not after every epoch.", False)
    weight_save_steps: str | None = setting(
        str, "Steps, separated by commas, at which weights are kept; start and end always are.", None
    )

    def __post_init__(self):
        check_kinds(self)
        one_of("device", self.device, DEVICES)
        one_of("distribute", self.distribute, DISTRIBUTIONS)
        if not 1 <= self.replicate <= MOST:
            raise InputError(f"--replicate must be at least 1 and at most {MOST}. Received: {self.replicate}")
        if not self.root:
            raise InputError("--root must name a folder. Received: ''")
        if self.weight_save_steps is not None:
            check_steps(self.weight_save_steps, "--weight_save_steps")


@dataclass(frozen=True)
class TrainRequest:
    """`train`."""

    options: RunOptions
    description: TrainingDescription

    @property
    def folder(self) -> Path:
        """Folder of the run."""
        return self.description.folder(self.options.root, self.options.replicate)


@dataclass(frozen=True)
class LotteryRequest:
    """`lottery`.

    Attributes:
        levels: number of prunings; levels 0 to `levels` are trained.
    """

    options: RunOptions
    description: LotteryDescription
    levels: int

    def __post_init__(self):
        if not 0 <= self.levels <= MOST_LEVELS:
            raise InputError(f"--levels must be at least 0 and at most {MOST_LEVELS}. Received: {self.levels}")

    @property
    def folder(self) -> Path:
        """Folder of level 0."""
        return self.description.folder(self.options.root, self.options.replicate, 0)


@dataclass(frozen=True)
class BranchRequest:
    """`lottery_branch`.

    Attributes:
        branch: a key of `branches.BRANCHES`.
        arguments: value of that branch's dataclass.
        levels: of the lottery run that is described, in order.
    """

    options: RunOptions
    description: LotteryDescription
    branch: str
    arguments: object
    levels: tuple[int, ...]

    def __post_init__(self):
        if not self.levels:
            raise InputError("--levels must hold a level, for example 0-2,5. Received: a range that runs backwards")

    @property
    def name(self) -> str:
        """Name of the branch's folders."""
        return branch_name(self.branch, self.arguments)

    @property
    def label(self) -> str:
        """The branch in words, for tables and legends."""
        return branch_label(self.branch, self.arguments, self.description)

    @property
    def folder(self) -> Path:
        """Folder of the branch of the first level."""
        return self.folder_of(self.levels[0])

    def folder_of(self, level: int) -> Path:
        """Folder of the branch of a level."""
        return self.description.folder(self.options.root, self.options.replicate, level, self.name)


@dataclass(frozen=True)
class OneshotRequest:
    """`branch train oneshot`."""

    options: RunOptions
    description: TrainingDescription
    arguments: OneshotArguments

    @property
    def name(self) -> str:
        """Name of the branch's folder."""
        return branch_name("oneshot", self.arguments)

    @property
    def label(self) -> str:
        """The branch in words, for tables and legends."""
        return branch_label("oneshot", self.arguments, self.description)

    @property
    def folder(self) -> Path:
        """Folder of the branch."""
        return self.description.folder(self.options.root, self.options.replicate, self.name)


Request = TrainRequest | LotteryRequest | BranchRequest | OneshotRequest
