"""What is to be done for a sweep: its runs, what they need, and how far each one is."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from tfprune.cli.run import FINISHED, UNFINISHED, Study
from tfprune.errors import InputError
from tfprune.records.run_folder import RECORD, file_of
from tfprune.records.settings import digest
from tfprune.sweeps.engine import Job
from tfprune.sweeps.state import Ended
from tfprune.sweeps.sweep_file import Wanted
from tfprune.sweeps.worker import study_of_job


@dataclass(frozen=True)
class Run:
    """A run of a sweep.

    Attributes:
        job: what an engine gets.
        key: tells the run apart from others in the sweep's record, whatever its place in the file.
        wanted: as the file has it; of a run that is not in the file, that of the first one which needs it.
        study: it.
        listed: whether the file asks for it.
        needs: index of the run whose results it starts from, if any.
    """

    job: Job
    key: str
    wanted: Wanted
    study: Study
    listed: bool = True
    needs: int | None = None

    @property
    def name(self) -> str:
        """The run in a few words."""
        return self.wanted.name if self.listed else f"what {self.wanted.name} needs"

    @property
    def is_begun(self) -> bool:
        """Whether there is something of it, so that what is left takes less time."""
        return file_of(self.study.folder, RECORD, self.study.prefix).exists()


@dataclass
class Plan:
    """The runs of a sweep by index; those that others need, of which each is there once, among them.

    Attributes:
        runs: the file's in its order, then those that it does not name.
        stages: how far each one is, once `look` was called.
    """

    runs: list[Run]
    stages: list[int] = field(default_factory=list)

    @property
    def finished(self) -> set[int]:
        """Indices of the runs that are finished."""
        return {index for index, stage in enumerate(self.stages) if stage == FINISHED}

    @property
    def order(self) -> list[int]:
        """Indices in the order in which runs are started: first what others need, the deepest first."""
        depth = Counter[int]()
        for run in self.runs:
            height, needed = 1, run.needs
            while needed is not None:
                depth[needed] = max(depth[needed], height)
                height, needed = height + 1, self.runs[needed].needs
        return sorted(range(len(self.runs)), key=lambda index: -depth[index])

    def failed(self, ended: Mapping[str, Ended]) -> dict[int, str]:
        """Why runs will not be finished, by index: those that failed, and those that need one of them.

        Args:
            ended: how runs ended, by their keys; a run whose files are all there is finished, however it ended.
        """
        finished, found = self.finished, dict[int, str]()
        for index in self.order:  # what is needed comes first
            run, last = self.runs[index], ended.get(self.runs[index].key)
            if index not in finished and run.needs in found:
                found[index] = f"{self.runs[run.needs].name} failed: {found[run.needs]}"
            elif index not in finished and last and last.error:
                found[index] = last.error
        return found

    def look(self) -> None:
        """Finds out how far the runs are, from their own files."""
        self.stages = [stage_of(run.study) for run in self.runs]

    def check(self) -> None:
        """Refuses what cannot be carried out, as far as is seen before.

        Raises:
            InputError: names the run.
        """
        for run, stage in zip(self.runs, self.stages, strict=True):
            # What is refused where the needed run is missing, is so for now: the needed run is checked itself.
            waits = run.needs is not None and self.stages[run.needs] == UNFINISHED
            if stage == UNFINISHED and not waits:
                with_name(run.name, run.study.check)


def make_plan(wanted: Iterable[Wanted], template: Job) -> Plan:
    """The plan of a sweep; checks the settings of all runs.

    Args:
        wanted: the runs of its file.
        template: a job with root, device and threads.

    Raises:
        InputError: settings that are not allowed, or two runs that are the same or write the same files; names them.
    """
    runs = [_run(replace(template, index=index), each) for index, each in enumerate(wanted)]
    owners: dict[Path, int] = {}
    for run in runs:
        for place in run.study.places:
            if (other := owners.setdefault(place, run.job.index)) != run.job.index:
                raise InputError(
                    f"two runs would use the same folder {place.parent}: {runs[other].name} and {run.name}"
                )
    _add_needed(runs, owners)
    _refuse_circles(runs)
    return Plan(runs)


def with_name(name: str, call: Callable):
    """What a call gives; says of which run an error is."""
    try:
        return call()
    except InputError as error:
        raise InputError(f"{name}: {error}") from None


def key_of(job: Job) -> str:
    """See `Run.key`."""
    told = [job.command, list(job.words), job.settings, job.back]
    return digest(json.dumps(told, sort_keys=True), 16)


def _run(job: Job, wanted: Wanted) -> Run:
    job = replace(job, command=wanted.command, words=wanted.words, settings=wanted.settings)
    return Run(job, key_of(job), wanted, with_name(wanted.name, lambda: study_of_job(job)))


def _add_needed(runs: list[Run], owners: dict[Path, int]) -> None:
    """Adds what runs need and the file does not name, and says what needs what."""
    found = [(index, study) for index, run in enumerate(runs) if (study := with_name(run.name, run.study.needs))]
    while found:
        added: list[int] = []
        # What needs more of a run first: it serves those that need less of it.
        for index, study in sorted(found, key=lambda pair: -len(pair[1].places)):
            makers = {owners.get(place) for place in study.places}
            if makers == {None}:
                job = replace(runs[index].job, index=len(runs), back=runs[index].job.back + 1)
                owners.update(dict.fromkeys(study.places, job.index))
                makers = {job.index}
                runs.append(Run(job, key_of(job), runs[index].wanted, study, listed=False))
                added.append(job.index)
            if len(makers) > 1:
                part = next(runs[maker] for maker in makers if maker is not None)
                raise InputError(
                    f"{runs[index].name} needs more of a run than {part.name} makes of it ({study.folder}); let the "
                    "larger one be made"
                )
            runs[index] = replace(runs[index], needs=makers.pop())
        found = [(index, study) for index in added if (study := runs[index].study.needs())]


def _refuse_circles(runs: list[Run]) -> None:
    for run in runs:
        seen, needed = {run.job.index}, run.needs
        while needed is not None:
            if needed in seen:
                raise InputError(f"{run.name} needs itself")
            seen.add(needed)
            needed = runs[needed].needs


def stage_of(study: Study) -> int:
    """How far a study is, from its files; `UNFINISHED` where these are damaged: the run itself will tell of it."""
    try:
        return study.stage()
    except InputError:
        return UNFINISHED
