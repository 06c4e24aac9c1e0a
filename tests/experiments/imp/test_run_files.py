from dataclasses import replace

import numpy as np
import pytest

from tfprune.errors import InputError
from tfprune.experiments.imp.arch import LayerSpec
from tfprune.experiments.imp.files import iterations as imp_run
from tfprune.experiments.imp.files.iterations import ImpRun, iteration_path, write_iteration
from tfprune.layers.masks import Masks


def test_original_run(golden):
    run = ImpRun(golden / "imp" / "original_run")
    assert run.prefix == "IMP"
    assert run.iterations == [0, 1, 2]
    assert run.image_shape == (3, 32, 32)
    assert run.iteration(2).ratios.tolist() == [0.75, 0.75]
    with pytest.raises(InputError, match=r"no iteration 3 of IMP in .*: there are \[0, 1, 2\]"):
        run.iteration(3)


def test_reads_lazily_and_keeps_two(tmp_path, monkeypatch, record):
    for k in range(3):
        write_iteration(iteration_path(tmp_path, "a", k), replace(record, ratios=np.array([0.1 * k, 0])))
    read = []
    original = imp_run.read_iteration
    monkeypatch.setattr(imp_run, "read_iteration", lambda path: read.append(path.name[-5]) or original(path))
    run = ImpRun(tmp_path)
    assert read == []
    for k in (2, 2, 1, 2, 0, 2, 1):
        assert run.iteration(k).ratios[0] == 0.1 * k
    assert "".join(read) == "2101"
    assert run.image_shape is None  # a convolution comes first


@pytest.mark.parametrize(
    ("inputs", "shape"),
    [(784, (1, 28, 28)), (12288, (3, 64, 64)), (192, (3, 8, 8)), (64, (1, 8, 8)), (100, (1, 10, 10)), (7, None)],
)
def test_image_shape(tmp_path, inputs, shape, record):
    layer = LayerSpec("x", (inputs, 1), True)
    record = replace(
        record,
        layers=(layer,),
        ratios=np.zeros(1),
        weights=[{f"layer_0/{name}": np.zeros(shape, np.float32) for name, shape in layer.shapes.items()}] * 2,
        running_averages=[{f"layer_0/running_{name}": np.zeros(inputs) for name in ("mean", "variance")}] * 2,
        masks=Masks({"layer_0/kernel": np.ones((inputs, 1), bool), "layer_0/bias": np.ones(1, bool)}),
    )
    write_iteration(tmp_path / "a_itdata_0.pkl", record)
    assert ImpRun(tmp_path).image_shape == shape
