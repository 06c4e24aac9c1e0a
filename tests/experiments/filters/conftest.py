"""A small run on digits, in this process."""

import pytest

import tfprune

FLAGS = {"data": "digits", "width": 1 / 16, "epochs": 1, "finetune_epochs": 2, "learning_rate": 0.05}
FLAGS |= {"scoring": "l1_norm", "version": "v4_50"}
FLAGS |= {"batch_size": 479}  # of 1437 images without a rest: another size is another trace


@pytest.fixture(scope="session")
def small():
    """The flags of the run."""
    return dict(FLAGS)


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The finished run; its folder is not to be changed."""
    return tfprune.run("filters", **FLAGS, out_path=str(tmp_path_factory.mktemp("finished")), quiet=True)
