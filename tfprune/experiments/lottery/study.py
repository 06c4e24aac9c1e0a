"""What the studies of this system have in common. Loads no TensorFlow before it trains."""

from __future__ import annotations

import contextlib
import warnings as python_warnings
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from tfprune.cli.early import check_output, loading_tensorflow
from tfprune.cli.run import FINISHED, TRAINED, UNFINISHED, RunSettings, Study
from tfprune.data.facts import data_flag, prepared_facts
from tfprune.engine.choice import SPARSE, check_engine
from tfprune.errors import InputError
from tfprune.experiments.lottery import files
from tfprune.experiments.lottery.names import MAIN, LotterySettings, PlainSettings
from tfprune.experiments.lottery.replicate import Replicate
from tfprune.experiments.lottery.settings import DataSettings, PlaceSettings
from tfprune.experiments.lottery.steps import Step, iterations_per_epoch, parse_steps
from tfprune.records.lock import taking_turns
from tfprune.records.result import Result, installed_versions, result_path
from tfprune.records.run_folder import RECORD, RunFolder, is_finished

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

    @classmethod
    def placed(cls, words: Sequence[str], given: Mapping[str, Any], root: str) -> dict[str, Any]:
        return {} if "root" in given else {"root": root}

    @property
    def places(self) -> frozenset[Path]:
        return frozenset(folder / RECORD for folder in self.folders)

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
        check_engine(self.place.engine)
        precision = self.trained_with.training.precision
        if self.place.engine == SPARSE and precision != "float32":
            raise InputError(f"--engine=sparse computes in float32. Received: --precision={precision}")
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
        # They tell of networks that others may be making: who is last has to have seen them all.
        with taking_turns(self.top / "tables.lock"):
            table, curves = summary(read_results(self.top)), read_curves(self.top)
            path = write_summary(self.top)
            save_png(draw_accuracy(table, self.title), self.top / "accuracy.png")
            save_png(draw_training(curves[curves["branch"] == MAIN], self.title), self.top / "training.png")
        return f"{summary_text(table)}\nfiles: {path}, accuracy.png and training.png beside it"

    def together(self, how: RunSettings, watch: Any, work: Callable[[], str]) -> str:
        if self.place.distribute != "multiworker":
            return work()
        from tfprune.training.workers import Chief, joined

        part = joined(self.place.wait_for_workers, watch.say)
        topic = {"study": type(self).__name__, "versions": installed_versions(), **self.record(self.label)}
        if isinstance(part, Chief):
            with part.leading(topic):
                return work()
        part.opened(topic)
        with loading_tensorflow(how.quiet):
            from tfprune.experiments.lottery.recipe import follow_study
            from tfprune.training.devices import use_device

            device = use_device(self.device if how.device == "auto" else how.device)
        watch.say(f"on {device}; files: with {part.cluster.named(0)}")
        follow_study(self, watch)
        return f"{part.cluster.named(part.cluster.index)}: done; results are with {part.cluster.named(0)}"

    def stage(self) -> int:
        if not all(files.is_trained(folder) for folder in self.folders):
            return UNFINISHED
        there = not self.lacks_results() and (self.top / SUMMARY).exists() and len(self.figures) == len(FIGURES)
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
        with data_flag("dataset_name"):
            facts = prepared_facts(dataset.dataset_name, self.place.path_to_data)
        if facts.train is None:
            return None
        return iterations_per_epoch(facts.train, dataset.batch_size, dataset.subsample_fraction)
