"""The networks whose filters are pruned: VGG-16 with dropout, and ResNet-50 with a hidden layer before its classes.

Reference: Singh, Li & Plumbley 2022, "An operator norm based passive filter pruning method for efficient CNNs".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import keras
from keras import layers

from tfprune.models.blocks import TORCH, Blocks, Seeds, scaled, torch_norm_name
from tfprune.models.imagenet_resnet import resnet_features
from tfprune.models.initializers import uniform

LEAST_SIDE = 32
# Of each convolution: filters, what is dropped behind its block, whether a pool stands before that.
_VGG16 = (
    (64, 0.3, False),
    (64, 0.0, True),
    (128, 0.4, False),
    (128, 0.0, True),
    (256, 0.4, False),
    (256, 0.4, False),
    (256, 0.0, True),
    (512, 0.4, False),
    (512, 0.4, False),
    (512, 0.0, True),
    (512, 0.4, False),
    (512, 0.4, False),
    (512, 0.4, True),
)
_STAGES = (3, 4, 6, 3)


def vgg16(input_shape, classes: int, seed: int, width: float = 1.0) -> keras.Model:
    """13 blocks of convolution (3×3, padded, with bias), ReLU and batch normalisation; a dense block; logits.

    Args:
        input_shape: (height, width, channels), at least 32×32.
        classes: number of classes.
        seed: of the weights and of dropout.
        width: factor for the numbers of filters and of hidden units.

    Returns:
        Functional model with layers `conv1` ... `conv13`, float32 (batch, *input_shape) to logits (batch, classes);
        14,991,946 trainable parameters at width 1 for CIFAR-10.

    Reference: Liu & Deng 2015, "Very deep convolutional neural network based image classification using small training
    sample size", as in the reproduction of Singh et al.
    """
    seeds = Seeds(seed)

    def kernel():
        return keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal", seed=seeds.for_kernel())

    def dense(x, units, name):
        most = x.shape[-1] ** -0.5
        start = {
            "kernel_initializer": uniform(-most, most)(seeds.for_kernel()),
            "bias_initializer": uniform(-most, most)(seeds.for_other()),
        }
        return layers.Dense(units, name=name, **start)(x)

    def normalised(x, name):
        x = layers.Activation("relu", name=f"{name}_relu")(x)
        return layers.BatchNormalization(momentum=TORCH.momentum, epsilon=TORCH.epsilon, name=f"{name}_norm")(x)

    def dropped(x, rate, name):
        return layers.Dropout(rate, seed=seeds.for_other(), name=f"{name}_dropout")(x) if rate else x

    inputs = x = keras.Input(input_shape, name="images")
    for number, (filters, rate, pooled) in enumerate(_VGG16, start=1):
        name = f"conv{number}"
        x = layers.Conv2D(scaled(filters, width), 3, padding="same", kernel_initializer=kernel(), name=name)(x)
        x = normalised(x, name)
        if pooled:
            x = layers.MaxPooling2D(2, name=f"{name}_pool")(x)
        x = dropped(x, rate, name)
    x = layers.Flatten(name="flatten")(x)
    x = normalised(dense(x, scaled(512, width), "hidden"), "hidden")
    return keras.Model(inputs, dense(dropped(x, 0.5, "hidden"), classes, "logits"), name="vgg16")


def resnet50(input_shape, classes: int, seed: int, width: float = 1.0) -> keras.Model:
    """ResNet-50 up to the mean of each channel, 256 linear units, logits.

    Args:
        input_shape: (height, width, channels), at least 32×32.
        classes: number of classes.
        seed: of the weights.
        width: factor for the numbers of filters and of hidden units.

    Returns:
        Functional model with layers named as in torchvision (`conv1`, `layer1.0.conv2`, ...), float32
        (batch, *input_shape) to logits (batch, classes); 24,035,146 trainable parameters at width 1 for CIFAR-10.

    Reference: He et al. 2015, arXiv 1512.03385; the layers at its end as in Singh et al.
    """
    blocks = Blocks(seed, TORCH)
    inputs = keras.Input(input_shape, name="images")
    x = resnet_features(inputs, blocks, 50, scaled(64, width), prefix="")
    x = blocks.affine(x, scaled(256, width), "hidden")
    return keras.Model(inputs, blocks.affine(x, classes, "logits"), name="resnet50")


@dataclass(frozen=True)
class FilterNetwork:
    """A network and which of its convolutions lose filters.

    Attributes:
        build: (input_shape, classes, seed, width) -> model.
        layers: names of the convolutions, in network order.
        norms: names of the normalisations behind them.
    """

    build: Callable[..., keras.Model]
    layers: tuple[str, ...]
    norms: tuple[str, ...]


_CONVOLUTIONS = tuple(f"conv{number}" for number in range(1, len(_VGG16) + 1))
# A block's first and last convolution keep their filters.
_STEM_AND_MIDDLES = (
    "conv1",
    *(f"layer{stage}.{index}.conv2" for stage, count in enumerate(_STAGES, 1) for index in range(count)),
)
NETWORKS = {
    "vgg16": FilterNetwork(vgg16, _CONVOLUTIONS, tuple(f"{name}_norm" for name in _CONVOLUTIONS)),
    "resnet50": FilterNetwork(resnet50, _STEM_AND_MIDDLES, tuple(map(torch_norm_name, _STEM_AND_MIDDLES))),
}
