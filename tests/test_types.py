"""What type checkers see of the public names."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
CODE = """
import keras
import tfprune

def use(model: keras.Model) -> None:
    reveal_type(tfprune.sparsity(model))
    reveal_type(tfprune.prune(model, "magnitude", 0.9))
    reveal_type(tfprune.export(model, "m.tflite"))
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
