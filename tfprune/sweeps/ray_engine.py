"""The engine that carries out runs on the machines of a Ray cluster."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import platform
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from tfprune.cli import run
from tfprune.cli.early import loading_tensorflow
from tfprune.errors import InputError
from tfprune.records.extras import extra
from tfprune.records.result import installed_versions
from tfprune.sweeps.engine import Engine, Job, Outcome
from tfprune.sweeps.settings import EngineSettings, cores
from tfprune.sweeps.storage import FINISHED, Storage, key_of, names_of
from tfprune.sweeps.stored_run import perform_stored
from tfprune.sweeps.worker import is_full, one_line, perform, study_of_job, thread_environment

CONNECT_SECONDS = 60
"""Within which a cluster must answer."""
_LOOK_SECONDS = 1.0  # from one look at the machines to the next
_STORE_BYTES = 80 << 20  # results go through files, not through Ray's memory
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # reports to its makers
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # pages on the state of a machine that has died
}
# In a process of its own: Ray ends the process, or never returns, where a cluster does not answer.
_PROBE = """
import json, logging, sys
import ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level=logging.ERROR)
print("nodes", json.dumps([node["Resources"] for node in ray.nodes() if node["Alive"]]))
"""


class RayEngine(Engine):
    """Runs as tasks of Ray, each in a process that a machine's other runs have used before, except on GPUs.

    Without a storage the machines share the sweep's folder. With one each works on its own disk, see
    `tfprune.sweeps.stored_run`, and the files are brought to the sweep's folder when a run has ended.

    Args:
        how: where the cluster is, what a run takes, where results are stored.
        folder: of the sweep.
    """

    def __init__(self, how: EngineSettings, folder: Path):
        self._how, self._under_way = how, {}
        self._takes = {"CPU": how.cpus or 1.0, "GPU": how.gpus or 0.0}
        url = how.storage
        if url is not None and "://" not in url:
            url = str(Path(url).absolute())
        self._url = url
        self._storage: Storage | None = None
        self._ray: ModuleType | None = None
        self._slots, self._looked = 1, -math.inf

    def __enter__(self) -> RayEngine:
        if self._url is not None:
            self._storage = Storage(self._url)
            self._storage.check()
        os.environ.update({**_QUIET, **os.environ})  # read when it is imported
        ray = extra("ray", "--engine=ray")
        address = self._how.address
        if address is not None:
            self._check_fit(_nodes_at(address), f"--address={address}: no machine of the cluster")
        environment = {"TF_CPP_MIN_LOG_LEVEL": "3", **thread_environment(self._how.threads_of_run)}
        told = {"log_to_driver": False, "logging_level": logging.ERROR, "runtime_env": {"env_vars": environment}}
        if address is None:
            told |= {"num_cpus": cores(), "include_dashboard": False, "object_store_memory": _STORE_BYTES}
        ray.init(address=address or "local", **told)
        self._ray = ray
        try:
            if address is None:
                self._check_fit(self._nodes(), "this machine does not have what a run takes: it")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        # Lost runs are started again by whoever has given us the jobs: Ray would not know how far they are.
        # GPUs stand here, not in `options`: so Ray gives every run a process of its own, as one that has seen a GPU
        # would keep to it.
        takes = {"num_cpus": self._takes["CPU"], "num_gpus": self._takes["GPU"]}
        self._perform = ray.remote(max_retries=0, **takes)(_perform)
        return self

    @property
    def slots(self) -> int:
        if time.monotonic() - self._looked > _LOOK_SECONDS:  # machines come and go
            self._slots = max(1, sum(self._fitting(node) for node in self._nodes()))
            self._looked = time.monotonic()
        return self._slots

    def start(self, job: Job) -> None:
        if self._storage is not None:
            self._offer(job)
        task = self._perform.options(name=f"tfprune run {job.index}")
        self._under_way[task.remote(job, self._url, installed_versions())] = job

    def wait(self, seconds: float) -> Outcome | None:
        if not self._under_way:
            return None
        ready, _ = self._ray.wait(list(self._under_way), num_returns=1, timeout=seconds)
        if not ready:
            return None
        job = self._under_way.pop(ready[0])
        try:
            outcome = self._ray.get(ready[0])
        except self._ray.exceptions.RayTaskError as error:
            return Outcome(job, f"not started: {one_line(error.cause)}", details=str(error))
        except self._ray.exceptions.RayError as error:
            return Outcome(job, f"lost: {type(error).__name__}", details=str(error), lost=True)
        return outcome if outcome.error is not None or self._storage is None else self._brought(outcome)

    def __exit__(self, *_: object) -> None:
        if self._ray is None:
            return
        with contextlib.suppress(Exception):  # a cluster that is gone has nothing to stop
            for task in self._under_way:
                self._ray.cancel(task, force=True)
        self._under_way = {}
        self._ray.shutdown()
        self._ray = None

    def _offer(self, job: Job) -> None:
        """Stores what is here and not there: runs of an engine before, of this machine."""
        study, root = study_of_job(job), Path(job.root)
        for each in (study.needs(), study):
            if each is not None and each.stage() == run.FINISHED and not self._storage.holds(key_of(each, root)):
                self._storage.put(key_of(each, root), FINISHED, root, names_of(each, root))

    def _brought(self, outcome: Outcome) -> Outcome:
        root, study = Path(outcome.job.root), study_of_job(outcome.job)
        try:
            names = self._storage.fetch(key_of(study, root), FINISHED, root)
            if names is None:
                where = f"is --storage={self._url} the same place on all machines?"
                return replace(
                    outcome, error=f"the finished run is not in the storage as this machine sees it; {where}"
                )
            if set(names) - set(
                names_of(study, root)
            ):  # tables and figures of several runs, all of which are here alone
                with loading_tensorflow(quiet=True), study.held(False) as folder:
                    study.report(folder)
        except Exception as error:  # of whatever package stands behind the URL
            return replace(outcome, error=f"storage: {one_line(error)}", full=is_full(error))
        return outcome

    def _nodes(self) -> list[dict[str, float]]:
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]

    def _fitting(self, resources: dict[str, float]) -> int:
        """How many runs a machine can carry out at a time."""
        return int(min(resources.get(name, 0.0) / need for name, need in self._takes.items() if need))

    def _check_fit(self, nodes: list[dict[str, float]], where: str) -> None:
        if not any(map(self._fitting, nodes)):
            need, have = (
                ", ".join(f"{each.get('CPU', 0):g} cores and {each.get('GPU', 0):g} GPUs" for each in some)
                for some in ([self._takes], nodes)
            )
            raise InputError(f"{where} has the {need} of --cpus and --gpus. Received: {have or 'no machine'}")


def _perform(job: Job, url: str | None, versions: str) -> Outcome:
    """On a machine of the cluster."""
    if versions != installed_versions():
        error = f"the machine {platform.node()} has other versions than the sweep"
        return Outcome(job, f"{error}: {installed_versions()}, not {versions}")
    return perform(job) if url is None else perform_stored(job, url)


def _nodes_at(address: str) -> list[dict[str, float]]:
    """What the machines of a cluster have.

    Raises:
        InputError: it does not answer.
    """
    command = [sys.executable, "-c", _PROBE, address]
    try:
        ended = subprocess.run(
            command, capture_output=True, text=True, timeout=CONNECT_SECONDS, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        raise InputError(f"--address={address}: no cluster answers within {CONNECT_SECONDS} seconds") from None
    for line in ended.stdout.splitlines():
        if line.startswith("nodes "):
            return json.loads(line.removeprefix("nodes "))
    said = [line for line in ended.stderr.splitlines() if line.strip()] or ["Ray ended without a word"]
    hint = "" if "RAY_AUTH_MODE" in os.environ else "; a cluster with a token needs RAY_AUTH_MODE=token"
    raise InputError(f"--address={address}: no cluster answers there: {said[-1].strip()}{hint}")
