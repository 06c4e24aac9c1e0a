"""How a sweep is carried out: where, by how many at a time, and what to do with what is there."""

from __future__ import annotations

import os
from dataclasses import dataclass

from tfprune.cli.run import DEVICES
from tfprune.errors import InputError
from tfprune.records.settings import Settings, setting

MOST_JOBS = 4096
_OF_RAY = ("address", "cpus", "gpus", "storage")


@dataclass(frozen=True)
class SweepSettings(Settings):
    """What to do with the runs of a sweep file; no result depends on it."""

    title = "Sweep"

    out: str | None = setting(
        str,
        "Folder of the sweep (default: sweeps/ and the name of the file).",
        None,
        rule=("the path of a folder", bool),
    )
    dry_run: bool = setting(bool, "Print the runs, how many are done and the time that is left, and stop.", False)
    retry_failed: bool = setting(bool, "Also start the runs that failed.", False)
    changed: bool = setting(
        bool, "Go on in a folder whose sweep file was another: runs that both have are not repeated.", False
    )
    yes: bool = setting(bool, "Also start more than 10,000 runs.", False)
    quiet: bool = setting(bool, "Show no progress.", False)


@dataclass(frozen=True)
class EngineSettings(Settings):
    """Where the runs are carried out."""

    title = "Where to run"

    engine: str = setting(
        str,
        "processes: --jobs processes of this machine; inline: this process, one run after the other; ray: a Ray "
        "cluster.",
        "processes",
        choices=("processes", "inline", "ray"),
    )
    jobs: int = setting(int, "Runs at a time, each in a process of its own.", 1, at_least=1, at_most=MOST_JOBS)
    threads: int | None = setting(
        int, "Threads of a run (default: the cores of this machine, shared among --jobs).", None, at_least=1
    )
    device: str = setting(str, "Where to train; auto takes a GPU if there is one.", "auto", choices=DEVICES)
    attempts: int = setting(
        int, "How often a run is started whose process, or machine, was killed.", 3, at_least=1, at_most=100
    )
    address: str | None = setting(
        str, "ray: address of the cluster, or auto (default: a cluster of this machine alone).", None
    )
    cpus: float | None = setting(float, "ray: cores that a run takes (default: 1).", None, above=0)
    gpus: float | None = setting(
        float, "ray: GPUs that a run takes, also a part of one (default: 0).", None, at_least=0
    )
    storage: str | None = setting(
        str, "ray: folder that all machines see, or fsspec URL, for results (default: --out is one).", None
    )

    def check(self) -> None:
        if self.engine != "ray":
            for name in _OF_RAY:
                if (value := getattr(self, name)) is not None:
                    raise InputError(f"--{name} goes with --engine=ray. Received: --{name}={value}")
        if self.engine != "processes" and self.jobs != 1:
            raise InputError(f"--jobs goes with --engine=processes. Received: --engine={self.engine}")

    @property
    def threads_of_run(self) -> int | None:
        """How many threads each run may use; None leaves it to TensorFlow, which takes all cores."""
        if self.threads is not None:
            return self.threads
        if self.engine == "ray":
            return max(1, round(self.cpus or 1))
        return max(1, cores() // self.jobs) if self.jobs > 1 else None


def cores() -> int:
    """Cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # not every system has it
    return len(affinity(0)) if affinity else os.cpu_count() or 1
