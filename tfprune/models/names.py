"""Names of the lottery networks, taken apart: `cifar_resnet_20_32` is a family and its sizes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tfprune.errors import InputError

VGG_DEPTHS = (11, 13, 16, 19)
IMAGENET_DEPTHS = (18, 34, 50, 101, 152, 200)
FORMS = (
    "mnist_lenet_A_B_... (any number of layers of any size)",
    "cifar_resnet_D[_W] (D - 2 a multiple of 6)",
    f"cifar_vgg_{{{','.join(map(str, VGG_DEPTHS))}}}",
    f"imagenet_resnet_{{{','.join(map(str, IMAGENET_DEPTHS))}}}[_W]",
    "tinyimagenet_resnet_18",
    "tinyimagenet_modifiedresnet_18",
)
_NAME = re.compile(r"(?P<family>[a-z]+_[a-z]+)(?P<sizes>(?:_[1-9][0-9]{0,8})+)")


@dataclass(frozen=True)
class ModelName:
    """A name taken apart.

    Attributes:
        family: `mnist_lenet`, `cifar_resnet`, `cifar_vgg`, `imagenet_resnet`, `tinyimagenet_resnet` or
            `tinyimagenet_modifiedresnet`.
        sizes: hidden layers of a LeNet; (depth, width) of a ResNet for CIFAR-10 or ImageNet, where the width is the
            number of filters of the first stage; (depth,) of the others.
    """

    family: str
    sizes: tuple[int, ...]


def parse(name: str) -> ModelName:
    """Takes a name apart; a width that is left out is the published one (16 for CIFAR-10, 64 for ImageNet).

    Raises:
        InputError: no network has this name; lists the forms, or the nearest depths.
    """
    match = _NAME.fullmatch(name)
    if not match:
        raise InputError(_unknown(name))
    family, sizes = match["family"], tuple(int(size) for size in match["sizes"].split("_")[1:])
    if family == "mnist_lenet":
        return ModelName(family, sizes)
    if family == "cifar_resnet" and len(sizes) <= 2:
        _check_cifar_depth(name, sizes[0])
        return ModelName(family, (*sizes, 16)[:2])
    if family == "imagenet_resnet" and len(sizes) <= 2 and sizes[0] in IMAGENET_DEPTHS:
        return ModelName(family, (*sizes, 64)[:2])
    if family == "cifar_vgg" and len(sizes) == 1 and sizes[0] in VGG_DEPTHS:
        return ModelName(family, sizes)
    if family in ("tinyimagenet_resnet", "tinyimagenet_modifiedresnet") and sizes == (18,):
        return ModelName(family, sizes)
    raise InputError(_unknown(name))


def _check_cifar_depth(name: str, depth: int) -> None:
    if depth < 8 or (depth - 2) % 6:
        below = depth - (depth - 2) % 6
        near = [str(nearest) for nearest in (below, below + 6) if nearest >= 8]
        raise InputError(
            f"--model_name={name}: the depth of a cifar_resnet is 6 n + 2, at least 8; the nearest: {', '.join(near)}. "
            f"Received: {depth}"
        )


def _unknown(name: str) -> str:
    return f"--model_name must be one of {'; '.join(FORMS)}. Received: {name!r}"
