"""The benchmarks of the sparse engine in miniature: what they measure, not how quick it is."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytest.importorskip("numba")


def _lines(name, *words):
    """JSON lines of a benchmark, and all that it prints."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, str(ROOT / "benchmarks" / f"engine_{name}.py"), *map(str, words)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    # 1 is a limit that is missed, as it may be in miniature.
    assert done.returncode in (0, 1) and "Traceback" not in done.stderr, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")], done.stdout


@pytest.mark.slow
def test_memory_is_that_of_kept_weights():
    ((record,), _) = _lines("memory", "--width", 256)
    sizes = 3072 * 256, 256 * 256, 256 * 10
    biases, counters = 256 + 256 + 10, 8 + 4  # of the optimizer: steps taken, learning rate
    kept = sum(round(size / 100) for size in sizes)
    trained = [sum(sizes) + biases, kept + biases]
    assert record["bytes"] == [12 * trained[0] + counters, 12 * trained[1] + 4 * kept + counters]
    assert record["ratio"] < record["limit"] == 0.06


@pytest.mark.slow
def test_a_step_of_both_engines_begins_with_the_same_loss():
    ((record,), _) = _lines("imp_step", "--archs", "f64:f64:x", "--densities", 0.05, "--rounds", 1)
    assert record["kept_layers"] >= 1 and record["loss_differences"][0] < 1e-5
    assert record["dense_ms"] > 0 and record["sparse_ms"] > 0


@pytest.mark.slow
def test_whole_runs_of_both_engines():
    sizes = {"arch": "f128:f128:x", "steps": 20, "batch": 100, "iterations": 3, "dataset": "digits", "val_size": 360}
    ((record,), _) = _lines("imp_run", *(f"--{name}={value}" for name, value in {**sizes, "seeds": 2}.items()))
    dense, sparse = record["accuracy"]
    assert len(dense) == len(sparse) == len(record["density"]) == 3
    assert record["density"][1] == pytest.approx(0.7, abs=0.03) and record["density"][2] == pytest.approx(
        0.49, abs=0.05
    )
    assert min(dense) > 0.3 and record["engines_apart"] < 0.2


@pytest.mark.slow
def test_inference_of_a_small_network():
    words = ["--networks", "mlp", "--densities", 0.02, "--batches", 1, "--threads", 1, "--seconds", 0.1]
    (stays, timed), text = _lines("inference", *words)
    sizes = {"dense": 3072 * 1024, "dense_1": 1024 * 1024, "dense_2": 10240}
    kept = sum(stays["layers"][f"{name}/kernel"] * size for name, size in sizes.items())
    assert kept == pytest.approx(0.02 * sum(sizes.values()), rel=0.01)
    assert timed["kept_layers"] >= 1 and min(timed["ms"].values()) > 0
    assert timed["faster"]["litert"] == pytest.approx(timed["ms"]["litert"] / timed["ms"]["engine"], abs=0.01)
    assert "| 3 dense layers | 1 | 1 |" in text


@pytest.mark.slow
def test_a_large_network_beside_dense_ones_of_its_cost(tmp_path):
    figure = tmp_path / "large.png"
    sizes = {"data": "digits", "width": 256, "density": 0.1, "epochs": 2, "batch": 100, "figure": figure}
    records, text = _lines("large_network", *(f"--{name}={value}" for name, value in sizes.items()))
    sparse, narrow, _, dense = records
    assert [record["network"] for record in records] == ["sparse", "as_many_weights", "as_long", "dense"]
    assert dense["weights"] == 64 * 256 + 256 * 256 + 256 * 10
    assert sparse["weights"] == pytest.approx(0.1 * dense["weights"], rel=0.001)
    assert narrow["weights"] == pytest.approx(sparse["weights"], rel=0.02)
    assert dense["bytes"] == pytest.approx(12 * (dense["weights"] + 256 + 256 + 10), abs=20)
    assert "not trained |" in text and figure.stat().st_size > 5000


def test_the_table_of_inference_tells_what_the_engine_loses():
    table = runpy.run_path(str(ROOT / "benchmarks" / "engine_inference.py"))["table"]
    common = {"network": "vgg16", "batch": 32, "threads": 2}
    ms = {"tensorflow": 40.0, "compacted": 30.0, "litert": 8.0, "litert_sparse": None, "onnx": 20.0, "engine": 10.0}
    faster = {name: value / 10 for name, value in ms.items() if value}
    rows = [{**common, "density": density, "ms": ms, "faster": faster} for density in (0.1, 0.02)]
    head, _, row, *_ = table([{"network": "vgg16", "density": 0.1, "layers": {}}, *rows]).splitlines()
    assert head.endswith("| TensorFlow ms | LiteRT ms | ONNX Runtime ms | engine at 10 % | engine at 2 % |")
    cell = "10 (4; **0.8** LiteRT)"
    assert row == f"| VGG-16 | 32 | 2 | 40 | 8 | 20 | {cell} | {cell} |"


@pytest.mark.parametrize(
    ("accuracy", "of_sparse", "of_dense", "holds"),
    [(0.6, 10, 100, True), (0.5, 10, 100, False), (0.6, 11, 100, False), (0.6, 11, None, True)],
)
def test_what_is_claimed_of_the_large_network(accuracy, of_sparse, of_dense, holds):
    judge = runpy.run_path(str(ROOT / "benchmarks" / "engine_large_network.py"))["holds"]
    sparse = {"network": "sparse", "accuracies": [0.7, accuracy], "bytes": 10, "seconds": of_sparse}
    narrow = {"network": "as_many_weights", "accuracies": [0.1, 0.5], "bytes": 9, "seconds": 3}
    dense = {"network": "dense", "bytes": 1000, "seconds": of_dense}
    assert judge([sparse, narrow, dense]) is holds
