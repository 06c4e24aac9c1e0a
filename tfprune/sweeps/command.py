"""`python -m tfprune.sweep SWEEP_FILE`, and the same from Python."""

from __future__ import annotations

import os
import sys
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from absl import flags

from tfprune.cli import flags as setting_flags
from tfprune.cli.app import Command
from tfprune.cli.early import check_output
from tfprune.cli.run import UNFINISHED
from tfprune.cli.shipped import shipped
from tfprune.errors import InputError, did_you_mean
from tfprune.experiments.results import read_results
from tfprune.records.settings import settings_of
from tfprune.sweeps.display import SweepBar, estimate_text, run_table
from tfprune.sweeps.engine import Job
from tfprune.sweeps.engines import engine_of
from tfprune.sweeps.plan import Plan, make_plan, with_name
from tfprune.sweeps.scheduler import Scheduler, cell_of, times_of
from tfprune.sweeps.settings import EngineSettings, SweepSettings
from tfprune.sweeps.state import RUNS, SweepFolder, read_ended, recorded, refuse_other
from tfprune.sweeps.sweep_file import SweepFile

MOST_RUNS = 10_000
_GROUPS = (SweepSettings, EngineSettings)
_MANY = 1000  # runs, whose settings take seconds to check
_SHOWN = 5  # failures at the end, and warnings at the start


class Sweep:
    """A sweep that was carried out, or looked at.

    Attributes:
        folder: its folder; the runs' folders lie in `runs` below it.
        done: number of finished runs, those counted that other runs need.
        left: number of runs that are neither finished nor failed.
        failed: a run in a few words -> why it failed.
        text: what the command tells.
    """

    def __init__(self, folder: Path, done: int, left: int, failed: Mapping[str, str], text: str):
        self.folder, self.done, self.left, self.failed, self.text = folder, done, left, dict(failed), text

    @cached_property
    def results(self) -> pd.DataFrame:
        """One row for each trained network, as `tfprune.read_results` gives them."""
        place = self.folder / RUNS
        return read_results(*([place] if place.is_dir() else []))

    def __repr__(self) -> str:
        return self.text


def run_sweep(path: str | os.PathLike, **settings: Any) -> Sweep:
    """Does what `python -m tfprune.sweep` does: the runs of a sweep file that are not finished yet.

        sweep = tfprune.run_sweep("inputs/sweeps/effective_sparsity-digits.toml", jobs=2)
        sweep.results, sweep.failed

    A sweep that was killed, or interrupted, is continued by the same call. A run that fails is recorded and stops no
    other.

    Args:
        path: the sweep file; the module `tfprune.sweeps.sweep_file` says how one is written.
        **settings: the command's flags: `out`, the folder; `jobs`, runs at a time; `dry_run=True`, which carries
            nothing out and tells what there is to do; `retry_failed`, `changed`, `yes`, `quiet`; `engine`, `threads`,
            `device`, `attempts`, and those of Ray.

    Raises:
        InputError: file, settings, data or a folder cannot be used; before anything is started.
    """
    names = [field.name for group in _GROUPS for field in settings_of(group)]
    for name in settings:
        if name not in names:
            raise InputError(f"no setting of a sweep is called {name!r}{did_you_mean(name, names)}")
    found = [
        group(**{field.name: settings[field.name] for field in settings_of(group) if field.name in settings})
        for group in _GROUPS
    ]
    return _carry_out(os.fspath(path), *found)


def command() -> Command:
    """`python -m tfprune.sweep SWEEP_FILE`."""

    def define(values: flags.FlagValues) -> list[str]:
        return [setting_flags.define(values, group) for group in _GROUPS]

    def main(values: flags.FlagValues, words: Sequence[str]) -> None:
        if len(words) != 1:
            told = " ".join(words) or "none"
            raise InputError(
                f"give one sweep file, for example inputs/sweeps/effective_sparsity-digits.toml. Received: {told}"
            )
        how, where = (setting_flags.read(values, group) for group in _GROUPS)
        sweep = _carry_out(words[0], how, where)
        if not how.quiet or how.dry_run or sweep.failed:
            print(sweep.text)
        if sweep.failed and not how.dry_run:
            sys.exit(1)

    return Command((), "", define, main, takes_words=True)


def _carry_out(path: str, how: SweepSettings, where: EngineSettings) -> Sweep:
    path = shipped(path)
    file = SweepFile(path)
    if file.most_runs > MOST_RUNS and not how.yes:
        raise InputError(
            f"{path} asks for {file.most_runs:,} runs before exclusions; --yes starts more than {MOST_RUNS:,}"
        )
    folder = Path(how.out or Path("sweeps", Path(path).stem))
    with SweepBar(how.quiet) as bar:
        if file.most_runs > _MANY:
            bar.say(f"checking the settings of up to {file.most_runs:,} runs ...")
        root = os.path.abspath(folder / RUNS)
        template = Job(0, file.command, root=root, device=where.device, threads=where.threads_of_run)
        plan = with_name(path, lambda: make_plan(file.runs(), template))
        refuse_other(folder, file.content, how.changed)
        plan.look()
        if how.dry_run:
            return _looked_at(folder, plan, where.jobs, _obstacle(plan))
        if len(plan.finished) == len(plan.runs) and recorded(folder) == file.content:  # the disk may be read-only
            return _told(folder, plan, {}, len(plan.runs))
        check_output(folder, "--out")
        with_name(path, plan.check)
        with SweepFolder(folder, file.content, how.changed) as record:
            return _run(plan, record, how, where, bar)


def _run(plan: Plan, record: SweepFolder, how: SweepSettings, where: EngineSettings, bar: SweepBar) -> Sweep:
    _warn(plan)
    done = len(plan.finished)
    bar.say(f"{record.folder}: {len(plan.runs):,} runs{_needed(plan)}, {done:,} of them done")
    if done == len(plan.runs):  # of a changed file
        return _told(record.folder, plan, {}, done)
    with engine_of(where, Path(os.path.abspath(record.folder))) as engine:
        scheduler = Scheduler(plan, record, engine, bar, where.attempts, how.retry_failed)
        scheduler.run()
    return _told(record.folder, plan, scheduler.failed, scheduler.counts.done)


def _obstacle(plan: Plan) -> str | None:
    """Why the sweep could not be started here: data that are missing, or a part of one's own."""
    try:
        plan.check()
    except InputError as error:
        return f"it cannot be started here: {error}"
    return None


def _looked_at(folder: Path, plan: Plan, at_a_time: int, obstacle: str | None) -> Sweep:
    ended = read_ended(folder)
    failed = plan.failed(ended)
    left = [cell_of(run) for run in plan.runs if run.job.index not in plan.finished and run.job.index not in failed]
    estimate = times_of(plan, ended).left(left, at_a_time)
    done = len(plan.finished)
    lines = [
        run_table(plan, ended),
        f"{len(plan.runs):,} runs{_needed(plan)}: {done:,} done, {len(failed):,} failed, {len(left):,} left",
        estimate_text(estimate, at_a_time),
        *([obstacle] if obstacle else []),
    ]
    return Sweep(folder, done, len(left), _by_name(plan, failed), "\n".join(lines))


def _told(folder: Path, plan: Plan, failed: Mapping[int, str], done: int) -> Sweep:
    left = len(plan.runs) - done - len(failed)
    lines = [f"{folder}: {len(plan.runs):,} runs{_needed(plan)}: {done:,} done, {len(failed):,} failed"]
    names = _by_name(plan, failed)
    lines += [f"failed: {name}: {error}" for name, error in list(names.items())[:_SHOWN]]
    if len(failed) > _SHOWN:
        lines.append(f"and {len(failed) - _SHOWN:,} more; --dry_run lists them")
    if failed:
        lines.append("--retry_failed starts them again; logs/ beside the runs holds what they said")
    lines.append(f"results: python -m tfprune.results {folder / RUNS}")
    return Sweep(folder, done, left, names, "\n".join(lines))


def _by_name(plan: Plan, failed: Mapping[int, str]) -> dict[str, str]:
    return {plan.runs[index].name: error for index, error in sorted(failed.items())}


def _needed(plan: Plan) -> str:
    count = sum(not run.listed for run in plan.runs)
    return f" ({count:,} of them needed by others)" if count else ""


def _warn(plan: Plan) -> None:
    """What the studies say of their settings, each once."""
    left = [run for run, stage in zip(plan.runs, plan.stages, strict=True) if stage == UNFINISHED]
    texts = Counter(text for run in left for text in run.study.warnings)
    for text, count in list(texts.items())[:_SHOWN]:
        warnings.warn(f"{text} ({count:,} run{'' if count == 1 else 's'})", stacklevel=2)
