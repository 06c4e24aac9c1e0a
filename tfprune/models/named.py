"""Lottery-ticket networks by name: logits for images, layers named as the tensors of the PyTorch originals.

A family is one file with a builder `(name, sizes, input_shape, classes, seed, style) -> keras.Model`, and one entry
here; the sizes are the numbers of its name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import keras

from tfprune.errors import InputError
from tfprune.models.blocks import TORCH
from tfprune.models.cifar_resnet import cifar_resnet
from tfprune.models.cifar_vgg import cifar_vgg
from tfprune.models.imagenet_resnet import imagenet_resnet, small_stem_resnet
from tfprune.models.initializers import BATCHNORM_INITS, KERNEL_INITS, by_name
from tfprune.models.mnist_lenet import mnist_lenet
from tfprune.models.names import parse
from tfprune.records.reading import first_line

BUILDERS: dict[str, Callable[..., keras.Model]] = {
    "mnist_lenet": mnist_lenet,
    "cifar_resnet": cifar_resnet,
    "cifar_vgg": cifar_vgg,
    "imagenet_resnet": imagenet_resnet,
    "tinyimagenet_resnet": imagenet_resnet,
    "tinyimagenet_modifiedresnet": small_stem_resnet,
}


def build_named(
    name: str,
    input_shape: Sequence[int],
    classes: int,
    seed: int,
    kernel_init: str = "kaiming_normal",
    batchnorm_init: str = "uniform",
    synchronized: bool = False,
) -> keras.Model:
    """Builds a network by name.

    Batch normalisation keeps 0.9 of its running statistics at each step and adds 1e-5 to the variance; biases start
    uniform between ±1/sqrt(fan-in); strided layers pad the image evenly. All three are PyTorch's defaults.

    Args:
        name: see `tfprune.models.names`.
        input_shape: (height, width, channels).
        classes: number of classes.
        seed: of all weights; the same gives the same, and kernels don't depend on `batchnorm_init`.
        kernel_init: how the kernels start, a key of `initializers.KERNEL_INITS`; that of the last layer too.
        batchnorm_init: how normalisation starts, a key of `initializers.BATCHNORM_INITS`.
        synchronized: whether replicas normalise by the statistics of their common batch.

    Returns:
        Functional model, float32 (batch, height, width, channels) to logits (batch, classes).

    Raises:
        InputError: an unknown name or initialiser, a bad seed, or images too small for the network.
    """
    parsed = parse(name)
    scales, offsets = by_name(BATCHNORM_INITS, batchnorm_init, "--batchnorm_init")
    kernels = by_name(KERNEL_INITS, kernel_init, "--model_init")
    style = replace(TORCH, kernels=kernels, scales=scales, offsets=offsets, synchronized=synchronized)
    try:
        return BUILDERS[parsed.family](name, parsed.sizes, tuple(input_shape), classes, seed, style)
    except InputError:
        raise
    except ValueError as error:
        shape = tuple(input_shape)
        raise InputError(f"{name} cannot be built for images of shape {shape}: {first_line(error)}") from error
