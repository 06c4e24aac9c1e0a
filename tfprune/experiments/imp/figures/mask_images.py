"""Masks and weights of units as colour images, and grids of them: arrays in, arrays out."""

from __future__ import annotations

import numpy as np

from tfprune.plots.style import TWO_SIDED, amounts

SEPARATOR = 190  # grey level between the images of a grid: neither that of a pruned pixel nor of a kept one
ORDERS = ("most", "least", "sampled")


def select_units(
    connections: np.ndarray, which: str, count: int, rng: np.random.Generator | None = None, live: bool = True
) -> np.ndarray:
    """Indices of the most or least connected units, or of an evenly drawn sample.

    Args:
        connections: (units,) number of connections.
        which: `most` (most first), `least` (fewest first) or `sampled` (in order of their number of connections).
        count: how many; fewer if there are fewer.
        rng: draws the sample; None is `default_rng(0)`, so that figures don't change from call to call.
        live: leave out units without connections.

    Returns:
        int64 indices; equal numbers of connections in order of index.
    """
    if which not in ORDERS:
        raise ValueError(f"which must be one of {', '.join(ORDERS)}. Received: which={which!r}")
    connections = np.asarray(connections)
    order = np.argsort(-connections if which == "most" else connections, kind="stable")
    if live:
        order = order[connections[order] > 0]
    if which == "sampled" and len(order) > count:
        rng = np.random.default_rng(0) if rng is None else rng
        order = order[np.sort(rng.choice(len(order), count, replace=False))]
    return order[:count]


def mask_images(columns: np.ndarray, image_shape: tuple[int, int, int]) -> np.ndarray:
    """Each unit's connections as an image: the darker a pixel, the more of its channels are connected.

    Args:
        columns: (c·h·w, units) in [0, 1] (bool masks, or fractions such as normalised path counts), channels-first.
        image_shape: (c, h, w); shown is the mean over the channels.

    Returns:
        uint8, (units, h, w, 3), in the colours of `plots.style.amounts`: white is unconnected.
    """
    images = np.asarray(columns, dtype=np.float64).T.reshape(-1, *image_shape)
    return amounts()(images.mean(axis=1), bytes=True)[..., :3]


def weight_images(columns: np.ndarray, image_shape: tuple[int, int, int]) -> np.ndarray:
    """Each unit's weights as an image: grey is 0, blue and darker negative, yellow and brighter positive.

    Args:
        columns: (c·h·w, units) float, weights times mask, channels-first.
        image_shape: (c, h, w). Of a pixel's channels the weight that is largest in size is shown.

    Returns:
        uint8, (units, h, w, 3), in the colours of `plots.style.TWO_SIDED`. Each unit is scaled by its own largest |w|,
        and 0 is exactly the middle.
    """
    columns = np.asarray(columns, dtype=np.float64)
    scale = np.abs(columns).max(axis=0, initial=0.0)
    images = (columns / np.where(scale > 0, scale, 1.0)).T.reshape(-1, *image_shape)
    largest = np.abs(images).argmax(axis=1)[:, None]
    images = np.take_along_axis(images, largest, axis=1)[:, 0]
    return TWO_SIDED((128 + np.rint(127 * images)).astype(int), bytes=True)[..., :3]


def tile(images: np.ndarray, columns: int | None = None, separator: int = SEPARATOR) -> np.ndarray:
    """Images in a grid, row by row, with a line of one pixel around each.

    Args:
        images: uint8, (n, h, w, 3).
        columns: images in a row; None makes the grid as square as possible.
        separator: grey level of the lines and of empty places.

    Returns:
        uint8, (rows·(h + 1) + 1, columns·(w + 1) + 1, 3).
    """
    count, height, width, _ = images.shape
    columns = columns or grid_columns(count)
    rows = max(1, -(-count // columns))
    cells = np.full((rows * columns, height + 1, width + 1, 3), separator, dtype=np.uint8)
    cells[:count, 1:, 1:] = images
    body = cells.reshape(rows, columns, height + 1, width + 1, 3).swapaxes(1, 2)
    body = body.reshape(rows * (height + 1), columns * (width + 1), 3)
    return np.pad(body, ((0, 1), (0, 1), (0, 0)), constant_values=separator)


def grid_columns(count: int) -> int:
    """Columns of the squarest grid for `count` images, at least 1."""
    return max(1, int(np.ceil(np.sqrt(count))))


def upscale(image: np.ndarray, factor: int) -> np.ndarray:
    """Each pixel of (h, w, 3) as a `factor` × `factor` block."""
    return image.repeat(factor, axis=0).repeat(factor, axis=1)
