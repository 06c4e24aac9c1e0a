"""The notebooks run from start to end and show their figures; what they claim is what their tables say."""

from pathlib import Path

import nbformat
import pandas as pd
import pytest

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_committed_without_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)


def test_figures_and_films_of_a_run(written_run, executed):
    again = pd.DataFrame({"iteration": [0, 1, 2], "top1": [0.3, 0.4, 0.5], "top5": [0.6, 0.7, 0.8]})
    again.to_csv(written_run / "IMP_reevaluation.csv", index=False)
    silenced = pd.DataFrame({"order": ["most", "least"], "units": [0, 0], "accuracy": [0.5, 0.5]})
    silenced.to_csv(written_run / "IMP_silencing.csv", index=False)
    data = executed("imp_postprocess.ipynb", TFPRUNE_RUN_DIR=written_run)
    # Twelve from files alone and two from the tables; more where results/ holds tables.
    assert sum("image/png" in d and "<Figure" in d.get("text/plain", "") for d in data) >= 14
    films = [d for d in data if "<video" in d.get("text/html", "") or "image/gif" in d]
    assert len(films) == 2


def test_claims_about_effective_sparsity(executed):
    outputs = executed("effective_sparsity.ipynb")
    assert any("image/png" in data for data in outputs)
    claims = outputs[-1]["text/plain"]
    assert claims.count("True") == 7 and claims.count("False") == 1
    assert next(line for line in claims.splitlines() if "False" in line).split()[0] == "6"


def test_claims_about_lottery_tickets(executed):
    outputs = executed("lottery_tickets.ipynb")
    assert sum("image/png" in data for data in outputs) == 2
    claims = next(data["text/plain"] for data in outputs if "holds" in data.get("text/plain", ""))
    assert (claims.count("True"), claims.count("False")) == (3, 0)
