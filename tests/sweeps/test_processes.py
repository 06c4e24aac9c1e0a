"""Runs in processes of their own: what comes back, and what is left of a process that is killed."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

import tfprune
from tfprune.errors import InputError
from tfprune.sweeps.engine import Job
from tfprune.sweeps.processes import ProcessEngine
from tfprune.sweeps.settings import EngineSettings, cores
from tfprune.sweeps.worker import thread_environment

TWELVE = "[cross]\nx = [1, 2, 3, 4, 5, 6]\ny = [0.5, 1.5]\n"
PROCESSES = {"engine": "processes", "jobs": 2}


def _children():
    return psutil.Process().children(recursive=True)


def test_the_same_results_as_in_this_process(place):
    place.sweep(TWELVE)
    expected = place.sums
    assert len(expected) == 12
    other = tfprune.run_sweep(place.write(TWELVE), out=place.folder / "two", quiet=True, **PROCESSES)
    assert other.done == 12
    rows = zip(other.results["settings"], other.results["more"], strict=True)
    assert {(each["word"], each["x"], each["y"]): more["sum"] for each, more in rows} == expected
    assert not _children()


def test_a_killed_process_costs_its_run_an_attempt(place):
    text = '[[part]]\ncross = {x = [1, 2, 3]}\n[[part]]\nsettings = {word = "b", fault = "killed once"}\n'
    sweep = place.sweep(text, **PROCESSES)
    assert sweep.done == 4 and not sweep.failed
    assert place.trained == 5
    assert not _children()


def test_a_run_that_always_kills_its_process_fails(place):
    text = '[[part]]\ncross = {x = [1, 2, 3]}\n[[part]]\nsettings = {word = "b", fault = "killed"}\n'
    sweep = place.sweep(text, attempts=2, **PROCESSES)
    assert sweep.done == 3 and place.trained == 5
    (error,) = sweep.failed.values()
    assert error == "its process ended by signal 9 (no memory left?)"
    (log,) = (place.out / "logs").glob("*.log")
    assert "its process ended" in log.read_text()


def test_failures_come_with_what_was_said(place):
    text = '[cross]\nword = ["a", "b"]\n[settings]\nfault = "error"\n'
    sweep = place.sweep(text, **PROCESSES)
    assert sorted(sweep.failed.values()) == 2 * ["RuntimeError: something went wrong"]
    assert all("said before it went wrong" in log.read_text() for log in (place.out / "logs").glob("*.log"))


def test_a_full_disk_stops_it_and_leaves_no_process(place):
    text = '[[part]]\nsettings = {fault = "full", word = "b"}\n[[part]]\nsettings = {seconds = 60}\n'
    with pytest.raises(InputError, match=r"No space left on device"):
        place.sweep(text, **PROCESSES)
    assert not place.sums and not _children()  # nobody waited for the other run


def test_shared_runs_come_before_what_needs_them(place):
    text = '[settings]\nword = "b"\nafter = "c"\n[cross]\nx = [1, 2, 3, 4, 5, 6]\n'
    assert place.sweep(text, **PROCESSES).done == place.trained == 7
    assert place.sums == {("c", 0, 1): 1} | {("b", x, 1): x + 2 for x in range(1, 7)}


def test_processes_are_held_to_their_share_of_the_cores(tmp_path, monkeypatch):
    assert EngineSettings(jobs=2).threads_of_run == max(1, cores() // 2)
    assert EngineSettings(jobs=2, threads=3).threads_of_run == 3
    assert EngineSettings().threads_of_run is None
    expected = thread_environment(3)
    names = {"OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"}
    assert names <= expected.keys()
    with ProcessEngine(EngineSettings(jobs=1, threads=3), tmp_path) as engine:
        engine.start(Job(0, "trivial_system:TrivialStudy", settings={"seconds": 30.0}, root=str(tmp_path)))
        deadline = time.monotonic() + 20
        while not (children := _children()) or "worker_process" not in " ".join(children[0].cmdline()):
            assert time.monotonic() < deadline
        found = children[0].environ()
        assert {name: found[name] for name in expected} == expected
    assert not _children()


@pytest.mark.slow
def test_tensorflow_uses_no_more_threads_than_it_may(tmp_path):
    code = """
import tensorflow as tf
from tensorflow.python.eager import context
tf.zeros(1)
config = context.context().config
print(config.intra_op_parallelism_threads, config.inter_op_parallelism_threads)
big = tf.random.normal((2000, 2000))
[tf.linalg.matmul(big, big) for _ in range(3)]
import os
print(len(os.listdir("/proc/self/task")))
"""
    counts = {}
    for threads in (None, 1):
        environment = {**os.environ, **thread_environment(threads)}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
        counts[threads] = int(done.stdout.split()[-1])
    assert counts[1] < counts[None]


def test_the_sparse_engine_uses_no_more_threads_than_it_may():
    pytest.importorskip("numba")
    code = "from tfprune.engine import compiling; compiling.run_with(0); print(compiling.threads())"
    environment = {**os.environ, **thread_environment(1)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout == "1\n", done.stderr


def test_an_idle_process_that_dies_is_replaced(tmp_path):
    def job(index):
        return Job(index, "trivial_system:TrivialStudy", settings={"x": index}, root=str(tmp_path))

    with ProcessEngine(EngineSettings(jobs=1), tmp_path) as engine:
        for index in range(3):
            engine.start(job(index))
            while (outcome := engine.wait(1.0)) is None:
                pass
            assert outcome.job.index == index and outcome.error is None and not outcome.lost
            (child,) = _children()
            child.kill()
            child.wait()


def _start(place, environment, *words):
    path = place.write("[cross]\nx = [1, 2, 3, 4, 5, 6, 7, 8]\n[settings]\nseconds = 0.3\n")
    return subprocess.Popen(
        [sys.executable, "-m", "tfprune.sweep", path, f"--out={place.out}", "--jobs=2", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )


def _wait_for(place, count):
    deadline = time.monotonic() + 60
    while place.trained < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.slow_beyond(1)
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL, signal.SIGTERM])
def test_a_sweep_that_is_ended_leaves_no_process_and_continues(place, environment, how):
    sweep = _start(place, environment)
    _wait_for(place, 3)
    children = psutil.Process(sweep.pid).children(recursive=True)
    assert len(children) == 2
    sweep.send_signal(how)
    _, errors = sweep.communicate()
    if how == signal.SIGINT:
        assert sweep.returncode == 130 and errors.endswith("interrupted; the same command continues\n")
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive
    finished = [path.parent.name for path in place.out.rglob("run.json") if '"finished": true' in path.read_text()]
    before = (place.out / "runs" / "trained.txt").read_text().split()
    sweep = _start(place, environment)
    out, errors = sweep.communicate()
    assert sweep.returncode == 0 and "8 runs: 8 done, 0 failed" in out, errors
    after = (place.out / "runs" / "trained.txt").read_text().split()[len(before) :]
    assert not set(after) & set(finished)
    assert place.sums == {("a", x, 1): x + 1 for x in range(1, 9)}


@pytest.mark.slow
def test_processes_that_are_killed_all_the_time(place, environment):
    """Every process of the sweep is killed again and again; every run ends as it would have."""
    sweep, killed, over = _start(place, environment, "--attempts=100"), [], threading.Event()

    def kill():
        while not over.wait(1.7):
            with contextlib.suppress(psutil.Error, IndexError):
                psutil.Process(sweep.pid).children()[0].kill()
                killed.append(1)

    thread = threading.Thread(target=kill)
    thread.start()
    out, _ = sweep.communicate()
    over.set()
    thread.join()
    assert killed and "8 runs: 8 done, 0 failed" in out
    assert place.sums == {("a", x, 1): x + 1 for x in range(1, 9)}
