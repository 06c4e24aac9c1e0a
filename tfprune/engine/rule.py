"""Which kernels the engine pays for: by their shape, their density and the batch alone, never by a clock."""

from __future__ import annotations

from tfprune.engine.geometry import Geometry

_DENSE_BREAK_EVEN = 0.25
_CONVOLUTION_BREAK_EVEN = 0.15
_SMALLEST = 4096  # weights of a kernel, below which a call costs more than its product


def pays(geometry: Geometry, kept: int, batch_size: int) -> bool:
    """Whether products with the kept weights alone are expected to be quicker than the dense one.

    Args:
        geometry: of the kernel.
        kept: number of weights kept.
        batch_size: examples in a batch; positions along which a dense kernel is repeated count, too.
    """
    limit = _CONVOLUTION_BREAK_EVEN if geometry.positions > 1 else _DENSE_BREAK_EVEN
    return geometry.size >= _SMALLEST and kept <= limit * geometry.size
