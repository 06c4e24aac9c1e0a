"""Statistics of batch normalisation taken anew: those of training are of activations that pruning has changed."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from tfprune.errors import InputError
from tfprune.layers.catching import first_argument
from tfprune.layers.reading import called_with
from tfprune.layers.subclassed import as_graph
from tfprune.pruning.calibration import Inputs, calls_in_order, is_eager, run, told_calls
from tfprune.pruning.progress import Progress


def recalibrate(
    model: keras.Model,
    data,
    *,
    layer_by_layer: bool = False,
    batch_size: int = 128,
    steps: int | None = None,
    verbose: bool | int = True,
) -> None:
    """Sets the averages of all batch normalisation of a model to those over data; in place, and nothing else changes.

    The mean and the variance are those of all numbers that a channel has over all examples and positions, each counting
    the same whatever its batch, and not the running averages of `fit`. The model runs in inference apart from them, so
    that no dropout is in them; frozen layers get them, too.

    * By default in one pass, in which layers normalise each batch by its own statistics, as in training. The batches
      should be as large as there.
    * With `layer_by_layer`, in a pass for each layer, after those before it have theirs: then in inference over these
      data each of them gives outputs whose mean is β and whose variance is γ²·v/(v + ε), however data are batched.

        sparse = tfprune.masked(model, masks)
        tfprune.recalibrate(sparse, x)

    Args:
        model: built Keras model, plain or masked; layers within others and subclassed models count.
        data: inputs, or what `tfprune.prune` takes; see `tfprune.pruning.calibration.Inputs`.
        layer_by_layer: see above.
        batch_size, steps: as for `tfprune.prune`.
        verbose: whether to show progress on stderr where the call takes more than three seconds.

    Raises:
        InputError: no such layer, or one that the model does not call with these data, or only in a loop that the layer
            around it traces; data that do not fit, or that give what is not finite (names the layer).
    """
    graph = as_graph(model)
    norms = [one for one in model._flatten_layers() if isinstance(one, keras.layers.BatchNormalization)]
    if not norms:
        raise InputError(f"model {model.name!r} has no batch normalisation to recalibrate")
    batches = Inputs(graph, data, batch_size, steps)
    order = [(layer, calls) for layer, calls, _ in calls_in_order(graph, next(iter(batches)), norms)]
    unseen = {id(layer) for layer in norms} - {id(layer) for layer, _ in order}
    if unseen:
        names = ", ".join(repr(layer.path) for layer in norms if id(layer) in unseen)
        raise InputError(f"of batch normalisation {names} it is not known what it is called with for these data")
    with Progress(bool(verbose), "recalibrating") as progress:
        if layer_by_layer:
            for number, (layer, calls) in enumerate(order):
                progress.at("layer by layer", number, len(order), note=layer.name)
                moments = _Moments(layer)
                told_calls(graph, batches, layer, calls, moments.add)
                moments.check()
                moments.assign()
        else:
            progress.at("all layers", 0)
            _in_one_pass(graph, progress.batches(batches), norms)


def _in_one_pass(graph: keras.Model, batches, norms: list[keras.layers.BatchNormalization]) -> None:
    moments = {id(layer): _Moments(layer) for layer in norms}

    def around(layer, call, args, kwargs):
        mean, variance = moments[id(layer)].add(args, kwargs)
        own = [(layer.moving_mean, mean), (layer.moving_variance, variance)]
        return called_with(layer, own, call, args, {**kwargs, "training": False})

    for inputs in batches:
        run(graph, inputs, norms, around)
    for one in moments.values():
        one.check()
    for one in moments.values():
        one.assign()


class _Moments:
    """Mean and variance of a layer's inputs by channels, gathered in float64 of those of each call in float32.

    Reference: Chan, Golub & LeVeque 1983, "Algorithms for computing the sample variance" (of two parts together).
    """

    def __init__(self, layer: keras.layers.BatchNormalization):
        self._layer, self._count, self._mean, self._squares = layer, 0.0, 0.0, 0.0

    def add(self, args: tuple, kwargs: dict) -> tuple[tf.Tensor, tf.Tensor]:
        """Mean and variance of a call, (channels,) each, over the positions that its `mask` has."""
        x, mask = first_argument(args, kwargs), kwargs.get("mask")
        if not is_eager(x):
            raise InputError(f"batch normalisation {self._layer.path!r} is called in a loop for some batches")
        x = x if x.dtype == tf.float64 else tf.cast(x, tf.float32)
        channel = self._layer.axis % len(x.shape)
        axes = [axis for axis in range(len(x.shape)) if axis != channel]
        if mask is None:
            mean, variance = tf.nn.moments(x, axes)
            count = tf.fill(mean.shape, tf.size(x) / mean.shape[0])
        else:  # as Keras has it, which puts the missing axis last
            weights = tf.broadcast_to(tf.cast(tf.cast(mask, tf.bool), x.dtype)[..., None], x.shape)
            count = tf.reduce_sum(tf.cast(weights, tf.float64), axes)
            least = tf.cast(tf.maximum(count, 1), x.dtype)
            mean = tf.reduce_sum(x * weights, axes) / least
            centre = tf.reshape(mean, [-1 if axis == channel else 1 for axis in range(len(x.shape))])
            variance = tf.reduce_sum(tf.square(x - centre) * weights, axes) / least
        self._join(*(np.asarray(part, np.float64) for part in (count, mean, variance)))
        return mean, variance

    def _join(self, count: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> None:
        total = self._count + count
        part, step = count / np.maximum(total, 1), mean - self._mean
        self._squares = self._squares + variance * count + step**2 * (self._count * part)
        self._mean = self._mean + step * part
        self._count = total

    def check(self) -> None:
        """Raises InputError: what was gathered is not finite."""
        if not np.isfinite(self._squares).all():
            raise InputError(f"what batch normalisation {self._layer.path!r} is called with is not finite")

    def assign(self) -> None:
        """Gives the layer what was gathered."""
        self._layer.moving_mean.assign(self._mean)
        self._layer.moving_variance.assign(self._squares / np.maximum(self._count, 1))
