"""How local is connectivity: displacement counts between the input pixels of a unit, by autocorrelation.

For each unit of a dense layer on an image, take all ordered pairs of *different* connected inputs and count their
displacements d = (dy, dx), once for pairs in the same colour channel, S^sc(d), and once for pairs in different
channels, S^dc(d) (Pellegrini & Biroli 2021, arXiv 2104.13343). A convolution-like unit shows a narrow peak around 0.

Both maps are autocorrelations. Power spectra add up, so all units share one inverse FFT: the cost is a forward FFT for
each unit and channel, whatever the number of pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

# Units are transformed in blocks whose zero-padded spectra stay below this: memory doesn't grow with the layer, and a
# block stays in the processor's cache.
_BLOCK_BYTES = 2**20


class LocalityMaps(NamedTuple):
    """Counts of displacements between ordered pairs of different connected inputs, summed over units.

    Index `[h - 1 + dy, w - 1 + dx]` holds displacement (dy, dx) in pixels; every map is symmetric under d -> -d. These
    are all displacements that exist; a map of shape (2h + 1, 2w + 1) only adds a ring of zeros.

    Attributes:
        same_channel: S^sc, (2h - 1, 2w - 1), int64 counts (float64 for expectations). 0 at d = 0: an input paired with
            itself isn't counted.
        different_channel: S^dc, same shape; None for images of one channel. d = 0 is the same pixel in another channel.
    """

    same_channel: np.ndarray
    different_channel: np.ndarray | None

    @property
    def pairs(self) -> float:
        """Number of ordered pairs, Σ over units of n (n − 1) for n connections."""
        different = 0 if self.different_channel is None else self.different_channel.sum()
        return (self.same_channel.sum() + different).item()

    def local_fraction(self, distance: float = 3.0, among: str = "all") -> float:
        """Fraction of pairs that lie in the same channel within Euclidean distance `distance` (pixels, inclusive).

        Args:
            distance: 0 < |d| <= distance counts as local.
            among: `all` divides by all pairs of connected inputs of a unit, `same_channel` by those in one channel.

        Returns:
            A fraction in [0, 1]; NaN if there are no pairs.
        """
        if among not in ("all", "same_channel"):
            raise ValueError(f"among must be 'all' or 'same_channel'. Received: among={among!r}")
        total = self.pairs if among == "all" else self.same_channel.sum().item()
        local = self.same_channel[_within(self.same_channel.shape, distance)].sum().item()
        return local / total if total else float("nan")


class ConnectionGroup(NamedTuple):
    """Units with a similar number of connections.

    Attributes:
        fewest, most: the smallest and the largest number of connections in the group.
        units: int64 indices of its units.
        maps: locality maps summed over these units.
    """

    fewest: int
    most: int
    units: np.ndarray
    maps: LocalityMaps


def locality_maps(mask: np.ndarray, image_shape: tuple[int, int, int]) -> LocalityMaps:
    """S^sc(d) and S^dc(d) of a dense layer, summed over its units; exact.

    Args:
        mask: (c·h·w, units), inputs flattened channels-first; non-zero means connected.
        image_shape: (c, h, w).

    Returns:
        LocalityMaps of int64 counts.

    Raises:
        ValueError: the mask doesn't fit the image.
        ArithmeticError: rounding can't be trusted (it would take counts beyond about 1e14).
    """
    channels, height, width = image_shape
    connected = _by_unit(mask, image_shape)
    padded = (_fast_length(2 * height - 1), _fast_length(2 * width - 1))
    bytes_per_unit = 16 * (channels + 1) * padded[0] * (padded[1] // 2 + 1)
    block = max(1, _BLOCK_BYTES // bytes_per_unit)
    same = np.zeros((padded[0], padded[1] // 2 + 1))
    every = np.zeros_like(same)
    for start in range(0, len(connected), block):
        spectra = np.fft.rfft2(connected[start : start + block].astype(np.float64), s=padded)
        same += _power(spectra)
        every += _power(spectra.sum(axis=1))
    connections = connected.sum(axis=(1, 2, 3), dtype=np.int64)
    same_counts = _counts(same, padded, height, width)
    every_counts = _counts(every, padded, height, width)
    if every_counts.sum() != (connections**2).sum():
        raise ArithmeticError("displacement counts are too large for exact rounding; split the units into groups")
    different = every_counts - same_counts
    same_counts[height - 1, width - 1] -= connections.sum()
    return LocalityMaps(same_counts, different if channels > 1 else None)


def random_locality_maps(connections: Sequence[int] | np.ndarray, image_shape: tuple[int, int, int]) -> LocalityMaps:
    """Expected maps if each unit's connections were placed uniformly at random; exact, no sampling.

    Each ordered pair of a unit is then a uniformly random pair of different inputs, so the expectation of a
    displacement is Σ n (n − 1) times its share of all pairs of the image.

    Args:
        connections: number of connections of each unit.
        image_shape: (c, h, w).

    Returns:
        LocalityMaps of float64 expectations.
    """
    channels, height, width = image_shape
    inputs = channels * height * width
    n = np.asarray(connections, dtype=np.float64)
    scale = (n * (n - 1)).sum() / max(1, inputs * (inputs - 1))
    # Number of positions at which both ends of a displacement fall into the image.
    overlap = np.outer(_overlaps(height), _overlaps(width)).astype(np.float64)
    same = channels * overlap
    same[height - 1, width - 1] = 0
    different = channels * (channels - 1) * overlap * scale if channels > 1 else None
    return LocalityMaps(same * scale, different)


def local_fraction(
    mask: np.ndarray, image_shape: tuple[int, int, int], distance: float = 3.0, among: str = "all"
) -> float:
    """Fraction of connected pairs of the same unit that are in the same channel within `distance` pixels.

    Pairs are pooled over units. Arguments as for `locality_maps` and `LocalityMaps.local_fraction`.

    Returns:
        A fraction in [0, 1]; NaN if no unit has two connections.
    """
    return locality_maps(mask, image_shape).local_fraction(distance, among)


def expected_local_fraction_random(
    image_shape: tuple[int, int, int], distance: float = 3.0, among: str = "all"
) -> float:
    """Expectation of `local_fraction` for connections placed uniformly at random, with any numbers per unit.

    With the number of connections of each unit given, the number of pairs is fixed and each is a uniformly random pair
    of different inputs: the expectation is the image's own fraction, whatever those numbers. (`same_channel`: the same
    holds given the numbers in each channel, so also on average over them.)

    Returns:
        A fraction in [0, 1].
    """
    return random_locality_maps([2], image_shape).local_fraction(distance, among)


def random_mask_like(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A mask with the same number of connections for each unit, placed uniformly at random.

    Args:
        mask: (inputs, units).
        rng: source of the draw.

    Returns:
        bool, (inputs, units).
    """
    return rng.permuted(np.asarray(mask) != 0, axis=0)


def locality_by_connections(
    mask: np.ndarray, image_shape: tuple[int, int, int], groups: int = 4
) -> list[ConnectionGroup]:
    """Locality maps resolved by the number of connections of the units.

    Units with at least two connections (others have no pairs) are split at quantiles of their number of connections;
    units with equal numbers stay together, so there may be fewer groups than asked for.

    Args:
        mask, image_shape: as for `locality_maps`.
        groups: largest number of groups.

    Returns:
        Groups from the fewest to the most connections; empty if no unit has two.
    """
    connections = np.count_nonzero(mask, axis=0)
    units = np.flatnonzero(connections >= 2)
    if not len(units):
        return []
    edges = np.quantile(connections[units], np.linspace(0, 1, groups + 1)[1:-1])
    which = np.searchsorted(np.unique(edges), connections[units], side="left")
    result = []
    for group in np.unique(which):
        members = units[which == group]
        counts = connections[members]
        maps = locality_maps(np.asarray(mask)[:, members], image_shape)
        result.append(ConnectionGroup(int(counts.min()), int(counts.max()), members, maps))
    return result


def _by_unit(mask: np.ndarray, image_shape: tuple[int, int, int]) -> np.ndarray:
    """(inputs, units) -> bool (units, c, h, w)."""
    mask = np.asarray(mask)
    if mask.ndim != 2 or len(mask) != np.prod(image_shape):
        raise ValueError(f"mask must be (c*h*w, units) for image_shape={image_shape}. Received: shape {mask.shape}")
    return (mask != 0).T.reshape(mask.shape[1], *image_shape)


def _power(spectra: np.ndarray) -> np.ndarray:
    """|F|² summed over all axes but the last two."""
    power = np.square(spectra.real) + np.square(spectra.imag)
    return power.reshape(-1, *power.shape[-2:]).sum(axis=0)


def _counts(power: np.ndarray, padded: tuple[int, int], height: int, width: int) -> np.ndarray:
    """Summed power spectra -> autocorrelation as exact int64 counts with displacement 0 in the centre."""
    rows = np.arange(1 - height, height) % padded[0]
    columns = np.arange(1 - width, width) % padded[1]
    correlation = np.fft.irfft2(power, s=padded)[np.ix_(rows, columns)]
    counts = np.rint(correlation)
    if np.abs(correlation - counts).max() > 0.25:
        raise ArithmeticError("displacement counts are too large for exact rounding; split the units into groups")
    return counts.astype(np.int64)


def _overlaps(length: int) -> np.ndarray:
    """Number of positions at which a displacement of 1 - length .. length - 1 stays on the axis."""
    return length - np.abs(np.arange(1 - length, length))


def _within(shape: tuple[int, ...], distance: float) -> np.ndarray:
    """bool map of the displacements with |d| <= distance."""
    dy, dx = (np.arange(n) - n // 2 for n in shape)
    return dy[:, None] ** 2 + dx[None, :] ** 2 <= distance**2


def _fast_length(least: int) -> int:
    """The smallest even length >= least with no prime factor above 5, for which FFTs are fast."""
    length = max(2, least + least % 2)
    while True:
        rest = length
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return length
        length += 2
