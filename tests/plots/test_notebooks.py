"""The notebooks run from start to end and show their figures; what they claim is what their tables say."""

import base64
import io
import re
import runpy
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tfprune.experiments.imp.figures.curves import accuracy_figure

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


_FIGURES = {  # of each notebook, as committed
    "dynamic_sparse_training": 2,
    "effective_sparsity": 2,
    "energy_pruning": 3,
    "filter_pruning": 4,
    "from_tensorflow_model_optimization": 1,
    "imp_postprocess": 16,
    "lottery_tickets": 3,
    "tfmot_comparison": 1,
}


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_committed_with_small_outputs_of_one_clean_run(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= _FIGURES[path.stem]
    assert path.stat().st_size < 310_000


def test_what_execute_keeps_is_small_and_keeps_its_colours():
    execute = runpy.run_path(str(NOTEBOOKS / "execute.py"))
    figure = accuracy_figure([1.0, 0.5, 0.25], [0.5, 0.6, 0.55], {"random": ([0.5], [0.4])}, validation_images=100)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    kept = execute["_small"]({"image/png": base64.b64encode(file.getvalue()).decode()})["image/png"]
    assert len(kept) < 0.6 * len(file.getvalue())
    before, after = (
        np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
        for data in (file.getvalue(), base64.b64decode(kept))
    )
    assert np.abs(before - after).max() < 25
    assert execute["_small"]({"text/html": "<video>"}) == {"text/plain": "A film; run the notebook to see it."}


@pytest.mark.slow
def test_claims_about_effective_sparsity(executed):
    outputs = executed("effective_sparsity.ipynb")
    assert any("image/png" in data for data in outputs)
    claims = outputs[-1]["text/plain"]
    assert claims.count("True") == 7 and claims.count("False") == 1
    assert next(line for line in claims.splitlines() if "False" in line).split()[0] == "6"


@pytest.mark.slow
def test_claims_about_lottery_tickets(executed):
    outputs = executed("lottery_tickets.ipynb")
    assert sum("image/png" in data for data in outputs) == 3
    claims = next(data["text/plain"] for data in outputs if "holds" in data.get("text/plain", ""))
    assert (claims.count("True"), claims.count("False")) == (3, 0)


def test_claims_about_gradual_pruning(executed):
    outputs = executed("tfmot_comparison.ipynb")
    assert sum("image/png" in data for data in outputs) == 1
    claims = outputs[-1]["text/plain"]
    assert (claims.count("True"), claims.count("False")) == (5, 2)


@pytest.mark.slow
def test_the_comparison_with_gradual_pruning_on_digits(executed, tmp_path):
    sizes = {"TFPRUNE_DATA": "digits", "TFPRUNE_STEPS": 24, "TFPRUNE_SAMPLES": 1, "TFPRUNE_SPARSITIES": "0.9"}
    places = {"TFPRUNE_RUNS": tmp_path / "runs", "TFPRUNE_RESULTS": tmp_path}
    shown = executed("tfmot_comparison.ipynb", TFPRUNE_STUDY=1, **sizes, **places)
    table = pd.read_csv(tmp_path / "tfmot_comparison.csv")
    assert len(table) == 1 + 6 * 2 and table["accuracy"].between(0, 1).all()
    pruned = table[table["pruner"] != "dense"].set_index(["pruner", "reading"])
    assert pruned["density"].to_numpy() == pytest.approx(0.1, abs=1e-4)
    last = pruned.xs("last", level="reading")
    assert set(last["last_steps"]) == {24} and set(pruned.xs("total", level="reading")["total_steps"]) == {24}
    assert last["total_steps"].to_dict() == {
        **dict.fromkeys(("tfmot/polynomial", "snip", "synflow"), 24),
        **dict.fromkeys(("magnitude/uniform", "magnitude/global"), 48),
        "IMP (global)": 96,
    }
    assert any("image/png" in data for data in shown)


@pytest.mark.slow
def test_claims_about_filter_pruning(executed):
    outputs = executed("filter_pruning.ipynb")
    assert sum("image/png" in data for data in outputs) == 4
    claims = next(data["text/plain"] for data in outputs if "holds" in data.get("text/plain", ""))
    assert (claims.count("True"), claims.count("False")) == (6, 1)


@pytest.mark.slow
def test_claims_about_energy_pruning(executed):
    outputs = executed("energy_pruning.ipynb")
    assert sum("image/png" in data for data in outputs) == 3
    claims = next(data["text/plain"] for data in outputs if "holds" in data.get("text/plain", ""))
    assert (claims.count("True"), claims.count("False")) == (6, 3)


def test_the_table_of_dynamic_sparse_training_is_of_equal_trainings():
    table = pd.read_csv(NOTEBOOKS / "results" / "dynamic_sparse_training.csv")
    assert set(table["steps"]) == {600} and set(table.groupby(["method", "sparsity"])["seed"].nunique()) == {3}
    pruned = table[table["method"] != "dense"]
    assert len(pruned) == 6 * 2 * 3
    assert pruned["density"].to_numpy() == pytest.approx((1 - pruned["sparsity"]).to_numpy(), abs=1e-4)
    cost = pruned.pivot_table(index="sparsity", columns="method", values="training_flops")
    # 299 steps are dense; in the others layers have the densities of Erdős-Rényi-Kernel, as random masks do.
    assert cost["one-shot"].to_numpy() == pytest.approx(((299 + 301 * cost["random"]) / 600).to_numpy(), abs=2e-5)
    assert (cost["random"] == cost["SET"]).all() and (cost["SET"] < cost["RigL"]).all()
    assert cost["gradual"].between(cost["RigL"], cost["one-shot"]).all()


@pytest.mark.slow
def test_claims_about_dynamic_sparse_training(executed):
    outputs = executed("dynamic_sparse_training.ipynb")
    assert sum("image/png" in data for data in outputs) == 2
    told = re.findall("<td>(ahead|behind|no difference)</td>", outputs[-1]["text/html"])
    ninety, ninety_eight = told[::2], told[1::2]
    assert ninety == [
        "no difference",
        "no difference",
        "no difference",
        "no difference",
        "no difference",
        "ahead",
        "ahead",
        "no difference",
        "ahead",
        "ahead",
    ]
    assert ninety_eight == [
        "ahead",
        "ahead",
        "ahead",
        "ahead",
        "behind",
        "no difference",
        "behind",
        "behind",
        "ahead",
        "ahead",
    ]


@pytest.mark.slow
def test_dynamic_sparse_training_on_digits(executed, tmp_path):
    sizes = {"TFPRUNE_DATA": "digits", "TFPRUNE_SEEDS": 1, "TFPRUNE_IMAGES": 1200, "TFPRUNE_STUDY_EPOCHS": 2}
    places = {"TFPRUNE_RUNS": tmp_path / "runs", "TFPRUNE_RESULTS": tmp_path}
    shown = executed("dynamic_sparse_training.ipynb", TFPRUNE_STUDY=1, **sizes, **places)
    table = pd.read_csv(tmp_path / "dynamic_sparse_training.csv")
    assert len(table) == 1 + 6 * 2 and set(table["steps"]) == {24}
    grown = table.set_index("method")["grown"]
    assert (grown[["SET", "RigL"]] > 0).all() and not grown.drop(["SET", "RigL"]).any()
    assert sum("image/png" in data for data in shown) == 2


@pytest.mark.slow
def test_claims_about_the_other_toolkit(executed):
    shown = executed("from_tensorflow_model_optimization.ipynb", TFPRUNE_SHARED="none")
    assert sum("image/png" in data for data in shown) == 1
    holds = re.findall("<td>(True|False)</td>", shown[-1]["text/html"])
    # Of 1,347 digits: what is claimed of accuracies and bytes is claimed of MNIST.
    lines, sparsities, *_, negative_zeros, two_of_four = holds
    assert {lines, sparsities, negative_zeros, two_of_four} == {"True"} and len(holds) == 7
