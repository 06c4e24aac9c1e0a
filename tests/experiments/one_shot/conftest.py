"""Small runs of one-shot pruning on digits, in this process."""

import functools

import pytest

from tfprune.cli.progress import ProgressBar
from tfprune.experiments.one_shot.files import LAYOUT
from tfprune.experiments.one_shot.recipe import one_shot_of
from tfprune.experiments.one_shot.settings import OneShotSettings
from tfprune.records.run_folder import RunFolder


class Watcher(ProgressBar):
    """Keeps the steps that it is told, and interrupts the run behind the one that is set in `last`."""

    def __init__(self):
        super().__init__(quiet=True)
        self.last, self.steps = None, []

    def progress(self, progress):
        self.steps.append(progress.step)
        if self.last is not None and progress.step >= self.last:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def digits():
    return one_shot_of("lenet300100", "digits", None)


@pytest.fixture
def watcher():
    return Watcher()


@pytest.fixture
def run(digits, tmp_path, watcher):
    """`run(out="out", **given)`: the settings, the folder, the sparsities, and what the training left."""

    def start(out="out", **given):
        settings = OneShotSettings(**{"data": "digits", "iterations": 60, "out_path": str(tmp_path / out), **given})
        with RunFolder(settings.folder, LAYOUT, settings.prefix) as folder:
            folder.claim(settings.record())
            found, trained = digits.run(settings, folder, watcher)
        return settings, folder, found, trained

    return start


@pytest.fixture
def main(command):
    """`main("--pruner=snip", ...)`: `python -m tfprune.main` in this process; gives returncode, stdout and stderr."""
    return functools.partial(command, "main")
