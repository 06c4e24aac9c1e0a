"""The networks of filter pruning: their layers, and narrower versions."""

import keras
import numpy as np
import pytest

from tfprune.experiments.filters.networks import NETWORKS
from tfprune.experiments.filters.versions import COUNTS, versions
from tfprune.layers.weights import weights_of


@pytest.mark.parametrize("name", NETWORKS)
def test_layers_that_lose_filters(name):
    network = NETWORKS[name]
    model = network.build((32, 32, 3), 10, 0, 1 / 16)
    assert len(network.layers) == len(network.norms) == COUNTS[name]
    for layer, norm in zip(network.layers, network.norms, strict=True):
        assert isinstance(model.get_layer(layer), keras.layers.Conv2D)
        # The normalisation sees what the convolution makes, and nothing else lies between but an activation.
        before = model.get_layer(norm).input._keras_history.operation
        if isinstance(before, keras.layers.Activation):
            before = before.input._keras_history.operation
        assert before is model.get_layer(layer)
    assert all(len(vector) == COUNTS[name] for vector in versions(name).values())


def test_a_narrow_network_has_the_same_layers():
    wide, narrow = (NETWORKS["vgg16"].build((32, 32, 3), 10, 0, width) for width in (1 / 8, 1 / 16))
    assert [layer.name for layer in wide.layers] == [layer.name for layer in narrow.layers]
    assert narrow.get_layer("conv13").filters == 32 and narrow.get_layer("hidden").units == 32


@pytest.mark.parametrize("name", NETWORKS)
def test_seeds(name):
    first, again, other = (weights_of(NETWORKS[name].build((32, 32, 3), 10, seed, 1 / 16)) for seed in (1, 1, 2))
    assert all(np.array_equal(first[path], again[path]) for path in first)
    kernels = [path for path in first if path.endswith("kernel")]
    assert all((first[path] != other[path]).any() for path in kernels)
