"""Which kernels the engine pays for: by their shape, their density and the batch alone, never by a clock."""

from __future__ import annotations

from tfprune.engine.geometry import Geometry

# Nanoseconds of one core with vectors of 512 bits, rounded.
_CALL = 200_000  # what the engine's operation costs more than one of TensorFlow
_DENSE_PRODUCT = 1 / 54  # for each weight, position and example
_DENSE_WEIGHT = 1 / 3  # each is read once
_DENSE_OUTPUT = 0.7
_INPUT = 0.5  # to become part of a row
_OUTPUT = 1.0
_CONNECTION = 3.0
_PRODUCT = 1 / 24  # for each connection, position of a row and example
_NEAR_PRODUCT = 1 / 32  # from a core's first cache
_NEAR = 96  # rows of which a tile fills that cache
_LEAST = 15  # connections with a group of so many rows, on average, for which that pays
_NORMALISED = 2.5  # by TensorFlow, each input
_NORMALISED_OUTPUT = 0.3
_NORMALISED_PRODUCT = 1 / 28  # rows are few, or bytes
_CALL_OF_SEVERAL = 50_000  # a layer's part of a call for several
_PRODUCT_OF_SEVERAL = 1 / 40  # convolutions that are computed at once
_MOVED = 1.5  # what stays in order between them
_MOST_ALONE = 20_000  # connections of a single position, whose sums wait for each other
_LANES = 16
_MARGIN = 1.2


def rows_in_group(lines: int, kept: int, read: int, made: int) -> int:
    """How many rows are read for all rows that are made, before the next ones are.

    Args:
        lines: of a kernel.
        kept: its kept weights.
        read, made: rows.

    Returns:
        As many as a core's first cache holds a tile of, with the lines above and below; more where so few would have
        fewer than 15 connections with a row that is made; at most all.
    """
    near = max(1, _NEAR // (lines + (lines > 1)))
    return min(read, max(near, -(-_LEAST * read * made // max(1, kept))))


def pays(geometry: Geometry, kept: int, batch_size: int) -> bool:
    """Whether products with the kept weights alone are expected to be quicker than the dense one.

    They are where 1.2 times their estimated time is below that of the dense product. Estimates are sums, in nanoseconds
    of one core, of these:

    - dense: 1/54 for each weight, position of the outputs and example; 1/3 for each weight; 0.7 for each output;
    - kept: 200,000 for the call; 0.5 for each input and 1 for each output, as they lie in rows, with borders; and for
      each kept weight 3 and 1/24 for each float of a row of the outputs, filled up to 16; 1/32 where rows are read in
      several groups, see `rows_in_group`.

    So a dense layer of 3072 × 1024 weights pays below a density of 40 % at batch 500, of 6 % at batch 1; a 3×3
    convolution of 64 channels of 32 × 32 pixels below 40 % at batch 32, one of 512 channels of 4 × 4 pixels at batch 1
    below 10 %. Kernels of a few thousand weights, 3×3 depthwise convolutions, and 1×1 convolutions to many channels of
    large images from few never pay: the call, and bringing rows into order, cost as much as the dense product.

    Args:
        geometry: of the kernel.
        kept: number of weights kept.
        batch_size: examples in a batch; positions along which a dense kernel is repeated count, too.
    """
    return _MARGIN * (_CALL + _kept(geometry, kept, batch_size)) < _dense(geometry, batch_size)


def pays_normalized(geometry: Geometry, kept: int, batch_size: int) -> bool:
    """As `pays`, for dense layers that normalise their own inputs.

    The dense side is 2.5 nanoseconds more for each input. The kept one is 50,000 for the call, not 200,000, as layers
    that follow one another share it; 0.3 for each output, which stays a row; and 1/28 for each float of a row. Where
    all examples of its inputs or outputs are 2³¹ floats or more it never pays. So a layer of 256 × 10 weights pays at
    any density at batch 500, one of 3072 × 256 below 52 %.
    """
    if max(geometry.channels, geometry.out_channels) * (batch_size + 8 * _LANES) >= 1 << 31:
        return False
    dense = _dense(geometry, batch_size) + geometry.channels * batch_size * _NORMALISED
    sparse = _kept(geometry, kept, batch_size, _NORMALISED_OUTPUT, _NORMALISED_PRODUCT)
    return _MARGIN * (_CALL_OF_SEVERAL + sparse) < dense


def goes_along(geometry: Geometry, kept: int) -> bool:
    """Whether a layer that holds its whole kernel is computed by its kept weights, where its neighbours are at once.

    It is where 1/40 nanoseconds for each kept weight, position and example are at most 1.5 for each input and output
    more than 1/54 for each weight, as these need not become images and rows again. Of outputs with a single position
    at most 20,000 weights may be kept.
    """
    positions = geometry.out_height * geometry.out_width
    if positions == 1:
        return kept <= _MOST_ALONE
    moved = geometry.height * geometry.width * geometry.channels + positions * geometry.out_channels
    return positions * (kept * _PRODUCT_OF_SEVERAL - geometry.size * _DENSE_PRODUCT) < _MOVED * moved


def _dense(geometry: Geometry, batch: int) -> float:
    places = geometry.out_height * geometry.out_width * batch
    outputs = places * geometry.out_channels
    return places * geometry.size * _DENSE_PRODUCT + geometry.size * _DENSE_WEIGHT + outputs * _DENSE_OUTPUT


def _kept(geometry: Geometry, kept: int, batch: int, output: float = _OUTPUT, product: float | None = None) -> float:
    read = geometry.phases * geometry.channels
    inputs = geometry.positions * read * batch
    length = geometry.span * batch
    outputs = length * geometry.out_channels
    row = -(-length // _LANES) * _LANES
    if product is None:
        in_groups = rows_in_group(geometry.shape[0], kept, read, geometry.out_channels) < read
        product = _NEAR_PRODUCT if in_groups else _PRODUCT
    return inputs * _INPUT + outputs * output + kept * (_CONNECTION + row * product)
