"""The Ising cost of states: how filters of a layer differ, how much the maps of a layer vary for the next one.

The matrix of interactions J is (bits × bits), but all of it is 0 apart from one block for each layer and one between
each layer and the next. Those between repeat one vector in every column, so that a vector is all that is kept of them.

Reference: Salehinejad & Valaee 2021, arXiv 2102.05437 ("IPruning"); normalisations as in the authors' code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from tfprune.errors import InputError
from tfprune.layers.topology import named_layers
from tfprune.pruning.filter_states import StateSpace, Stretch

PENALTY = 1e5  # for each bit, times what is missing to the keep rate
BINS = 256
# An eigenvalue of a covariance that is a smaller part of the largest one is 0: float32 weights can't tell it from 0.
RANK = 1e-12
_AT_ONCE = 2**23  # pairs of units


@dataclass(frozen=True)
class Block:
    """Interactions of n bits from `start` on: `within`, float32 (n, n), among themselves; `entropies`, float32 (n,), of
    each with every one of the `following` bits right after them."""

    start: int
    within: np.ndarray | tf.Variable
    entropies: np.ndarray | tf.Variable
    following: int = 0


class Interactions:
    """J of a network's filters, and the cost of states that it gives; its numbers are variables of fixed shapes.

    Args:
        size: number of bits, D.
        blocks: all of J that isn't 0.
        published: whether states enter the interactions as in the published code, which takes the population's (N, D)
            array for one of shape (D, N): bits of several states get mixed.

    Attributes:
        blocks: see above, with variables in them.
        total: float64 variable, the sum of J.
    """

    def __init__(self, size: int, blocks: Sequence[Block], published: bool = False):
        self.size, self.published = size, published
        self.blocks = tuple(
            Block(each.start, _variable(each.within), _variable(each.entropies), each.following) for each in blocks
        )
        self.total = tf.Variable(sum(map(_sum, self.blocks)), trainable=False, dtype=tf.float64)

    def assign(self, other: Interactions) -> None:
        """Takes over the numbers of interactions of the same shapes; compiled functions that use these see them."""
        for mine, new in zip(self.blocks, other.blocks, strict=True):
            mine.within.assign(new.within)
            mine.entropies.assign(new.entropies)
        self.total.assign(other.total)

    def quadratic(self, states: tf.Tensor) -> tf.Tensor:
        """sᵀ J s of states (N, D) of bool: float64 (N,), made of sums within layers that are float32's."""
        states = tf.cast(states, tf.float32)
        found = tf.zeros(tf.shape(states)[0], tf.float64)
        for block in self.blocks:
            end = block.start + block.within.shape[0]
            mine, following = states[:, block.start : end], states[:, end : end + block.following]
            found += _exact(tf.reduce_sum(tf.linalg.matmul(mine, block.within) * mine, axis=1))
            found += _exact(tf.linalg.matvec(mine, block.entropies)) * _exact(tf.reduce_sum(following, axis=1))
        return found

    def cost(self, states: tf.Tensor, kept: tf.Tensor, keep_rate: float) -> tf.Tensor:
        """−sᵀ(J − 1)s + Σs · Σ(J − 1)/D + D · 10⁵ · max(keep_rate − kept, 0) of each state s; lower is better.

        The first two terms are of the size of D², far above what a bit changes: they are added up in float64. The
        result is rounded once: to 0.5 for 5,312 bits, of which one changes it by some 100, and to 16 for 28,608.

        Args:
            states: bool (N, D); all of a population, and it alone, where the published code's mixing is wanted.
            kept: (N,) of a float dtype, fraction that each keeps.
            keep_rate: in [0, 1], the fraction below which a state is punished.

        Returns:
            float64 (N,).
        """
        states = tf.cast(states, tf.int32)
        among = tf.transpose(tf.reshape(states, (self.size, -1))) if self.published else states
        on, on_among = (_exact(tf.reduce_sum(each, axis=1)) for each in (states, among))
        missing = tf.maximum(tf.cast(keep_rate, kept.dtype) - kept, 0)
        bias = on * (self.total - self.size**2) / self.size
        return on_among**2 - self.quadratic(among) + bias + self.size * PENALTY * _exact(missing)


def build(model: keras.Model, space: StateSpace, images: np.ndarray, published: bool = False) -> Interactions:
    """The interactions of a model's filters, from its weights and its feature maps for a batch of images.

    The units of a stretch of bits are the filters of a kernel, or its inputs where bits switch these. Their block is
    `local_kl` of the kernel; their maps, for `entropies`, are what the layer makes (before normalisation, and before an
    activation that is a layer of its own) or reads. Units that are one number for each image, not a map, have these
    numbers for a map. Bits that no kernel follows have no interactions. The model runs in inference and stays as it is.

    Args:
        model: built Functional or Sequential model, not nested.
        space: of its states; stretches are in the network's order.
        images: float32 (batch, height, width, channels), as the model takes them.
        published: see `Interactions` and `local_kl`.

    Raises:
        InputError: NaN or infinite numbers in a kernel or its maps; names the kernel.
    """
    units = {stretch: found for stretch in space.stretches if (found := _units(space, stretch))}
    layers = dict(named_layers(model))
    ends = [(layers[path.rpartition("/")[0]], reads) for path, reads, _ in units.values()]
    run = keras.Model(model.inputs, [layer.input if reads else layer.output for layer, reads in ends])
    maps = dict(zip(units, keras.tree.flatten(run(tf.convert_to_tensor(images), training=False)), strict=True))
    blocks = []
    for stretch, following in zip(space.stretches, [*space.stretches[1:], None], strict=True):
        if stretch not in units:
            continue
        path, reads, chosen = units[stretch]
        kernel = np.take(keras.ops.convert_to_numpy(space.kernels[path]), chosen, -2 if reads else -1)
        seen = tf.cast(maps.pop(stretch), tf.float32)
        if np.prod(seen.shape[1:-1]) == 1:
            seen = tf.reshape(seen, (1, -1, seen.shape[-1]))
        seen = tf.reduce_mean(seen, axis=0, keepdims=True).numpy()[..., chosen]
        if not (np.isfinite(kernel).all() and np.isfinite(seen).all()):
            raise InputError(
                f"{path!r} gives no interactions: its weights or feature maps hold NaN or infinite numbers"
            )
        count = following.size if following in units else 0
        blocks.append(Block(stretch.start, local_kl(kernel, reads, published), entropies(seen), count))
    return Interactions(space.size, blocks, published)


def entropies(maps: np.ndarray) -> np.ndarray:
    """Entropies of the values of feature maps (batch, ..., channels), over the layer's largest: float32 (channels,).

    The mean over the batch, brought to [0, 255] by the layer's smallest and largest value, falls into 256 bins for each
    map; entropy is −Σ q log₂ q of q, the counts over the map's largest count. Where all are 0, they stay 0.
    """
    values = np.mean(maps, axis=0, dtype=np.float64).reshape(-1, maps.shape[-1])
    channels, span = values.shape[1], np.ptp(values)
    bins = np.minimum((values - values.min()) / (span or 1) * BINS, BINS - 1).astype(int) + BINS * np.arange(channels)
    counts = np.bincount(bins.ravel(), minlength=BINS * channels).reshape(channels, BINS)
    shares = counts / counts.max(axis=1, keepdims=True)
    found = np.abs(np.sum(shares * np.log2(np.where(counts, shares, 1)), axis=1))
    return (found / (found.max() or 1)).astype(np.float32)


def local_kl(kernel: np.ndarray, reads: bool = False, published: bool = False) -> np.ndarray:
    """How much the units of a layer differ: normalised Kullback-Leibler divergences of their weights.

    A unit is a normal distribution over the positions of the kernel, with the mean and the covariance of its weights
    over the channels at the kernel's other end. M is KL(i ‖ j) for i <= j and 0 below; it is 1 instead where that is no
    finite number, and where there is a single channel, so no covariance. The result is the symmetric part of
    (M − min M)/max|M|.

    Args:
        kernel: finite (..., in, out) of float, positions first; (in, out) has one position.
        reads: whether the units are the inputs rather than the filters.
        published: whether filters are read as in the published code, which takes an (out, in, positions) array for one
            of shape (in, out, positions): weights of several filters get mixed.

    Returns:
        float32 (units, units).
    """
    samples = (
        np.asarray(kernel, np.float64).reshape(-1, *kernel.shape[-2:]).transpose((2, 1, 0) if reads else (1, 2, 0))
    )
    if published and not reads:
        samples = samples.transpose(1, 0, 2).reshape(samples.shape)
    if len(samples) > 1:
        means = samples.mean(axis=0)
        spread = (samples - means).transpose(1, 2, 0)
        found = divergences(means, spread @ spread.transpose(0, 2, 1) / (len(samples) - 1), np.float32)
        np.nan_to_num(found, copy=False, nan=1, posinf=1, neginf=1)
    else:
        found = np.triu(np.ones((samples.shape[1],) * 2, np.float32))
    least, largest = found.min(), max(found.max(), -found.min())
    found -= least
    found = found + found.T
    found /= 2 * largest or 1
    return found


def divergences(means: np.ndarray, covariances: np.ndarray, dtype=np.float64) -> np.ndarray:
    """KL(i ‖ j) of normal distributions for all pairs i <= j, 0 for the others; summed in float64.

    ½ (tr(S_j⁺ S_i) + (m_j − m_i)ᵀ S_j⁺ (m_j − m_i) − k + ln det S_j − ln det S_i), with pseudo-inverses. Where S_i is
    singular the logarithms are left out; where S_j alone is, the result is −∞.

    Args:
        means: float64 (n, k).
        covariances: float64 (n, k, k).
        dtype: of the result, (n, n).
    """
    count, size = means.shape
    means = means - means.mean(axis=0)  # only differences count, and small numbers keep them better
    values, vectors = np.linalg.eigh(covariances)
    positive = values > RANK * values.max(axis=1, keepdims=True)
    inverse = np.divide(1, values, out=np.zeros_like(values), where=positive)
    precisions = (vectors * inverse[:, None]) @ vectors.transpose(0, 2, 1)
    logs = np.log(np.where(positive, values, 1)).sum(axis=1)
    regular = positive.all(axis=1)
    weighted = (precisions @ means[:, :, None])[:, :, 0]
    offsets = (means * weighted).sum(axis=1) - size
    second = (covariances + means[:, :, None] * means[:, None]).reshape(count, -1)
    precisions = precisions.reshape(count, -1)
    found = np.zeros((count, count), dtype)
    rows = max(1, _AT_ONCE // count)
    for start in range(0, count, rows):
        some = slice(start, start + rows)
        block = second[some] @ precisions[start:].T - 2 * means[some] @ weighted[start:].T + offsets[start:]
        ratios = np.where(regular[start:], logs[start:], -np.inf) - logs[some, None]
        found[some, start:] = np.triu(block + np.where(regular[some, None], ratios, 0)) / 2
    return found


def _units(space: StateSpace, stretch: Stretch) -> tuple[str, bool, np.ndarray] | None:
    """(path, whether they are inputs, their indices) in the first kernel that all bits of a stretch act on."""
    bits = np.arange(stretch.start, stretch.start + stretch.size)
    for site in space.sites:
        if np.isin(bits, site.bits).all():
            order = np.argsort(site.bits, kind="stable")
            reads = site.axis % len(space.kernels[site.path].shape) < len(space.kernels[site.path].shape) - 1
            return site.path, reads, order[np.searchsorted(site.bits[order], bits)]
    return None


def _sum(block: Block) -> float:
    return np.sum(block.within, dtype=float) + block.following * np.sum(block.entropies, dtype=float)


def _variable(values) -> tf.Variable:
    return tf.Variable(values, trainable=False, dtype=tf.float32)


def _exact(values: tf.Tensor) -> tf.Tensor:
    return tf.cast(values, tf.float64)
