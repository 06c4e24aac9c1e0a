"""Wanda: weights and activations, for pretrained models, without gradients."""

from __future__ import annotations

import weakref
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from tfprune.errors import InputError
from tfprune.layers.catching import catching, first_argument
from tfprune.layers.linear import linear_kernels
from tfprune.layers.prunable import prunable
from tfprune.layers.variants import in_full_precision
from tfprune.pruning.batches import inputs_of_batch
from tfprune.pruning.fitted import blamed, fitted_inputs
from tfprune.pruning.gradients import Batches, traced


def wanda(model: keras.Model, batches: Batches, masks, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """|w| · ‖x‖₂, x all values of the input that w is multiplied with, over all examples and positions.

    The model runs in inference with the weights that the masks keep. Of a convolution an input is one channel at one
    place of the window, padding counts as 0; of attention it is what its projections read. The method compares scores
    within each output, which is the pruner's part (`scope="per_output"`). Labels are not looked at. Batches are summed
    in float32 and added in float64; arguments and result as in `tfprune.pruning.scores`.

    Nothing is said of tables, recurrent kernels, those of layers of one's own, and of layers that the model does not
    call, or in a loop that the layer around them traces.

    The authors' code prunes block by block and shows each block what the pruned ones before it give; here all inputs
    are those of the network before the round, so that several rounds (`schedule=`) come closer to that.

    Reference: Sun et al. 2023, arXiv 2306.11695, eq. 1 and algorithm 1.
    """
    own = weakref.ref(model)
    function = traced(model, ("wanda",), lambda: _build(own))
    kernels, linear = prunable(model), linear_kernels(model)
    order = [masks[path] for path in kernels]
    totals: dict[str, np.ndarray] | None = None
    for batch in batches:
        inputs = fitted_inputs(model, inputs_of_batch(batch))
        with in_full_precision(model), blamed("score"):
            found = {path: np.asarray(squares, np.float64) for path, squares in function(inputs, order).items()}
        totals = found if totals is None else {path: totals[path] + found[path] for path in totals if path in found}
    if totals is None:
        raise InputError("data holds no batches, and this pruner needs at least one")
    scores = {}
    for path, squares in totals.items():
        if not np.isfinite(squares).all():
            raise InputError(f"what kernel {path!r} is multiplied with is not finite for these data")
        weights = np.abs(np.asarray(kernels[path].value, np.float32)) * masks[path]
        products = linear[path].matrices(weights) * np.sqrt(squares).astype(np.float32)[..., None]
        scores[path] = linear[path].kernel(products).reshape(weights.shape)
    return {path: scores[path] for path in kernels if path in scores}


def _build(own: weakref.ref) -> Callable:
    @tf.function(autograph=False)
    def squares(inputs, masks):
        """Path -> (groups, inputs), sums over a batch."""
        model, here = own(), tf.compat.v1.get_default_graph()
        linear = linear_kernels(model)
        by_layer: dict[int, list[str]] = {}
        for path, one in linear.items():
            by_layer.setdefault(id(one.layer), []).append(path)
        found: dict[str, tf.Tensor] = {}
        blind: set[str] = set()

        def around(layer, call, args, kwargs):
            given = first_argument(args, kwargs)
            for path in by_layer[id(layer)]:
                if isinstance(given, tf.Tensor) and given.graph is here:
                    new = linear[path].squares(given)
                    found[path] = found[path] + new if path in found else new
                else:
                    blind.add(path)
            return call(*args, **kwargs)

        kept = [
            (variable, tf.cast(variable.value, variable.dtype) * tf.cast(mask, variable.dtype))
            for variable, mask in zip(prunable(model).values(), masks, strict=True)
        ]
        with keras.StatelessScope(kept), catching([one.layer for one in linear.values()], around):
            model(inputs, training=False)
        return {path: total for path, total in found.items() if path not in blind}

    return squares
