"""A study for each command of `python -m tfprune.lth`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfprune.errors import InputError
from tfprune.experiments.lottery import files
from tfprune.experiments.lottery.branches import RetrainSettings
from tfprune.experiments.lottery.names import PRETRAIN, PlainSettings, branch_label, branch_name
from tfprune.experiments.lottery.replicate import Replicate
from tfprune.experiments.lottery.settings import TicketSettings
from tfprune.experiments.lottery.steps import Step
from tfprune.experiments.lottery.study import LotteryStudy
from tfprune.records.result import Result
from tfprune.records.run_folder import RECORD, RunFolder
from tfprune.records.settings import Settings, canonical


@dataclass(frozen=True)
class TrainStudy(LotteryStudy):
    """`train`."""

    def folder_of(self, level: int) -> Path:
        return self.settings.folder(self.place)

    def network(self, level: int) -> str:
        return "training"

    def recipe(self) -> Any:
        from tfprune.experiments.lottery.recipe import run_training

        return run_training


@dataclass(frozen=True)
class TicketStudy(LotteryStudy):
    """`lottery`.

    Args:
        levels: number of prunings; levels 0 to `levels` are trained.
    """

    levels: int

    def __post_init__(self):
        TicketSettings(self.levels)

    @property
    def levels_trained(self) -> Sequence[int]:
        return range(self.levels + 1)

    def folder_of(self, level: int | str) -> Path:
        return self.settings.folder(self.place, level)

    def headline(self, level: int) -> str:
        return f"level {level} of {self.levels}"

    def check_steps(self, steps_per_epoch: int) -> None:
        start, end = self.settings.start_step(steps_per_epoch), self.end_step(steps_per_epoch)
        if start >= end:
            raise InputError(f"--rewinding_steps must lie before --training_steps. Received: {start} and {end}")
        super().check_steps(steps_per_epoch)

    def recipe(self) -> Any:
        from tfprune.experiments.lottery.recipe import run_lottery

        return run_lottery

    def finish(self, folder: Replicate) -> None:
        super().finish(folder)
        if (self.folder_of(PRETRAIN) / RECORD).exists():
            with RunFolder(self.folder_of(PRETRAIN), files.LAYOUT) as run:
                run.mark()


@dataclass(frozen=True)
class _Branch(LotteryStudy):
    """Networks that are made from those of a run.

    Args:
        own_settings: of the branch, beside the run's.
    """

    own_settings: Settings

    shared = True

    def record(self, label: str) -> dict[str, Any]:
        return super().record(label) | {"branch": canonical(self.own_settings)}

    def groups(self) -> dict[str, dict[str, Any]]:
        return super().groups() | {"branch": dataclasses.asdict(self.own_settings)}


@dataclass(frozen=True)
class BranchStudy(_Branch):
    """`lottery_branch`.

    Args:
        own_settings: an instance of the branch's class of settings.
        branch: a key of `branches.BRANCHES`.
        levels: of the lottery run, in order.
    """

    branch: str
    levels: tuple[int, ...]

    @property
    def label(self) -> str:
        return branch_label(self.branch, self.own_settings, self.settings)

    @property
    def levels_trained(self) -> Sequence[int]:
        return self.levels

    def folder_of(self, level: int) -> Path:
        return self.settings.folder(self.place, level, branch_name(self.branch, self.own_settings))

    @property
    def trained_with(self) -> PlainSettings:
        if isinstance(self.own_settings, RetrainSettings):
            return PlainSettings(self.settings.model, self.own_settings.retrain_d, self.own_settings.retrain_t)
        return super().trained_with

    def needs(self) -> TicketStudy:
        return TicketStudy(self.settings, self.place, max(self.levels), workshop=self.workshop)

    def check_runs(self) -> None:
        def there(level: int) -> bool:
            return files.is_trained(self.settings.folder(self.place, level))

        missing = [level for level in self.levels if not there(level)]
        if missing:
            run = [level for level in range(max(self.levels) + 1) if there(level)]
            raise InputError(
                f"--levels: level {missing[0]} of {self.results_folder} has not been run; finished levels: "
                f"{', '.join(map(str, run)) or 'none'}. Run first: python -m tfprune.lth lottery "
                f"--levels={max(self.levels)} with the same hyperparameters"
            )

    def recipe(self) -> Any:
        from tfprune.experiments.lottery.levels import run_branch

        return run_branch


@dataclass(frozen=True)
class OneshotStudy(_Branch):
    """`branch train oneshot`; its own settings are `OneshotSettings`."""

    @property
    def name(self) -> str:
        """Name of its folder."""
        return branch_name("oneshot", self.own_settings)

    @property
    def label(self) -> str:
        return branch_label("oneshot", self.own_settings, self.settings)

    def folder_of(self, level: int) -> Path:
        return self.settings.folder(self.place, self.name)

    def network(self, level: int) -> str:
        return self.label

    def network_result(self, level: int, **facts: Any) -> Result:
        return dataclasses.replace(super().network_result(level, **facts), level=None)  # one pruning, no sequence

    def stream(self, level: int) -> object:
        return self.name

    @property
    def warnings(self) -> Sequence[str]:
        if self.own_settings.scoring.score == "grasp" and not self.own_settings.prune_highest:
            return ("the paper's GraSP is --strategy=grasp with --prune_highest; this is its opposite",)
        return ()

    @property
    def main(self) -> Path:
        """Folder of the run that is pruned."""
        return self.settings.folder(self.place)

    def needs(self) -> TrainStudy:
        study = TrainStudy(self.settings, self.place, workshop=self.workshop)
        try:
            steps_per_epoch = self._steps_per_epoch(self.settings.dataset)
        except InputError:  # which `check` tells
            steps_per_epoch = None
        if steps_per_epoch is not None:
            end = self.end_step(steps_per_epoch)
            kept = {Step.parse("0it", steps_per_epoch), end, *study.kept_steps(steps_per_epoch, end)}
            for name in ("prune_step", "state_step"):
                text = getattr(self.own_settings, name)
                if Step.parse(text, steps_per_epoch) not in kept:
                    raise InputError(f"--{name}={text}: --weight_save_steps must hold it, for the run that is pruned")
        return study

    def check_runs(self) -> None:
        if not files.is_trained(self.main):
            raise InputError(
                f"{self.main} is not trained; run first: python -m tfprune.lth train with the same hyperparameters "
                "(--weight_save_steps keeps the weights of more steps)"
            )

    def check_steps(self, steps_per_epoch: int) -> None:
        for name in ("prune_step", "state_step"):
            self.saved_step(name, steps_per_epoch)
        super().check_steps(steps_per_epoch)

    def saved_step(self, name: str, steps_per_epoch: int) -> Step:
        """The step that `prune_step` or `state_step` means.

        Raises:
            InputError: the trained run did not keep its weights; names the steps that were kept.
        """
        text = getattr(self.own_settings, name)
        step, kept = Step.parse(text, steps_per_epoch), files.saved_steps(self.main)
        if str(step) not in kept:
            raise InputError(
                f"--{name}={text}: {self.main} holds no weights of {step}; kept steps: {', '.join(kept)} (train again "
                "with --weight_save_steps and --overwrite to keep more)"
            )
        return step

    def recipe(self) -> Any:
        from tfprune.experiments.lottery.oneshot import run_oneshot

        return run_oneshot
