"""The engine that carries out runs in processes of this machine, which stay for the next run."""

from __future__ import annotations

import collections
import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from tfprune.errors import InputError
from tfprune.sweeps.engine import Engine, Job, Outcome
from tfprune.sweeps.settings import EngineSettings
from tfprune.sweeps.state import LOGS
from tfprune.sweeps.worker import thread_environment

_SECONDS_TO_END = 10.0
_LAST_BYTES = 20_000  # of what a process said that was killed


class ProcessEngine(Engine):
    """Keeps a process for each run at a time; one that is killed costs its run this attempt, and is replaced.

    The processes are sessions of their own: Ctrl-C reaches the sweep alone, which then ends them. Were the sweep itself
    killed, they end as soon as they notice that nobody talks to them any more.

    Args:
        how: number of processes, and of the threads of each.
        folder: of the sweep.
    """

    def __init__(self, how: EngineSettings, folder: Path):
        self._jobs, self._threads, self._folder = how.jobs, how.threads_of_run, folder
        self._idle: list[_Process] = []
        self._busy: dict[_Process, Job] = {}
        self._said: queue.Queue[tuple[_Process, dict[str, Any] | None]] = queue.Queue()
        self._ended: collections.deque[Outcome] = collections.deque()

    @property
    def slots(self) -> int:
        return self._jobs

    def start(self, job: Job) -> None:
        while self._idle:
            process = self._idle.pop()
            if process.send(job):
                self._busy[process] = job
                return
            process.end()  # gone while it had nothing to do
        process = self._new()
        self._busy[process] = job
        if not process.send(job):
            self._lose(process)

    def wait(self, seconds: float) -> Outcome | None:
        if self._ended:
            return self._ended.popleft()
        try:
            process, message = self._said.get(timeout=seconds)
        except queue.Empty:
            return None
        if process not in self._busy:  # one that ended while nobody asked anything of it
            if process in self._idle:
                self._idle.remove(process)
                process.end()
            return None
        if message is None:
            self._lose(process)
            return self._ended.popleft()
        self._idle.append(process)
        return Outcome(self._busy.pop(process), **message)

    def __exit__(self, *_) -> None:
        for process in [*self._idle, *self._busy]:
            process.kill()
        for process in [*self._idle, *self._busy]:
            process.end()
        self._idle, self._busy = [], {}

    def _new(self) -> _Process:
        taken = {process.number for process in [*self._idle, *self._busy]}
        number = next(number for number in range(self._jobs) if number not in taken)
        try:
            return _Process(number, self._folder / LOGS, self._threads, self._said)
        except OSError as error:
            raise InputError(f"cannot start a process for a run: {error.strerror or error}") from error

    def _lose(self, process: _Process) -> None:
        code = process.end()
        how = f"by signal {-code}" if code < 0 else f"with code {code}"
        error = f"its process ended {how}" + (" (no memory left?)" if code == -9 else "")
        details = f"{error}\n{process.last_words()}"
        self._ended.append(Outcome(self._busy.pop(process), error, details=details, lost=True))


class _Process:
    """A Python process that carries out one job after the other (`tfprune.sweeps.worker_process`).

    Args:
        number: tells it apart from those beside it.
        logs: where what it says is kept.
        threads: that its libraries may use.
        said: gets what it answers, and None once it has ended.
    """

    def __init__(self, number: int, logs: Path, threads: int | None, said: queue.Queue):
        self.number, self._log = number, logs / f"process_{number}.txt"
        logs.mkdir(exist_ok=True)
        own_session: dict[str, Any] = {"start_new_session": True}
        if sys.platform == "win32":
            own_session = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
        # The same modules as here, wherever this process has them from.
        paths = os.pathsep.join(filter(None, [*sys.path]))
        environment = {**os.environ, **thread_environment(threads), "PYTHONPATH": paths}
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tfprune.sweeps.worker_process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                **own_session,
            )
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout, said), daemon=True)
        self._reader.start()

    def send(self, job: Job) -> bool:
        """Gives it a job; False where it is gone."""
        try:
            self._process.stdin.write(json.dumps(asdict(job)).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            return False
        return True

    def kill(self) -> None:
        """Ends it at once: whatever it writes, it writes in one step."""
        with contextlib.suppress(OSError):
            self._process.kill()

    def end(self) -> int:
        """Waits for its end, and gives its exit code."""
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            code = self._process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._reader.join()
        self._process.stdout.close()
        return code

    def last_words(self) -> str:
        """The end of what it said."""
        with contextlib.suppress(OSError):
            return self._log.read_bytes()[-_LAST_BYTES:].decode(errors="replace")
        return ""

    def _read(self, lines: IO[bytes], said: queue.Queue) -> None:
        for line in lines:
            try:
                said.put((self, json.loads(line)))
            except ValueError:  # torn by a kill
                break
        said.put((self, None))
