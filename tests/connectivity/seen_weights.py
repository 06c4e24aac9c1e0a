"""Which weights the input's influence on the outputs is seen to run through, in numbers.

The check knows no rule of the package. A network with smooth activations and random weights is run in float64 on random
inputs. A weight is *seen to be effective* if, at some position, what it multiplies varies with the input and what it
adds to has a gradient of the outputs.
"""

import keras
import numpy as np
import tensorflow as tf

from tfprune.layers.prunable import prunable
from tfprune.layers.topology import run

SAMPLES = 12
NOISE = 1e-11  # of the largest number of a tensor; what is 0 by structure is far below


def seen(model, masks, numbers=True):
    """Path -> bool array: the kept weights that are seen to be effective, of layers with one kernel in the graph.

    Kernels of other layers are masked, too, but not looked at. Kernel layers have no activation of their own; they may
    be called several times: each call is looked at.

    Args:
        numbers: whether to draw the weights of `model`, kernels by their masks; otherwise they are as they are.
    """
    rng = np.random.default_rng(1)
    if numbers:
        draw(model, masks, rng)
    paths = {id(variable): path for path, variable in prunable(model).items()}
    nodes = [node for some in model._nodes_by_depth.values() for node in some]
    calls = [node for node in nodes if id(getattr(node.operation, "kernel", None)) in paths]
    assert all(node.operation.activation is keras.activations.linear for node in calls)
    given = [node.input_tensors[0] for node in calls]
    made = [node.output_tensors[0] for node in calls]
    probe = keras.Model(model.inputs, [model.outputs, given, made])
    examples = [_examples(tensor, rng) for tensor in model.inputs]
    with tf.GradientTape() as tape:
        outputs, given, made = probe(examples)
        total = tf.add_n([tf.reduce_sum(output * rng.normal(size=output.shape)) for output in outputs])
    gradients = tape.gradient(total, made)
    found = {paths[id(node.operation.kernel)]: False for node in calls}
    for node, x, gradient in zip(calls, given, gradients, strict=True):
        layer = node.operation
        varies = np.ptp(x, axis=0) > NOISE * np.abs(x).max()
        size = np.zeros(node.output_tensors[0].shape[1:]) if gradient is None else np.abs(gradient).max(axis=0)
        felt = size > NOISE * size.max()
        before = layer.kernel.numpy()
        layer.kernel.assign(np.ones(before.shape))
        with tf.GradientTape() as tape:  # which entries of the kernel meet both, at any position
            output = layer(varies[None].astype("float64"))
        met = tape.gradient(output, layer.kernel.value, output_gradients=tf.constant(felt[None].astype("float64")))
        layer.kernel.assign(before)
        path = paths[id(layer.kernel)]
        found[path] = found[path] | ((np.asarray(met) > 0.5) & masks[path])
    return {path: found[path] for path in masks if path in found}


def draw(model, masks, rng):
    """Gives a model random weights, and kernels by their masks."""
    for weight in model.weights:
        if weight.dtype.startswith("float"):
            values = rng.normal(size=weight.shape) * 0.7
            weight.assign(np.abs(values) + 0.5 if weight.name in ("moving_variance", "variance") else values)
    for path, kernel in prunable(model).items():
        kernel.assign(kernel.numpy() * 1.5 * masks[path])


def _examples(tensor, rng):
    shape = (SAMPLES, *tensor.shape[1:])
    if "int" in tensor.dtype:
        return tf.constant(rng.integers(0, 4, shape), tensor.dtype)
    return tf.constant(rng.normal(size=shape))


def inlined(model, opened):
    """The model with what is inside its layers of some types in their place: the same layers, nothing hidden."""

    def call(operation, *args, **kwargs):
        return operation.call(*args, **kwargs) if isinstance(operation, opened) else operation(*args, **kwargs)

    inputs = [keras.Input(batch_shape=(SAMPLES, *x.shape[1:]), dtype=x.dtype) for x in model.inputs]
    return keras.Model(inputs, run(model, inputs, call))


def same_weights(masks, model, other):
    """The masks of a model as those of another one that has the same variables."""
    paths = {id(variable): path for path, variable in prunable(model).items()}
    return {path: masks[paths[id(variable)]] for path, variable in prunable(other).items()}
