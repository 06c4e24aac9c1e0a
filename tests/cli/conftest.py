"""What the tests of entry points share."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def light(tmp_path_factory):
    """The environment of a process that ends with another message where it imports TensorFlow or Keras."""
    folder = tmp_path_factory.mktemp("light")
    for name in ("tensorflow", "keras"):
        (folder / f"{name}.py").write_text("raise SystemExit('TensorFlow was imported')")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}


@pytest.fixture
def refused():
    """`refused(result, told)`: the process ended with code 2 and one line of error that holds `told`."""

    def check(result, told):
        assert result.returncode == 2, result.stderr
        errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1
        assert told in errors[0]
        assert "Traceback" not in result.stderr

    return check
