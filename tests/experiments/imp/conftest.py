"""Small runs on digits in this process; synthetic runs whose masks become local; a record to write and read."""

from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from few_figures import few_figures as few_are_drawn

from tfprune.experiments.imp.arch import LayerSpec
from tfprune.experiments.imp.files.iterations import ImpRun, iteration_path, write_iteration
from tfprune.experiments.imp.files.lists import averages_from_list, masks_from_list, weights_from_list
from tfprune.experiments.imp.files.records import IterationRecord
from tfprune.experiments.imp.recipe import run_imp
from tfprune.experiments.imp.settings import read_settings
from tfprune.experiments.imp.study import ImpStudy
from tfprune.experiments.imp.training import images_of

KEYS = {
    "IO": {"save_dir": None},
    "Data": {"dataset": "digits"},
    "Network": {
        "arch": "f24:f16:x",
        "steps": 80,
        "batch_size": 50,
        "val_size": 150,
        "learning_rate": 0.1,
        "validate_step": 20,
    },
    "IMP": {"prune": "T:T:F", "prune_ratio": 0.5, "weights_step": 10, "max_iterations": 3},
    "Run": {},
}


class Watcher:
    """A `Watch` that keeps what it is told."""

    def __init__(self):
        self.started, self.details, self.ended, self.steps, self.numbers = [], [], [], [], {}

    def say(self, text):
        pass

    def start(self, what, details=""):
        self.started.append(what)
        self.details.append(details)

    def progress(self, progress):
        self.steps.append((progress.step, progress.steps))
        self.numbers = progress.numbers

    def end(self, text=""):
        self.ended.append(text)


def _made(place, folder="run", sample=None, **changed):
    sections = {name: dict(keys) for name, keys in KEYS.items()}
    sections["IO"]["save_dir"] = place / folder
    for name, value in changed.items():
        section, key = name.split("_", 1)
        sections[section][key] = value
    text = "\n".join(
        f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items() if value is not None)
        for name, keys in sections.items()
    )
    path = place / f"{folder}.ini"
    path.write_text(text)
    study = ImpStudy(read_settings(path))
    images, watcher = images_of(study.settings), Watcher()
    with study.held(overwrite=False) as held:
        run_imp(study.settings, images, held, watcher, sample)
    return ImpRun(study.folder), watcher, study.settings, images


@pytest.fixture
def imp(tmp_path):
    """`imp(folder="run", section_key=value, ...)` runs and gives (ImpRun, Watcher, settings, images)."""
    return partial(_made, tmp_path)


@pytest.fixture(scope="session")
def default_run(tmp_path_factory):
    """What `imp()` gives, made once and only to be looked at."""
    return _made(tmp_path_factory.mktemp("default"))


@pytest.fixture
def few_figures():
    """Of a run that ends in this process not all is drawn."""
    with few_are_drawn():
        yield


@dataclass
class FakeRun:
    """A run in memory with the attributes that `plots` uses of an `ImpRun`; remembers which iterations were read."""

    records: dict
    image_shape: tuple | None
    prefix: str = "IMP"
    folder: Path = Path("runs/fake")
    reads: list = field(default_factory=list)
    missing: tuple = ()

    @property
    def iterations(self):
        return sorted(self.records)

    def iteration(self, k):
        self.reads.append(k)
        return self.records[k]


def local_mask(image_shape, units, density, width, rng):
    """bool (c·h·w, units): pixels around a random centre of each unit, kept with the same chance in all channels."""
    channels, height, span = image_shape
    y, x = np.mgrid[:height, :span]
    centre = rng.uniform(0, 1, (units, 2)) * (height, span)
    squared = (y[None] - centre[:, 0, None, None]) ** 2 + (x[None] - centre[:, 1, None, None]) ** 2
    score = squared / (2 * width**2) + rng.gumbel(size=(channels, units, height, span))
    score = score.transpose(0, 2, 3, 1).reshape(-1, units) + rng.normal(size=units)
    return score <= np.quantile(score, density)


def make_run(image_shape=(3, 32, 32), units=(256, 64), classes=10, iterations=8, steps=300, seed=0):
    """A run of dense layers whose masks lose 45 % of their weights in each iteration and become local meanwhile."""
    rng = np.random.default_rng(seed)
    inputs = int(np.prod(image_shape))
    sizes = [inputs, *units, classes]
    prunable = [True] * len(units) + [False]
    kinds = ["f"] * len(units) + ["x"]
    layers = tuple(
        LayerSpec(kind, (a, b), p) for kind, a, b, p in zip(kinds, sizes[:-1], sizes[1:], prunable, strict=True)
    )
    weights = [rng.normal(size=(a, b)).astype(np.float32) for a, b in pairwise(sizes)]
    records = {}
    for k in range(iterations):
        density = 0.55**k
        masks = []
        for i, layer in enumerate(layers):
            kept = rng.random(layer.params) < density if layer.prunable else np.ones(layer.params, bool)
            if i == 0 and k:
                kept = local_mask(image_shape, sizes[1], density, image_shape[1] / 12, rng)
            masks.append([kept, np.ones(layer.params[1], bool)])
        validation_steps = list(range(0, steps + 1, max(1, steps // 20)))
        best = 0.45 + 0.12 * np.exp(-((k - 4) ** 2) / 6)
        decay = 1 - (1 - 0.1) * best / 0.6 * (1 - np.exp(-np.arange(steps + 1) / (steps / 8)))
        noise = rng.normal(scale=0.02, size=steps + 1)
        arrays = [
            [w, np.zeros(w.shape[1], np.float32), np.ones(len(w), np.float32), np.zeros(len(w), np.float32)]
            for w in weights
        ]
        records[k] = IterationRecord(
            layers=layers,
            ratios=np.full(len(units), 1 - density),
            recorded_steps=[steps],
            steps=list(range(steps + 1)),
            validation_steps=validation_steps,
            train_errors=np.clip(decay + noise - 0.05, 0, 1).astype(np.float32),
            validation_errors=decay[validation_steps].astype(np.float32),
            weights=[weights_from_list(arrays, layers)],
            running_averages=[averages_from_list([np.zeros((2, a), np.float32) for a in sizes[:-1]], layers)],
            masks=masks_from_list(masks, layers),
        )
    return FakeRun(records, image_shape)


def conv_run():
    """A run of `c3,4:f6:x` on 8 × 8 pixels in 3 channels, two iterations."""
    layers = (LayerSpec("c", (3, 3, 3, 4, 1), True), LayerSpec("f", (144, 6), True), LayerSpec("x", (6, 10), False))
    shapes = [(3, 3, 3, 4), (144, 6), (6, 10)]
    rng = np.random.default_rng(0)
    plain = make_run((1, 4, 4), (6,), iterations=2).records
    records = {}
    for k, record in plain.items():
        masks = [[rng.random(shape) < 0.5, np.ones(shape[-1], bool)] for shape in shapes]
        masks[0] = masks[0][:1]
        weights = {f"layer_{i}/kernel": rng.normal(size=shape).astype(np.float32) for i, shape in enumerate(shapes)}
        records[k] = replace(record, layers=layers, masks=masks_from_list(masks, layers), weights=[weights])
    return FakeRun(records, None)


@pytest.fixture
def synthetic_run():
    """`make_run`, to be called with what the test needs."""
    return make_run


@pytest.fixture
def convolutional_run():
    return conv_run()


@pytest.fixture
def written_run(tmp_path):
    """Folder with the files of a small run on 8 × 8 pixels in 3 channels."""
    for k, record in make_run((3, 8, 8), (12, 5), iterations=3).records.items():
        write_iteration(iteration_path(tmp_path, "IMP", k), record)
    return tmp_path


@pytest.fixture
def record():
    """c3,4,2 : p2,1 : f5 (not pruned) : x on 3x9x9 images, weights recorded at steps 1 and 2."""
    rng = np.random.default_rng(0)
    layers = (
        LayerSpec("c", (3, 3, 3, 4, 2), True),
        LayerSpec("p", (2, 1), False),
        LayerSpec("f", (36, 5), False),
        LayerSpec("x", (5, 2), True),
    )
    shapes = [[(3, 3, 3, 4)], [], [(36, 5), (5,), (36,), (36,)], [(5, 2), (2,), (5,), (5,)]]

    def weights():
        return weights_from_list(
            [[rng.normal(size=shape).astype(np.float32) for shape in layer] for layer in shapes], layers
        )

    return IterationRecord(
        layers=layers,
        ratios=np.array([0.5, 0.3]),
        recorded_steps=[1, 2],
        steps=[0, 1, 2],
        validation_steps=[0, 2],
        train_errors=np.array([0.9, 0.5, 0.25], np.float32),
        validation_errors=np.array([0.5, 0.75], np.float32),
        weights=[weights(), weights()],
        running_averages=[
            averages_from_list([rng.random((2, n), np.float32) for n in (0, 0, 36, 5)], layers) for _ in range(2)
        ],
        masks=masks_from_list([[rng.random(shape) < 0.5 for shape in layer[:2]] for layer in shapes], layers),
    )
