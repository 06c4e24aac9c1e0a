"""Small networks as others make them: `group/name` -> how one is made. Nothing is built before it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import keras
from zoo import hub, user_blocks, user_images, user_sequences


@dataclass(frozen=True)
class Network:
    """How to make a network, and what it reads.

    Attributes:
        make: gives the built model, with random weights.
        example: shape of the input, without batch, of a model that does not tell what it reads.
    """

    make: Callable[[], keras.Model]
    example: tuple[int, ...] | None = None


def _application(name: str, **options) -> Network:
    """A network of `keras.applications` for images of 32 by 32 pixels and ten classes."""
    make = getattr(keras.applications, name)
    options |= {"weights": None, "input_shape": (32, 32, 3), "classes": 10, "classifier_activation": None}
    return Network(lambda: make(**options))


_APPLICATIONS = {
    "MobileNet": _application("MobileNet", alpha=0.25),
    "MobileNetV2": _application("MobileNetV2", alpha=0.35),
    "MobileNetV3Small": _application("MobileNetV3Small"),
    "EfficientNetB0": _application("EfficientNetB0"),
    "ConvNeXtTiny": _application("ConvNeXtTiny"),
}
_USER = {
    make.__name__: Network(make, getattr(make, "example", None))
    for module in (user_images, user_sequences, user_blocks)
    for make in module.NETWORKS
}
NETWORKS = {
    **{f"applications/{name}": network for name, network in _APPLICATIONS.items()},
    **{f"user/{name}": network for name, network in _USER.items()},
    **{f"hub/{name}": Network(make) for name, make in hub.NETWORKS.items()},
}
