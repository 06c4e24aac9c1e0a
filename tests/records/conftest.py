"""A record to write and read."""

import sys
from pathlib import Path

import numpy as np
import pytest

from tfprune.experiments.imp.files import IterationRecord, LayerSpec

sys.path.append(str(Path(__file__).parent))  # for `damage`, which a script imports, too


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
        return [[rng.normal(size=shape).astype(np.float32) for shape in layer] for layer in shapes]

    return IterationRecord(
        layers=layers,
        ratios=np.array([0.5, 0.3]),
        recorded_steps=[1, 2],
        steps=[0, 1, 2],
        validation_steps=[0, 2],
        train_errors=np.array([0.9, 0.5, 0.25], np.float32),
        validation_errors=np.array([0.5, 0.75], np.float32),
        weights=[weights(), weights()],
        running_averages=[[rng.random((2, n), np.float32) for n in (0, 0, 36, 5)] for _ in range(2)],
        masks=[[rng.random(shape) < 0.5 for shape in layer[:2]] for layer in shapes],
    )
