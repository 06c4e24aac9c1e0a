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
from tfprune.layers.traced import traced
from tfprune.layers.variants import HALF, in_full_precision
from tfprune.pruning.batches import grouped
from tfprune.pruning.fitted import blamed, fitted
from tfprune.pruning.loss_values import batch_shares, loss_value
from tfprune.pruning.losses import Loss

Batches = Iterable[tuple]


def masked_weights(model: keras.Model, masks: Mapping[str, np.ndarray]) -> dict[str, tf.Tensor]:
    """Path -> tensor: every prunable weight, zero where pruned; float32, but float64 where the variable is."""
    weights = {path: _full(variable) for path, variable in prunable(model).items()}
    return {path: tf.where(masks[path], weight, tf.zeros([], weight.dtype)) for path, weight in weights.items()}


def mean_gradients(
    model: keras.Model,
    batches: Batches,
    weights: Mapping[str, tf.Tensor],
    rng: np.random.Generator,
    loss: Loss,
    temperature: float = 1.0,
    along: Mapping[str, tf.Tensor] | None = None,
    training: bool = True,
) -> dict[str, tf.Tensor]:
    """The gradient of the mean loss over all examples of all batches, or its Hessian times a vector.

    Every example counts the same, or by its sample weight, whatever the size of its batch. Layers compute in float32
    whatever the precision of the model, in float64 where it has that. Dropout draws from `rng`. Batch normalisation
    uses the batch's statistics, so that in networks that have it the loss itself depends on what is batched together.

    Args:
        model: Sequential or Functional.
        batches: see `fitted`; at least one.
        weights: path -> tensor, instead of the model's own, from `masked_weights`.
        rng: seeds dropout.
        loss: from `chosen_loss`.
        temperature: see `loss_value`.
        along: path -> tensor v: asks for Hv in place of the gradient.
        training: whether layers do what they do in training; else there is no dropout, and batch normalisation uses its
            running averages.

    Returns:
        Path -> tensor of the weight's shape and type.

    Raises:
        InputError: no batches, or some that do not fit; a loss that cannot use them or depends on no weight.
    """
    own = weakref.ref(model)
    products = along is not None
    key = ("gradient", loss, temperature, products, training)
    step = traced(model, key, lambda: _build(own, loss, temperature, products, training))
    paths = list(weights)
    tensors = [weights[path] for path in paths]
    vectors = [along[path] for path in paths] if products else []
    totals = [_plain_variable(tensor) for tensor in tensors]
    # Handles: a function would keep the variables that it is traced with.
    handle_specs = [tf.TensorSpec([], tf.resource)] * len(totals)
    seeds = _seed_states(model)
    concrete = traced_for = reference = None
    divisor = 0.0
    for inputs, labels, sample_weights in grouped(fitted(model, loss, batch) for batch in batches):
        number, examples = tf.nest.flatten(inputs)[0].shape[:2]
        factors, size = batch_shares(loss, number, examples, tf.nest.flatten(sample_weights))
        # Relative to the first batch: factors of exactly 1 where all have its size.
        reference = reference or examples
        drawn = [tf.constant(rng.integers(2**32, size=(number, *seed.shape), dtype=np.uint32)) for seed in seeds]
        specs = tf.nest.map_structure(_any_length, (inputs, labels, sample_weights))
        if specs != traced_for:
            seed_specs = [tf.TensorSpec([None, *seed.shape], tf.uint32) for seed in seeds]
            factor_spec = tf.TensorSpec([None], tf.float32)
            with in_full_precision(model):
                concrete = step.get_concrete_function(*specs, factor_spec, seed_specs, tensors, vectors, handle_specs)
            traced_for = specs
        factors = tf.constant(factors / reference, tf.float32)
        with blamed("loss"):
            concrete(
                inputs, labels, sample_weights, factors, drawn, tensors, vectors, [total.handle for total in totals]
            )
        divisor += size / reference
    if reference is None:
        raise InputError("data holds no batches, and this pruner needs at least one")
    if not divisor:
        raise InputError("the sample weights sum to 0")
    return {path: totals.pop(0) / divisor for path in paths}  # as one comes, the other goes


def gradient_flow_change(
    model: keras.Model,
    batches: Batches,
    masks: Mapping[str, np.ndarray],
    rng: np.random.Generator,
    loss: Loss,
    temperature: float,
) -> dict[str, np.ndarray]:
    """w ∘ Hg of the kept weights, with g and H gradient and Hessian of the mean loss over all examples.

    The batches are read twice, with the same dropout.

    Returns:
        Path -> float32 array, 0 where pruned.

    Reference: Wang et al. 2020, arXiv 2002.07376, eq. 8.
    """
    weights = masked_weights(model, masks)
    state = rng.bit_generator.state
    gradients = mean_gradients(model, batches, weights, rng, loss, temperature)
    # Only a kept weight can be moved along its gradient.
    along = {}
    for path in weights:
        gradient = gradients.pop(path)
        along[path] = tf.where(masks[path], gradient, tf.zeros([], gradient.dtype))
    rng.bit_generator.state = state
    products = mean_gradients(model, batches, weights, rng, loss, temperature, along)
    return {path: np.asarray(products.pop(path) * weights.pop(path), np.float32) for path in list(weights)}


def _build(own: weakref.ref, loss: Loss, temperature: float, products: bool, training: bool) -> Callable:
    def batch_loss(inputs, labels, sample_weights, seeds, weights):
        outputs = _outputs(own(), inputs, seeds, weights, training)
        return loss_value(
            loss, labels, outputs, sample_weights if tf.nest.flatten(sample_weights) else None, temperature
        )

    def batch_gradients(batch, factor, weights, vectors):
        with tf.GradientTape() as outer:
            outer.watch(weights)
            with tf.GradientTape() as inner:
                inner.watch(weights)
                value = batch_loss(*batch, weights)
                value *= tf.cast(factor, value.dtype)
            gradients = inner.gradient(value, weights)
            if all(gradient is None for gradient in gradients):
                raise InputError("the loss has no gradient: it depends on none of the model's kernels")
            if not products:
                return _zeros_for_none(gradients, weights)
            # H v is the gradient of the inner product of the gradient with a constant v.
            pairs = zip(_zeros_for_none(gradients, weights), vectors, strict=True)
            inner_product = tf.add_n([tf.reduce_sum(gradient * vector) for gradient, vector in pairs])
        return outer.gradient(inner_product, weights, unconnected_gradients="zero")

    @tf.function(autograph=False)
    def step(inputs, labels, sample_weights, factors, seeds, weights, vectors, totals):
        """Adds the gradients of a group of batches, stacked along a first axis, to the variables behind `totals`."""

        def add(index):
            batch = tf.nest.map_structure(lambda group: group[index], (inputs, labels, sample_weights, seeds))
            for total, gradient in zip(totals, batch_gradients(batch, factors[index], weights, vectors), strict=True):
                tf.raw_ops.AssignAddVariableOp(resource=total, value=gradient)
            return (index + 1,)

        number = tf.shape(factors)[0]
        tf.while_loop(lambda index: index < number, add, (0,), parallel_iterations=1)

    return step


def _outputs(model: keras.Model, inputs, seeds: list, weights: list, training: bool):
    """The model's outputs with other weights and dropout seeds than its own."""
    given = {id(variable): value for variable, value in zip(prunable(model).values(), weights, strict=True)}
    states = _seed_states(model)
    given |= {id(state): tf.cast(value, state.dtype) for state, value in zip(states, seeds, strict=True)}
    with keras.StatelessScope(collect_losses=True) as scope:
        for variable in model.variables:
            scope.add_update((variable, given.get(id(variable), _full(variable))))
        return model(inputs, training=training)


def _full(variable: keras.Variable) -> tf.Tensor:
    """A variable's value, in float32 where it is of half precision."""
    return tf.cast(variable.value, "float32" if variable.dtype in HALF else variable.dtype)


def _zeros_for_none(gradients: list, weights: list) -> list[tf.Tensor]:
    pairs = zip(gradients, weights, strict=True)
    return [tf.zeros_like(weight) if gradient is None else gradient for gradient, weight in pairs]


def _plain_variable(like: tf.Tensor) -> tf.Variable:
    """Zeros; within the scope of a distribution strategy one of its copies, for all work is done on one device."""
    variable = tf.Variable(tf.zeros_like(like), trainable=False)
    return tf.distribute.get_strategy().experimental_local_results(variable)[0]


def _seed_states(model: keras.Model) -> list[keras.Variable]:
    return [variable for variable in model.non_trainable_variables if variable.name == "seed_generator_state"]


def _any_length(tensor) -> tf.TensorSpec:
    """Groups and batches of other lengths must not be traced again."""
    return tf.TensorSpec([None, None, *tensor.shape[2:]], tensor.dtype)
