"""What a level of a lottery run costs on top of its training: at most 2 seconds.

mnist_lenet_300_100, two epochs, and cifar_resnet_20, six steps; three prunings each, in one process and one workshop.
The overhead of level k ≥ 1 is the time from the end of the level before to its own end, without the compiled training
loop and without the tests after epochs. It holds reading the trained weights, pruning, the masks, rewinding, all files,
counting the network for its result and, with LeNet, the test before the first step. ResNet's first test is printed on
its own (`start_test_s`): on a CPU it takes longer than all else, and `--evaluate_only_at_end` leaves it out.

Level 0, in which everything is compiled, is printed and not judged. Of the levels the slowest counts. Prints one JSON
line; exits with 1 above the limit.

    python benchmarks/lottery_level.py [--cases mnist_lenet_300_100] [--path_to_data=...]
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from tfprune.quiet import quiet_start

with quiet_start():
    from tfprune.errors import InputError
    from tfprune.experiments.lottery.defaults import default_settings
    from tfprune.experiments.lottery.recipe import Workshop
    from tfprune.experiments.lottery.settings import PlaceSettings
    from tfprune.experiments.lottery.studies import TicketStudy
    from tfprune.training.devices import use_device
    from tfprune.training.evaluation import Evaluator
    from tfprune.training.loop import TrainingLoop

    use_device("auto")

LIMIT = 2.0  # seconds
LEVELS = 3
# Name -> steps, whether the test before the first step counts.
CASES = {"mnist_lenet_300_100": ("2ep", True), "cifar_resnet_20": ("6it", False)}


class Clock:
    """Watches levels: adds up the seconds in the training loop and in tests, level after level."""

    quiet = True

    def __init__(self):
        self.levels: list[dict[str, float]] = []
        self._seconds: dict[str, list[float]] = {"loop": [], "tests": []}
        self._last = time.perf_counter()

    def timed(self, kind: str, function):
        @functools.wraps(function)
        def call(*args, **kwargs):
            began = time.perf_counter()
            result = function(*args, **kwargs)
            self._seconds[kind].append(time.perf_counter() - began)
            return result

        return call

    def say(self, text: str) -> None:
        """As a `Watch`: nothing."""

    def start(self, what: str, details: str = "") -> None:
        """As a `Watch`: nothing."""

    def progress(self, progress) -> None:
        """As a `Watch`: nothing."""

    def end(self, text: str = "") -> None:
        """As a `Watch`: a level is over."""
        now, (loop, tests) = time.perf_counter(), self._seconds.values()
        rest = now - self._last - sum(loop) - sum(tests)
        self.levels.append({"rest_s": rest, "start_test_s": tests[0], "loop_s": sum(loop), "tests_s": sum(tests[1:])})
        self._seconds, self._last = {"loop": [], "tests": []}, now


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--path_to_data", default=None, help="TFDS's data_dir")
    arguments = parser.parse_args()
    shared = Path(os.environ.get("TFPRUNE_SHARED", Path(__file__).parents[2] / "shared"), "data/tfds")
    data = arguments.path_to_data or (str(shared) if shared.exists() else None)
    results = {name: measured(name, data) for name in arguments.cases}
    worst = max(result["overhead_s"] for result in results.values())
    print(json.dumps({"benchmark": "lottery_level", **results, "overhead_s": worst, "limit": LIMIT}))
    return int(worst > LIMIT)


def measured(name: str, path_to_data: str | None) -> dict:
    clock = Clock()
    TrainingLoop.run = clock.timed("loop", run := TrainingLoop.run)
    Evaluator.accuracy_and_loss = clock.timed("tests", test := Evaluator.accuracy_and_loss)
    try:
        dataset = _run(name, path_to_data, clock)
    finally:
        TrainingLoop.run, Evaluator.accuracy_and_loss = run, test
    tested = CASES[name][1]
    first, *others = [each["rest_s"] + tested * each["start_test_s"] for each in clock.levels]
    return {
        "dataset": dataset,
        "overhead_s": round(max(others), 3),
        "levels_s": [round(seconds, 3) for seconds in others],
        "level_0_s": round(first, 3),
        **{key: round(max(level[key] for level in clock.levels[1:]), 3) for key in ("start_test_s", "loop_s")},
    }


def _run(name: str, path_to_data: str | None, clock: Clock) -> str:
    """Runs the levels; gives the data set's name, which is digits where the network's own is absent."""
    base = default_settings(name)
    training = replace(base.training, training_steps=CASES[name][0], milestone_steps=None, gamma=None)
    base = replace(base, training=training)
    with tempfile.TemporaryDirectory() as root:
        place = PlaceSettings(root=root, path_to_data=path_to_data)
        workshop = Workshop(place)
        try:
            workshop.trainer(base.plain())
        except InputError:
            base = replace(base, dataset=replace(base.dataset, dataset_name="digits", do_not_augment=True))
        study = TicketStudy(base, place, LEVELS, workshop=workshop)
        with study.held(overwrite=False) as replicate:
            study.train(replicate, clock)
    return base.dataset.dataset_name


if __name__ == "__main__":
    sys.exit(main())
