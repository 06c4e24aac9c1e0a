"""The examples of the pages in `docs` print what the pages show."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from shown import blocks, numbers, words

DOCS = Path(__file__).parents[1] / "docs"
pytestmark = pytest.mark.slow


@pytest.fixture
def ran(tmp_path):
    """`ran(page, place)`: what an example prints, and what the page shows; without a place all examples as one."""

    def run(page, place=None, compared=lambda text: text):
        text = (DOCS / f"{page}.md").read_text()
        examples, shown = blocks(text, "python"), blocks(text, "text")
        example = "\n".join(examples) if place is None else examples[place]
        if "keras_hub" in example:
            pytest.importorskip("keras_hub")
        (tmp_path / "example.py").write_text(example)  # classes are found by their module
        done = subprocess.run([sys.executable, "example.py"], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        told = shown[place] if place is not None else "".join(shown)
        assert words(compared(done.stdout)) == words(compared(told))
        return done.stdout, told

    return run


@pytest.mark.parametrize("place", range(3))
def test_any_model(ran, place):
    printed, shown = ran("any_model", place)
    for start in ("test accuracy", "total", "parameters /"):
        if start in shown:
            assert numbers(printed, start)[:3] == pytest.approx(numbers(shown, start)[:3], rel=0.1)


def test_getting_started(ran):
    printed, shown = ran("getting_started")
    assert numbers(printed, "Masks(")[:3] == numbers(shown, "Masks(")[:3]
    assert numbers(printed, "accuracy") == pytest.approx(numbers(shown, "accuracy"), abs=0.03)


def test_sparser(ran, tmp_path):
    printed, shown = ran("sparser")
    for start in ("dense:", "pruned:", "fine-tuned:", "pruned before training:"):
        assert numbers(printed, start) == pytest.approx(numbers(shown, start), abs=0.05)
    for start in ("total", "random/erk, direct:", "random/erk, effective:", "synflow, effective:"):
        assert numbers(printed, start)[:3] == pytest.approx(numbers(shown, start)[:3], rel=0.01), start
    assert (tmp_path / "pruned.keras").stat().st_size > 1000


def test_smaller(ran):
    printed, shown = ran("smaller")
    for start in ("conv2", "total", "parameters /"):
        assert numbers(printed, start)[:4] == pytest.approx(numbers(shown, start)[:4], rel=0.1), start
    assert printed.splitlines()[-1] == shown.splitlines()[-1]


def test_faster(ran):
    pytest.importorskip("numba")
    printed, shown = ran("faster", 0)
    assert numbers(printed, "accuracy") == pytest.approx(numbers(shown, "accuracy"), abs=0.05)
    for start in ("wide", "Masks("):
        assert numbers(printed, start)[:4] == pytest.approx(numbers(shown, start)[:4], rel=0.1), start
    printed, shown = ran("faster", 1)
    assert printed == shown


def test_filters(ran):
    printed, shown = ran("filters")
    for start in ("dense:", "filters:", "units:", "by index:"):
        assert numbers(printed, start) == numbers(shown, start)
    assert numbers(printed, "search:")[-1] < 43050 / 2 > numbers(shown, "search:")[-1]


def test_studies(tmp_path):
    """Both examples, one after the other: a run, and the table of it."""
    first, second = blocks((DOCS / "studies.md").read_text(), "python")
    code = (
        first + second + "print(len(run.results), len(table), table['effective_density'].between(0.009, 0.011).all())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[-1] == "1 1 True"


def test_gradual(ran, tmp_path):
    printed, shown = ran("gradual")
    for start in ("dense:", "gradual:", "by layer:", "RigL:", "own loop:"):
        assert numbers(printed, start) == pytest.approx(numbers(shown, start), abs=0.03)
    rows = [[line for line in text.splitlines() if "/kernel" in line] for text in (printed, shown)]
    assert rows[0] == rows[1] and len(rows[0]) == 9  # counts are exact
    assert numbers(printed, "sparsity after") == numbers(shown, "sparsity after")
    assert (tmp_path / "sparse.keras").exists()


@pytest.mark.parametrize("place", range(3))
def test_patterns(ran, place):
    printed, shown = ran("patterns", place)
    if place == 1:  # exact counts; elsewhere some depend on the last bit of a weight
        assert printed.splitlines()[:2] == shown.splitlines()[:2]


def test_budgets(ran, tmp_path):
    printed, shown = ran("budgets")
    for start in ("dense:", "l1_norm:", "gradient_activation:", "a quarter,"):
        assert numbers(printed, start) == pytest.approx(numbers(shown, start), abs=0.05)
    before, flops = numbers(printed, "total")[2:4]
    assert before == 234112 and flops <= before / 4
    assert (tmp_path / "sensitivity.png").stat().st_size > 1000


@pytest.mark.parametrize("page", ["pretrained", "finetuning"])
def test_accuracies(ran, page):
    printed, shown = ran(page, 0)
    for found, expected in zip(printed.splitlines(), shown.splitlines(), strict=True):
        assert numbers(found, "") == pytest.approx(numbers(expected, ""), abs=0.05)


def test_export(ran, tmp_path):
    # Which file is the fastest, and on what machine, is another machine's; so is the wording of both.
    def ours(text):
        return "\n".join(line for line in text.splitlines() if not re.match("fastest|.* cores?[,;]", line))

    printed, shown = ran("export", compared=ours)
    for start in ("accuracy", "parameters", "total", "sparse.tflite"):
        assert numbers(printed, start)[:3] == pytest.approx(numbers(shown, start)[:3], rel=0.1), start
    assert "data:image/svg+xml" in (tmp_path / "report.html").read_text() and (tmp_path / "report.md").exists()


def test_results(ran):
    printed, shown = ran("results", 0)
    for found, expected in zip(printed.splitlines(), shown.splitlines(), strict=True):
        (*costs, accuracy), (*wanted, about) = ([0.0, *numbers(line, "")] for line in (found, expected))
        assert costs == pytest.approx(wanted, rel=0.02) and accuracy == pytest.approx(about, abs=0.1)
    printed, shown = ran("results", 1)
    for start in ("random/erk", "synflow"):
        mean, deviation, count = numbers(printed, start)
        assert mean == pytest.approx(numbers(shown, start)[0], abs=0.05) and 0 < deviation < 0.1 and count == 2
