"""A run on a machine whose disk nobody else sees: brought from the storage, carried out here, stored again."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from tfprune.records.atomic import temporary_folder
from tfprune.sweeps.engine import Job, Outcome
from tfprune.sweeps.storage import BEGUN, FINISHED, Stamp, Storage, key_of, stamps
from tfprune.sweeps.worker import is_full, one_line, perform, study_of_job

SECONDS_BETWEEN = 60.0
"""A run that is under way is stored so often, if it has changed: what a lost machine costs at most."""


def perform_stored(job: Job, url: str, seconds: float = SECONDS_BETWEEN) -> Outcome:
    """Carries out a job in a scratch folder of this machine; as `tfprune.sweeps.worker.perform`.

    A run that the storage holds as finished is not repeated, one that it holds as begun goes on from there.

    Args:
        job: its root does not matter here.
        url: of the storage, which holds the run that this one needs.
        seconds: between stores of the run while it is under way.
    """
    try:
        storage = Storage(url)
        with temporary_folder() as scratch:
            return replace(_carried_out(replace(job, root=str(scratch)), storage, seconds), job=job)
    except Exception as error:  # of whatever package stands behind the URL
        return Outcome(job, f"storage: {one_line(error)}", full=is_full(error))


def _carried_out(job: Job, storage: Storage, seconds: float) -> Outcome:
    root, study = Path(job.root), study_of_job(job)
    key, needed = key_of(study, root), study.needs()
    if storage.holds(key):
        return Outcome(job)
    if needed is not None:
        storage.fetch(key_of(needed, root), FINISHED, root)
    brought = stamps(root)
    storage.fetch(key, BEGUN, root)
    with _stored_meanwhile(storage, key, root, brought, seconds):
        outcome = perform(job)
    if outcome.error is None:
        storage.put(key, FINISHED, root, _own(root, brought))
    return outcome


@contextlib.contextmanager
def _stored_meanwhile(
    storage: Storage, key: str, root: Path, brought: Mapping[str, Stamp], seconds: float
) -> Iterator[None]:
    ended, begun = threading.Event(), _own(root, brought)

    def store() -> None:
        last = begun
        while not ended.wait(seconds):
            with contextlib.suppress(Exception):  # the next time, or at the end, where it is told
                last = _stored(storage, key, root, brought, last)

    thread = threading.Thread(target=store, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _stored(
    storage: Storage, key: str, root: Path, brought: Mapping[str, Stamp], last: Mapping[str, Stamp]
) -> Mapping[str, Stamp]:
    """Stores a run if it has changed, and only as it was at one moment: else it would not be one that was killed."""
    with temporary_folder() as copy:
        now = _own(root, brought)
        if now == last:
            return last
        for name in now:
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((root / name).read_bytes())
        if _own(root, brought) != now:
            return last
        storage.put(key, BEGUN, copy, now)
    return now


def _own(root: Path, brought: Mapping[str, Stamp]) -> dict[str, Stamp]:
    """Files that the run has written, without those of the run that it needs."""
    return {name: stamp for name, stamp in stamps(root).items() if brought.get(name) != stamp}
