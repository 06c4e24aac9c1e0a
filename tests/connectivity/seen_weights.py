"""Which weights the input's influence on the outputs is seen to run through, in numbers.

The check knows no rule of the package. A network with smooth activations and random weights is run in float64 on random
inputs. A weight is *seen to be effective* if, at some position, what it multiplies varies with the input and what it
adds to has a gradient of the outputs.
"""

import keras
import numpy as np
import tensorflow as tf

from tfprune.layers.prunable import prunable

SAMPLES = 12
NOISE = 1e-11  # of the largest number of a tensor; what is 0 by structure is far below


def seen(model, masks):
    """Path -> bool array: the kept weights that are seen to be effective.

    Kernel layers of `model` must be called once and have no activation of their own.
    """
    rng = np.random.default_rng(1)
    for weight in model.weights:
        if weight.dtype.startswith("float"):
            values = rng.normal(size=weight.shape) * 0.7
            weight.assign(np.abs(values) + 0.5 if weight.name in ("moving_variance", "variance") else values)
    for path, kernel in prunable(model).items():
        kernel.assign(kernel.numpy() * 1.5 * masks[path])
    layers = {path: model.get_layer(path.split("/")[0]) for path in masks}
    assert all(len(layer._inbound_nodes) == 1 for layer in layers.values())
    assert all(layer.activation is keras.activations.linear for layer in layers.values())
    given = [layer.input for layer in layers.values()]
    made = [layer.output for layer in layers.values()]
    probe = keras.Model(model.inputs, [model.outputs, given, made])
    examples = [tf.constant(rng.normal(size=(SAMPLES, *tensor.shape[1:]))) for tensor in model.inputs]
    with tf.GradientTape() as tape:
        outputs, given, made = probe(examples)
        total = tf.add_n([tf.reduce_sum(output * rng.normal(size=output.shape)) for output in outputs])
    gradients = tape.gradient(total, made)
    found = {}
    for (path, layer), x, gradient in zip(layers.items(), given, gradients, strict=True):
        varies = np.ptp(x, axis=0) > NOISE * np.abs(x).max()
        size = np.zeros(layer.output.shape[1:]) if gradient is None else np.abs(gradient).max(axis=0)
        felt = size > NOISE * size.max()
        kernel = getattr(layer, path.split("/")[1])
        before = kernel.numpy()
        kernel.assign(np.ones(before.shape))
        with tf.GradientTape() as tape:  # which entries of the kernel meet both, at any position
            output = layer(varies[None].astype("float64"))
        met = tape.gradient(output, kernel.value, output_gradients=tf.constant(felt[None].astype("float64")))
        kernel.assign(before)
        found[path] = (np.asarray(met) > 0.5) & masks[path]
    return found
