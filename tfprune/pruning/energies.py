"""What a state of a network's filters costs: by a forward pass of the masked network."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import keras
import tensorflow as tf

from tfprune.errors import InputError, did_you_mean
from tfprune.pruning.filter_states import StateSpace
from tfprune.pruning.losses import cross_entropy, of_examples, weighted_mean

Energy = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]
_FACTOR = 10.0  # of the published cost


def margin(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Target logit less the best other one, of each example; of one logit, how far it is on its label's side of 0.

    Args:
        labels: (batch, classes), one-hot, of the logits' type.
        logits: (batch, classes), float.

    Returns:
        (batch,). The published code takes no logits above 10,000 for what they are; this does.
    """
    if logits.shape[1] == 1:
        return tf.reshape((2 * labels - 1) * logits, [-1])
    target = tf.reduce_sum(tf.where(labels > 0, labels * logits, 0), axis=1)
    return target - tf.reduce_max(tf.where(labels > 0, logits.dtype.min, logits), axis=1)


def margin_cost(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """−10 · margin. Arguments as for `margin`.

    Reference: Salehinejad & Valaee 2020, arXiv 2006.04270, and the factor of its code.
    """
    return -_FACTOR * margin(labels, logits)


_NAMED = {"margin": margin_cost, "cross_entropy": cross_entropy}


def get_energy(energy: str | Energy) -> Energy:
    """The energy of that name, or the function itself.

    Args:
        energy: `"margin"`, −10 times the target logit less the best other one; `"cross_entropy"`; or a function of
            (labels, outputs, state) in TensorFlow, the state being bool (D,), with one value per example or one for the
            batch; less is better. The named ones find the logits below a final softmax or sigmoid.

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
        return lambda labels, outputs, state: of_examples(_NAMED[energy], labels, outputs, 1.0)
    try:
        inspect.signature(energy).bind(None, None, None)
    except TypeError:
        raise InputError(f"energy must be a function of (labels, outputs, state). Received: {energy!r:.80}") from None
    except ValueError:  # no signature to look at
        pass
    return energy


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
            values = tf.convert_to_tensor(energy(labels, outputs, state))
            if values.dtype.is_complex or not values.dtype.is_floating:
                raise InputError(f"energy must return real numbers. Received: {values.dtype.name}")
            found = tf.cast(weighted_mean(values, weights if values.shape.rank else None), tf.float32)
            return tf.where(_says_nothing(outputs), tf.constant(float("inf")), found) if refuse_constant else found

        return tf.map_fn(cost, states, fn_output_signature=tf.TensorSpec([], tf.float32), parallel_iterations=1)

    return costs


def _says_nothing(outputs) -> tf.Tensor:
    """Whether all outputs are the same for all examples, of which there are several; bool scalar."""
    arrays = tf.nest.flatten(outputs)
    same = [tf.reduce_all(tf.equal(array, array[:1])) for array in arrays]
    return tf.reduce_all(same) & (tf.shape(arrays[0])[0] > 1)
