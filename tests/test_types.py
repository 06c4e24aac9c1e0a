"""What type checkers see of the public names."""

import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CODE = """
import keras
import tfprune

def use(model: keras.Model) -> None:
    reveal_type(tfprune.sparsity(model))
    reveal_type(tfprune.prune(model, "magnitude", 0.9))
    reveal_type(tfprune.export(model, "m.tflite"))
    reveal_type(tfprune.masked(model))
    reveal_type(tfprune.prune_filters(model, "l2", 0.5))
    reveal_type(tfprune.Prune("magnitude"))
    reveal_type(tfprune.latency_table(model))
    tfprune.no_such_name
"""


def test_a_type_checker_knows_the_public_names(tmp_path):
    (tmp_path / "use.py").write_text(CODE)
    how = ["--ignore-missing-imports", "--follow-imports=silent", f"--cache-dir={tmp_path}"]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *how, "use.py"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"MYPYPATH": str(ROOT)},
    )
    for name in ("connectivity.report.SparsityReport", "layers.masks.Masks", "surgery.export.Exported"):
        assert f'Revealed type is "tfprune.{name}"' in done.stdout, done.stdout + done.stderr
    (error,) = [line for line in done.stdout.splitlines() if "error:" in line]
    assert 'has no attribute "no_such_name"' in error


@pytest.mark.slow
@pytest.mark.skipif(find_spec("pyright") is None, reason="pyright is not installed")
def test_pyright_knows_them_too(tmp_path):
    (tmp_path / "use.py").write_text(CODE)
    (tmp_path / "pyrightconfig.json").write_text(json.dumps({"extraPaths": [str(ROOT)]}))
    call = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, "-p", str(tmp_path)]
    done = subprocess.run(call, capture_output=True, text=True, cwd=tmp_path)
    # Where pyright itself is not yet there, its wrapper tells so before the answer.
    found = json.loads(done.stdout[done.stdout.index("{") :])["generalDiagnostics"]
    revealed = [re.fullmatch(r'Type of "(.*)" is "(\w+)"', one["message"]) for one in found[:-1]]
    assert {one[1].partition("(")[0].removeprefix("tfprune."): one[2] for one in revealed} == {
        "sparsity": "SparsityReport",
        "prune": "Masks",
        "export": "Exported",
        "masked": "Model",
        "prune_filters": "Model",
        "Prune": "Prune",
        "latency_table": "LatencyTable",
    }
    assert found[-1]["severity"] == "error" and '"no_such_name" is not a known attribute' in found[-1]["message"]
