"""Folders of results: small ones of today's form, and old runs of four systems."""

import zipfile
from pathlib import Path

import pytest

from tfprune.records.result import Result, result_path, write_result


@pytest.fixture(scope="session")
def old(tmp_path_factory):
    """Runs of four systems on digits, made before networks left results; not to be changed."""
    folder = tmp_path_factory.mktemp("old")
    with zipfile.ZipFile(Path(__file__).parents[1] / "experiments/old_runs.zip") as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture
def study(tmp_path):
    """SNIP at two compressions with two samples each, and a network of one's own."""
    for sample, compression, accuracy in ((0, 10, 0.9), (1, 10, 0.8), (0, 20, 0.7), (1, 20, None)):
        settings = {"architecture": "lenet5", "data": None, "pruner": "snip", "pruning_type": "direct"}
        settings |= {"sample": str(sample), "compression": float(compression), "drops": [1, 2]}
        kept = 1000 // compression
        layers = {"a/kernel": {"weights": 600, "kept": kept - 1, "effective": None}}
        layers |= {"b/kernel": {"weights": 400, "kept": 1, "effective": 0}}
        counts = {"weights": 1000, "kept": kept, "effective": 0 if compression == 20 else 50, "layers": layers}
        more = {"digest": f"{compression:08}", "seed": sample, "method": "snip", "accuracy": accuracy}
        folder = tmp_path / "lenet5/snip/direct"
        folder.mkdir(parents=True, exist_ok=True)
        result = Result("one_shot", f"snip, direct compression {compression}", settings, **counts, **more)
        write_result(result_path(folder, f"{sample}_{compression}"), result)
    own = Result("mine", "dense", {"network": "mlp", "data": "digits", "lr": 1, "deep": {"er": True}}, seed="x")
    (tmp_path / "mine").mkdir()
    write_result(tmp_path / "mine/result.json", own)
    return tmp_path
