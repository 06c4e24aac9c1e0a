"""Names of networks taken apart."""

import subprocess
import sys

import pytest

from tfprune.errors import InputError
from tfprune.experiments.lottery.defaults import default_settings
from tfprune.models.names import FORMS, ModelName, parse


@pytest.mark.parametrize(
    ("name", "family", "sizes"),
    [
        ("mnist_lenet_300_100", "mnist_lenet", (300, 100)),
        ("mnist_lenet_1", "mnist_lenet", (1,)),
        ("cifar_resnet_8", "cifar_resnet", (8, 16)),
        ("cifar_resnet_20_32", "cifar_resnet", (20, 32)),
        ("cifar_vgg_13", "cifar_vgg", (13,)),
        ("imagenet_resnet_50", "imagenet_resnet", (50, 64)),
        ("imagenet_resnet_200_128", "imagenet_resnet", (200, 128)),
        ("tinyimagenet_resnet_18", "tinyimagenet_resnet", (18,)),
        ("tinyimagenet_modifiedresnet_18", "tinyimagenet_modifiedresnet", (18,)),
    ],
)
def test_known_names(name, family, sizes):
    assert parse(name) == ModelName(family, sizes)
    assert default_settings(name).model.model_name == name


@pytest.mark.parametrize(
    "name",
    [
        *("", "lenet", "mnist_lenet", "mnist_lenet_0", "mnist_lenet_03", "mnist_lenet_300_", "MNIST_lenet_3"),
        *("cifar_resnet_20_16_2", "cifar_vgg_12", "cifar_vgg_16_2", "imagenet_resnet_20", "imagenet_resnet_18_64_1"),
        *("tinyimagenet_resnet_34", "cifar_densenet_20", "mnist_lenet_3\n"),
    ],
)
def test_unknown_names(name):
    with pytest.raises(InputError) as caught:
        parse(name)
    assert all(form in str(caught.value) for form in FORMS)


@pytest.mark.parametrize(("depth", "near"), [(2, "8"), (9, "8, 14"), (21, "20, 26"), (110, None)])
def test_depths_for_cifar(depth, near):
    if near is None:
        assert parse(f"cifar_resnet_{depth}").sizes == (depth, 16)
        return
    with pytest.raises(InputError, match=f"the nearest: {near}. Received: {depth}$"):
        parse(f"cifar_resnet_{depth}")


def test_light():
    code = "import sys, tfprune.models.names; sys.exit('keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
