"""What the Ray engine adds to a run: trivial ones by Ray on this machine, with and without a storage, and in process.

Runs write one number. `added_ms_per_run` is the time from the first to the last outcome over the number of runs, less
what the runs say they took divided by how many go at a time; Ray's start is told apart. In process the same runs take
`inline_ms_per_run`. Limit: 100 ms added, with a storage, too. Prints one JSON line; exits 1 over it.

    python benchmarks/ray_overhead.py [--runs 200]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

LIMIT_MS = 100.0
os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])

from tfprune.sweeps.engine import Job  # noqa: E402 - Ray's processes inherit the path
from tfprune.sweeps.engines import engine_of  # noqa: E402
from tfprune.sweeps.settings import EngineSettings  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=200)
    runs = parser.parse_args().runs
    sys.path.append(str(Path(__file__).parent))
    with tempfile.TemporaryDirectory() as place:
        _, inline, _ = timed(EngineSettings(engine="inline"), Path(place, "inline"), runs)
        start, shared, slots = timed(EngineSettings(engine="ray"), Path(place, "shared"), runs)
        storage = str(Path(place, "storage"))
        _, stored, _ = timed(EngineSettings(engine="ray", storage=storage), Path(place, "stored"), runs)
    result = {
        "benchmark": "ray_overhead",
        "runs": runs,
        "slots": slots,
        "start_s": round(start, 1),
        "inline_ms_per_run": round(inline, 2),
        "added_ms_per_run": round(shared, 1),
        "added_with_storage_ms_per_run": round(stored, 1),
        "limit_ms": LIMIT_MS,
    }
    print(json.dumps(result))
    return int(max(shared, stored) > LIMIT_MS)


def timed(how: EngineSettings, folder: Path, runs: int) -> tuple[float, float, int]:
    """Seconds until the engine is ready, milliseconds added to a run, and runs at a time."""
    root = folder / "runs"
    root.mkdir(parents=True)
    jobs = [Job(index, "sweep_overhead:TrivialStudy", (), {"x": index}, str(root)) for index in range(runs + 8)]
    began = time.perf_counter()
    with engine_of(how, folder) as engine:
        start, slots = time.perf_counter() - began, engine.slots
        carried_out(engine, jobs[runs:], slots)  # warm: Ray's processes have loaded the package
        began = time.perf_counter()
        own = carried_out(engine, jobs[:runs], slots)
        seconds = time.perf_counter() - began
    own = 0.0 if how.engine == "inline" else own / slots
    return start, 1e3 * (seconds - own) / runs, slots


def carried_out(engine, jobs: list[Job], slots: int) -> float:
    """Seconds that the runs say they took, all together."""
    left, under_way, total = list(jobs), 0, 0.0
    while left or under_way:
        while left and under_way < slots:
            engine.start(left.pop())
            under_way += 1
        outcome = engine.wait(10)
        if outcome is not None:
            assert outcome.error is None, outcome
            under_way, total = under_way - 1, total + outcome.seconds
    return total


if __name__ == "__main__":
    sys.exit(main())
