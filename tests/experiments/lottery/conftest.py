"""Small lottery and one-shot runs on the offline digits."""

from dataclasses import replace

import pytest

from tfprune.experiments.lottery.defaults import default_hparams
from tfprune.experiments.lottery.recipe import Workshop
from tfprune.experiments.lottery.requests import RunOptions


class Silent:
    """A report that only remembers; `stop_at` interrupts a training there."""

    def __init__(self, stop_at=None):
        self.started, self.steps, self._stop_at = [], [], stop_at

    def start(self, what, masks):
        self.started.append(what)

    def progress(self, progress):
        self.steps.append(progress.step)
        if self._stop_at is not None and progress.step >= self._stop_at:
            raise KeyboardInterrupt


@pytest.fixture
def silent():
    return Silent


@pytest.fixture(scope="session")
def description():
    """`description(name=..., **training)`: a lottery run on digits, two epochs of 12 steps."""

    def made(name="mnist_lenet_20_12", **changes):
        base = default_hparams(name)
        training = replace(base.training, **{"training_steps": "2ep", **changes})
        dataset = replace(base.dataset, dataset_name="digits")
        return replace(base, dataset=dataset, training=training)

    return made


@pytest.fixture(scope="session")
def workshop():
    """Shared by all tests: what is compiled for one serves the others."""
    return Workshop(RunOptions())


@pytest.fixture
def options(tmp_path):
    """`options(**changes)`: of a run below the test's own folder."""
    return lambda **changes: RunOptions(**{"root": str(tmp_path), **changes})
