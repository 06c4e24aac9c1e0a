"""The loss that a model is compiled with, for scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import keras
import tensorflow as tf
from keras import tree

from tfprune.errors import InputError
from tfprune.pruning.losses import (
    Loss,
    binary_cross_entropy,
    cross_entropy,
    ending,
    get_loss,
    of_examples,
    weighted_mean,
)

_SUMMED = ("sum", "none", None)  # the gradient of a loss that is not reduced is that of its sum


@dataclass(frozen=True)
class CompiledLoss:
    """What a model is compiled to minimise, with the weights of its losses; without regularizers and `add_loss`.

    Where Keras's mask leaves out time steps, each batch is the mean over its own.

    Args:
        source: the `CompileLoss` of the model, which keeps what it was made of only as attributes of its own. It is
            read and never called. Two are equal while the model is not compiled anew.
    """

    source: keras.Loss

    @property
    def name(self) -> str:
        """Of all losses, as one word or a list."""
        return ", ".join(dict.fromkeys(_name(loss) for loss in self._losses))

    @property
    def reduction(self) -> str | None:
        """How examples are made one number.

        Raises:
            InputError: differently for different outputs.
        """
        found = {reduction_of(loss) for loss in self._losses}
        if len(found) > 1:
            raise InputError(
                f"the losses that the model is compiled with reduce a batch in different ways ({', '.join(found)}), "
                "which have no common mean over all examples: give loss="
            )
        return found.pop()

    @property
    def classifies(self) -> Loss | None:
        """The named loss that this is on logits, None if there is none."""
        losses, weights = self._losses, self.source._user_loss_weights
        if len(losses) != 1 or len(self.source.output_names or [None]) != 1 or weights is not None:
            return None
        loss = losses[0]
        if isinstance(loss, str):
            loss = cross_entropy if loss.lower() in ("crossentropy", "ce") else _found(loss)
        if not isinstance(loss, keras.Loss):
            return _CLASSIFIERS.get(loss) if callable(loss) else None
        named, plain = _CLASSIFIERS.get(type(loss)), {"label_smoothing": 0, "ignore_class": None, "axis": -1}
        if named is None or reduction_of(loss) != "mean":
            return None
        config = loss.get_config()
        return named if all(config.get(key, value) == value for key, value in plain.items()) else None

    def value(self, labels, outputs, weights, temperature: float) -> tf.Tensor:
        """Scalar loss of a batch; labels and weights are in the order of `outputs` or by their names.

        Raises:
            InputError: the labels do not suit the loss.
        """
        named = self.classifies
        if named is not None and outputs.shape.rank == 2:
            loss, (activation, _) = self._losses[0], ending(outputs)
            logits = isinstance(loss, keras.Loss) and loss.get_config()["from_logits"] and activation is None
            if logits or activation == ("Sigmoid" if named is binary_cross_entropy else "Softmax"):
                return weighted_mean(of_examples(named, labels, outputs, temperature), weights)
        keys = list(outputs) if isinstance(outputs, Mapping) else self.source.output_names or [None]
        losses = _each("loss", self.source._user_loss, keys)
        if isinstance(labels, list) and len(labels) == sum(loss is not None for loss in losses):
            left = iter(labels)  # those of the outputs that have a loss, as `fit` takes them
            labels = [None if loss is None else next(left) for loss in losses]
        parts = zip(
            keys,
            losses,
            outputs.values() if isinstance(outputs, Mapping) else tree.flatten(outputs),
            _each("labels", labels, keys),
            _each("sample weights", weights, keys),
            _each("loss_weights", self.source._user_loss_weights, keys),
            strict=True,
        )
        return tf.add_n([self._part(*part) for part in parts if part[1] is not None])

    def _part(self, key, loss, output, labels, weights, factor) -> tf.Tensor:
        if labels is None:
            raise InputError(f"the data have no labels for output {key!r}, which has a loss")
        # One loss after the other: together they keep metrics, whose variables cannot be made in a traced function.
        alone = type(self.source)(loss)
        return by_keras(alone, labels, output, weights, _name(loss), self.reduction) * (
            1.0 if factor is None else factor
        )

    @property
    def _losses(self) -> list:
        return [loss for loss in tree.flatten(self.source._user_loss) if loss is not None]


_CLASSIFIERS = {
    cross_entropy: cross_entropy,
    keras.losses.SparseCategoricalCrossentropy: cross_entropy,
    keras.losses.sparse_categorical_crossentropy: cross_entropy,
    keras.losses.CategoricalCrossentropy: cross_entropy,
    keras.losses.categorical_crossentropy: cross_entropy,
    keras.losses.BinaryCrossentropy: binary_cross_entropy,
    keras.losses.binary_crossentropy: binary_cross_entropy,
}


def chosen_loss(model: keras.Model, loss: str | Loss | CompiledLoss | None) -> Loss | CompiledLoss:
    """The loss asked for; for None that of a compiled model, or else cross-entropy.

    Raises:
        InputError: as for `get_loss`, or the model computes its loss by a method of its own.
    """
    if isinstance(loss, CompiledLoss):
        return loss
    if loss is not None:
        return get_loss(loss)
    source = getattr(model, "_compile_loss", None)
    if source is None or not CompiledLoss(source).name:
        return cross_entropy
    if type(model).compute_loss is not keras.Model.compute_loss:
        raise InputError(f"model {model.name!r} has a compute_loss of its own: give loss=, a function of its outputs")
    return CompiledLoss(source)


def _each(what: str, structure, keys: list) -> list:
    """One for each output: by name, in order, or the same for all."""
    if isinstance(structure, Mapping):
        unknown = [key for key in structure if key not in keys]
        if unknown:
            raise InputError(f"{what} for {unknown[0]!r}, which is no output; outputs are {', '.join(map(str, keys))}")
        return [structure.get(key) for key in keys]
    if isinstance(structure, (list, tuple)):
        if len(structure) != len(keys):
            raise InputError(f"{what} must be one for each of {len(keys)} outputs; received {len(structure)}")
        return list(structure)
    return [structure] * len(keys)


def reduction_of(loss: Loss) -> str:
    """How a loss makes examples one number: `"mean"`, `"sum"` or `"mean_with_sample_weight"`.

    Raises:
        InputError: the losses of a compiled model do it in different ways.
    """
    reduction = loss.reduction if isinstance(loss, (keras.Loss, CompiledLoss)) else "mean"
    return "sum" if reduction in _SUMMED else "mean" if reduction == "sum_over_batch_size" else reduction


def loss_notice(model: keras.Model, loss: Loss | CompiledLoss) -> str | None:
    """What to tell of a loss that one might not expect: a compiled one that is no cross-entropy."""
    if not isinstance(loss, CompiledLoss) or loss.classifies is not None:
        return None
    return f"the scores are of the loss that model {model.name!r} is compiled with, {loss.name}; loss= takes another"


def by_keras(loss: keras.Loss, labels, outputs, weights, name: str, reduction: str) -> tf.Tensor:
    """A loss of Keras as a scalar.

    Raises:
        InputError: it cannot use the labels.
    """
    try:
        value = tf.reduce_sum(loss(labels, outputs, weights))
    except Exception as error:  # Keras, and losses of its users, raise almost anything at labels that do not fit
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise InputError(f"loss {name} does not fit the data's labels or the model's outputs: {reason}") from error
    # Within the scope of a strategy Keras divides means by the number of replicas.
    return value if reduction == "sum" else value * tf.distribute.get_strategy().num_replicas_in_sync


def _found(name: str):
    try:
        return keras.losses.get(name)
    except ValueError:  # told when the loss is called
        return None


def _name(loss) -> str:
    if isinstance(loss, str):
        return loss
    return getattr(loss, "name", None) or getattr(loss, "__name__", type(loss).__name__)
