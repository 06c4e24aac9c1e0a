"""The notebook runs from start to end on a small run and shows its figures."""

from pathlib import Path

import nbformat
import pandas as pd
import pytest

nbclient = pytest.importorskip("nbclient")
NOTEBOOK = Path(__file__).parents[2] / "notebooks/imp_postprocess.ipynb"


def execute(run_dir, monkeypatch):
    """Outputs of all cells, as a list of {MIME type: data}."""
    monkeypatch.setenv("TFPRUNE_RUN_DIR", str(run_dir))
    monkeypatch.setenv("PYTHONPATH", str(NOTEBOOK.parents[1]))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [o for o in outputs if o.output_type == "stream" and o.name == "stderr"]
    return [output.data for output in outputs if "data" in output]


def test_committed_without_outputs():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)


def test_figures_and_films_of_a_run(written_run, monkeypatch):
    again = pd.DataFrame({"iteration": [0, 1, 2], "top1": [0.3, 0.4, 0.5], "top5": [0.6, 0.7, 0.8]})
    again.to_csv(written_run / "IMP_reevaluation.csv", index=False)
    silenced = pd.DataFrame({"order": ["most", "least"], "units": [0, 0], "accuracy": [0.5, 0.5]})
    silenced.to_csv(written_run / "IMP_silencing.csv", index=False)
    data = execute(written_run, monkeypatch)
    # Twelve from files alone and two from the tables; more where results/ holds tables.
    assert sum("image/png" in d and "<Figure" in d.get("text/plain", "") for d in data) >= 14
    films = [d for d in data if "<video" in d.get("text/html", "") or "image/gif" in d]
    assert len(films) == 2
