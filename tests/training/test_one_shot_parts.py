"""Batches by epochs, weight decay and momentum."""

import keras
import numpy as np
import tensorflow as tf

from tfprune.layers.convert import masked
from tfprune.training.decay import KernelDecay
from tfprune.training.epochs import EpochSampler
from tfprune.training.momentum import MomentumSGD


def _epoch(sampler, stream, first):
    sampler.shuffle(stream, first)
    steps = range(first, sampler.epoch_end(first))
    return np.concatenate([sampler(tf.constant(stream), tf.constant(step)).numpy() for step in steps])


def test_an_epoch_sees_each_image_once():
    sampler = EpochSampler(103, 10)
    assert (sampler.steps_per_epoch, sampler.epoch_end(0), sampler.epoch_end(10)) == (10, 10, 20)
    first, second = _epoch(sampler, 1, 0), _epoch(sampler, 1, 10)
    assert len(set(first)) == len(first) == 100 and first.max() < 103
    assert (first != second).any() and (first != _epoch(sampler, 2, 0)).any()
    np.testing.assert_array_equal(first, _epoch(sampler, 1, 0))
    # In the middle of an epoch, for example after a restart, its order is that of the epoch.
    sampler.shuffle(1, 14)
    np.testing.assert_array_equal(sampler(tf.constant(1), tf.constant(14)), second[40:50])


def test_batches_larger_than_the_data():
    assert EpochSampler(7, 100).batch_size == 7


def test_decay_is_that_of_keras():
    plain = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, kernel_regularizer=keras.regularizers.L2(0.01))])
    decay = KernelDecay(masked(plain), 0.01)
    with tf.GradientTape() as tape:
        loss = tf.add_n(plain.losses)
    expected = tape.gradient(loss, plain.layers[0].kernel.value)
    model = masked(plain)
    decay = KernelDecay(model, 0.01)
    np.testing.assert_allclose(decay.gradient(model.layers[0].kernel), expected, rtol=1e-6)
    np.testing.assert_allclose(decay.value(), loss, rtol=1e-6)
    assert decay.gradient(model.layers[0].bias) is None


def test_momentum_is_that_of_keras():
    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=(5, 3)).astype("f4"), rng.normal(size=(6, 5, 3)).astype("f4")
    ends = []
    for kind in (keras.optimizers.SGD, MomentumSGD):
        variable = keras.Variable(start)
        schedule = keras.optimizers.schedules.PiecewiseConstantDecay([2], [0.1, 0.01])
        optimizer = kind(schedule, momentum=0.9)
        for gradient in gradients:
            optimizer.apply([tf.constant(gradient)], [variable])
        ends.append(variable.numpy())
    np.testing.assert_allclose(*ends, rtol=1e-5, atol=1e-6)
