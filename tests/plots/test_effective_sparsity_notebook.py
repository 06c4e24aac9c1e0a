"""The notebook on effective sparsity runs on the committed table, and its claims are those of its text."""

from pathlib import Path

import nbformat
import pytest

nbclient = pytest.importorskip("nbclient")
NOTEBOOK = Path(__file__).parents[2] / "notebooks/effective_sparsity.ipynb"


def test_runs_and_claims(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(NOTEBOOK.parents[1]))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()
    outputs = [output.data for cell in code for output in cell.outputs if "data" in output]
    assert any("image/png" in data for data in outputs)
    claims = outputs[-1]["text/plain"]
    assert claims.count("True") == 7 and claims.count("False") == 1
    assert next(line for line in claims.splitlines() if "False" in line).split()[0] == "6"
