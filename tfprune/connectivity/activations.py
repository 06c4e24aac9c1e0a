"""What an activation does to its entries: which of them it makes depend on each other, and whether 0 stays 0.

Any callable may be an activation, so it is asked: on numbers, of which one after the other is changed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from tfprune.errors import InputError

_LARGEST = 6  # of an axis of the numbers tried, the batch axis aside
_CHANGES = 64  # entries that are changed, at most


@dataclass(frozen=True)
class Behaviour:
    """What an activation does.

    Attributes:
        axes: along these (batch is 0) entries depend on each other; None for one that works entry by entry, empty for
            one that is constant, as softmax of a single entry.
        keeps_zero: whether zeros become zeros.
    """

    axes: tuple[int, ...] | None
    keeps_zero: bool


def activated(walk, activation: Callable | None, x, owner: keras.layers.Layer):
    """What a rule returns for `activation(x)`, activation of the layer `owner`."""
    if not walk.boolean or activation is None or activation is keras.activations.linear:
        return x
    if isinstance(activation, keras.layers.Layer):
        return walk.apply(activation, x)
    behaviour = behaviour_of(activation, tuple(x.shape[1:]), owner)
    if behaviour.axes is not None:
        x = walk.mix(x, behaviour.axes)
    return x if behaviour.keeps_zero else walk.lift(x)


def behaviour_of(activation: Callable, shape: tuple[int, ...], owner: keras.layers.Layer) -> Behaviour:
    """What a callable does to tensors of a shape (without batch axis).

    Random numbers are tried, so a dependence that shows only at rare values stays unseen. A callable that cannot be
    tried counts as one that makes all entries depend on each other.

    Raises:
        InputError: it changes the shape; names the layer.
    """
    sizes = tuple(min(size, _LARGEST) for size in shape)
    own = getattr(activation, "__module__", None) or ""
    try:
        # Keras's own live as long as the program and are many layers' activation.
        found = _known(activation, sizes) if own.startswith("keras.") else _tried(activation, sizes)
    except Exception:  # a user's function may raise anything, for example as it wants the real sizes
        try:
            found = _tried(activation, shape)
        except Exception:
            return Behaviour(tuple(range(1, len(shape) + 1)), keeps_zero=False)
    if found is None:
        name = getattr(activation, "__name__", activation)
        raise InputError(f"{owner.name!r}: nothing says what the activation {name} does, which changes the shape")
    return found


def _tried(activation: Callable, sizes: tuple[int, ...]) -> Behaviour | None:
    rng = np.random.default_rng(0)
    count = int(np.prod(sizes))
    changed = rng.permutation(count)[:_CHANGES]
    given = np.repeat(rng.normal(size=(1, count)), len(changed) + 1, axis=0)
    given[np.arange(len(changed)), changed] += np.where(given[-1, changed] > 0, -3.0, 3.0)  # across 0
    with tf.init_scope():  # now, also while a graph is traced
        numbers = tf.constant(given.reshape(-1, *sizes), keras.config.floatx())
        outputs = np.asarray(activation(numbers))
        zeros = np.asarray(activation(tf.zeros((1, *sizes), numbers.dtype)))
    if outputs.shape != given.reshape(-1, *sizes).shape:
        return None
    # The same number at another place of a vector may come out with another last bit.
    moved = ~np.isclose(outputs[:-1], outputs[-1], rtol=1e-4, atol=1e-6, equal_nan=True)
    places = np.argwhere(moved)
    origins = np.stack(np.unravel_index(changed[places[:, 0]], sizes), axis=1)
    elsewhere = np.flatnonzero((places[:, 1:] != origins).any(axis=0))
    entry_by_entry = len(places) and not len(elsewhere)
    return Behaviour(None if entry_by_entry else tuple((elsewhere + 1).tolist()), keeps_zero=not zeros.any())


_known = functools.cache(_tried)
