"""What is installed of a wheel works from an empty folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from shown import blocks, numbers

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow
EXAMPLE = """
import keras, tfprune
model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(8), keras.layers.Dense(2)])
sparse = tfprune.masked(model, tfprune.prune(model, "magnitude", 0.9))
print(tfprune.__file__, round(tfprune.sparsity(sparse).direct, 2))
"""


PIP = ["-m", "pip", "-q", "--disable-pip-version-check"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of the last commit."""
    wheels, sources = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("sources") / "tfprune"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(sources)], check=True)
    build = ["wheel", "--no-deps", "--no-build-isolation", "-w", wheels, sources]
    subprocess.run([sys.executable, *PIP, *build], check=True)
    (path,) = wheels.iterdir()
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Runs Python in an empty folder, with what a wheel installs in place of the sources."""
    place, empty = tmp_path_factory.mktemp("place"), tmp_path_factory.mktemp("empty")
    subprocess.run([sys.executable, *PIP, "install", "--no-deps", "--target", place, wheel], check=True)
    environment = {**os.environ, "PYTHONPATH": str(place)}

    def run(*words):
        return subprocess.run([sys.executable, *words], capture_output=True, text=True, cwd=empty, env=environment)

    run.place = place
    return run


def test_the_library(installed):
    done = installed("-c", EXAMPLE)
    file, sparsity = done.stdout.split()
    assert Path(file).is_relative_to(installed.place) and sparsity == "0.9", done.stderr[-2000:]


@pytest.mark.parametrize(
    "name", ["inputs/main.ini", "inputs/sweeps/imp-digits.toml", "flags/synflow.flags", "flags/lth/digits.flags"]
)
def test_files_that_are_named_are_found(installed, name):
    done = installed("-c", f"from tfprune.cli.shipped import shipped; print(open(shipped({name!r})).read())")
    assert done.stdout.strip() == (ROOT / name).read_text().strip()
    assert str(installed.place) in done.stderr


def test_an_environment_of_its_own(wheel, tmp_path_factory):
    """With what the wheel says that it needs, and nothing else: the README's example, and the console script."""
    place, empty = tmp_path_factory.mktemp("environment"), tmp_path_factory.mktemp("elsewhere")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    python, script = (place / ("Scripts" if os.name == "nt" else "bin") / name for name in ("python", "tfprune"))

    def run(*words):
        return subprocess.run([*map(str, words)], capture_output=True, text=True, cwd=empty, env=environment)

    subprocess.run([sys.executable, "-m", "venv", place], check=True)
    # The README's example runs a LiteRT file, for which the extra has the interpreter.
    done = run(python, *PIP, "install", "-c", ROOT / "constraints.txt", f"{wheel}[export]")
    if "No matching distribution" in done.stderr or "Temporary failure in name resolution" in done.stderr:
        pytest.skip("packages cannot be had here")
    assert done.returncode == 0, done.stderr[-2000:]

    helped = run(script, "--help")
    assert helped.returncode == 0 and "tfprune imp inputs/main.ini" in helped.stdout, helped.stderr
    wrong = run(script, "nonsense")
    assert wrong.returncode == 2 and len(wrong.stderr.splitlines()) == 1 and "Received: nonsense" in wrong.stderr
    one, other = run(script, "imp", "--help"), run(python, "-m", "tfprune.imp", "--help")
    assert (one.returncode, one.stdout) == (0, other.stdout) and "Keys of the input file" in one.stdout

    readme = (ROOT / "README.md").read_text()
    (example,), (shown,) = blocks(readme, "python"), blocks(readme, "text")
    done = run(python, "-c", example)
    assert done.returncode == 0, done.stderr[-2000:]
    start = "test accuracy, pruned and fine-tuned:"
    assert numbers(done.stdout, start) == pytest.approx(numbers(shown, start), abs=0.02)
    assert (empty / "small.tflite").stat().st_size > 1000


def test_the_results_page_has_its_parts(installed):
    parts = {path.name for path in (installed.place / "tfprune" / "overview").glob("page.*")}
    assert parts >= {"page.css", "page.html", "page.js", "page.py"}
