"""Batches drawn with replacement, and by epochs."""

import numpy as np
import pytest
import tensorflow as tf

from tfprune.training.samplers import EpochSampler


def _epoch(sampler, stream, first):
    """The batches from `first` to the end of its epoch."""
    sampler.begin(stream, first)
    steps = range(first, sampler.epoch_end(first))
    return [sampler(tf.constant(stream), tf.constant(step), sampler.batch_size(step)).numpy() for step in steps]


def test_an_epoch_sees_each_image_once():
    sampler = EpochSampler(103, 10)
    assert (sampler.steps_per_epoch, sampler.epoch_end(0), sampler.epoch_end(10)) == (10, 10, 20)
    first, second = np.concatenate(_epoch(sampler, 1, 0)), np.concatenate(_epoch(sampler, 1, 10))
    assert len(set(first)) == len(first) == 100 and first.max() < 103
    assert (first != second).any() and (first != np.concatenate(_epoch(sampler, 2, 0))).any()
    np.testing.assert_array_equal(first, np.concatenate(_epoch(sampler, 1, 0)))
    # In the middle of an epoch, for example after a restart, its order is that of the epoch.
    np.testing.assert_array_equal(np.concatenate(_epoch(sampler, 1, 14)), second[40:])


@pytest.mark.parametrize(("size", "sizes"), [(103, [10] * 10 + [3]), (100, [10] * 10), (7, [7])])
def test_a_short_last_batch_takes_what_is_left(size, sizes):
    sampler = EpochSampler(size, 10, short=True)
    steps = len(sizes)
    assert sampler.steps_per_epoch == steps
    for epoch in (0, 3):
        batches = _epoch(sampler, 1, epoch * steps)
        assert [len(batch) for batch in batches] == sizes
        assert sorted(np.concatenate(batches)) == list(range(size))


def test_a_seed_takes_the_place_of_the_stream():
    sampler, other = EpochSampler(50, 10, seed=4), EpochSampler(50, 10)
    np.testing.assert_array_equal(_epoch(sampler, 1, 5), _epoch(sampler, 2, 5))
    np.testing.assert_array_equal(_epoch(sampler, 1, 5), _epoch(other, 4, 5))


def test_batches_larger_than_the_data():
    assert EpochSampler(7, 100).batch_size(0) == 7
