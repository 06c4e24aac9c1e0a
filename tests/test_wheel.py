"""What is installed of a wheel works from an empty folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow
EXAMPLE = """
import keras, tfprune
model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(8), keras.layers.Dense(2)])
sparse = tfprune.masked(model, tfprune.prune(model, "magnitude", 0.9))
print(tfprune.__file__, round(tfprune.sparsity(sparse).direct, 2))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Runs Python in an empty folder, with what a wheel installs in place of the sources."""
    wheels, place, empty = (tmp_path_factory.mktemp(name) for name in ("wheels", "place", "empty"))
    sources = tmp_path_factory.mktemp("sources") / "tfprune"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(sources)], check=True)
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", wheels, sources], check=True)
    subprocess.run([*pip, "install", "--no-deps", "--target", place, *wheels.iterdir()], check=True)
    environment = {**os.environ, "PYTHONPATH": str(place)}

    def run(*words):
        return subprocess.run([sys.executable, *words], capture_output=True, text=True, cwd=empty, env=environment)

    run.place = place
    return run


def test_the_library(installed):
    done = installed("-c", EXAMPLE)
    file, sparsity = done.stdout.split()
    assert Path(file).is_relative_to(installed.place) and sparsity == "0.9", done.stderr[-2000:]


@pytest.mark.parametrize("name", ["inputs/main.ini", "flags/synflow.flags", "flags/lth/digits.flags"])
def test_files_that_are_named_are_found(installed, name):
    done = installed("-c", f"from tfprune.cli.shipped import shipped; print(open(shipped({name!r})).read())")
    assert done.stdout.strip() == (ROOT / name).read_text().strip()
    assert str(installed.place) in done.stderr


def test_the_results_page_has_its_parts(installed):
    parts = {path.name for path in (installed.place / "tfprune" / "overview").glob("page.*")}
    assert parts >= {"page.css", "page.html", "page.js", "page.py"}
