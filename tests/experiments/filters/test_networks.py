"""The networks of filter pruning: their layers, narrower versions, and foreign weights."""

import keras
import numpy as np
import pytest

from tfprune.errors import InputError
from tfprune.experiments.filters.networks import NETWORKS
from tfprune.experiments.filters.pretrained import load_pretrained
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


def _torchvision(model):
    """The tensors that torchvision would have for this network, filled at random."""
    rng = np.random.default_rng(0)
    names = {"kernel": "weight", "gamma": "weight", "beta": "bias"}
    names |= {"moving_mean": "running_mean", "moving_variance": "running_var"}
    tensors = {}
    for path, value in weights_of(model).items():
        layer, _, variable = path.rpartition("/")
        if layer not in ("hidden", "logits"):
            shape = np.transpose(value, (3, 2, 0, 1)).shape if value.ndim == 4 else value.shape
            tensors[f"{layer}.{names[variable]}"] = rng.normal(size=shape).astype("f4")
    return tensors | {"fc.weight": np.zeros((1000, 2048), "f4")}


@pytest.fixture
def resnet():
    return NETWORKS["resnet50"].build((32, 32, 3), 10, 0, 1 / 16)


@pytest.mark.parametrize("ending", ["npz", "safetensors"])
def test_foreign_weights(resnet, ending, tmp_path):
    tensors, path = _torchvision(resnet), tmp_path / f"resnet.{ending}"
    if ending == "npz":
        np.savez(path, **tensors)
    else:
        pytest.importorskip("safetensors.numpy").save_file(tensors, path)
    before = weights_of(resnet)
    load_pretrained(resnet, path)
    after = weights_of(resnet)
    # Filter 1, input 2, row 0, column 1.
    assert after["layer1.0.conv2/kernel"][0, 1, 2, 1] == tensors["layer1.0.conv2.weight"][1, 2, 0, 1]
    np.testing.assert_array_equal(
        after["layer3.0.downsample.1/moving_mean"], tensors["layer3.0.downsample.1.running_mean"]
    )
    np.testing.assert_array_equal(after["bn1/gamma"], tensors["bn1.weight"])
    for path in before:
        assert np.array_equal(before[path], after[path]) == path.startswith(("hidden", "logits")), path


def test_foreign_weights_that_do_not_fit(resnet, tmp_path):
    tensors, before = _torchvision(resnet), weights_of(resnet)

    def refused(told, path):
        with pytest.raises(InputError) as error:
            load_pretrained(resnet, path)
        assert told in str(error.value) and "\n" not in str(error.value)
        after = weights_of(resnet)
        assert all(np.array_equal(before[path], after[path]) for path in before)

    lacking = {name: value for name, value in tensors.items() if name != "layer4.2.bn3.bias"}
    np.savez(tmp_path / "lacking.npz", **lacking)
    refused("has no array 'layer4.2.bn3.bias'", tmp_path / "lacking.npz")
    np.savez(tmp_path / "wide.npz", **tensors | {"conv1.weight": np.zeros((64, 3, 7, 7), "f4")})
    refused("'conv1.weight' has shape (64, 3, 7, 7), this network needs (4, 3, 7, 7)", tmp_path / "wide.npz")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "wide.npz").read_bytes()[:1000])
    refused("damaged", tmp_path / "cut.npz")
    refused("No such file", tmp_path / "none.npz")
    refused("ends in .safetensors or .npz", tmp_path / "resnet.pth")
