"""Passive filter pruning as the runner carries it out: an unpruned network, and the smaller ones made of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from tfprune.cli.early import check_output, check_readable
from tfprune.cli.progress import ProgressBar
from tfprune.cli.run import FINISHED, TRAINED, UNFINISHED, Study
from tfprune.data.facts import prepared_facts
from tfprune.errors import InputError
from tfprune.experiments.filters import results
from tfprune.experiments.filters.settings import FilterSettings
from tfprune.records.lock import taking_turns
from tfprune.records.own_parts import check_module
from tfprune.records.result import result_path
from tfprune.records.run_folder import RECORD, RunFolder, is_finished
from tfprune.records.settings import digest

_FIGURES = ("accuracy.png", "training.png")


class FilterStudy(Study):
    """Networks of one fine-tuning, each in a folder of its own, and the unpruned one, which other studies share."""

    family, settings_type, layout, stage_trained = "filters", FilterSettings, results.LAYOUT, results.TRAINED

    @property
    def folder(self) -> Path:
        return self.settings.finetuned_folder

    @property
    def results_folder(self) -> Path:
        return self.settings.unpruned_folder.parent

    @property
    def digest(self) -> str:
        return digest(self.settings.finetuning_record | {"unpruned": self.settings.unpruned_record}, 8)

    @property
    def places(self) -> frozenset[Path]:
        return frozenset(place / RECORD for place in self._pruned)

    def needs(self) -> Study | None:
        return UnprunedStudy(self.settings)

    def own(self, table: pd.DataFrame) -> pd.DataFrame:
        places = [str(place) for place in (self.settings.unpruned_folder, *self._pruned)]
        return table[table["folder"].isin(places)].reset_index(drop=True)

    def check(self) -> None:
        settings = self.settings
        for scoring in settings.scorings:
            check_module(scoring, "--scoring")
        channels = prepared_facts(settings.data, settings.path_to_data).image_shape[0]
        if channels not in (1, 3):
            raise InputError(
                f"--data={settings.data}: images with 3 channels are needed, or grey ones. Received: {channels}"
            )
        if settings.weights is not None and not self._is_trained(settings.unpruned_folder):
            check_readable(settings.weights, "--weights")
        check_output(self.folder, "--out_path")

    def stage(self) -> int:
        if not all(map(self._is_trained, self._pruned)):
            return UNFINISHED
        tables = (self.folder / name for name in (results.RESULTS, results.TABLE, *_FIGURES))
        whole = all(is_finished(place, self.layout) for place in self._pruned) and all(map(Path.exists, tables))
        return FINISHED if whole and not self.lacks_results() else TRAINED

    def has_results(self) -> bool:
        return all(result_path(place).exists() for place in self._trained())

    @contextlib.contextmanager
    def held(self, overwrite: bool) -> Iterator[bool]:
        """Each network is claimed, and deleted to be made anew, when its turn comes: others may be made meanwhile."""
        yield overwrite

    def train(self, overwrite: bool, watch: ProgressBar) -> None:
        from tfprune.experiments.filters.recipe import run_filters

        try:
            run_filters(self.settings, overwrite, watch)
        except BaseException:
            # Networks that are trained have their place in the figures even if a later one fails.
            if any(map(self._is_trained, self._pruned)):
                watch.say(self.report(overwrite))
            raise

    def report(self, _: bool) -> str:
        from tfprune.experiments.filters.figures import draw_accuracy, draw_training
        from tfprune.experiments.filters.recipe import write_network_result
        from tfprune.plots.style import save_png

        for place in self._trained():
            if not result_path(place).exists():  # made by a version that left none
                write_network_result(self.settings, place)
        title = f"{self.settings.model} on {self.settings.data}"
        # They tell of networks that others may be making: who is last has to have seen them all.
        with taking_turns(self.folder / "tables.lock"):
            table = results.write_results(self.folder)
            drawn = draw_accuracy(table, title), draw_training(results.read_curves(self.folder), title)
            for name, figure in zip(_FIGURES, drawn, strict=True):
                save_png(figure, self.folder / name)
        shown = f"{self.folder / results.RESULTS}, {results.TABLE}, {' and '.join(_FIGURES)} beside it"
        return f"{results.results_text(table)}\nfiles: {shown}"

    def finish(self, _: bool) -> None:
        for place in self._trained():
            if not is_finished(place, self.layout):
                with RunFolder(place, self.layout) as network:
                    network.mark()

    @property
    def _pruned(self) -> list[Path]:
        return [self.settings.version_folder(*network) for network in self.settings.networks]

    def _trained(self) -> list[Path]:
        """Folders of the study's trained networks, the unpruned one first."""
        return [place for place in (self.settings.unpruned_folder, *self._pruned) if self._is_trained(place)]

    def _is_trained(self, folder: Path) -> bool:
        return is_finished(folder, self.layout, stage=results.TRAINED)


class UnprunedStudy(FilterStudy):
    """The unpruned network alone: what the studies of any scorings, versions and fine-tuning start from."""

    @property
    def folder(self) -> Path:
        return self.settings.unpruned_folder

    @property
    def places(self) -> frozenset[Path]:
        return frozenset([self.folder / RECORD])

    def needs(self) -> None:
        return None

    def stage(self) -> int:
        if not self._is_trained(self.folder):
            return UNFINISHED
        return FINISHED if is_finished(self.folder, self.layout) and not self.lacks_results() else TRAINED

    def train(self, overwrite: bool, watch: ProgressBar) -> None:
        from tfprune.experiments.filters.recipe import train_unpruned

        train_unpruned(self.settings, watch)

    def report(self, _: bool) -> str:
        from tfprune.experiments.filters.recipe import write_network_result

        if not self.has_results():
            write_network_result(self.settings, self.folder)
        return f"files: {self.folder}"

    @property
    def _pruned(self) -> list[Path]:
        return []
