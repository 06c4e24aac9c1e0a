"""No damaged or hostile file may end otherwise than in one line, or in a right value.

The files are read in processes of their own with bounded memory (`damaged_files.py`); `damage.py` says how they are
damaged. Seeds are fixed.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

COUNT = 2000
COUNTS = (400, COUNT)
GROUPS = {
    "pickles": ("pickle", "mapped_pickle", "iteration", "findata", "object_array", "cifar_batch", "cifar_names"),
    "arrays and text": (
        *("dense_weights", "array", "masks", "checkpoint", "lottery_weights"),
        *("result", "record", "report", "metrics", "logger", "table", "ini", "classes", "annotations", "idx", "idx_gz"),
    ),
}
ROWS = ("original_report", "original_settings", "original_sparsities", "original_metrics", "old_metrics")
WEIGHTS = ("pretrained_npz", "safetensors")
FEW = {"keras_model": 150, "tiny_image": 50, "folder_image": 40}  # slow to read, and what reads them is not ours


def _read(folder, counts):
    words = [f"{kind}={count}" for kind, count in counts.items()]
    script = Path(__file__).with_name("damaged_files.py")
    result = subprocess.run([sys.executable, script, folder, *words], capture_output=True, text=True)
    last = ", ".join(str(path) for path in folder.iterdir())
    assert result.returncode == 0, f"it died at one of the files {last}:\n{result.stderr[-3000:]}"
    return json.loads(result.stdout)


def test_a_few_damaged_files(tmp_path):
    assert _read(tmp_path, {kind: 50 for group in GROUPS.values() for kind in group}) == []


@pytest.mark.slow
@pytest.mark.parametrize("group", GROUPS)
def test_damaged_files(group, tmp_path):
    assert _read(tmp_path, dict.fromkeys(GROUPS[group], COUNT)) == []


@pytest.mark.slow
def test_damaged_files_in_a_table_of_results(tmp_path):
    assert _read(tmp_path, dict.fromkeys(ROWS, COUNT // 10)) == []


@pytest.mark.slow
@pytest.mark.parametrize("count", COUNTS)
def test_damaged_weights_models_and_images(count, tmp_path):
    assert _read(tmp_path, dict.fromkeys(WEIGHTS, count) | FEW) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", FEW)
def test_as_many_models_and_images(kind, tmp_path):
    assert _read(tmp_path, {kind: COUNT}) == []
