"""The networks of energy-based pruning: parameters, shapes, names, seeds and narrower versions."""

import keras
import numpy as np
import pytest

from tfprune.errors import InputError
from tfprune.experiments.energy.networks import NETWORKS, build
from tfprune.layers.weights import weights_of


def _parameters(model):
    return sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)


# Those of torchvision; its ResNeXt has a stem of 7×7 weights where this one has 3×3.
@pytest.mark.parametrize(
    ("name", "parameters"),
    [("alexnet", 61_100_840), ("squeezenet", 1_235_496), ("resnext50", 25_028_904 - 64 * 3 * (49 - 9))],
)
def test_parameters_are_those_of_torchvision(full, name, parameters):
    model = full(name)
    assert _parameters(model) == parameters
    assert model.output_shape == (None, 1000)


def test_images_shrink_as_in_torchvision(full):
    alexnet, squeezenet, resnext = map(full, ("alexnet", "squeezenet", "resnext50"))
    names = [f"features.{number}" for number in (0, 2, 3, 5, 6, 12)]
    assert [alexnet.get_layer(name).output.shape[1] for name in names] == [55, 27, 27, 13, 13, 6]
    pools = [squeezenet.get_layer(f"features.{number}") for number in (0, 2, 5, 8)]
    assert [layer.output.shape[1:] for layer in pools] == [
        (111, 111, 64),
        (55, 55, 64),
        (27, 27, 128),
        (13, 13, 256),
    ]
    grouped = resnext.get_layer("layer2.0.conv2")
    assert (grouped.groups, grouped.filters, tuple(grouped.kernel.shape)) == (32, 256, (3, 3, 8, 256))
    assert [resnext.get_layer(f"layer{stage}.0.add").output.shape[1:] for stage in (1, 2, 3, 4)] == [
        (32, 32, 256),
        (16, 16, 512),
        (8, 8, 1024),
        (4, 4, 2048),
    ]


@pytest.mark.parametrize(
    ("side", "channels", "parameters"),
    # 5×5 kernels, 400 units behind the second pool, 120, 84; of digits 64 units.
    [(28, 1, 61_706), (32, 3, 62_006), (8, 1, 61_706 - 120 * (400 - 64))],
)
def test_lenet(side, channels, parameters):
    assert _parameters(build("lenet", (side, side, channels), 10, 0)) == parameters


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name in ("resnet34", "resnet50", "resnet101") else name
        for name in NETWORKS
    ],
)
def test_narrow_networks(name):
    side = NETWORKS[name].least_side
    first, again, other = (build(name, (side, side, 1), 5, seed, 1 / 32) for seed in (1, 1, 2))
    first_weights, again_weights, other_weights = map(weights_of, (first, again, other))
    assert all(np.array_equal(value, again_weights[path]) for path, value in first_weights.items())
    assert all((value != other_weights[path]).any() for path, value in first_weights.items() if "kernel" in path)
    images = np.random.default_rng(0).random((3, side, side, 1), np.float32)
    logits = first(images).numpy()
    assert logits.shape == (3, 5) and logits.dtype == np.float32
    assert np.isfinite(logits).all() and not np.allclose(logits.sum(1), 1)  # no probabilities
    kernels = [layer for layer in first.layers if hasattr(layer, "kernel")]
    assert (kernels[0].name, kernels[-1].name) == NETWORKS[name].ends
    if side > 1:
        with pytest.raises(InputError, match=f"{name} cannot be built for images of shape"):
            build(name, (side - 1, side - 1, 1), 5, 0, 1 / 32)


@pytest.mark.parametrize(
    ("name", "width", "layer", "filters", "groups"),
    [
        ("resnet18", 1 / 4, "layer4.1.conv2", 128, 1),
        ("resnet50", 1 / 8, "layer3.0.conv3", 128, 1),
        ("resnext50", 1 / 8, "layer1.0.conv2", 16, 4),
        ("resnext50", 1 / 100, "layer2.0.conv2", 16, 2),
        ("squeezenet", 1 / 8, "features.12.expand3x3", 32, 1),
        ("lenet", 0.5, "conv2", 8, 1),
        ("lenet", 2, "conv2", 32, 1),
    ],
)
def test_width(name, width, layer, filters, groups):
    made = build(name, (32, 32, 3), 10, 0, width).get_layer(layer)
    assert (made.filters, made.groups) == (filters, groups)


def test_a_grouped_convolution_sees_its_group_alone():
    model = build("resnext50", (8, 8, 1), 3, 0, 1 / 16)
    layer = model.get_layer("layer1.0.conv2")
    assert (layer.groups, tuple(layer.kernel.shape)) == (2, (3, 3, 4, 8))
    images = np.random.default_rng(0).random((1, 4, 4, 8), np.float32)
    before = layer(images).numpy()
    images[..., :4] += 1
    changed = (layer(images).numpy() != before).any((0, 1, 2))
    np.testing.assert_array_equal(changed, [True] * 4 + [False] * 4)


def test_dropout_stands_before_the_dense_layers_of_alexnet(full):
    model = full("alexnet")
    drops = [layer for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    assert [(layer.name, layer.rate) for layer in drops] == [("classifier.0", 0.5), ("classifier.3", 0.5)]
    assert model.get_layer("classifier.1").input is drops[0].output


def test_larger_images_of_alexnet_are_pooled_to_the_same_size():
    model = build("alexnet", (260, 300, 1), 3, 0, 1 / 32)
    before, pooled = model.get_layer("features.12").output, model.get_layer("avgpool").output
    assert (before.shape[1:], pooled.shape[1:]) == ((7, 8, 8), (6, 6, 8))
    assert model.get_layer("classifier.1").kernel.shape[0] == 6 * 6 * 8


def test_unknown_network():
    with pytest.raises(InputError, match=r"--nnmodel must be one of lenet, resnet18, .*Received: 'vgg16'"):
        build("vgg16", (32, 32, 3), 10, 0)
