"""Real trainings: however a sweep is carried out, its runs end with the same numbers."""

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.slow
FILE = """
[settings]
data = "digits"
iterations = 60
checkpoint_step = 5
[cross]
pruner = ["snip", "lamp"]
com_exp = [0.5, 1.0]
"""


def _sweep(path, out, environment, *words):
    command = [sys.executable, "-m", "tfprune.sweep", path, f"--out={out}", "--threads=1", *words]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _numbers(out):
    """Arrays of all runs, weights, masks and accuracies among them, by file."""
    runs = Path(out, "runs")
    return {str(path.relative_to(runs)): path.read_bytes() for path in runs.rglob("*.np?")}


def test_killed_and_continued_or_two_at_a_time_the_numbers_are_those_of_one(place, environment):
    path = place.write(FILE, study="main")
    whole = _sweep(path, place.folder / "whole", environment)
    assert "5 done, 0 failed" in whole.communicate()[0]
    expected = _numbers(place.folder / "whole")
    assert sum(name.endswith("accuracies.npy") for name in expected) == 5  # a dense one for both of LAMP

    out = place.folder / "killed"
    for count in (1, 3):
        sweep, deadline = _sweep(path, out, environment, "--jobs=2"), time.monotonic() + 300
        while len(list(out.rglob("*result.json"))) < count:
            assert time.monotonic() < deadline and sweep.poll() is None, sweep.communicate()
            time.sleep(0.002)
        children = psutil.Process(sweep.pid).children()
        sweep.kill()
        sweep.communicate()
        psutil.wait_procs(children, timeout=60)
    records = [record for record in out.rglob("*run.json") if '"finished": true' in record.read_text()]
    results = [record.with_name(record.name.replace("run.json", "result.json")) for record in records]
    done = {file: file.stat().st_mtime_ns for file in results}
    assert done
    text, errors = _sweep(path, out, environment, "--jobs=2").communicate()
    assert "5 done, 0 failed" in text, errors
    assert {file: file.stat().st_mtime_ns for file in done} == done
    assert _numbers(out) == expected
