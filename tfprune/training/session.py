"""One training from its start, or from its checkpoint, to its end: driven, tested, logged and told."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from tfprune.engine.choice import DENSE, SPARSE
from tfprune.errors import InputError
from tfprune.records.arrays import Header
from tfprune.records.metric_log import MetricLog
from tfprune.records.run_folder import RunFolder
from tfprune.training.drive import DIVERGED, Stretch, drive
from tfprune.training.loop import TrainingLoop
from tfprune.training.timetable import Timetable

Arrays = Mapping[str, np.ndarray]
Test = Callable[[], Mapping[str, float]]
"""Measures a model on the test set: name of a metric -> value."""


_STORED = {"train_loss": "losses", "train_error": "errors"}  # names in checkpoints of measures that every loop has


@dataclass(frozen=True)
class Progress:
    """Where a training stands, for those who watch it.

    Attributes:
        step: steps taken.
        steps: of all the training.
        numbers: what there is to show, by its name: `train loss`, `test accuracy`, ...
        milliseconds_per_step: as in `Stretch`.
    """

    step: int
    steps: int
    numbers: Mapping[str, float]
    milliseconds_per_step: float


class Watch(Protocol):
    """Who watches a study (see `tfprune.cli.progress`)."""

    @property
    def quiet(self) -> bool:
        """Whether nothing is shown; what shows progress of its own should be silent, too."""

    def say(self, text: str) -> None:
        """A line for people."""

    def start(self, what: str, details: str = "") -> None:
        """The training of `what`, for example `level 3`, begins; details are said once."""

    def progress(self, progress: Progress) -> None:
        """Called about twice a second while training."""

    def end(self, text: str = "") -> None:
        """The training has ended, with what there is to say of it."""


@dataclass(frozen=True)
class Trained:
    """What a training leaves.

    Attributes:
        log: its metrics.
        kept: step -> what was kept there.
        seconds: that it took, tests included, over all starts.
        milliseconds_per_step: of the steps taken in this start, as in `Stretch`; 0 if none were.
        kept_layers: number of layers that were computed by their kept weights alone.
    """

    log: MetricLog
    kept: Mapping[int, Arrays]
    seconds: float
    milliseconds_per_step: float
    kept_layers: int = 0

    @property
    def facts(self) -> dict[str, float | int | str]:
        """How it was trained, as fields of a `Result`."""
        engine = SPARSE if self.kept_layers else DENSE
        return {"seconds": self.seconds, "engine": engine, "kept_layers": self.kept_layers}


@dataclass
class _State:
    """All that a training has produced up to a step; with the loop's state, its checkpoint."""

    step: int
    log: MetricLog = field(default_factory=MetricLog)
    kept: dict[int, Arrays] = field(default_factory=dict)
    recent: dict[str, list[np.ndarray]] = field(default_factory=dict)
    seconds: float = 0.0


class Session:
    """Trains by one compiled loop, any number of times.

    Args:
        loop: what takes the steps.
        test: measures the loop's model on the test set.
        shown: what progress shows, in this order: `train_loss` (of the last batch), `train_error` (of the last
            stretch), or a metric that was last tested.
        blame: what to raise when TensorFlow fails in the steps of a stream from a step on.
    """

    def __init__(
        self,
        loop: TrainingLoop,
        test: Test,
        shown: Sequence[str] = ("train_loss", "test_accuracy"),
        blame: Callable[[Exception, int, int], Exception] | None = None,
    ):
        self.loop, self._test, self._shown, self._blame = loop, test, tuple(shown), blame

    def run(
        self,
        folder: RunFolder,
        timetable: Timetable,
        begin: Callable[[], None],
        watch: Watch,
        *,
        stream: int,
        end: int,
        start: int = 0,
        keep: Callable[[int], Arrays | None] = lambda step: None,
        on_log: Callable[[MetricLog], None] = lambda log: None,
        checkpoint: str = "checkpoint",
        diverged: str = DIVERGED,
    ) -> Trained:
        """Takes the steps from `start` to `end`, or those that a checkpoint leaves of them.

        Args:
            folder: claimed for this training; keeps its checkpoint, which stays there.
            timetable: see there.
            begin: gives the model the weights and masks to start with; the optimizer is reset.
            watch: is told how it goes.
            stream: which order of batches and which distortions; a checkpoint of another stream is of another training.
            end: step after the last one.
            start: first step, anywhere in an epoch.
            keep: is called at the timetable's steps; arrays that it gives are in the checkpoint, too.
            on_log: is given the log whenever something was added.
            checkpoint: name of the checkpoint.
            diverged: the message if a loss is not finite; `{step}` in it is replaced.

        Raises:
            InputError: a checkpoint of another network, a loss that is not finite, or a file that cannot be read or
                written.
        """
        begin()
        self.loop.begin()
        state, milliseconds = self._restored(folder, checkpoint, timetable, stream, start, end), 0.0

        def pause() -> None:
            self._pause(state, timetable, keep, on_log)
            if state.step in timetable.checkpoints and state.step > start:
                arrays = {"stream": np.array(stream)} | _arrays(state)
                folder.write_checkpoint(checkpoint, arrays | _states(self.loop))

        if state is None:
            state = _State(start)
            pause()
        else:
            on_log(state.log)
        began = time.perf_counter()
        for stretch in self._stretches(timetable, stream, state.step, end, diverged):
            state.step, milliseconds = stretch.stop, stretch.milliseconds_per_step
            _take(state, stretch, timetable)
            now = time.perf_counter()
            state.seconds, began = state.seconds + now - began, now
            pause()
            watch.progress(Progress(state.step, end, self._numbers(state, stretch), milliseconds))
        self.loop.give_weights()
        seconds = state.seconds + time.perf_counter() - began
        return Trained(state.log, state.kept, seconds, milliseconds, len(self.loop.kept))

    def _stretches(self, timetable: Timetable, stream: int, step: int, end: int, diverged: str) -> Iterator[Stretch]:
        pauses = (timetable.tests, timetable.checkpoints, timetable.means, timetable.keeps)
        every = {each.every for each in pauses if each.every}
        at = {number for each in pauses for number in each.at}
        try:
            for stretch in drive(self.loop, stream, step, end, every=every, at=at, diverged=diverged):
                yield stretch
                step = stretch.stop
        except InputError:
            raise
        except Exception as error:
            if self._blame is None:
                raise
            raise self._blame(error, stream, step) from None

    def _pause(self, state: _State, timetable: Timetable, keep, on_log) -> None:
        step, before = state.step, len(state.log)
        if step in timetable.keeps or step in timetable.tests:
            self.loop.give_weights()
        if step in timetable.keeps and (arrays := keep(step)) is not None:
            state.kept[step] = arrays
        if step in timetable.means and state.recent:
            means = {name: np.concatenate(parts).mean(dtype=np.float64) for name, parts in state.recent.items()}
            state.log.add("train_loss", step, float(means.pop("train_loss")))
            state.log.add("train_accuracy", step, 1 - float(means.pop("train_error")))
            for name, mean in means.items():
                state.log.add(name, step, float(mean))
            state.recent = {}
        if step in timetable.tests:
            for name, value in self._test().items():
                state.log.add(name, step, value)
        if len(state.log) > before:
            on_log(state.log)

    def _numbers(self, state: _State, stretch: Stretch) -> dict[str, float]:
        last = {name: float(values[-1]) for name, values in stretch.values.items()}
        last["train_error"] = float(stretch.values["train_error"].mean())
        found = {name: last[name] if name in last else state.log.last(name) for name in self._shown}
        return {name.replace("_", " "): value for name, value in found.items() if value is not None}

    def _restored(
        self, folder: RunFolder, name: str, timetable: Timetable, stream: int, start: int, end: int
    ) -> _State | None:
        """The state of a checkpoint, the loop put back into it; None if there is none of this training.

        Raises:
            InputError: the file is damaged or belongs to another network; the loop is unchanged then.
        """
        expected = self.loop.state
        wrong = (
            f"{folder.path(f'{name}.npz')}: not a checkpoint of this network, or one of another version; delete it to "
            f"redo the {folder.layout.unit}"
        )

        def check(headers: Mapping[str, Header]) -> None:
            states = [headers.get(f"state_{index}") for index in range(len(expected))]
            if not all(map(_fits, states, expected)):
                raise InputError(wrong)

        arrays = folder.read_checkpoint(name, check)
        if arrays is None:
            return None
        try:
            if int(arrays["stream"]) != stream:
                return None
            state = _state(arrays)
            if not start < state.step <= end or not _is_whole(state, timetable, self.loop.measures, start):
                raise ValueError("a history that this training cannot have")
        except Exception:  # arrays that are missing, or of another shape or kind
            raise InputError(wrong) from None
        self.loop.state = [arrays[f"state_{index}"] for index in range(len(expected))]
        return state


def _fits(header: Header | None, array: np.ndarray) -> bool:
    """Whether what is stored goes into the place of an array; masks, which are bool, were float32 in older files."""
    if header is None or header.shape != array.shape:
        return False
    return header.dtype == array.dtype or (array.dtype == bool and header.dtype == np.float32)


def _take(state: _State, stretch: Stretch, timetable: Timetable) -> None:
    """Remembers the measures of steps that were just taken."""
    if timetable.means.every or timetable.means.at:
        for name, values in stretch.values.items():
            if name not in timetable.each or name == "train_error":
                state.recent.setdefault(name, []).append(values)
    # Step by step: where stretches end, which is a matter of speed, must not show in the order of a log.
    for step in range(stretch.start, stretch.stop) if timetable.each else ():
        for name in timetable.each:
            state.log.add(name, step, stretch.values[name][step - stretch.start])


def _states(loop: TrainingLoop) -> dict[str, np.ndarray]:
    return {f"state_{index}": array for index, array in enumerate(loop.state)}


def _arrays(state: _State) -> dict[str, np.ndarray]:
    """What a checkpoint holds beside the loop's state."""
    arrays = {"step": np.array(state.step), "seconds": np.array(state.seconds)}
    arrays |= {f"log_{name}": array for name, array in state.log.arrays().items()}
    for name in dict.fromkeys((*_STORED, *state.recent)):
        parts = state.recent.get(name, [])
        arrays[f"recent_{_STORED.get(name, name)}"] = np.concatenate([np.zeros(0, np.float32), *parts])
    for step, kept in state.kept.items():
        arrays |= {f"kept_{step}/{path}": array for path, array in kept.items()}
    return arrays


def _state(arrays: Arrays) -> _State:
    log = {name.removeprefix("log_"): array for name, array in arrays.items() if name.startswith("log_")}
    state = _State(int(arrays["step"]), MetricLog.from_arrays(log), seconds=float(arrays["seconds"]))
    recent = {name.removeprefix("recent_"): array for name, array in arrays.items() if name.startswith("recent_")}
    recent |= {name: recent.pop(stored) for name, stored in _STORED.items()}
    state.recent = {name: [array] for name, array in recent.items() if array.size}
    for name, array in arrays.items():
        if name.startswith("kept_"):
            step, _, path = name.removeprefix("kept_").partition("/")
            state.kept.setdefault(int(step), {})[path] = array
    return state


def _is_whole(state: _State, timetable: Timetable, measures: Sequence[str], start: int) -> bool:
    """Whether a log has what a training of this timetable has logged up to its step."""
    each = set(timetable.each)
    means = {"train_loss", "train_accuracy"} | {name for name in measures if name not in each | {"train_error"}}
    due = timetable.tests.until(start, state.step)
    tested = [name for name in state.log.names if name not in means | each]
    if (due and not tested) or any([step for step, _ in state.log.get(name)] != due for name in tested):
        return False
    seen = {name: [step for step, _ in state.log.get(name)] for name in means | each}
    whole = all(seen[name] == timetable.means.until(start + 1, state.step) for name in means)
    return whole and all(seen[name] == list(range(start, state.step)) for name in each)
