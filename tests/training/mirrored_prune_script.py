"""Prunes while `fit` trains, on one device and on two logical ones, and prints whether the masks agree."""

import json

import keras
import numpy as np
import tensorflow as tf

import tfprune

X = np.random.default_rng(0).normal(size=(80, 6)).astype(np.float32)
Y = (X[:, 0] * X[:, 1] > 0).astype(np.int32)
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def trained(schedule):
    """Of a plain model, whose masks arise in `fit`."""
    keras.utils.set_random_seed(1)
    widths = keras.layers.Dense(10, "relu", name="a"), keras.layers.Dense(3, name="b")
    model = keras.Sequential([keras.Input((6,)), *widths])
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), LOSS)
    data = tf.data.Dataset.from_tensor_slices((X, Y)).batch(8)
    model.fit(data, epochs=3, verbose=0, callbacks=[tfprune.Prune(schedule=schedule, data=(X, Y))])
    return model


def main():
    tf.config.set_visible_devices([], "GPU")
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    schedules = {"polynomial": tfprune.PolynomialSchedule(0.8, 0, 20, 10), "rigl": tfprune.RigL(0.8, frequency=5)}
    result = {"masks": {}, "kept": {}, "weights": {}}
    for name, schedule in schedules.items():
        one = trained(schedule)
        with strategy.scope():
            two = trained(schedule)
        masks = tfprune.masks_of(two)
        result["masks"][name] = tfprune.masks_of(one) == masks
        result["kept"][name] = masks.kept
        pairs = zip(one.trainable_variables, two.trainable_variables, strict=True)
        result["weights"][name] = max(float(np.abs(a.numpy() - b.numpy()).max()) for a, b in pairs)
        # Every device has the same masks and weights.
        for variable in two.variables:
            values = [part.numpy() for part in strategy.experimental_local_results(variable.value)]
            assert all(np.array_equal(values[0], value) for value in values), variable.path
    print(json.dumps(result))


if __name__ == "__main__":
    main()
