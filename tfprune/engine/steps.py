"""What several layers are made of that are computed at once: steps from images to an image."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from tfprune.engine.geometry import Geometry


@dataclass(frozen=True)
class View:
    """An image that a step reads: one that a step before has made, and zeros around it.

    Attributes:
        number: 0 for the images given, else how many steps made it, counted from 1.
        height, width: of the view.
        top, left: zeros in front.
    """

    number: int
    height: int
    width: int
    top: int = 0
    left: int = 0


@dataclass(frozen=True)
class Step:
    """Makes an image from others.

    Attributes:
        given: what it reads.
        height, width, channels: of what it makes.
        floor, ceiling: at least and at most this it is in the end.
    """

    given: tuple[View, ...]
    height: int
    width: int
    channels: int
    floor: float = field(default=-np.inf, kw_only=True)
    ceiling: float = field(default=np.inf, kw_only=True)

    @property
    def columns(self) -> dict[str, int]:
        """What the kernels' table says of the step beyond the places of images, by `tfprune.engine.flow_steps`."""
        return {"STEP_Y": 1, "STEP_X": 1}

    @property
    def is_limited(self) -> bool:
        """Whether there is a floor or a ceiling."""
        return (self.floor, self.ceiling) != (-np.inf, np.inf)

    def lines_read(self, line: int) -> int:
        """Lines of a view up to the last one that a line of the outputs is made of, be it there or not."""
        return line + 1

    @property
    def lines_for_lines(self) -> int:
        """Lines of a view that each line of the outputs alone is made of; 0 where these have lines in common."""
        return 1

    @property
    def first(self) -> tuple[int, int]:
        """Line and position of a view from which the first output is made."""
        return 0, 0

    @property
    def last(self) -> tuple[int, int]:
        """Line and position from which the last one is."""
        return self.height - 1, self.width - 1


@dataclass(frozen=True)
class Product(Step):
    """A convolution; its weights are what `Kept` says. Its shape is the geometry's."""

    geometry: Geometry = field(kw_only=True)

    @classmethod
    def of(cls, given: View, geometry: Geometry) -> Product:
        made = geometry.out_height, geometry.out_width, geometry.out_channels
        return cls((given,), *made, geometry=geometry)

    @property
    def columns(self) -> dict[str, int]:
        (y, x), down, lines = self.geometry.strides, self.geometry.dilation[0], self.geometry.shape[0]
        return {"STEP_Y": y, "STEP_X": x, "DOWN": down, "KERNEL_LINES": lines}

    def lines_read(self, line: int) -> int:
        (y, _), (down, _), shape = self.geometry.strides, self.geometry.dilation, self.geometry.shape
        return self.first[0] + line * y + (shape[0] - 1) * down + 1

    @property
    def lines_for_lines(self) -> int:
        return self.geometry.strides[0] if self.geometry.shape[0] == 1 and not self.geometry.top else 0

    @property
    def first(self) -> tuple[int, int]:
        return -self.geometry.top, -self.geometry.left

    @property
    def last(self) -> tuple[int, int]:
        (_, x), (_, right), shape = self.geometry.strides, self.geometry.dilation, self.geometry.shape
        return self.lines_read(self.height - 1) - 1, self.first[1] + (self.width - 1) * x + (shape[1] - 1) * right


@dataclass(frozen=True)
class Pool(Step):
    """The maximum or mean of windows, as far as they are within the image."""

    window: tuple[int, int] = field(kw_only=True)
    strides: tuple[int, int] = field(kw_only=True)
    before: tuple[int, int] = field(default=(0, 0), kw_only=True)
    is_mean: bool = field(kw_only=True)

    @property
    def columns(self) -> dict[str, int]:
        view = self.given[0]
        pairs = {"STEP": self.strides, "WINDOW": self.window, "BEFORE": self.before}
        found = {
            f"{name}_{axis}": number for name, pair in pairs.items() for axis, number in zip("YX", pair, strict=True)
        }
        return {**found, "GIVEN_HEIGHT": view.height, "GIVEN_WIDTH": view.width, "IS_MEAN": int(self.is_mean)}

    def lines_read(self, line: int) -> int:
        return line * self.strides[0] - self.before[0] + self.window[0]

    @property
    def lines_for_lines(self) -> int:
        return self.window[0] if self.strides[0] == self.window[0] and not self.before[0] else 0

    @property
    def last(self) -> tuple[int, int]:
        view = self.given[0]
        return view.height - 1, view.width - 1


@dataclass(frozen=True)
class Scale(Step):
    """Each channel by a factor, and a shift."""


@dataclass(frozen=True)
class Sum(Step):
    """Of two images."""


@dataclass(frozen=True)
class Kept:
    """Weights of a product: kept ones at places in its flattened kernel, ascending, and a shift for each output."""

    indices: np.ndarray
    values: np.ndarray
    shifts: np.ndarray
