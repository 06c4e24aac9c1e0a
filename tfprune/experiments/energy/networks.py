"""The networks whose states are evolved; layers are named as in torchvision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import keras
from keras import layers

from tfprune.errors import InputError
from tfprune.models.blocks import TORCH, Blocks, scaled
from tfprune.models.imagenet_resnet import resnet_features
from tfprune.models.initializers import by_name
from tfprune.records.reading import first_line

# Number of each fire module -> filters of the squeeze and of each expand; a pool has the number that is left out.
_FIRES = {3: (16, 64), 4: (16, 64), 6: (32, 128), 7: (32, 128)}
_FIRES |= {9: (48, 192), 10: (48, 192), 11: (64, 256), 12: (64, 256)}


def build(name: str, input_shape, classes: int, seed: int, width: float = 1.0) -> keras.Model:
    """Builds a network by name.

    Args:
        name: a key of `NETWORKS`.
        input_shape: (height, width, channels).
        classes: number of classes.
        seed: of the weights and of dropout.
        width: factor for the numbers of filters and of hidden units; of ResNeXt for that of groups, at least 2.

    Returns:
        Functional model, float32 (batch, *input_shape) to logits (batch, classes).

    Raises:
        InputError: an unknown name, a bad seed, or images that are too small for the network.
    """
    network = by_name(NETWORKS, name, "--nnmodel")
    images = keras.Input(tuple(input_shape), name="images")
    try:
        return keras.Model(images, network.logits(images, Blocks(seed, TORCH), classes, width), name=name)
    except InputError:
        raise
    except ValueError as error:
        shape = tuple(input_shape)
        raise InputError(f"{name} cannot be built for images of shape {shape}: {first_line(error)}") from error


def _lenet(x, blocks: Blocks, classes: int, width: float):
    """LeNet-5 with ReLU and max-pools; what is smaller than 32×32 is padded, below 28×28 twice."""
    side = min(x.shape[1:3])
    for number, filters, unpadded in ((1, 6, 32), (2, 16, 28)):
        padding = "valid" if side >= unpadded else "same"
        x = blocks.plain_conv(x, scaled(filters, width), 5, f"conv{number}", padding=padding)
        x = layers.MaxPooling2D(2, name=f"pool{number}")(x)
    x = layers.Flatten(name="flatten")(x)
    for number, units in enumerate((120, 84), start=1):
        x = blocks.affine(x, scaled(units, width), f"fc{number}", "relu")
    return blocks.affine(x, classes, "fc3")


def _resnet(depth: int) -> Callable:
    def logits(x, blocks: Blocks, classes: int, width: float):
        return blocks.affine(resnet_features(x, blocks, depth, scaled(64, width), "", small_stem=True), classes, "fc")

    return logits


def _resnext50(x, blocks: Blocks, classes: int, width: float):
    groups = max(2, scaled(32, width))
    return blocks.affine(resnet_features(x, blocks, 50, 2 * groups, "", small_stem=True, groups=groups), classes, "fc")


def _alexnet(x, blocks: Blocks, classes: int, width: float):
    """Reference: Krizhevsky 2014, arXiv 1404.5997, with dropout as in torchvision."""

    def conv(x, filters, size, number, **settings):
        return blocks.plain_conv(x, scaled(filters, width), size, f"features.{number}", **settings)

    x = layers.ZeroPadding2D(2, name="features.0_padding")(x)
    x = _pooled(conv(x, 64, 11, 0, strides=4, padding="valid"), 2)
    x = _pooled(conv(x, 192, 5, 3), 5)
    x = conv(conv(x, 384, 3, 6), 256, 3, 8)
    x = _pooled(conv(x, 256, 3, 10), 12)
    if min(x.shape[1:3]) < 6:
        raise ValueError(
            f"its dense layers need images of at least 6 by 6, these are {x.shape[1]} by {x.shape[2]} there"
        )
    if x.shape[1:3] != (6, 6):  # as it is of 224×224
        x = layers.AdaptiveAveragePooling2D(6, name="avgpool")(x)
    x = layers.Flatten(name="flatten")(x)
    for number in (0, 3):
        x = blocks.dropout(x, 0.5, f"classifier.{number}")
        x = blocks.affine(x, scaled(4096, width), f"classifier.{number + 1}", "relu")
    return blocks.affine(x, classes, "classifier.6")


def _squeezenet(x, blocks: Blocks, classes: int, width: float):
    """Reference: Iandola et al. 2016, arXiv 1602.07360, in version 1.1; with ReLU behind the last convolution, too."""

    def conv(x, filters, size, name, **settings):
        return blocks.plain_conv(x, scaled(filters, width), size, name, **settings)

    x = conv(x, 64, 3, "features.0", strides=2, padding="valid")
    for number, (squeezed, expanded) in _FIRES.items():
        if number - 1 not in _FIRES:
            x = _pooled(x, number - 1)
        fire = f"features.{number}"
        x = conv(x, squeezed, 1, f"{fire}.squeeze")
        expands = [conv(x, expanded, size, f"{fire}.expand{size}x{size}") for size in (1, 3)]
        x = layers.Concatenate(name=f"{fire}.cat")(expands)
    x = blocks.dropout(x, 0.5, "classifier.0")
    return layers.GlobalAveragePooling2D(name="avgpool")(blocks.plain_conv(x, classes, 1, "classifier.1"))


def _pooled(x, number: int):
    return layers.MaxPooling2D(3, 2, name=f"features.{number}")(x)


@dataclass(frozen=True)
class EnergyNetwork:
    """A network and what it is made for.

    Attributes:
        logits: (images, blocks, classes, width) -> logits, as tensors.
        side: of the images that it was published with.
        least_side: of the images that it can take.
        ends: names of the first layer and of that of the classes; their shapes depend on the data.
    """

    logits: Callable
    side: int
    least_side: int
    ends: tuple[str, str]


NETWORKS = {
    "lenet": EnergyNetwork(_lenet, 32, 4, ("conv1", "fc3")),
    **{f"resnet{depth}": EnergyNetwork(_resnet(depth), 32, 1, ("conv1", "fc")) for depth in (18, 34, 50, 101)},
    "resnext50": EnergyNetwork(_resnext50, 32, 1, ("conv1", "fc")),
    "alexnet": EnergyNetwork(_alexnet, 224, 223, ("features.0", "classifier.6")),
    "squeezenet": EnergyNetwork(_squeezenet, 224, 31, ("features.0", "classifier.1")),
}
