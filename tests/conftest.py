"""Shared paths. `TFPRUNE_SHARED` names the folder with golden files and data sets; tests skip where it is absent."""

import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("TFPRUNE_SHARED", Path(__file__).parents[2] / "shared"))


def _shared(relative):
    path = SHARED / relative
    if not path.exists():
        pytest.skip(f"{path} is absent (set TFPRUNE_SHARED)")
    return path


@pytest.fixture
def golden():
    """Folder of outputs of the original implementations."""
    return _shared("golden")


@pytest.fixture
def tfds_dir():
    """TFDS data_dir with MNIST and CIFAR-10."""
    return _shared("data/tfds")
