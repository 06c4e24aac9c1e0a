"""What a sweep costs beside its runs: 7,000 trivial ones in this process, and a start of the finished sweep.

A run here writes a number and its result, and claims and finishes its folder as any other. What the sweep adds is the
time from start to end less what the runs say they took: reading the file, checking all settings, looking for what is
finished, scheduling, the record. The start of the finished sweep has to find 7,000 times that nothing is left to do.
Beside them, the same first steps (all but the runs) of the published effective-sparsity study, whose settings are more.
Limits: 50 ms added for each run, 60 s for the start of the finished sweep. Prints one JSON line; exits 1 over a limit.

    python benchmarks/sweep_overhead.py [--runs 7000]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import tfprune
from tfprune.cli.run import Study
from tfprune.records.atomic import atomic_write_text
from tfprune.records.result import write_result
from tfprune.records.run_folder import Layout
from tfprune.records.settings import Settings, setting
from tfprune.sweeps.command import Sweep

OVERHEAD_MS, RESTART_S = 50.0, 60.0
PUBLISHED = Path(__file__).parents[1] / "inputs" / "sweeps" / "effective_sparsity.toml"


@dataclass(frozen=True)
class TrivialSettings(Settings):
    x: int = setting(int, "A number.", 0)
    y: int = setting(int, "Another.", 0)
    out_path: str = setting(str, "Folder of all runs.", "Trivial", place=True)


class TrivialStudy(Study):
    family, settings_type, tensorflow = "trivial", TrivialSettings, False
    layout = Layout(results=("sum.txt", "result.json"))

    @property
    def folder(self):
        return Path(self.settings.out_path, self.digest)

    def train(self, folder, watch):
        atomic_write_text(folder.path("sum.txt"), str(self.settings.x + self.settings.y))

    def report(self, folder):
        write_result(folder.path("result.json"), self.result(label="trivial"))
        return "done"


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=7000)
    runs = parser.parse_args().runs
    sys.path.append(str(Path(__file__).parent))
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        Path("trivial.toml").write_text(
            f'entry_point = "sweep_overhead:TrivialStudy"\n[cross]\nx = {list(range((runs + 9) // 10))}\n'
            f"y = {list(range(10))}\n"
        )
        first, sweep = _timed("trivial.toml")
        lines = Path(sweep.folder, "outcomes.jsonl").read_text().splitlines()
        own = sum(json.loads(line)["seconds"] for line in lines)
        again, sweep = _timed("trivial.toml")
        published, looked_at = _timed(str(PUBLISHED), dry_run=True)
    result = {
        "benchmark": "sweep_overhead",
        "runs": sweep.done,
        "seconds": round(first, 1),
        "of_the_runs_s": round(own, 1),
        "added_ms_per_run": round(1e3 * (first - own) / sweep.done, 3),
        "added_limit_ms": OVERHEAD_MS,
        "start_of_finished_s": round(again, 2),
        "start_of_finished_limit_s": RESTART_S,
        "published_runs": looked_at.left,
        "published_looked_at_s": round(published, 2),
    }
    print(json.dumps(result))
    return int(result["added_ms_per_run"] > OVERHEAD_MS or again > RESTART_S or sweep.failed != {})


def _timed(path: str, **settings) -> tuple[float, Sweep]:
    began = time.perf_counter()
    sweep = tfprune.run_sweep(path, engine="inline", quiet=True, **settings)
    return time.perf_counter() - began, sweep


if __name__ == "__main__":
    sys.exit(main())
