"""What `python -m tfprune.lth` can be asked for, a study for each command. Loads no TensorFlow before it trains."""

from __future__ import annotations

import contextlib
import dataclasses
import warnings as python_warnings
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from tfprune.cli.early import check_output
from tfprune.cli.run import FINISHED, TRAINED, UNFINISHED, Study
from tfprune.data.facts import prepared_facts
from tfprune.errors import InputError
from tfprune.experiments.lottery import files
from tfprune.experiments.lottery.branches import RetrainSettings
from tfprune.experiments.lottery.names import (
    MAIN,
    PRETRAIN,
    LotterySettings,
    PlainSettings,
    branch_label,
    branch_name,
)
from tfprune.experiments.lottery.replicate import Replicate
from tfprune.experiments.lottery.settings import (
    DataSettings,
    PlaceSettings,
    TicketSettings,
    data_words,
)
from tfprune.experiments.lottery.steps import Step, iterations_per_epoch, parse_steps
from tfprune.records.result import Result, result_path
from tfprune.records.run_folder import RECORD, RunFolder, is_finished
from tfprune.records.settings import Settings, canonical

SUMMARY, FIGURES = "summary.csv", ("accuracy", "training")


@dataclass(frozen=True)
class LotteryStudy(Study):
    """Networks of one replicate, each in a folder of its own, with the tables and figures of all of that name.

    Args:
        settings: of the run, or of the one that is pruned or taken apart.
        place: where the files are.
        workshop: data and compiled training (`recipe.Workshop`) that several studies share; None makes them anew.
    """

    settings: PlainSettings | LotterySettings
    place: PlaceSettings
    workshop: Any = field(default=None, compare=False, repr=False, kw_only=True)

    family, layout, stage_trained = "lottery", files.LAYOUT, files.TRAINED
    shared: ClassVar[bool] = False  # whether it only reads what is not in its own folders
    label: ClassVar[str] = MAIN  # of its networks in tables and legends

    @classmethod
    def asked(cls, words: Sequence[str], given: Mapping[str, Any]) -> LotteryStudy:
        from tfprune.experiments.lottery.flags import asked

        return asked(words, given)

    @abstractmethod
    def folder_of(self, level: int) -> Path:
        """Folder of the network of a level, 0 where there are no levels."""

    @property
    def levels_trained(self) -> Sequence[int]:
        """Levels of its networks, in order."""
        return (0,)

    def network(self, level: int) -> str:
        """A network in a few words."""
        return f"level {level}" if self.label == MAIN else f"{self.label}, level {level}"

    @property
    def trained_with(self) -> PlainSettings:
        """What its networks are trained with."""
        return PlainSettings(self.settings.model, self.settings.dataset, self.settings.training)

    def headline(self, level: int) -> str:
        """A network in a few words while it is trained."""
        return self.network(level)

    def stream(self, level: int) -> object:
        """What tells its order of batches from others of the replicate."""
        return level

    def end_step(self, steps_per_epoch: int) -> Step:
        """Where its trainings end."""
        return Step.parse(self.trained_with.training.training_steps, steps_per_epoch)

    @property
    def folder(self) -> Path:
        return self.folder_of(self.levels_trained[0])

    @property
    def folders(self) -> list[Path]:
        """Where its trainings end."""
        return [self.folder_of(level) for level in self.levels_trained]

    @property
    def results_folder(self) -> Path:
        return self.settings.replicate_folder(self.place)

    @property
    def top(self) -> Path:
        """`<root>/<name>`, above all replicates."""
        return self.results_folder.parent

    @property
    def digest(self) -> str:
        return self.settings.digest

    def own(self, table: pd.DataFrame) -> pd.DataFrame:
        return table[table["folder"].isin(map(str, self.folders))].reset_index(drop=True)

    @property
    def figures(self) -> dict[str, Path]:
        return {name: self.top / f"{name}.png" for name in FIGURES if (self.top / f"{name}.png").exists()}

    def record(self, label: str) -> dict[str, Any]:
        """What is compared with a network that is there: the texts that names are made of.

        So settings which are new in this version, and at their defaults, leave old runs as good as they were.
        """
        return {"label": label, "replicate": self.place.replicate, "run": self.settings.canonical()}

    def groups(self) -> dict[str, dict[str, Any]]:
        """All settings, group by group."""
        return self.settings.record()

    def network_result(self, level: int, **facts: Any) -> Result:
        """The result of a network; other fields are given."""
        settings = {**self.groups(), "replicate": self.place.replicate}
        told = {"label": self.network(level), "method": self.label, "level": level, "seed": self.place.replicate}
        return Result(family=self.family, settings=settings, digest=self.digest, **told | facts)

    def check(self) -> None:
        self.check_runs()
        for dataset in (getattr(self.settings, "pretrain_dataset", None), self.settings.dataset):
            if dataset is not None:
                self._steps_per_epoch(dataset)
        steps = self._steps_per_epoch(self.trained_with.dataset)
        if steps is not None:
            self.check_steps(steps)
        check_output(self.top, "--root")

    def check_runs(self) -> None:
        """Refuses what needs runs that are not there.

        Raises:
            InputError: says how to make them.
        """

    def check_steps(self, steps_per_epoch: int) -> None:
        """Refuses steps that do not go together.

        Raises:
            InputError: names the flags.
        """
        self.kept_steps(steps_per_epoch, self.end_step(steps_per_epoch))

    def kept_steps(self, steps_per_epoch: int, end: Step | None = None) -> tuple[Step, ...]:
        """The steps at which weights are to be kept beside the first and the last.

        Raises:
            InputError: one of them lies after `end`.
        """
        keep = parse_steps(self.place.weight_save_steps, steps_per_epoch)
        late = [step for step in keep if end is not None and step > end]
        if late:
            raise InputError(
                f"--weight_save_steps={self.place.weight_save_steps}: {late[0]} lies after the end of training, {end}"
            )
        return keep

    @abstractmethod
    def recipe(self) -> Any:
        """The procedure: (study, replicate, workshop, watch) -> None; imports TensorFlow."""

    def train(self, folder: Replicate, watch: Any) -> None:
        recipe = self.recipe()
        watch.say(self.title)
        recipe(self, folder, self._workshop(), watch)

    @property
    def title(self) -> str:
        """Network and data."""
        return f"{self.settings.model.model_name} on {self.settings.dataset.dataset_name}"

    def report(self, folder: Replicate) -> str:
        """Writes the summary and the figures of all networks of this name, from their files alone."""
        from tfprune.experiments.lottery.figures import draw_accuracy, draw_training
        from tfprune.experiments.lottery.results import read_curves, read_results, summary, summary_text, write_summary
        from tfprune.plots.style import save_png

        self._add_results()
        table, curves = summary(read_results(self.top)), read_curves(self.top)
        path = write_summary(self.top)
        save_png(draw_accuracy(table, self.title), self.top / "accuracy.png")
        save_png(draw_training(curves[curves["branch"] == MAIN], self.title), self.top / "training.png")
        return f"{summary_text(table)}\nfiles: {path}, accuracy.png and training.png beside it"

    def stage(self) -> int:
        if not all(files.is_trained(folder) for folder in self.folders):
            return UNFINISHED
        there = self.has_results() and (self.top / SUMMARY).exists() and len(self.figures) == len(FIGURES)
        return FINISHED if there and all(is_finished(folder, files.LAYOUT) for folder in self.folders) else TRAINED

    def has_results(self) -> bool:
        return all(result_path(folder).exists() for folder in self.folders)

    @contextlib.contextmanager
    def held(self, overwrite: bool) -> Iterator[Replicate | None]:
        if not overwrite and self.stage() == FINISHED:  # there is nothing to write, and the disk may be read-only
            yield None
            return
        with Replicate(self.results_folder, self.shared, overwrite) as replicate:
            yield replicate

    def finish(self, folder: Replicate) -> None:
        for path in self.folders:
            with RunFolder(path, files.LAYOUT) as run:
                run.mark()

    def _workshop(self) -> Any:
        from tfprune.experiments.lottery.recipe import Workshop

        return self.workshop or Workshop(self.place)

    def _add_results(self) -> None:
        """Writes the results of networks that an earlier version trained, which left none."""
        missing = [level for level in self.levels_trained if not result_path(self.folder_of(level)).exists()]
        if not missing:
            return
        from tfprune.experiments.lottery.recipe import write_network_result

        try:
            trainer = self._workshop().trainer(self.trained_with)
            for level in missing:
                write_network_result(self, level, trainer)
        except InputError as error:  # tables and figures are made all the same
            python_warnings.warn(f"no result.json for {self.folder_of(missing[0])}: {error}", stacklevel=2)

    def _steps_per_epoch(self, dataset: DataSettings) -> int | None:
        """Batches in an epoch; None where counting the images takes long."""
        try:
            facts = prepared_facts(dataset.dataset_name, self.place.path_to_data)
        except InputError as error:
            raise data_words(error) from None
        if facts.train is None:
            return None
        return iterations_per_epoch(facts.train, dataset.batch_size, dataset.subsample_fraction)


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
