"""Tries every network of the zoo, each in a process of its own, and writes the table `docs/zoo.md`.

python -m tests.zoo                            all networks; the outcomes are kept in --results
python -m tests.zoo user/gpt hub/Bert          these only, their outcomes replace older ones; no table
python -m tests.zoo --table                    the table alone, of the outcomes that are there
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE.parent), str(ROOT)]
os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}

from zoo.table import written  # noqa: E402  the path has to be there first
from zoo.trial import FAILED, WRONG, Outcome, trial  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--results", type=Path, default=ROOT / "runs" / "zoo.jsonl", help="outcomes, one a line")
    parser.add_argument("--seconds", type=float, default=600, help="for one network")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)  # in the process of a network
    options = parser.parse_args()
    if options.one:
        return _one(options.names[0])
    known = options.names or _all_names()
    found = _read(options.results)
    for name in [] if options.table else known:
        if name.startswith("hub/") and not find_spec("keras_hub"):
            print(f"{name}: KerasHub is absent", flush=True)
            continue
        found = [one for one in found if one.name != name] + _in_process(name, options.seconds)
        _write(options.results, found)
    if not options.names:
        found.sort(key=lambda one: known.index(one.name))  # a stable order, that of the networks
        (ROOT / "docs").mkdir(exist_ok=True)
        (ROOT / "docs" / "zoo.md").write_text(written(found))
    return any(one.result in (FAILED, WRONG) for one in found if one.name in known)


def _one(name: str) -> int:
    for outcome in trial(name):
        print(json.dumps(asdict(outcome)), flush=True)
    return 0


def _in_process(name: str, seconds: float) -> list[Outcome]:
    begun, found = time.monotonic(), []
    words = [sys.executable, str(HERE), "--one", name]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            output, errors = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            output, errors = process.communicate()
            errors = f"over {seconds:.0f} seconds"
    found = [Outcome(**json.loads(line)) for line in output.splitlines() if line.startswith("{")]
    if process.returncode:
        told = (errors.strip().splitlines() or ["no message"])[-1][:200]
        found.append(Outcome(name, "process", FAILED, told, round(time.monotonic() - begun, 1)))
    bad = [one for one in found if one.result in (FAILED, WRONG)]
    print(f"{name}: {time.monotonic() - begun:.0f} s, {len(bad)} of {len(found)} fail", flush=True)
    for one in bad:
        print(f"    {one.capability}: {one.result}: {one.note}", flush=True)
    return found


def _all_names() -> list[str]:
    code = f"import sys; sys.path[:0] = {sys.path[:2]!r}; from zoo.networks import NETWORKS; print(*NETWORKS)"
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()


def _read(path: Path) -> list[Outcome]:
    return [Outcome(**json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []


def _write(path: Path, outcomes: list[Outcome]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(asdict(one)) + "\n" for one in outcomes))


if __name__ == "__main__":
    sys.exit(main())
