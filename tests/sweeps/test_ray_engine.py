"""The engine of Ray clusters against a Ray that works in this process: what is given to it, and what comes of loss."""

import sys
import types
import uuid
from dataclasses import replace
from pathlib import Path

import pytest
from trivial_system import TrivialStudy

from tfprune.errors import InputError
from tfprune.sweeps import ray_engine
from tfprune.sweeps.engine import Job
from tfprune.sweeps.ray_engine import RayEngine
from tfprune.sweeps.settings import EngineSettings
from tfprune.sweeps.storage import FINISHED, Storage, key_of
from tfprune.sweeps.worker import perform, study_of_job


class RayError(Exception):
    pass


class NodeDiedError(RayError):
    pass


class RayTaskError(RayError):
    def __init__(self, cause):
        super().__init__("a long report")
        self.cause = cause


class FakeRay(types.ModuleType):
    """Carries out a task when it is asked for its result; `faults` are raised first."""

    def __init__(self, nodes):
        super().__init__("ray")
        self.machines, self.faults, self.given, self.options, self.cancelled = nodes, [], {}, [], []
        self.exceptions = types.SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)

    def init(self, **given):
        self.given = given

    def shutdown(self):
        self.given = None

    def nodes(self):
        return [{"Alive": alive, "Resources": resources} for alive, resources in self.machines]

    def remote(self, **given):
        self.options.append(given)
        return lambda function: _Task(self, function)

    def wait(self, tasks, num_returns, timeout):
        return tasks[:num_returns], tasks[num_returns:]

    def get(self, task):
        if self.faults:
            raise self.faults.pop(0)
        return task()

    def cancel(self, task, force):
        assert force
        self.cancelled.append(task)


class _Task:
    def __init__(self, ray, function):
        self._ray, self._function = ray, function

    def options(self, **given):
        self._ray.options.append(given)
        return self

    def remote(self, *arguments):
        return lambda: self._function(*arguments)


@pytest.fixture
def ray(monkeypatch):
    fake = FakeRay([(True, {"CPU": 4.0}), (True, {"CPU": 3.0, "GPU": 1.0}), (False, {"CPU": 64.0})])
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.setattr(ray_engine, "_nodes_at", lambda address: [{"CPU": 4.0}, {"CPU": 3.0, "GPU": 1.0}])
    monkeypatch.setattr(ray_engine, "_LOOK_SECONDS", -1)
    return fake


@pytest.fixture
def root(tmp_path):
    (tmp_path / "runs").mkdir()
    return tmp_path / "runs"


def engine(tmp_path, **settings):
    return RayEngine(EngineSettings(engine="ray", **settings), tmp_path)


def job(root, index=0, **settings):
    return Job(index, "trivial_system:TrivialStudy", (), settings, str(root))


def sums(root, *jobs):
    return [(study_of_job(each).folder / "sum.txt").read_text() for each in jobs]


def test_runs_in_a_folder_of_all_machines(ray, tmp_path, root):
    jobs = [job(root, index, x=index) for index in range(3)]
    with engine(tmp_path, address="auto", cpus=2) as used:
        assert used.wait(1) is None
        for each in jobs:
            used.start(each)
        found = [used.wait(1) for _ in jobs]
        assert used.wait(1) is None
    assert [(each.job, each.error) for each in found] == [(each, None) for each in jobs]
    assert sums(root, *jobs) == ["1.0", "2.0", "3.0"]
    # What a run takes stands where Ray sees that a process with a GPU must not be used twice.
    assert ray.options[:2] == [{"max_retries": 0, "num_cpus": 2.0, "num_gpus": 0.0}, {"name": "tfprune run 0"}]


def test_what_ray_is_told(ray, tmp_path):
    with engine(tmp_path, address="10.0.0.1:6379", cpus=3):
        assert ray.given["address"] == "10.0.0.1:6379" and ray.given["log_to_driver"] is False
        assert "num_cpus" not in ray.given  # of a cluster that is there
        assert ray.given["runtime_env"]["env_vars"]["OMP_NUM_THREADS"] == "3"
    with engine(tmp_path):
        assert ray.given["address"] == "local" and ray.given["include_dashboard"] is False
    assert ray.given is None


@pytest.mark.parametrize(
    ("cpus", "gpus", "slots"),
    # Of 4 cores, 3 cores with a GPU, and a machine that is dead.
    [(None, None, 7), (2, None, 3), (0.5, None, 14), (None, 1, 1), (None, 0.25, 3), (0.5, 0.25, 4)],
)
def test_slots_are_the_runs_that_fit(ray, tmp_path, cpus, gpus, slots):
    with engine(tmp_path, address="auto", cpus=cpus, gpus=gpus) as used:
        assert used.slots == slots
        ray.machines[0] = (False, {"CPU": 4.0})
        ray.machines.append((True, {"CPU": 100.0, "GPU": 100.0}))
        assert used.slots > slots
        ray.machines.clear()
        assert used.slots == 1


def test_what_fits_nowhere_is_refused(ray, tmp_path):
    told = r"no machine of the cluster has the 5 cores and 0 GPUs .* Received: 4 cores and 0 GPUs, 3 cores and 1 GPUs"
    with pytest.raises(InputError, match=told), engine(tmp_path, address="auto", cpus=5):
        pass
    ray.machines[1:] = []
    with pytest.raises(InputError, match=r"this machine does not have what a run takes"), engine(tmp_path, gpus=1):
        pass
    assert ray.given is None  # shut down


def test_a_lost_run_is_told_from_one_that_failed(ray, tmp_path, root):
    ray.faults = [NodeDiedError("its machine\nis gone"), RayTaskError(ModuleNotFoundError("No module named 'tfprune'"))]
    with engine(tmp_path, address="auto") as used:
        found = []
        for each in (job(root), job(root), job(root), job(root, x=2, fault="error")):
            used.start(each)
            found.append(used.wait(1))
    assert [each.lost for each in found] == [True, False, False, False]
    assert [each.error for each in found] == [
        "lost: NodeDiedError",
        "not started: ModuleNotFoundError: No module named 'tfprune'",
        None,
        "RuntimeError: something went wrong",
    ]


def test_other_versions_are_refused(ray, tmp_path, root, monkeypatch):
    with engine(tmp_path, address="auto") as used:
        used.start(job(root))
        monkeypatch.setattr(ray_engine, "installed_versions", lambda: "tfprune 0")
        outcome = used.wait(1)
    assert "has other versions than the sweep: tfprune 0, not " in outcome.error and not outcome.lost
    assert not any(root.iterdir())


def test_what_is_under_way_is_stopped(ray, tmp_path, root):
    with pytest.raises(KeyboardInterrupt), engine(tmp_path, address="auto") as used:
        used.start(job(root, 0))
        used.start(job(root, 1))
        used.wait(1)
        raise KeyboardInterrupt
    assert len(ray.cancelled) == 1 and ray.given is None


def test_a_storage_brings_needed_runs_there_and_results_back(ray, tmp_path, root):
    url, needy = f"memory://{uuid.uuid4().hex}", job(root, 1, x=1, word="b", after="c")
    assert perform(replace(needy, back=1)).error is None  # on this machine, by an engine before
    with engine(tmp_path, address="auto", storage=url) as used:
        used.start(needy)
        outcome = used.wait(1)
    assert outcome.error is None and outcome.job == needy
    assert sums(root, needy) == ["3.0"] and study_of_job(needy).stage() == 2
    for each in (needy, replace(needy, back=1)):
        assert Storage(url).holds(key_of(study_of_job(each), root), FINISHED)


class SharedStudy(TrivialStudy):
    """Its runs draw a table together, beside their folders."""

    def report(self, folder):
        sums = sorted(path.read_text() for path in Path(self.settings.out_path).glob("*/sum.txt"))
        Path(self.settings.out_path, "table.txt").write_text(" ".join(sums))
        return super().report(folder)


def test_what_runs_draw_together_is_drawn_of_all(ray, tmp_path, root, monkeypatch):
    monkeypatch.setattr("trivial_system.SharedStudy", SharedStudy, raising=False)
    with engine(tmp_path, address="auto", storage=f"memory://{uuid.uuid4().hex}") as used:
        for x in range(3):
            used.start(replace(job(root, x, x=x), command="trivial_system:SharedStudy"))
            assert used.wait(1).error is None
    assert (root / "table.txt").read_text() == "1.0 2.0 3.0"


def test_a_storage_that_is_another_one_there_is_told(ray, tmp_path, root, monkeypatch):
    here, there = (f"memory://{uuid.uuid4().hex}" for _ in range(2))
    work = ray_engine.perform_stored
    monkeypatch.setattr(ray_engine, "perform_stored", lambda job, url: work(job, there))
    with engine(tmp_path, address="auto", storage=here) as used:
        used.start(job(root))
        outcome = used.wait(1)
    assert "is --storage=memory://" in outcome.error and "the same place on all machines?" in outcome.error


def test_a_path_as_storage_is_made_absolute(ray, tmp_path, root, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with engine(tmp_path, address="auto", storage="store") as used:
        used.start(job(root))
        assert used.wait(1).error is None
    assert list((tmp_path / "store").glob("*/finished.json"))


def test_no_ray_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"--engine=ray: .* pip install 'tfprune\[ray\]'"), engine(tmp_path):
        pass


@pytest.mark.parametrize(
    ("probe", "told"),
    [
        ("import time; time.sleep(60)", r"--address=x: no cluster answers within 0.5 seconds"),
        ("import os; os.abort()", r"--address=x: no cluster answers there: Ray ended without a word"),
        ("raise ConnectionError('no such host')", r"no cluster answers there: ConnectionError: no such host"),
    ],
)
def test_a_cluster_that_does_not_answer_is_told(monkeypatch, tmp_path, probe, told):
    monkeypatch.setattr(ray_engine, "_PROBE", probe)
    monkeypatch.setattr(ray_engine, "CONNECT_SECONDS", 0.5 if "sleep" in probe else 30)
    monkeypatch.setitem(sys.modules, "ray", FakeRay([]))
    with pytest.raises(InputError, match=told), engine(tmp_path, address="x"):
        pass
