"""`cifar_resnet_D[_W]`: the residual networks that were made for CIFAR-10."""

from __future__ import annotations

import keras

from tfprune.models.blocks import Blocks, Style


def cifar_resnet(name: str, sizes: tuple[int, ...], input_shape, classes: int, seed: int, style: Style) -> keras.Model:
    """A 3×3 stem, three stages of (D − 2) / 6 blocks with W, 2W and 4W filters, the last two halving the image.

    Layers: `conv`, `blocks.I.conv1`, `blocks.I.conv2`, `blocks.I.shortcut.0` where the shape changes, `fc`, and the
    normalisations `bn`, `blocks.I.bn1`, `blocks.I.bn2`, `blocks.I.shortcut.1`.

    Reference: He et al. 2015, arXiv 1512.03385, section 4.2, but with projections for shortcuts, as in OpenLTH.
    """
    depth, width = sizes
    per_stage = (depth - 2) // 6
    blocks = Blocks(seed, style)
    inputs = keras.Input(input_shape, name="images")
    x = blocks.conv(inputs, width, 3, "conv")
    for index in range(3 * per_stage):
        stage, place = divmod(index, per_stage)
        filters, halved = width * 2**stage, stage > 0 and place == 0
        convolutions = [(filters, 3, 2 if halved else 1), (filters, 3, 1)]
        x = blocks.residual(x, convolutions, f"blocks.{index}.", "shortcut.0" if halved else None)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, blocks.affine(x, classes, "fc"), name=name)
