"""Studies from Python and in notebooks: what the commands do, with the results at hand."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from tfprune.cli.run import RunSettings, Study, carry_out
from tfprune.errors import InputError
from tfprune.experiments.family import study_of
from tfprune.experiments.results import read_results


class Picture:
    """A figure of a run; a notebook's cell draws it.

    Attributes:
        path: its file.
    """

    def __init__(self, path: Path):
        self.path = path

    def _repr_png_(self) -> bytes:
        return self.path.read_bytes()

    def __repr__(self) -> str:
        return f"figure {self.path}"


class Run:
    """A study that was carried out.

    Attributes:
        settings: what was asked for.
        folder: where its files are.
        text: what the command tells at its end.
    """

    def __init__(self, study: Study, text: str):
        self.study, self.settings, self.folder, self.text = study, study.settings, study.folder, text

    @cached_property
    def results(self) -> pd.DataFrame:
        """One row for each trained network, as `tfprune.read_results` gives them."""
        place = self.study.results_folder
        return self.study.own(read_results(*([place] if place.is_dir() else [])))  # without --save there is none

    @property
    def figures(self) -> Mapping[str, Picture]:
        """Name -> figure."""
        return {name: Picture(path) for name, path in self.study.figures.items()}

    def __repr__(self) -> str:
        return self.text


def run(
    command: str | type[Study],
    *words: str | os.PathLike,
    device: str = "auto",
    overwrite: bool = False,
    quiet: bool = False,
    **settings: Any,
) -> Run:
    """Does what `python -m tfprune.<command>` does, and gives its results.

    A run that was begun is continued, a finished one is read, and one with other settings in the same folder refused.

        run = tfprune.run("main", pruner="snip", target_sparsity=0.99, data="digits")
        run = tfprune.run("imp", "inputs/main.ini")
        run = tfprune.run("lth", "lottery", default_hparams="mnist_lenet_300_100", levels=3)
        run.results, run.figures["accuracy"]

    Args:
        command: `imp`, `main`, `lth`, `filters` or `energy`; or the `Study` of a system of one's own.
        *words: the command's words: the input file of `imp`, for `lth` `"train"`, `"lottery"`, ...
        device: `auto`, `cpu` or `gpu`.
        overwrite: delete what is there of this run and start anew.
        quiet: show no progress.
        **settings: the command's flags, or the keys of its input file.

    Raises:
        InputError: settings, data or a folder cannot be used.
    """
    study = study_of(command) if isinstance(command, str) else command
    if not (isinstance(study, type) and issubclass(study, Study)):
        raise InputError(f"command must be a name or a Study. Received: {command!r:.80}")
    if wrong := [word for word in words if not isinstance(word, str | os.PathLike)]:
        raise InputError(f"a word of a command must be text or a path. Received: {wrong[0]!r:.80}")
    asked = study.asked([os.fspath(word) for word in words], settings)
    return Run(asked, carry_out(asked, RunSettings(device=device, overwrite=overwrite, quiet=quiet)))
