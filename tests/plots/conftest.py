"""Synthetic runs: Gaussian-local first-layer masks that shrink over the iterations, all drawn from a seed."""

from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import nbformat
import numpy as np
import pytest

from tfprune.experiments.imp.files import IterationRecord, LayerSpec, iteration_path, write_iteration

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


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
            weights=[arrays],
            running_averages=[[np.zeros((2, a), np.float32) for a in sizes[:-1]]],
            masks=masks,
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
        weights = [[rng.normal(size=shape).astype(np.float32)] for shape in shapes]
        masks[0] = masks[0][:1]
        records[k] = replace(record, layers=layers, masks=masks, weights=[weights])
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
def executed(monkeypatch):
    """`executed(name, **environment)`: runs a notebook; its outputs as a list of {MIME type: data}."""
    nbclient = pytest.importorskip("nbclient")

    def run(name, **environment):
        for variable, value in {"PYTHONPATH": NOTEBOOKS.parent, **environment}.items():
            monkeypatch.setenv(variable, str(value))
        notebook = nbformat.read(NOTEBOOKS / name, as_version=4)
        nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(NOTEBOOKS)}}).execute()
        outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
        assert not [o for o in outputs if o.output_type == "stream" and o.name == "stderr"]
        return [output.data for output in outputs if "data" in output]

    return run
