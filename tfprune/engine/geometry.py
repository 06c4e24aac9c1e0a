"""Where the weights of a kernel lie between the rows of its inputs and those of its outputs.

A row is what one channel holds: all positions, and for each position all examples. A stride cuts the rows of the inputs
into phases, so that whatever the layer, a weight is one connection: it takes the row of an input from some position on
and adds a multiple of it to the row of an output. A dense layer is the case of one position.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Geometry:
    """A convolution from images (B, height, width, channels) to (B, out_height, out_width, out_channels).

    Attributes:
        shape: of the kernel: (height, width, inputs of a group, outputs); with `depthwise` (height, width, channels,
            multiplier).
        height, width, channels: of the inputs.
        out_height, out_width, out_channels: of the outputs.
        strides, dilation: along height and width.
        top, left: zeros in front of the inputs.
        groups: of channels that are connected among themselves.
        depthwise: output `channel · multiplier + m` is made of one channel alone.
    """

    shape: tuple[int, int, int, int]
    height: int = 1
    width: int = 1
    channels: int = 1
    out_height: int = 1
    out_width: int = 1
    out_channels: int = 1
    strides: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    top: int = 0
    left: int = 0
    groups: int = 1
    depthwise: bool = False

    @classmethod
    def dense(cls, inputs: int, outputs: int) -> Geometry:
        """Of a matrix (inputs, outputs)."""
        return cls((1, 1, inputs, outputs), channels=inputs, out_channels=outputs)

    @classmethod
    def convolution(
        cls,
        shape: tuple[int, int, int, int],
        image: tuple[int, int, int],
        *,
        strides: tuple[int, int] = (1, 1),
        dilation: tuple[int, int] = (1, 1),
        padding: str = "valid",
        groups: int = 1,
        depthwise: bool = False,
    ) -> Geometry:
        """Of a convolution as TensorFlow pads it.

        Args:
            shape: of the kernel, see the class.
            image: height, width and channels of the inputs.
            padding: `same`, `valid`, or `causal` along the width.
        """
        outs, before = [], []
        for axis in range(2):
            reach = (shape[axis] - 1) * dilation[axis] + 1
            if padding == "same":
                out = -(-image[axis] // strides[axis])
                pad = max(0, (out - 1) * strides[axis] + reach - image[axis]) // 2
            elif padding == "causal" and axis == 1:
                pad = reach - 1
                out = -(-image[axis] // strides[axis])
            else:
                pad, out = 0, max(0, (image[axis] - reach) // strides[axis] + 1)
            outs.append(out)
            before.append(pad)
        return cls(
            shape,
            *image,
            *outs,
            shape[2] * shape[3] if depthwise else shape[3],
            strides,
            dilation,
            *before,
            groups,
            depthwise,
        )

    @property
    def phases(self) -> int:
        """Rows for each channel of the inputs."""
        return self.strides[0] * self.strides[1]

    @property
    def row_height(self) -> int:
        """Positions of a row of the inputs, from top to bottom."""
        return self._along(0, self.height, self.top, self.out_height)

    @property
    def row_width(self) -> int:
        """Positions of all rows, from left to right."""
        return self._along(1, self.width, self.left, self.out_width)

    @property
    def positions(self) -> int:
        """Of a row of the inputs."""
        return self.row_height * self.row_width

    @property
    def span(self) -> int:
        """Positions of a row of the outputs from the first to the last that is one; some between them are none."""
        return (self.out_height - 1) * self.row_width + self.out_width

    @property
    def most_shifted(self) -> int:
        """The largest shift that `connections` can give."""
        (height, width), (down, right), (y, x) = self.shape[:2], self.dilation, self.strides
        return (height - 1) * down // y * self.row_width + (width - 1) * right // x

    @property
    def size(self) -> int:
        """Weights of the kernel."""
        return math.prod(self.shape)

    def connections(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What weights connect.

        Args:
            indices: (n,), in the flattened kernel.

        Returns:
            int64 (n,) each: row of the inputs, position in it from where it is read, row of the outputs.
        """
        y, x, channel, made = self.taps(indices)
        down, phase_y = np.divmod(y, self.strides[0])
        right, phase_x = np.divmod(x, self.strides[1])
        row = (channel * self.strides[0] + phase_y) * self.strides[1] + phase_x
        return row.astype(np.int64), (down * self.row_width + right).astype(np.int64), made.astype(np.int64)

    def taps(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Where weights read, and what they make.

        Returns:
            int64 (n,) each: positions down and to the right from the first one that an output is made of, channel of
            the inputs, channel of the outputs.
        """
        y, x, third, fourth = np.unravel_index(indices, self.shape)
        if self.depthwise:
            channel, made = third, third * self.shape[3] + fourth
        else:
            made = fourth
            channel = third + made // (self.out_channels // self.groups) * self.shape[2]
        return y * self.dilation[0], x * self.dilation[1], channel, made

    def _along(self, axis: int, size: int, before: int, out: int) -> int:
        reach = (self.shape[axis] - 1) * self.dilation[axis]
        return max(out + reach // self.strides[axis], -(-(size + before) // self.strides[axis]))
