"""The drive: where it pauses, and what it tells."""

import keras
import numpy as np
import pytest

from tfprune.data.images import ResidentImages
from tfprune.errors import InputError
from tfprune.training.drive import drive
from tfprune.training.feeds import Normalised, RowsFeed
from tfprune.training.loop import TrainingLoop
from tfprune.training.optimizers import WarmupMilestones, make_optimizer
from tfprune.training.samplers import EpochSampler


class _Loop:
    """Takes no steps, but writes down those it is asked to take."""

    measures = TrainingLoop.measures

    def __init__(self, bad=None, epoch=10):
        self.feed, self.begun, self.runs, self.bad, self.epoch = self, [], [], bad, epoch

    def trace(self, stream):
        pass

    def begin(self, stream, step):
        self.begun.append((stream, step))

    def epoch_end(self, step):
        return (step // self.epoch + 1) * self.epoch

    def run(self, start, stop, stream):
        self.runs.append((start, stop, stream))
        losses = np.arange(start, stop, dtype=np.float32)
        return losses / 100, np.where(losses == self.bad, np.nan, losses)


def _loop(lr=0.1):
    rng = np.random.default_rng(0)
    images = ResidentImages(rng.integers(0, 256, (50, 8), np.uint8), rng.integers(0, 3, 50).astype(np.int32))
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4), keras.layers.Dense(3)])
    feed = RowsFeed(images, EpochSampler(50, 16, short=True), Normalised(np.zeros(8), 1 / 255))
    return TrainingLoop(model, make_optimizer("adam", lr), feed, schedule=WarmupMilestones(lr, [6], 0.1, warmup=3))


def test_pauses():
    loop = _Loop()
    stops = [stretch.stop for stretch in drive(loop, 3, 4, 33, every=(7, 15), at=[2, 4, 5, 29, 40])]
    assert set(stops) >= {5, 7, 10, 14, 15, 20, 21, 28, 29, 30, 33}
    assert loop.begun == [(3, 4), (3, 10), (3, 20), (3, 30)]
    # Each step once, none beyond the end.
    assert [step for start, stop, _ in loop.runs for step in range(start, stop)] == list(range(4, 33))
    assert {stream for *_, stream in loop.runs} == {3}


def test_what_is_told():
    stretches = list(drive(_Loop(), 0, 0, 25))
    assert [(stretch.start, stretch.stop) for stretch in stretches][-1][1] == 25
    np.testing.assert_array_equal(
        np.concatenate([stretch.values["train_loss"] for stretch in stretches]), np.arange(25)
    )
    assert all(len(stretch.values["train_error"]) == stretch.stop - stretch.start for stretch in stretches)


def test_nothing_to_do():
    loop = _Loop()
    assert not list(drive(loop, 0, 12, 12)) and not loop.begun


def test_divergence_is_told():
    with pytest.raises(InputError, match=r"^training diverged: the loss is not finite at step 17$"):
        list(drive(_Loop(bad=17), 0, 0, 25))
    with pytest.raises(InputError, match=r"^a\{b\}: step 17 of level 2$"):
        list(drive(_Loop(bad=17), 0, 0, 25, diverged="a{b}: step {step} of level 2"))


def test_the_rate_is_that_of_the_step():
    loop = _loop()
    rates = []
    for stretch in drive(loop, 0, 2, 8, every=(1,)):
        rates.append((stretch.start, float(loop.optimizer.learning_rate)))
    expected = [(2, 0.1 * 2 / 3), (3, 0.1), (4, 0.1), (5, 0.1), (6, 0.01), (7, 0.01)]
    np.testing.assert_allclose(rates, expected, rtol=1e-6)
    # A run that starts late counts its updates from the first, for example in Adam's corrections.
    assert int(loop.optimizer.iterations) == 6
