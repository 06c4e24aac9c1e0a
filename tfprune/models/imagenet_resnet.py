"""`imagenet_resnet_D[_W]` and what it is on Tiny ImageNet, with its own stem or a smaller one."""

from __future__ import annotations

import keras

from tfprune.models.blocks import Blocks, Style

_WIDTH = 64
_BASIC = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
_BOTTLENECK = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3), 200: (3, 24, 36, 3)}
_EXPANSION = 4


def imagenet_resnet(
    name: str, sizes: tuple[int, ...], input_shape, classes: int, seed: int, style: Style
) -> keras.Model:
    """A 7×7 stem of stride 2, a 3×3 max-pool of stride 2, four stages of blocks, the mean of each channel, `model.fc`.

    Stages have W, 2W, 4W and 8W filters; up to depth 34 a block is two 3×3 convolutions, above it a 1×1, a 3×3 and a
    1×1 convolution with four times the filters. Layers are named as in the published weights of torchvision, after
    `model.`: `model.conv1`, `model.layer1.0.conv1`, `model.layer2.0.downsample.0`, ...

    Reference: He et al. 2015, arXiv 1512.03385, table 1, with the stride of a bottleneck at its 3×3 convolution.
    """
    return _resnet(name, sizes, input_shape, classes, seed, style, small=False)


def small_stem_resnet(
    name: str, sizes: tuple[int, ...], input_shape, classes: int, seed: int, style: Style
) -> keras.Model:
    """`imagenet_resnet` whose stem is a 3×3 convolution of stride 1 without a pool behind it.

    Reference: Frankle et al. 2021, arXiv 2009.08576 ("modified ResNet-18").
    """
    return _resnet(name, sizes, input_shape, classes, seed, style, small=True)


def resnet_features(
    images, blocks: Blocks, depth: int, width: int, prefix: str, small_stem: bool = False, groups: int = 1
):
    """Stem, stages and the mean of each channel.

    Args:
        images: tensor (batch, height, width, channels).
        blocks: makes the layers.
        depth: 18, 34, 50, 101, 152 or 200.
        width: filters of the first stage.
        prefix: comes before all names of layers.
        small_stem: see `small_stem_resnet`.
        groups: of the 3×3 convolutions of bottlenecks, which with more than one have twice the filters. With half as
            many as `width` that is ResNeXt (Xie et al. 2017, arXiv 1611.05431): 32×4d at width 64.
    """
    basic = depth in _BASIC
    plan = (_BASIC if basic else _BOTTLENECK)[depth]
    x = blocks.conv(images, width, *((3, f"{prefix}conv1", 1) if small_stem else (7, f"{prefix}conv1", 2)))
    if not small_stem:
        x = blocks.max_pool(x, 3, 2, f"{prefix}maxpool")
    for stage, count in enumerate(plan):
        filters = width * 2**stage
        for index in range(count):
            strides = 2 if stage and not index else 1
            convolutions = [(filters, 3, strides), (filters, 3, 1)]
            if not basic:
                inner = filters * 2 if groups > 1 else filters
                convolutions = [(inner, 1, 1), (inner, 3, strides), (filters * _EXPANSION, 1, 1)]
            changes = strides > 1 or x.shape[-1] != convolutions[-1][0]
            shortcut = "downsample.0" if changes else None
            x = blocks.residual(x, convolutions, f"{prefix}layer{stage + 1}.{index}.", shortcut, groups)
    return keras.layers.GlobalAveragePooling2D(name=f"{prefix}avgpool")(x)


def _resnet(
    name: str, sizes: tuple[int, ...], input_shape, classes: int, seed: int, style: Style, small: bool
) -> keras.Model:
    depth, width = (*sizes, _WIDTH)[:2]
    blocks = Blocks(seed, style)
    inputs = keras.Input(input_shape, name="images")
    x = resnet_features(inputs, blocks, depth, width, "model.", small)
    return keras.Model(inputs, blocks.affine(x, classes, "model.fc"), name=name)
