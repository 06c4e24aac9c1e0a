"""What a state of a network's filters costs: by a forward pass of the masked network."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from tfprune.errors import InputError, did_you_mean
from tfprune.pruning.filter_states import StateSpace
from tfprune.pruning.losses import cross_entropy, ending, of_examples, weighted_mean
from tfprune.records.reading import first_line

Energy = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]
_FACTOR = 10.0  # of the published cost


def margin(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Target logit less the best other one, of each example; of one logit, how far it is on its label's side of 0.

    Args:
        labels: (batch, classes), one-hot or probabilities, of the logits' type: the target is the class of the largest.
        logits: (batch, classes), float.

    Returns:
        (batch,). The published code takes no logits above 10,000 for what they are; this does.
    """
    if logits.shape[1] == 1:
        return tf.reshape((2 * labels - 1) * logits, [-1])
    target = tf.one_hot(tf.argmax(labels, axis=1), logits.shape[1], on_value=True, off_value=False)
    own = tf.reduce_sum(tf.where(target, logits, 0), axis=1)
    return own - tf.reduce_max(tf.where(target, logits.dtype.min, logits), axis=1)


def margin_cost(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """−10 · margin. Arguments as for `margin`.

    Reference: Salehinejad & Valaee 2020, arXiv 2006.04270, and the factor of its code.
    """
    return -_FACTOR * margin(labels, logits)


_NAMED = {"margin": margin_cost, "cross_entropy": cross_entropy}


def check_targets(labels) -> None:
    """Refuses labels that name several classes of one example, which have no margin.

    Args:
        labels: of a batch, NumPy; other structures are not looked at.

    Raises:
        InputError: names the first such row.
    """
    if not isinstance(labels, np.ndarray) or labels.ndim != 2 or labels.shape[1] == 1:
        return
    several = (labels == labels.max(axis=1, keepdims=True)).sum(axis=1) > 1
    if several.any():
        raise InputError(
            "energy margin needs labels with one target per example, the largest: give energy='cross_entropy' or a "
            f"function of (labels, outputs, state). Received: {labels[several][0].tolist()!r:.80}"
        )


def get_energy(energy: str | Energy) -> Energy:
    """The energy of that name, or the function itself.

    Args:
        energy: `"margin"`, −10 times the target logit less the best other one; `"cross_entropy"`; or a function of
            (labels, outputs, state) in TensorFlow, the state being bool (D,), with one value per example, or one for a
            batch without sample weights; less is better. The named ones find the logits below a final softmax or
            sigmoid.

    Raises:
        InputError: an unknown name, or something that cannot be called so.
    """
    if isinstance(energy, str):
        if energy not in _NAMED:
            near = did_you_mean(energy, _NAMED)
            raise InputError(
                f"energy must be one of {', '.join(_NAMED)}, or a function of (labels, outputs, state). "
                f"Received: {energy!r}{near}"
            )
        return functools.partial(_named, energy)
    if isinstance(energy, (type, keras.Loss)) or getattr(energy, "__module__", "").startswith("keras."):
        # Their third argument is another one than the state.
        raise InputError(
            "energy must be a function of (labels, outputs, state), such as lambda labels, outputs, state: "
            f"loss(labels, outputs). Received: {energy!r:.80}"
        )
    try:
        inspect.signature(energy).bind(None, None, None)
    except TypeError:
        raise InputError(f"energy must be a function of (labels, outputs, state). Received: {energy!r:.80}") from None
    except ValueError:  # no signature to look at
        pass
    return energy


def _named(name: str, labels, outputs, state) -> tf.Tensor:
    if not tf.is_tensor(outputs) or outputs.shape.rank != 2 or outputs.shape[1] is None:
        form = outputs.shape if tf.is_tensor(outputs) else f"a {type(outputs).__name__} of {len(outputs)}"
        raise InputError(
            f"energy {name} needs a model with one output of shape (batch, classes); received {form}: give energy=, a "
            "function of (labels, outputs, state)"
        )
    return of_examples(_NAMED[name], labels, outputs, 1.0)


def passes(
    model: keras.Model, space: StateSpace, energy: Energy, batch_statistics: bool, refuse_constant: bool = True
) -> Callable:
    """A function that says what states cost on a batch: one forward pass each, one after the other.

    The model stays as it is, running averages of normalisation and seeds of dropout included: all states see the same
    dropout.

    Args:
        model: that the states are of.
        space: of its states.
        energy: from `get_energy`.
        batch_statistics: whether layers act as in training, so that normalisation takes each state's own statistics.
        refuse_constant: whether a state costs infinitely much whose outputs are the same for all examples of a batch:
            nothing leads from its inputs to its outputs. Before training its margins are better than most: near 0.

    Returns:
        (states, inputs, labels, sample weights or None) -> float32 (n,), for bool (n, D) states; inside a compiled
        function.
    """

    def costs(states: tf.Tensor, inputs, labels, weights=None) -> tf.Tensor:
        def cost(state):
            with keras.StatelessScope(space.masked(state)):
                outputs = model(inputs, training=batch_statistics)
            values = _values(energy, labels, outputs, state)
            if weights is not None and not values.shape.rank:
                raise InputError(
                    "energy returns one number for a batch, or a shape that is not known, which sample weights cannot "
                    "weigh: one per example"
                )
            found = tf.cast(weighted_mean(values, weights), tf.float32)
            return tf.where(_says_nothing(outputs), tf.constant(float("inf")), found) if refuse_constant else found

        count = tf.shape(states)[0]
        found = tf.TensorArray(tf.float32, count, element_shape=[])

        def one_more(number, found):
            return number + 1, found.write(number, cost(states[number]))

        # Not `tf.map_fn`: it leaves TensorFlow unable to enter a strategy's scope where tracing fails.
        return tf.while_loop(lambda number, _: number < count, one_more, (0, found), parallel_iterations=1)[1].stack()

    return costs


def _values(energy: Energy, labels, outputs, state) -> tf.Tensor:
    """float32 or float64, of any shape."""
    try:
        values = energy(labels, outputs, state)
        values = None if values is None else tf.convert_to_tensor(values)
    except InputError:
        raise
    except Exception as error:  # the user's own code
        told = f"energy cannot be computed: {type(error).__name__}: {first_line(error)}"
        raise InputError(told) from error
    if values is None or not (values.dtype.is_floating or values.dtype.is_integer):
        found = "None" if values is None else values.dtype.name
        raise InputError(f"energy must return real numbers. Received: {found}")
    return values if values.dtype == tf.float64 else tf.cast(values, tf.float32)


def _says_nothing(outputs) -> tf.Tensor:
    """Whether all outputs are the same for all examples, of which there are several; bool scalar.

    It is the logits that count where there are some: many examples of one class may have a probability of exactly 1.
    """
    arrays = [array if (logits := ending(array)[1]) is None else logits for array in tf.nest.flatten(outputs)]
    same = [tf.reduce_all(tf.equal(array, array[:1])) for array in arrays]
    return tf.reduce_all(same) & (tf.shape(arrays[0])[0] > 1)
