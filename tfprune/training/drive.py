"""Training in stretches of about half a second, with pauses where the caller wants them."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np

from tfprune.errors import InputError
from tfprune.training.loop import TrainingLoop

DIVERGED = "training diverged: the loss is not finite at step {step}"
_SECONDS_PER_CALL = 0.5  # how long the compiled loop runs before progress is shown again


@dataclass
class Stretch:
    """Steps `start .. stop - 1` of a drive, just taken.

    Attributes:
        values: name of a measure of the loop -> float32 (stop - start,), among them `train_error`, the fractions of the
            batches misclassified before their update, and `train_loss`, in nats.
        milliseconds_per_step: over all steps of the drive so far, without tracing and what the caller does in pauses.
    """

    start: int
    stop: int
    values: dict[str, np.ndarray]
    milliseconds_per_step: float


def drive(
    loop: TrainingLoop,
    stream: int,
    start: int,
    stop: int,
    *,
    every: Collection[int] = (),
    at: Collection[int] = (),
    diverged: str = DIVERGED,
) -> Iterator[Stretch]:
    """Takes steps `start .. stop - 1`, and gives the caller the word about twice a second and at every pause.

    No stretch goes beyond a pause, so that the model is in the state before that step's update there; epochs' ends are
    pauses, too. Where stretches end changes no result.

    Args:
        loop: what takes the steps; its feed is made ready at the start and for each epoch.
        stream: which stream of batches.
        start: first step, anywhere in an epoch.
        stop: step after the last one.
        every: pauses at the multiples of each of these.
        at: pauses at these steps.
        diverged: the message if a loss is not finite; `{step}` in it is replaced.

    Raises:
        InputError: the loss is no longer finite.
    """
    loop.trace(stream)
    feed, step, seconds, epoch_end = loop.feed, start, 0.0, start
    while step < stop:
        if step == epoch_end:
            feed.begin(stream, step)
            epoch_end = feed.epoch_end(step)
        length = max(1, int(_SECONDS_PER_CALL * (step - start) / seconds)) if seconds else 1
        pauses = [(step // steps + 1) * steps for steps in every] + [pause for pause in at if pause > step]
        end = min(stop, epoch_end, step + length, *pauses)
        began = time.perf_counter()
        values = dict(zip(loop.measures, loop.run(step, end, stream), strict=True))
        seconds += time.perf_counter() - began
        wrong = np.flatnonzero(~np.isfinite(values["train_loss"]))
        if len(wrong):
            raise InputError(diverged.replace("{step}", str(step + wrong[0])))
        yield Stretch(step, end, values, 1e3 * seconds / (end - start))
        step = end
