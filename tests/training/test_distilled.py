"""Keras's own distillation, with a masked network as the student."""

import keras
import numpy as np
from keras import layers, ops

import tfprune


def network():
    first = layers.Dense(8, "relu", name="wide")
    return keras.Sequential([keras.Input((6,)), first, layers.BatchNormalization(), layers.Dense(3)])


def test_a_masked_student_keeps_its_masks_and_is_stripped_as_ever():
    keras.utils.set_random_seed(0)
    teacher = network()
    masks = tfprune.prune(teacher, "magnitude", 0.7)
    student = tfprune.masked(teacher, masks)
    loss = keras.distillation.LogitsDistillation(2.0, keras.losses.KLDivergence())
    distiller = keras.distillation.Distiller(teacher, student, loss)
    distiller.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    x, y = np.random.default_rng(0).normal(size=(64, 6)).astype("f4"), np.arange(64) % 3
    weights, before = teacher.get_weights(), tfprune.prunable(student)["wide/kernel"].numpy()
    distiller.fit(x, y, epochs=2, verbose=0)
    assert tfprune.masks_of(student) == masks
    for one, other in zip(weights, teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    plain = tfprune.strip(student)
    np.testing.assert_array_equal(plain(x), student(x))
    for path, kernel in tfprune.prunable(plain).items():
        assert not kernel.numpy()[~masks[path]].any()
    mask = masks["wide/kernel"]
    assert (tfprune.prunable(plain)["wide/kernel"].numpy() != before)[mask].any()


def test_the_divergence_must_be_given_as_an_object():
    """By name it is that of the logits themselves: no divergence, which is never below 0."""
    logits = ops.convert_to_tensor([[2.0, -1.0, 0.5]]), ops.convert_to_tensor([[0.1, 0.9, -3.0]])
    by_object = keras.distillation.LogitsDistillation(2.0, keras.losses.KLDivergence()).compute_loss(*logits)
    first, second = (np.exp(np.asarray(one) / 2) for one in logits)
    first, second = first / first.sum(), second / second.sum()
    np.testing.assert_allclose(by_object, 4 * (first * np.log(first / second)).sum(), rtol=1e-5)
