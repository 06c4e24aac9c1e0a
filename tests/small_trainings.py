"""Parts of small trainings in tests: a feed of few batches, and a watch that kills."""

import numpy as np
import tensorflow as tf


class Batches:
    """A feed of the same few random batches in every epoch, that knows how often it was begun."""

    resident = True
    pixels = None

    def __init__(self, batches, batch, image, classes):
        rng = np.random.default_rng(0)
        self._batches, self._batch = batches, batch
        self.inputs = rng.normal(size=(batches * batch, *image)).astype(np.float32)
        self.labels = rng.integers(0, classes, batches * batch).astype(np.int32)
        self.begun = []

    def begin(self, stream, step):
        self.begun.append(step)

    def epoch_end(self, step):
        return (step // self._batches + 1) * self._batches

    def batch_size(self, step):
        return self._batch

    def batch(self, stream, step, size):
        start = step % self._batches * self._batch
        return tf.constant(self.inputs)[start : start + size], tf.constant(self.labels)[start : start + size]


class Killed(Exception):
    pass


class KillingWatch:
    """Ends the training behind the first step that is at least `last`; None: never."""

    def __init__(self, last=None):
        self._last = last

    def progress(self, progress):
        if self._last is not None and progress.step >= self._last:
            raise Killed
