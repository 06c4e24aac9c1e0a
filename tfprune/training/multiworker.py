"""Training by several processes, on one machine or on several: each takes its part of every batch.

One process, the chief, does all that is done otherwise: it prunes, measures, writes. The others hold a copy of the
network and take the chief's steps with it (`Workers.follow`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfprune.errors import InputError
from tfprune.training.mirrored import MirroredLoop, Several
from tfprune.training.workers import Chief, Follower

_OF_A_PEER = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.InternalError)


@functools.cache
def _strategy() -> tf.distribute.MultiWorkerMirroredStrategy:
    """The strategy of TF_CONFIG's workers, made by all of them at once, before TensorFlow computes anything."""
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except RuntimeError as error:
        raise InputError(
            f"distribute = multiworker must come before anything else that TensorFlow does in a process ({error})"
        ) from None


class Workers:
    """A study's way to loops that all workers take steps with.

    Args:
        part: this process's; the study is opened.

    Raises:
        InputError: another worker is gone, or TensorFlow was in use before.
    """

    def __init__(self, part: Chief | Follower):
        self._chief = part if isinstance(part, Chief) else None
        self._follower = None if self._chief else part
        self._loops = 0
        if self._chief:
            self._chief.tell({"do": "start"})
            self._chief.agreed()
            _strategy()

    def several(self, settings: Mapping[str, Any], load: Callable[[], object]) -> Several:
        """What the next trainer is made with, at the same time by all workers.

        Args:
            settings: by which the others know the trainer, JSON values.
            load: brings what may be missing on one machine, data, before all wait for each other.

        Raises:
            InputError: what `load` raises, here or in another worker.
        """
        number, self._loops = self._loops, self._loops + 1
        if self._chief:
            load()
            self._chief.tell({"do": "make", "settings": settings})
            self._chief.agreed()
        else:
            try:
                load()
            except InputError as error:
                self._follower.agree(str(error))
                raise
            self._follower.agree()
        return Several(_strategy(), functools.partial(MultiWorkerLoop, chief=self._chief, number=number))

    def follow(self, make: Callable[[Mapping[str, Any]], MultiWorkerLoop], say: Callable[[str], None]) -> None:
        """Takes the chief's steps, in any other worker, until it has done what it was asked for.

        Args:
            make: makes the loop of the settings that the chief has given to `several`.
            say: is told what is trained.

        Raises:
            InputError: the chief ended with an error, or is gone.
        """
        loops: list[MultiWorkerLoop] = []
        while (message := self._follower.receive())["do"] != "end":
            match message["do"]:
                case "start":
                    self._follower.agree()
                    _strategy()
                case "make":
                    loops.append(make(message["settings"]))
                case "begin":
                    loop = loops[message["loop"]]
                    loop.follow(self._follower.arrays(loop.state), message["stream"])
                    say("a training begins")
                case "run":
                    self._take(loops[message["loop"]], message)
        if error := self._follower.ended(message):
            raise error

    def _take(self, loop: MultiWorkerLoop, message: Mapping[str, Any]) -> None:
        try:
            loop.follow_steps(message["start"], message["stop"], message["stream"])
        except _OF_A_PEER as error:
            raise self._follower.missed() or error from None


class MultiWorkerLoop(MirroredLoop):
    """A `MirroredLoop` whose replicas are those of all workers; what the chief does with it, the others follow.

    Args:
        model: made in the strategy's scope.
        optimizer: made in the strategy's scope.
        feed: as for `TrainingLoop`.
        strategy: in whose scope this is made, too.
        chief: tells the others; None in one of them.
        number: of this loop among those of the process.
        **settings: those of `MirroredLoop`.
    """

    def __init__(self, model, optimizer, feed, strategy, chief: Chief | None, number: int, **settings):
        super().__init__(model, optimizer, feed, strategy, **settings)
        self._chief, self._number = chief, number
        self._epoch_end: int | None = None

    def trace(self, stream: int = 0) -> None:
        """Makes ready for the steps that follow: brings all workers to the chief's state, and compiles."""
        if self._chief is not None:
            self._chief.tell({"do": "begin", "loop": self._number, "stream": stream}, self.state)
        super().trace(stream)

    def run(self, start: int, stop: int, stream: int = 0) -> tuple[np.ndarray, ...]:
        if self._chief is None:
            return super().run(start, stop, stream)
        self._chief.tell({"do": "run", "loop": self._number, "start": start, "stop": stop, "stream": stream})
        try:
            return super().run(start, stop, stream)
        except _OF_A_PEER as error:
            raise self._chief.missed() or error from None

    def follow(self, state: list[np.ndarray], stream: int) -> None:
        """What `trace` does in the chief."""
        self.state, self._epoch_end = state, None
        self.trace(stream)

    def follow_steps(self, start: int, stop: int, stream: int) -> None:
        """What `run` does in the chief, the feed made ready as `tfprune.training.drive` does it."""
        if self._epoch_end in (None, start):
            self.feed.begin(stream, start)
            self._epoch_end = self.feed.epoch_end(start)
        self.run(start, stop, stream)
