"""The runner: check, claim, load TensorFlow, choose the device, train, report, finish; the same for every system."""

from __future__ import annotations

import contextlib
import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from glob import escape as glob_escape
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
from absl import flags

from tfprune.cli import flags as setting_flags
from tfprune.cli.app import Command
from tfprune.cli.early import check_output, loading_tensorflow
from tfprune.cli.progress import ProgressBar
from tfprune.errors import InputError
from tfprune.records.result import Result, result_path
from tfprune.records.run_folder import RECORD, Layout, RunFolder, file_of, is_finished
from tfprune.records.settings import Settings, digest, setting, settings_of

DEVICES = ("auto", "cpu", "gpu")
UNFINISHED, TRAINED, FINISHED = range(3)
"""How far a study is: networks are missing; all are trained, but tables or figures may be missing; all is there."""


@dataclass(frozen=True)
class RunSettings(Settings):
    """How any study is run; no result depends on it."""

    title = "Run"

    device: str = setting(str, "Where to train; auto takes a GPU if there is one.", "auto", choices=DEVICES, place=True)
    overwrite: bool = setting(bool, "Delete what is there of this run and start anew.", False, place=True)
    quiet: bool = setting(bool, "Show no progress.", False, place=True)


class Study(ABC):
    """A system's settings, as the runner carries them out; see `tfprune.experiments.family` for how one is written.

    A system with one network in one folder gives `folder`, `check`, `train` and `report`; one that trains several in
    folders of their own also says in `stage`, `held` and `finish` what is true of all of them.

    Args:
        settings: what it is asked for.
    """

    family: ClassVar[str]
    """Name of the system's room."""
    settings_type: ClassVar[type[Settings]]
    layout: ClassVar[Layout]
    stage_trained: ClassVar[str | None] = None
    """The stage of the layout at which training is over and only tables and figures are left; None: there is none."""
    tensorflow: ClassVar[bool] = True
    """Whether it computes with TensorFlow, which is then loaded, and the device chosen, before `train`."""

    def __init__(self, settings: Any):
        self.settings = settings

    @classmethod
    def asked(cls, words: Sequence[str], given: Mapping[str, Any]) -> Study:
        """The study that a call from Python means: `tfprune.run(command, *words, **given)`.

        Raises:
            InputError: a setting that there is not, or a value that is not allowed.
        """
        if words:
            raise InputError(f"settings are given by name, for example sample='0'. Received: {', '.join(words)}")
        values = flags.FlagValues()
        setting_flags.define(values, cls.settings_type)
        setting_flags.give(values, dict(given))
        return cls(setting_flags.read(values, cls.settings_type))

    @classmethod
    def placed(cls, words: Sequence[str], given: Mapping[str, Any], root: str) -> dict[str, Any]:
        """The settings by which the files of a study lie below a folder, those of every other study elsewhere in it.

        By default the setting `out_path`, where there is one and it was not given: for systems whose folder follows
        from their settings.

        Args:
            words: of the command.
            given: its settings.
            root: the folder.

        Raises:
            InputError: the study would leave no files.
        """
        names = [field.name for field in settings_of(cls.settings_type)]
        return {"out_path": root} if "out_path" in names and "out_path" not in given else {}

    @property
    @abstractmethod
    def folder(self) -> Path:
        """Where the study's files are."""

    @property
    def places(self) -> frozenset[Path]:
        """What the study writes: two studies that have one in common cannot be carried out at the same time."""
        return frozenset([file_of(self.folder, RECORD, self.prefix)])

    def needs(self) -> Study | None:
        """The study whose results this one starts from, if any; it is carried out before, finished or not."""
        return None

    @property
    def prefix(self) -> str:
        """Start of its files' names; empty where the folder is its own."""
        return ""

    @property
    def digest(self) -> str:
        """Tells studies apart: of the record."""
        return digest(self.settings.record(), 8)

    @property
    def device(self) -> str:
        """Where to train where `--device` leaves it open."""
        return "auto"

    @property
    def warnings(self) -> Sequence[str]:
        """What the user should know of the settings, a line each."""
        return ()

    @property
    def results_folder(self) -> Path:
        """Below which the results of the study lie."""
        return self.folder

    def own(self, table: pd.DataFrame) -> pd.DataFrame:
        """The rows of `tfprune.read_results(results_folder)` that are this study's."""
        return table[table["digest"] == self.digest].reset_index(drop=True)

    @property
    def figures(self) -> dict[str, Path]:
        """Name -> file of the figures that are there."""
        start = f"{self.prefix}_" if self.prefix else ""
        return {path.stem.removeprefix(start): path for path in sorted(self.folder.glob(f"{glob_escape(start)}*.png"))}

    def result(self, **facts: Any) -> Result:
        """A network's result, with what is true of the whole study filled in.

        Args:
            **facts: other fields of `Result`.
        """
        return Result(family=self.family, settings=self.settings.record(), digest=self.digest, **facts)

    def check(self) -> None:
        """Refuses what cannot be used, as far as is seen without TensorFlow: data, files, by default the folder.

        Raises:
            InputError: names the flag or file.
        """
        check_output(self.folder, self.layout.named)

    @abstractmethod
    def train(self, folder: Any, watch: ProgressBar) -> None:
        """The recipe: does everything that is not there yet. Imports TensorFlow itself.

        Args:
            folder: what `held` gave, claimed.
            watch: is told how it goes.
        """

    @abstractmethod
    def report(self, folder: Any) -> str:
        """Writes what is told at the end, from files alone: tables, figures, and a `result.json` where it is missing.

        Returns:
            The text for the end.
        """

    def stage(self) -> int:
        """How far the study is: `UNFINISHED`, `TRAINED` or `FINISHED`; reads files, takes no lock.

        A run that was finished by a version which left no results lacks these, and is `TRAINED`.
        """
        if is_finished(*self._place):
            return TRAINED if self.lacks_results() else FINISHED
        trained = self.stage_trained is not None
        return TRAINED if trained and is_finished(*self._place, stage=self.stage_trained) else UNFINISHED

    def lacks_results(self) -> bool:
        """Whether results of a finished study are to be made: they are missing, and can be written."""
        return not self.has_results() and os.access(self.folder, os.W_OK)

    def has_results(self) -> bool:
        """Whether every network of the study, once trained, has its `result.json`."""
        return result_path(self.folder, self.prefix).exists()

    def together(self, how: RunSettings, watch: ProgressBar, work: Callable[[], str]) -> str:
        """Does the work of a study, or this process's part in it where several processes train together.

        Args:
            how: where to run it.
            watch: is told how it goes.
            work: carries the study out.

        Returns:
            The text for the end.
        """
        return work()

    @contextlib.contextmanager
    def held(self, overwrite: bool) -> Iterator[Any]:
        """The claimed folder, locked meanwhile.

        Raises:
            InputError: it cannot be used, or holds something else.
        """
        with RunFolder(self.folder, self.layout, self.prefix) as folder:
            folder.claim(self.settings.record(), self.settings.differing, overwrite)
            yield folder

    def finish(self, folder: Any) -> None:
        """Marks everything finished, for the next start."""
        for name in self.layout.checkpoints:
            folder.drop_checkpoint(name)
        folder.mark()

    @property
    def _place(self) -> tuple[Path, Layout, str]:
        return self.folder, self.layout, self.prefix


def carry_out(study: Study, how: RunSettings, watch: ProgressBar | None = None) -> str:
    """Does what a study asks for, or what is left of it.

    Args:
        study: its settings are checked.
        how: where to run it.
        watch: is told how it goes; None for a bar, or lines, on stderr.

    Returns:
        The text for the end.

    Raises:
        InputError: settings, data or folder cannot be used.
    """
    watch = watch or ProgressBar(quiet=how.quiet)
    return study.together(how, watch, lambda: _carry_out(study, how, watch))


def _carry_out(study: Study, how: RunSettings, watch: ProgressBar) -> str:
    for text in study.warnings:
        warnings.warn(text, stacklevel=2)
    stage = UNFINISHED if how.overwrite else study.stage()
    if stage == FINISHED:
        with study.held(False):  # a run with other settings is told, not called finished
            return f"{study.folder}: {_which(study)}is finished; nothing to do (--overwrite starts anew)"
    # What is refused leaves no folder behind, and deletes nothing; a run with other settings is told first.
    is_first = stage == UNFINISHED and (how.overwrite or not file_of(study.folder, RECORD, study.prefix).exists())
    if is_first:
        study.check()
    with study.held(how.overwrite) as folder:
        if stage == UNFINISHED and not is_first:
            study.check()
        # Only now: a refused or finished run should answer at once.
        device = _ready_device(study, how) if study.tensorflow else ""
        if stage == UNFINISHED:
            watch.say(f"{device}files: {study.folder}")
            study.train(folder, watch)
        text = study.report(folder)
        study.finish(folder)
    return text


def flags_command(study: type[Study], summary: str = "", words: tuple[str, ...] = ()) -> Command:
    """The command of a system whose settings are flags, all of one group.

    Args:
        study: the system.
        summary: one line for `--help`.
        words: see `Command`.
    """

    def define(values: flags.FlagValues) -> list[str]:
        return [setting_flags.define(values, group) for group in (study.settings_type, RunSettings)]

    def main(values: flags.FlagValues, _: Sequence[str]) -> None:
        tell(study(setting_flags.read(values, study.settings_type)), setting_flags.read(values, RunSettings))

    return Command(words, summary, define, main)


def tell(study: Study, how: RunSettings) -> None:
    """Carries out and prints what is told at the end."""
    text = carry_out(study, how)
    if not how.quiet:
        print(text)


def _ready_device(study: Study, how: RunSettings) -> str:
    """Loads TensorFlow; where it computes, for people."""
    with loading_tensorflow(how.quiet):
        from tfprune.training.devices import use_device

        return f"on {use_device(study.device if how.device == 'auto' else how.device)}; "


def _which(study: Study) -> str:
    return f"the run {study.prefix!r} " if study.prefix else "the run "
