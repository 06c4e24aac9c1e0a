"""`python -m tfprune.main` as a study: from its settings to its files."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from tfprune.cli.progress import ProgressBar
from tfprune.cli.run import FINISHED, TRAINED, UNFINISHED, Study
from tfprune.data.facts import prepared_facts
from tfprune.engine.choice import check_engine
from tfprune.errors import InputError
from tfprune.experiments.one_shot.files import (
    EVALUATE_EVERY,
    FINAL,
    INITS,
    LAYOUT,
    PRUNED,
    dense_file,
    recorded,
    run_prefix,
)
from tfprune.experiments.one_shot.results import layer_table, layer_text, reached, read_losses, run_of
from tfprune.experiments.one_shot.settings import OneShotSettings, missing_dense, study_digest
from tfprune.records.atomic import atomic_write_text, temporary_folder
from tfprune.records.own_parts import check_module
from tfprune.records.result import has_result, result_path, write_result
from tfprune.records.run_folder import RunFolder, is_finished


class OneShotStudy(Study):
    """Prunes a network and trains it; first the dense one, where its weights are scored, missing and wanted.

    Attributes:
        dense: the run whose trained weights are scored.
    """

    family, settings_type, layout = "one_shot", OneShotSettings, LAYOUT

    def __init__(self, settings: OneShotSettings):
        super().__init__(settings)
        self.dense = settings.dense

    @classmethod
    def placed(cls, words: Sequence[str], given: Mapping[str, Any], root: str) -> dict[str, Any]:
        if given.get("save") is False:
            raise InputError("--save must be true here: a run without files leaves nothing")
        return super().placed(words, given, root)

    @property
    def folder(self) -> Path:
        return self.settings.folder

    @property
    def prefix(self) -> str:
        return run_prefix(self.settings)

    @property
    def digest(self) -> str:
        return study_digest(self.settings.record())

    def own(self, table: pd.DataFrame) -> pd.DataFrame:
        return super().own(table[table["seed"] == self.settings.repetition])

    @property
    def figures(self) -> dict[str, Path]:
        paths = {name: Path(self.folder, f"{self.prefix}_{name}.png") for name in ("training", "densities")}
        return {name: path for name, path in paths.items() if path.exists()}

    def needs(self) -> OneShotStudy | None:
        return OneShotStudy(self.dense) if self.settings.needs_dense else None

    @property
    def lacks_dense(self) -> bool:
        """Whether trained weights are needed and missing."""
        return self.settings.needs_dense and not all(dense_file(self.dense, name) for name in (INITS, FINAL))

    def stage(self) -> int:
        if not self.settings.save:
            return UNFINISHED
        if self.settings.train:
            return super().stage()
        if not is_finished(*self._place, stage=PRUNED):
            return UNFINISHED
        return TRAINED if self.lacks_results() else FINISHED

    def has_results(self) -> bool:
        # Earlier versions left another kind of file of this name.
        return has_result(result_path(self.folder, self.prefix))

    def check(self) -> None:
        check_module(self.settings.architecture, "--architecture")
        check_module(self.settings.pruner, "--pruner")
        check_engine(self.settings.engine)
        if self.lacks_dense and not self.settings.train_dense:
            raise InputError(missing_dense(self.dense, self.settings.pruner))
        prepared_facts(self.settings.dataset, self.settings.path_to_data)
        if self.settings.save:
            super().check()

    @contextlib.contextmanager
    def held(self, overwrite: bool) -> Iterator[RunFolder]:
        with contextlib.ExitStack() as stack:
            if not self.settings.save:
                # The same way through files that nobody sees; dense weights that exist are still read where they are.
                place = stack.enter_context(temporary_folder())
                stack.callback(vars(self).update, settings=self.settings, dense=self.dense)
                self.settings = replace(self.settings, out_path=str(place))
                self.dense = self.settings.dense if self.lacks_dense else self.dense
            yield stack.enter_context(super().held(overwrite))

    def train(self, folder: RunFolder, watch: ProgressBar) -> None:
        watch.say(f"reading {self.settings.dataset}")
        images = self._one_shot().images
        watch.say(
            f"{images.train.size} training and {images.validation.size} test images of "
            f"{'x'.join(map(str, images.image_shape))}, {images.classes} classes"
        )
        if self.settings.needs_dense and self.settings.train_dense:
            self._train_dense(watch)
        self._make(folder, watch)

    def _train_dense(self, watch: ProgressBar) -> None:
        study = OneShotStudy(self.dense)
        # Killed after its weights were written, the dense run may still lack its last files.
        found = recorded(study.folder, study.prefix) if self.settings.save else None
        if not (self.lacks_dense or (found and found["finished"] is not True)):
            return
        watch.say(f"training the dense network first: {self.dense.command()}")
        with study.held(False) as folder:
            study._make(folder, watch)
            study.report(folder)
            study.finish(folder)

    def _make(self, folder: RunFolder, watch: ProgressBar) -> None:
        _, trained = self._one_shot().run(self.settings, folder, watch, self.dense)
        self._write_result(folder, trained)
        if trained:
            watch.end(f"test accuracy {trained.log.last('test_accuracy'):.4f}")

    def _one_shot(self):
        """What makes runs, the same one for all of this network and data."""
        from tfprune.experiments.one_shot.recipe import one_shot_of

        return one_shot_of(self.settings.architecture, self.settings.dataset, self.settings.path_to_data)

    def report(self, folder: RunFolder) -> str:
        from tfprune.experiments.one_shot.figures import draw_densities, draw_training
        from tfprune.plots.style import save_png

        run = run_of(self.settings)
        table = layer_table(folder, run)
        atomic_write_text(folder.path("layers.csv"), table.to_csv(index=False))
        save_png(draw_densities(table), folder.path("densities.png"))
        lines = [layer_text(table)]
        if self.settings.train:
            steps = self.settings.steps
            figure = draw_training(run.accuracies, read_losses(folder), steps, EVALUATE_EVERY)
            save_png(figure, folder.path("training.png"))
            lines.append(f"test accuracy {run.accuracies[-1]:.4f} after {steps} steps")
        if not self.has_results():
            self._write_result(folder)
        return "\n".join([*lines, *([f"files: {folder.path('*')}"] if self.settings.save else [])])

    def _write_result(self, folder: RunFolder, trained=None) -> None:
        """From the run's files; `trained` knows also the loss without weight decay and the time."""
        facts = self._one_shot().counted(self.settings, folder) | reached(self.settings, folder, run_of(self.settings))
        if trained:
            facts |= {"loss": trained.log.last("test_loss"), **trained.facts}
        write_result(folder.path("result.json"), self.result(**facts))

    def finish(self, folder: RunFolder) -> None:
        if self.settings.train:
            super().finish(folder)
        else:
            folder.mark(PRUNED)
