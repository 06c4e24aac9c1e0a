"""Training in stretches of about half a second, with pauses where the caller wants them, and its checkpoints."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from tfprune.errors import InputError
from tfprune.records.arrays import Header
from tfprune.records.run_folder_old import RunFolder
from tfprune.training.loop import TrainingLoop

_T = TypeVar("_T")

_SECONDS_PER_CALL = 0.5  # how long the compiled loop runs before progress is shown again


@dataclass
class Stretch:
    """Steps `start .. stop - 1` of a drive, just taken.

    Attributes:
        errors: float32 (stop - start,), fractions of the batches misclassified before their update.
        losses: float32 (stop - start,), in nats.
        milliseconds_per_step: over all steps of the drive so far, without tracing and what the caller does in pauses.
    """

    start: int
    stop: int
    errors: np.ndarray
    losses: np.ndarray
    milliseconds_per_step: float


@dataclass(frozen=True)
class Progress:
    """Where a training stands, for those who watch it.

    Attributes:
        step: steps taken.
        steps: of all the training.
        train_loss: of the last batch, in nats.
        accuracy: on the test set, when it was last measured; NaN if it never was.
        milliseconds_per_step: as in `Stretch`.
    """

    step: int
    steps: int
    train_loss: float
    accuracy: float
    milliseconds_per_step: float


def drive(
    loop: TrainingLoop,
    stream: int,
    start: int,
    stop: int,
    *,
    every: Collection[int] = (),
    at: Collection[int] = (),
    diverged: str = "training diverged: the loss is not finite at step {step}",
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
        errors, losses = loop.run(step, end, stream)
        seconds += time.perf_counter() - began
        if not np.isfinite(losses).all():
            raise InputError(diverged.replace("{step}", str(step + np.flatnonzero(~np.isfinite(losses))[0])))
        yield Stretch(step, end, errors, losses, 1e3 * seconds / (end - start))
        step = end


def write_checkpoint(folder: RunFolder, name: str, loop: TrainingLoop, history: dict[str, np.ndarray]) -> None:
    """Writes the state of a loop, as `state_0`, `state_1`, ..., and arrays of the caller's own beside it."""
    states = {f"state_{index}": array for index, array in enumerate(loop.state)}
    folder.write_checkpoint(name, history | states)


def read_checkpoint(
    folder: RunFolder, name: str, loop: TrainingLoop, taken: Callable[[dict[str, np.ndarray]], _T], **wanted: int
) -> _T | None:
    """Puts a loop back into the state of a checkpoint.

    Args:
        folder: where it lies.
        name: the checkpoint's.
        loop: what is put back.
        taken: makes of the caller's own arrays what is returned; whatever it raises is told as a wrong checkpoint.
        **wanted: values of the caller's own arrays; a checkpoint that has others is of something else.

    Returns:
        What `taken` gives, None if there is no such checkpoint.

    Raises:
        InputError: the file is damaged or belongs to another network; the loop is unchanged then.
    """
    expected = [(array.shape, array.dtype) for array in loop.state]
    wrong = f"{folder.path(f'{name}.npz')}: not a checkpoint of this network; delete it to redo the {folder.unit}"

    def check(headers: Mapping[str, Header]) -> None:
        states = [headers.get(f"state_{index}") for index in range(len(expected))]
        if [state and (state.shape, state.dtype) for state in states] != expected:
            raise InputError(wrong)

    arrays = folder.read_checkpoint(name, check)
    if arrays is None:
        return None
    try:
        if any(int(arrays[key]) != value for key, value in wanted.items()):
            return None
        result = taken({key: array for key, array in arrays.items() if not key.startswith("state_")})
    except Exception:  # arrays that are missing, or of another shape or kind
        raise InputError(wrong) from None
    loop.state = [arrays[f"state_{index}"] for index in range(len(expected))]
    return result
