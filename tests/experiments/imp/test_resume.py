"""Real processes, killed without warning at telling moments, end with the files of one that was left in peace."""

import os
import signal
import subprocess
import sys
import time

import pytest

INPUT = """
[IO]
save_dir = {folder}
[Data]
dataset = digits
[Network]
arch = f48:f24:x
steps = 900
batch_size = 60
val_size = 200
minimizer = {minimizer}
learning_rate = 0.01
validate_step = 60
[IMP]
prune = T:T:F
prune_ratio = 0.4
weights_step = 50
prune_step = 700
max_iterations = 3
[Run]
checkpoint_step = 100
random_baseline = yes
"""
# File patterns: the process is killed as soon as one of its files is new.
MOMENTS = (
    "IMP_run.json",
    "IMP_checkpoint.npz",
    "IMP_summary.csv",
    "IMP_itdata_1.pkl",
    "IMP_random_checkpoint.npz",
    "IMP_findata.pkl",
    ".IMP_figures.tfprune-tmp-*/new/*.png",
)


def _start(path):
    command = [sys.executable, "-m", "tfprune.imp", str(path)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _state(folder, pattern):
    return {(path.name, path.stat().st_mtime_ns) for path in folder.glob(pattern) if path.exists()}


def _kill_at(path, folder, pattern):
    before = _state(folder, pattern)
    process = _start(path)
    deadline = time.monotonic() + 120
    while _state(folder, pattern) <= before:
        assert process.poll() is None, f"ended before {pattern}: {process.stdout.read()}"
        assert time.monotonic() < deadline, pattern
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.parametrize("minimizer", ["Adam"])
def test_killed_runs_end_like_an_uninterrupted_one(tmp_path, minimizer):
    folders = {name: tmp_path / name for name in ("whole", "killed")}
    inputs = {}
    for name, folder in folders.items():
        inputs[name] = tmp_path / f"{name}.ini"
        inputs[name].write_text(INPUT.format(folder=folder, minimizer=minimizer))
    whole = _start(inputs["whole"])
    for moment in MOMENTS:
        _kill_at(inputs["killed"], folders["killed"], moment)
    last = _start(inputs["killed"])
    assert last.wait() == 0, last.stdout.read()
    assert whole.wait() == 0, whole.stdout.read()

    names = {path.name for path in folders["whole"].iterdir()}
    assert names == {path.name for path in folders["killed"].iterdir()}
    assert len([name for name in names if "itdata" in name]) == 3
    same = [name for name in names if name.endswith((".pkl", ".dat", ".csv")) and name != "IMP_summary.csv"]
    assert len(same) == 8
    for name in same:
        assert (folders["whole"] / name).read_bytes() == (folders["killed"] / name).read_bytes(), name
    # The summary differs in the milliseconds per step alone, its last column.
    summaries = [(folder / "IMP_summary.csv").read_text().splitlines() for folder in folders.values()]
    assert summaries[0][0].endswith(",ms_per_step")
    without_time = [[line.rsplit(",", 1)[0] for line in lines] for lines in summaries]
    assert without_time[0] == without_time[1]

    again = _start(inputs["killed"])
    assert again.wait() == 0
    assert "is finished; nothing to do" in again.stdout.read()
