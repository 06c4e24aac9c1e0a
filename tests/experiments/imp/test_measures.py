from dataclasses import replace

import numpy as np
import pytest

from tfprune.experiments.imp.figures.autocorrelation import expected_local_fraction_random, local_fraction
from tfprune.experiments.imp.figures.measures import best_validation, effective_connectivity, layer_name, summarise
from tfprune.experiments.imp.files.iterations import ImpRun
from tfprune.experiments.imp.masks import live_inputs, live_units, unpruned_fraction
from tfprune.layers.masks import Masks


def test_live_structure_by_hand():
    mask = np.array([[1, 0, 1], [0, 0, 1]], dtype=bool)
    assert (live_units(mask), live_inputs(mask)) == (2, 2)
    kernel = np.zeros((3, 3, 4, 5), dtype=bool)
    kernel[1, 2, 0, 3] = kernel[0, 0, 1, 3] = True
    assert (live_units(kernel), live_inputs(kernel)) == (1, 2)


def test_unpruned_fraction_counts_weights_and_biases_of_prunable_layers(synthetic_run):
    record = synthetic_run((1, 2, 2), (2,), classes=3, iterations=1).records[0]
    own = {"layer_0/kernel": np.eye(4, 2, dtype=bool), "layer_0/bias": np.array([True, False])}
    masks = Masks({**record.masks, **own})
    assert unpruned_fraction(record.layers, masks) == pytest.approx(3 / 10)
    none = tuple(layer._replace(prunable=False) for layer in record.layers)
    assert unpruned_fraction(none, masks) == pytest.approx((3 + 9) / (10 + 9))


def test_best_validation_takes_the_first_of_equals(synthetic_run):
    record = synthetic_run((1, 2, 2), (2,), iterations=1).records[0]
    errors = np.array([0.9, 0.25, 0.5, 0.25], np.float32)
    record = replace(record, validation_errors=errors, validation_steps=[0, 10, 20, 30])
    assert best_validation(record) == (0.75, 10)
    accuracy, step = best_validation(replace(record, validation_errors=errors[:0], validation_steps=[]))
    assert np.isnan(accuracy) and step == -1


def test_effective_connectivity_counts_paths(synthetic_run):
    record = synthetic_run((1, 1, 3), (2, 2), classes=2, iterations=1).records[0]
    first = np.array([[1, 1], [0, 1], [0, 0]], dtype=bool)
    second = np.array([[1, 0], [1, 0]], dtype=bool)
    third = np.array([[1, 0], [0, 1]], dtype=bool)
    record = replace(record, masks=Masks({f"layer_{i}/kernel": mask for i, mask in enumerate((first, second, third))}))
    assert effective_connectivity(record, 0).tolist() == first.astype(float).tolist()
    # Unit 0 of layer 2: two paths from input 0, one from input 1; unit 1 is dead.
    assert effective_connectivity(record, 1).tolist() == [[1.0, 0.0], [0.5, 0.0], [0.0, 0.0]]
    assert effective_connectivity(record, 2).tolist() == [[1.0, 0.0], [0.5, 0.0], [0.0, 0.0]]


def test_effective_connectivity_needs_dense_layers(convolutional_run):
    with pytest.raises(ValueError, match="dense"):
        effective_connectivity(convolutional_run.records[0], 1)


def test_summary_of_a_run(synthetic_run):
    run = synthetic_run((3, 8, 8), (16, 4), iterations=3)
    lines = []
    summary = summarise(run, progress=lines.append)
    assert len(lines) == 3
    assert run.reads == [0, 1, 2]
    table = summary.iterations
    assert table["iteration"].tolist() == [0, 1, 2]
    assert table["unpruned_fraction"][0] == 1.0
    assert table["local_fraction"][2] == local_fraction(run.records[2].masks["layer_0/kernel"], (3, 8, 8))
    expected = expected_local_fraction_random((3, 8, 8))
    assert table["local_fraction"][0] == pytest.approx(expected, rel=1e-12)
    assert table["local_fraction"][2] > 1.5 * expected
    assert summary.best_iteration == 2
    layers = summary.layers
    assert layers["layer"].tolist() == [1, 2, 3] * 3
    assert layers["units"].tolist() == [16, 4, 10] * 3
    assert layers["kept"][6] == np.count_nonzero(run.records[2].masks["layer_0/kernel"])


def test_summary_of_a_convolutional_run(convolutional_run):
    summary = summarise(convolutional_run)
    assert summary.iterations["local_fraction"].isna().all()
    assert summary.layers["inputs"].tolist() == [3, 144, 6] * 2


def test_the_originals_own_run(golden):
    summary = summarise(ImpRun(golden / "imp/original_run"))
    # In the original's findata: best validation errors 0.72, 0.71, 0.72, half of the rest pruned each time.
    assert summary.iterations["unpruned_fraction"].tolist() == pytest.approx([1.0, 0.5, 0.25], abs=1e-3)
    assert summary.iterations["best_accuracy"].tolist() == pytest.approx([0.28, 0.29, 0.28], abs=2e-3)
    assert summary.best_iteration == 1


def test_layer_names():
    assert layer_name(1, "f") == "layer 1 (dense)"
    assert layer_name(3, "x") == "layer 3 (output)"
