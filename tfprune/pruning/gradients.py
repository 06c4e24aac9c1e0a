"""Gradients of a loss with respect to masked weights, over batches, leaving the model as it is.

The model is called without state: weights, normalisation averages and dropout seeds are given in and what would have
been written comes back and is dropped. One traced function per model serves all batches and rounds.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping

import keras
import numpy as np
import tensorflow as tf

from tfprune.errors import InputError
from tfprune.layers.prunable import prunable
from tfprune.layers.topology import named_layers
from tfprune.pruning.batches import grouped
from tfprune.pruning.losses import LOSSES, Loss, check_labels, loss_value

Batches = Iterable[tuple]

_traced: weakref.WeakKeyDictionary[keras.Model, dict] = weakref.WeakKeyDictionary()


def traced(model: keras.Model, key: tuple, build: Callable[[], Callable]) -> Callable:
    """The function that `build` makes for a model, made once while the model lives and no layer is frozen or thawed.

    The function must not hold the model itself, only a weak reference, or neither would ever be freed.
    """
    trainable = tuple(layer.trainable for _, layer in named_layers(model))
    functions = _traced.setdefault(model, {})
    if (key, trainable) not in functions:
        functions[key, trainable] = build()
    return functions[key, trainable]


def masked_weights(model: keras.Model, masks: Mapping[str, np.ndarray]) -> dict[str, tf.Tensor]:
    """Path -> float32 tensor: every prunable weight, zero where pruned."""
    return {
        path: tf.where(masks[path], tf.cast(variable.value, tf.float32), 0.0)
        for path, variable in prunable(model).items()
    }


def mean_gradients(
    model: keras.Model,
    batches: Batches,
    weights: Mapping[str, tf.Tensor],
    rng: np.random.Generator,
    loss: Loss,
    temperature: float = 1.0,
    along: Mapping[str, tf.Tensor] | None = None,
) -> dict[str, tf.Tensor]:
    """Signed mean over batches of the loss's gradient, or of the Hessian times a vector.

    Batch normalisation uses the batch's statistics, dropout draws from `rng`. A last, shorter batch counts as much as
    the others.

    Args:
        model: Sequential or Functional.
        batches: (inputs, labels) pairs, at least one.
        weights: path -> float32 tensor, instead of the model's own, from `masked_weights`.
        rng: seeds dropout.
        loss: from `get_loss`.
        temperature: see `loss_value`.
        along: path -> float32 tensor v: asks for Hv in place of the gradient.

    Returns:
        Path -> float32 tensor of the weight's shape.

    Raises:
        InputError: no batches, or labels that the loss cannot use.
    """
    own = weakref.ref(model)
    products = along is not None
    step = traced(model, ("gradient", loss, temperature, products), lambda: _build(own, loss, temperature, products))
    paths = list(weights)
    tensors = [weights[path] for path in paths]
    vectors = [along[path] for path in paths] if products else []
    totals = [tf.Variable(tf.zeros_like(tensor), trainable=False) for tensor in tensors]
    # Handles: a function would keep the variables that it is traced with.
    handle_specs = [tf.TensorSpec([], tf.resource)] * len(totals)
    seeds = _seed_states(model)
    concrete = traced_for = None
    count = 0
    for inputs, labels in grouped(batches, lambda *batch: _check(model, loss, *batch)):
        number = len(tf.nest.flatten(labels)[0])
        drawn = [tf.constant(rng.integers(2**32, size=(number, *seed.shape), dtype=np.uint32)) for seed in seeds]
        specs = tf.nest.map_structure(_any_length, (inputs, labels))
        if specs != traced_for:
            seed_specs = [tf.TensorSpec([None, *seed.shape], tf.uint32) for seed in seeds]
            concrete = step.get_concrete_function(*specs, seed_specs, tensors, vectors, handle_specs)
            traced_for = specs
        concrete(inputs, labels, drawn, tensors, vectors, [total.handle for total in totals])
        count += number
    if not count:
        raise InputError("data holds no batches, and this pruner needs at least one")
    return {path: totals.pop(0) / count for path in paths}  # as one comes, the other goes


def gradient_flow_change(
    model: keras.Model,
    batches: Batches,
    masks: Mapping[str, np.ndarray],
    rng: np.random.Generator,
    loss: Loss,
    temperature: float,
) -> dict[str, np.ndarray]:
    """w ∘ Hg of the kept weights, with g their mean gradient over all batches and H the mean Hessian.

    The batches are read twice, with the same dropout.

    Returns:
        Path -> float32 array, 0 where pruned.

    Reference: Wang et al. 2020, arXiv 2002.07376, eq. 8.
    """
    weights = masked_weights(model, masks)
    state = rng.bit_generator.state
    gradients = mean_gradients(model, batches, weights, rng, loss, temperature)
    # Only a kept weight can be moved along its gradient.
    along = {path: tf.where(masks[path], gradients.pop(path), 0.0) for path in weights}
    rng.bit_generator.state = state
    products = mean_gradients(model, batches, weights, rng, loss, temperature, along)
    return {path: np.asarray(products.pop(path) * weights.pop(path)) for path in list(weights)}


def _build(own: weakref.ref, loss: Loss, temperature: float, products: bool) -> Callable:
    def batch_loss(inputs, labels, seeds, weights):
        outputs = _outputs(own(), inputs, seeds, weights)
        return loss_value(loss, labels, outputs, temperature)

    def batch_gradients(inputs, labels, seeds, weights, vectors):
        with tf.GradientTape() as outer:
            outer.watch(weights)
            with tf.GradientTape() as inner:
                inner.watch(weights)
                value = batch_loss(inputs, labels, seeds, weights)
            gradients = inner.gradient(value, weights, unconnected_gradients="zero")
            if not products:
                return gradients
            # H v is the gradient of the inner product of the gradient with a constant v.
            pairs = zip(gradients, vectors, strict=True)
            inner_product = tf.add_n([tf.reduce_sum(gradient * vector) for gradient, vector in pairs])
        return outer.gradient(inner_product, weights, unconnected_gradients="zero")

    @tf.function(autograph=False)
    def step(inputs, labels, seeds, weights, vectors, totals):
        """Adds the gradients of a group of batches, stacked along a first axis, to the variables behind `totals`."""

        def add(index):
            batch = tf.nest.map_structure(lambda group: group[index], (inputs, labels, seeds))
            for total, gradient in zip(totals, batch_gradients(*batch, weights, vectors), strict=True):
                tf.raw_ops.AssignAddVariableOp(resource=total, value=gradient)
            return (index + 1,)

        number = tf.shape(tf.nest.flatten(labels)[0])[0]
        tf.while_loop(lambda index: index < number, add, (0,), parallel_iterations=1)

    return step


def _outputs(model: keras.Model, inputs, seeds: list, weights: list):
    """The model's outputs in training mode with other weights and dropout seeds than its own."""
    given = {id(variable): value for variable, value in zip(prunable(model).values(), weights, strict=True)}
    given |= {id(variable): value for variable, value in zip(_seed_states(model), seeds, strict=True)}
    trainable, fixed = (
        [tf.cast(given.get(id(variable), variable.value), variable.dtype) for variable in variables]
        for variables in (model.trainable_variables, model.non_trainable_variables)
    )
    outputs, _ = model.stateless_call(trainable, fixed, inputs, training=True)
    return outputs


def _seed_states(model: keras.Model) -> list[keras.Variable]:
    return [variable for variable in model.non_trainable_variables if variable.name == "seed_generator_state"]


def _any_length(tensor) -> tf.TensorSpec:
    """Groups and batches of other lengths must not be traced again."""
    return tf.TensorSpec([None, None, *tensor.shape[2:]], tensor.dtype)


def _check(model: keras.Model, loss: Loss, inputs, labels) -> None:
    if len(model.inputs) == 1 and isinstance(inputs, np.ndarray):
        wanted, given = tuple(model.inputs[0].shape[1:]), inputs.shape[1:]
        if len(given) != len(wanted) or any(own not in (None, size) for own, size in zip(wanted, given, strict=True)):
            raise InputError(f"model {model.name!r} takes batches of inputs of shape {wanted}; received {given}")
    if loss in LOSSES.values() and len(model.outputs) == 1:
        check_labels(labels, model.outputs[0].shape[-1])
