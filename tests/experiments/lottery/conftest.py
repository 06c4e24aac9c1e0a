"""Small lottery and one-shot runs on the offline digits."""

from dataclasses import replace

import pytest

from tfprune.experiments.lottery.defaults import default_settings
from tfprune.experiments.lottery.recipe import Workshop
from tfprune.experiments.lottery.settings import PlaceSettings


class Silent:
    """A watch that only remembers; `stop_at` interrupts a training there."""

    quiet = True

    def __init__(self, stop_at=None):
        self.started, self.steps, self._stop_at = [], [], stop_at

    def say(self, text):
        pass

    def start(self, what, details=""):
        self.started.append(what)

    def progress(self, progress):
        self.steps.append(progress.step)
        if self._stop_at is not None and progress.step >= self._stop_at:
            raise KeyboardInterrupt

    def end(self, text=""):
        pass


@pytest.fixture
def silent():
    return Silent


@pytest.fixture(scope="session")
def settings():
    """`settings(name=..., **training)`: of a lottery run on digits, two epochs of 12 steps."""

    def made(name="mnist_lenet_20_12", **changes):
        base = default_settings(name)
        training = replace(base.training, **{"training_steps": "2ep", **changes})
        dataset = replace(base.dataset, dataset_name="digits")
        return replace(base, dataset=dataset, training=training)

    return made


@pytest.fixture(scope="session")
def workshop():
    """Shared by all tests: what is compiled for one serves the others."""
    return Workshop(PlaceSettings())


@pytest.fixture
def place(tmp_path):
    """`place(**changes)`: of a run below the test's own folder."""
    return lambda **changes: PlaceSettings(**{"root": str(tmp_path), **changes})


@pytest.fixture(scope="session")
def trained(workshop):
    """`trained(study, watch)`: carries out all of a study but its tables and figures; gives it."""

    def train(study, watch=None, overwrite=False):
        study = replace(study, workshop=workshop)
        with study.held(overwrite) as replicate:
            study.train(replicate, watch or Silent())
        return study

    return train
