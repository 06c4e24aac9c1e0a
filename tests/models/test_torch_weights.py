"""Weights from files with names and layouts of PyTorch."""

import functools

import keras
import numpy as np
import pytest
from keras import layers

from tfprune.errors import InputError
from tfprune.experiments.filters.networks import NETWORKS
from tfprune.layers.weights import weights_of
from tfprune.models.torch_weights import load_torch_weights

load_resnet = functools.partial(load_torch_weights, heads=("hidden", "logits"))


def _torchvision(model):
    """The tensors that torchvision would have for this network, filled at random."""
    rng = np.random.default_rng(0)
    names = {"kernel": "weight", "gamma": "weight", "beta": "bias", "bias": "bias"}
    names |= {"moving_mean": "running_mean", "moving_variance": "running_var"}
    tensors = {}
    for path, value in weights_of(model).items():
        layer, _, variable = path.rpartition("/")
        if layer not in ("hidden", "logits") and variable in names:
            turned = np.transpose(value, (3, 2, 0, 1)) if value.ndim == 4 else value.T
            tensors[f"{layer}.{names[variable]}"] = rng.normal(size=turned.shape).astype("f4")
    return tensors | {"fc.weight": np.zeros((1000, 2048), "f4")}


def _write(path, tensors):
    if path.suffix == ".npz":
        np.savez(path, **tensors)
    else:
        pytest.importorskip("safetensors.numpy").save_file(tensors, path)
    return path


@pytest.fixture
def resnet():
    return NETWORKS["resnet50"].build((32, 32, 3), 10, 0, 1 / 16)


@pytest.fixture(params=["npz", "safetensors"])
def file(request, tmp_path):
    return tmp_path / f"weights.{request.param}"


def test_foreign_weights(resnet, file):
    tensors = _torchvision(resnet)
    before = weights_of(resnet)
    assert load_resnet(resnet, _write(file, tensors)) == ()
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

    def refused(told, path, **settings):
        with pytest.raises(InputError) as error:
            load_resnet(resnet, path, **settings)
        assert told in str(error.value) and "\n" not in str(error.value)
        after = weights_of(resnet)
        assert all(np.array_equal(before[path], after[path]) for path in before)

    lacking = {name: value for name, value in tensors.items() if name != "layer4.2.bn3.bias"}
    np.savez(tmp_path / "lacking.npz", **lacking)
    refused("--weights: cannot read", tmp_path / "lacking.npz")
    refused("has no array 'layer4.2.bn3.bias'", tmp_path / "lacking.npz", loose=("layer4.2.bn2",))
    wide = _write(tmp_path / "wide.npz", tensors | {"conv1.weight": np.zeros((64, 3, 7, 7), "f4")})
    refused("'conv1.weight' has shape (64, 3, 7, 7), this network needs (4, 3, 7, 7)", wide)
    refused("--pre_trained_f: ", wide, flag="--pre_trained_f")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "wide.npz").read_bytes()[:1000])
    refused(
        "not a file of a ResNet-50's weights, or a damaged",
        tmp_path / "cut.npz",
        what="a file of a ResNet-50's weights",
    )
    refused("No such file", tmp_path / "none.npz")
    refused("ends in .safetensors or .npz", tmp_path / "resnet.pth")


def _small(classes, side, channels):
    """A network as PyTorch would have it: a grouped convolution, an image that is flattened, biases."""
    inputs = keras.Input((side, side, channels))
    x = layers.Conv2D(4, 3, padding="same", name="stem")(inputs)
    x = layers.Conv2D(6, 3, padding="same", groups=2, name="grouped")(x)
    x = layers.Activation("relu")(layers.AveragePooling2D((side // 2, side // 3))(x))
    x = layers.Dropout(0.5)(layers.Flatten()(x))
    x = layers.Dense(5, "relu", name="classifier.1")(x)
    return keras.Model(inputs, layers.Dense(classes, name="classifier.3")(x))


def _as_torch(tensors, images):
    """The same network by hand, on images (batch, channels, height, width)."""

    def conv(x, name, groups):
        kernel, padded = tensors[f"{name}.weight"], np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))  # (batch, channel, y, x, 3, 3)
        parts = zip(np.split(windows, groups, 1), np.split(kernel, groups), strict=True)
        made = [np.einsum("bcyxij,ocij->boyx", part, filters) for part, filters in parts]
        return np.concatenate(made, 1) + tensors[f"{name}.bias"][:, None, None]

    x = conv(conv(images, "stem", 1), "grouped", 2)
    side = x.shape[-1]
    x = x.reshape(len(x), 6, 2, side // 2, 3, side // 3).mean((3, 5))
    x = np.maximum(x, 0).reshape(len(x), -1)
    x = np.maximum(x @ tensors["classifier.1.weight"].T + tensors["classifier.1.bias"], 0)
    return x @ tensors["classifier.3.weight"].T + tensors["classifier.3.bias"]


def test_outputs_are_those_of_the_other_layout(file):
    model = _small(3, 6, 2)
    tensors = _torchvision(model)
    assert tensors["grouped.weight"].shape == (6, 2, 3, 3) and tensors["classifier.1.weight"].shape == (5, 36)
    assert load_torch_weights(model, _write(file, tensors)) == ()
    images = np.random.default_rng(1).normal(size=(4, 2, 6, 6)).astype("f4")
    expected = _as_torch(tensors, images)
    np.testing.assert_allclose(model(images.transpose(0, 2, 3, 1)).numpy(), expected, rtol=1e-4, atol=1e-4)


def test_loose_layers_keep_their_own_where_they_differ(file):
    tensors, ends = _torchvision(_small(3, 6, 2)), ("stem", "classifier.3")
    other = _small(7, 6, 1)
    before = weights_of(other)
    assert load_torch_weights(other, _write(file, tensors), loose=ends) == ends
    after = weights_of(other)
    for path in before:  # the bias of the stem would fit
        assert np.array_equal(before[path], after[path]) == path.startswith(ends), path
    same = _small(3, 6, 2)
    assert load_torch_weights(same, file, loose=ends) == ()
    np.testing.assert_array_equal(weights_of(same)["stem/bias"], tensors["stem.bias"])
    del tensors["classifier.3.bias"]
    assert load_torch_weights(same, _write(file, tensors), loose=ends) == ("classifier.3",)
    with pytest.raises(InputError, match=r"has no array .classifier\.3\.bias."):
        load_torch_weights(same, file, loose=("stem",))
