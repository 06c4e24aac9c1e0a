"""Training in lower precision: a scaled loss, and steps that are left out where gradients overflow."""

import keras
import numpy as np
import pytest

from tfprune.data.images import ResidentImages
from tfprune.layers.convert import masked
from tfprune.layers.variants import with_precision
from tfprune.training.decay import AllDecay
from tfprune.training.drive import drive
from tfprune.training.feeds import Normalised, RowsFeed
from tfprune.training.loop import TrainingLoop
from tfprune.training.optimizers import make_optimizer
from tfprune.training.samplers import EpochSampler


def _loop(precision, scale=None, xla=False):
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 256, (60, 12), np.uint8)
    images = ResidentImages(rows, (rows[:, :6].sum(1) > rows[:, 6:].sum(1, dtype=int)).astype(np.int32))
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(16, activation="relu"), keras.layers.Dense(2)]
    model = with_precision(masked(keras.Sequential([keras.Input((12,)), *layers])), precision)
    optimizer = make_optimizer("sgd", 0.05, momentum=0.9, loss_scaling=precision == "mixed_float16")
    if scale is not None:
        optimizer.initial_scale = scale
    feed = RowsFeed(images, EpochSampler(60, 20), Normalised(np.full(12, 128.0), 1 / 128))
    return TrainingLoop(model, optimizer, feed, decay=AllDecay(model, 0.01), xla=xla)


def _losses(loop, steps=24):
    return np.concatenate([stretch.values["train_loss"] for stretch in drive(loop, 0, 0, steps)])


@pytest.mark.slow_beyond(1)
@pytest.mark.parametrize(
    ("precision", "xla", "tolerance"),
    [("mixed_float16", False, 0.005), ("mixed_float16", True, 0.005), ("mixed_bfloat16", False, 0.04)],
)
def test_it_trains_nearly_like_float32(precision, xla, tolerance):
    expected = _losses(_loop("float32"))
    losses = _losses(_loop(precision, xla=xla))
    assert losses.dtype == np.float32 and losses[-3:].mean() < losses[:3].mean()
    np.testing.assert_allclose(losses, expected, rtol=tolerance)
    assert (losses != expected).any()


@pytest.mark.slow_beyond(1)
@pytest.mark.parametrize("xla", [False, True])
def test_steps_with_overflowing_gradients_are_left_out(xla):
    loop = _loop("mixed_float16", scale=2.0**40, xla=xla)
    before = loop.model.get_weights()
    losses = _losses(loop, 3)
    assert np.isfinite(losses).all()
    for one, other in zip(before, loop.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert float(loop.optimizer.dynamic_scale) == 2.0**37
    assert int(loop.optimizer.iterations) == 0
    # The scale comes down until the gradients fit, and then the network learns.
    losses = _losses(loop, 60)
    assert losses[-3:].mean() < losses[:3].mean()
    assert float(loop.optimizer.dynamic_scale) < 2.0**30
