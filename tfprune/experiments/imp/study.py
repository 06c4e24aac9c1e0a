"""Iterative magnitude pruning for the runner: from an input file to its figures."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from absl import flags

from tfprune.cli import flags as setting_flags
from tfprune.cli.app import Command
from tfprune.cli.early import check_readable
from tfprune.cli.progress import ProgressBar
from tfprune.cli.run import RunSettings, Study, tell
from tfprune.cli.shipped import shipped
from tfprune.data.reclass import class_count
from tfprune.engine.choice import ENGINES, check_engine
from tfprune.errors import InputError
from tfprune.experiments.imp.arch import parse_arch
from tfprune.experiments.imp.files.iterations import ImpRun, find_iterations, iteration_path, read_iteration
from tfprune.experiments.imp.files.tables import read_rows, read_tables, summary_text
from tfprune.experiments.imp.settings import ImpSettings, facts_of, read_settings, study_digest
from tfprune.records.result import result_path
from tfprune.records.run_folder import Layout, RunFolder
from tfprune.records.settings import Settings, setting

LAYOUT = Layout(
    results=("itdata_*.pkl",),
    extras=(
        *("findata.pkl", "out.dat", "result_*.json", "random_result_*.json"),
        *("summary.csv", "random_baseline.csv", "reevaluation.csv", "silencing.csv"),
    ),
    checkpoints=("checkpoint", "random_checkpoint"),
    named="[IO] save_dir",
    elsewhere="another save_dir or prefix",
    unit="iteration",
)
_OF_ITERATION = re.compile(r"(?:itdata|result|random_result)_(0|[1-9][0-9]{0,5})\.(?:pkl|json)")
_ANY_ITERATION = re.compile(r"(?:itdata|result|random_result)_.*")


class ImpStudy(Study):
    """The run of an input file."""

    family, settings_type = "imp", ImpSettings

    @classmethod
    def asked(cls, words: Sequence[str], given: Mapping[str, Any]) -> ImpStudy:
        """`tfprune.run("imp", "inputs/main.ini", steps=100)`: keys that are given go before the file's."""
        return cls(read_settings(_one_file(words), **given))

    @classmethod
    def placed(cls, words: Sequence[str], given: Mapping[str, Any], root: str) -> dict[str, Any]:
        """A folder of its own for every input: an input file names one folder, whatever else is changed in it."""
        if "save_dir" in given:
            return {}
        study = cls.asked(words, given)
        seed, dataset = study.settings.seed, study.settings.dataset.replace("/", "-")
        return {"save_dir": str(Path(root, f"{dataset}_{study.digest}_{seed}"))}

    @property
    def layout(self) -> Layout:
        """Iterations before the first one belong to the run that this one restarts from, and stay."""
        return layout_of(self.settings.first_iteration)

    @property
    def folder(self) -> Path:
        return Path(self.settings.save_dir)

    @property
    def prefix(self) -> str:
        return self.settings.prefix

    @property
    def digest(self) -> str:
        return study_digest(self.settings.record())

    def own(self, table: pd.DataFrame) -> pd.DataFrame:
        table = super().own(table)
        # A run with the same settings under another prefix of the folder has the same networks.
        return table[table["seed"] == self.settings.seed].drop_duplicates("label", ignore_index=True)

    @property
    def device(self) -> str:
        return self.settings.device

    @property
    def warnings(self) -> Sequence[str]:
        return [f"{self.settings.source}: {text}" for text in self.settings.warnings]

    @property
    def figures(self) -> dict[str, Path]:
        return {path.stem: path for path in sorted(figures_folder(self.folder, self.prefix).glob("*.png"))}

    def check(self) -> None:
        super().check()
        settings = self.settings
        check_engine(settings.engine, "[Run] engine")
        facts = facts_of(settings)
        parse_arch(settings.arch, settings.prune, facts.image_shape, class_count(settings.reclass, facts.classes))
        if settings.restart:
            for name in ("rest_weights_file", "rest_mask_file"):
                check_readable(getattr(settings, name), f"[Network] {name}")

    def train(self, folder: RunFolder, watch: ProgressBar) -> None:
        from tfprune.experiments.imp.recipe import reevaluate, run_imp
        from tfprune.experiments.imp.training import images_of

        watch.say(f"reading {self.settings.dataset}")
        images = images_of(self.settings)
        watch.say(
            f"{images.train.size} training and {images.validation.size} validation images of "
            f"{'x'.join(map(str, images.image_shape))}, {images.classes} classes"
        )
        run_imp(self.settings, images, folder, watch)
        watch.say("evaluating and drawing")
        reevaluate(self.settings, images, folder)

    def report(self, folder: RunFolder) -> str:
        from tfprune.experiments.imp.results import write_iteration_result

        for k in self._without_result():
            record = read_iteration(iteration_path(self.folder, self.prefix, k))
            write_iteration_result(self.settings, folder, k, record)
        summary = read_rows(folder.path("summary.csv"))
        if not len(summary):
            return f"{self.settings.source}: max_iterations or stop_ratio leave no iteration to run"
        return f"{summary_text(summary)}\nfigures: {draw(ImpRun(self.folder, self.prefix))}"

    def has_results(self) -> bool:
        return not self._without_result()

    def _without_result(self) -> list[int]:
        try:
            found = find_iterations(self.folder, self.prefix)[1]
        except InputError:  # no iteration was worth training
            return []
        own = (k for k in found if k >= self.settings.first_iteration)
        return [k for k in own if not result_path(self.folder, self.prefix, k).exists()]


@dataclass(frozen=True)
class PlotSettings(Settings):
    """Figures of a run that is there."""

    title = "Figures alone"

    plot: str = setting(str, "Draw the figures of the run in this folder, also of the original code's.", "", place=True)
    prefix: str = setting(str, "With --plot: prefix of the run, where the folder holds several.", "", place=True)


@dataclass(frozen=True)
class KeySettings(Settings):
    """Keys of the input file that a flag goes before."""

    title = "In place of a key"

    engine: str | None = setting(str, "The key engine in [Run].", None, choices=ENGINES, place=True)


def command() -> Command:
    """`python -m tfprune.imp INPUT.ini`, or `--plot RUN_DIR`."""

    def define(values: flags.FlagValues) -> list[str]:
        return [setting_flags.define(values, group) for group in _GROUPS]

    def main(values: flags.FlagValues, words: Sequence[str]) -> None:
        how, keys, figures = (setting_flags.read(values, group) for group in _GROUPS)
        if figures.plot:
            if words or how != RunSettings() or keys.changed():
                raise InputError(
                    "--plot takes the folder of a run, and no input file nor --overwrite, --engine, --device or --quiet"
                )
            plot(figures.plot, figures.prefix or None)
        elif figures.prefix:
            raise InputError("--prefix goes with --plot; for a run it is the key prefix in [IO]")
        else:
            tell(ImpStudy(read_settings(_one_file(words), **keys.changed())), how)

    return Command((), "", define, main, takes_words=True)


_GROUPS = (RunSettings, KeySettings, PlotSettings)


def plot(run_folder: str, prefix: str | None) -> None:
    """Draws the figures of a run again from its files.

    Raises:
        InputError: the folder holds no run, several, or damaged files.
    """
    if not Path(run_folder).is_dir():
        raise InputError(f"--plot must name the folder of a run. Received: {run_folder}, which is not a folder")
    run = ImpRun(run_folder, prefix)
    if run.missing:
        told = ", ".join(map(str, run.missing[:10])) + (", ..." if len(run.missing) > 10 else "")
        print(f"warning: {run.folder} has no iteration {told}; the figures show the others", file=sys.stderr)
    print(f"figures: {draw(run)}")


def draw(run: ImpRun) -> Path:
    """Draws every figure of a run into `<prefix>_figures` beside its files, from these alone.

    Tables that the run's folder lacks (the original code wrote none) leave their figures out, and a note says so.
    """
    from tfprune.experiments.imp.figures.report import draw_run

    target = figures_folder(run.folder, run.prefix)
    draw_run(run, target, **read_tables(run)._asdict())
    return target


def figures_folder(folder: Path, prefix: str) -> Path:
    """Where the figures of a run are."""
    return Path(folder, f"{prefix}_figures")


def layout_of(first_iteration: int) -> Layout:
    """The layout of a run whose first iteration is this one."""

    def mine(name: str) -> bool:
        match = _OF_ITERATION.fullmatch(name)
        return int(match[1]) >= first_iteration if match else not _ANY_ITERATION.fullmatch(name)

    return replace(LAYOUT, mine=mine)


def _one_file(words: Sequence[str]) -> str:
    if len(words) != 1:
        raise InputError(f"give one input file, for example inputs/main.ini. Received: {' '.join(words) or 'none'}")
    return shipped(words[0])
