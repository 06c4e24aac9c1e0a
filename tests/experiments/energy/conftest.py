"""Networks of full size, each built once."""

import functools

import pytest

from tfprune.experiments.energy.networks import NETWORKS, build


@pytest.fixture(scope="session")
def full():
    """name -> the network of width 1 for 1000 classes and colour images of its published size."""
    return functools.cache(lambda name: build(name, (NETWORKS[name].side,) * 2 + (3,), 1000, 0))
