"""Shared paths. `TFPRUNE_SHARED` names the folder with golden files and data sets; tests skip where it is absent."""

import os
import subprocess
import warnings
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("TFPRUNE_SHARED", Path(__file__).parents[2] / "shared"))


def _shared(relative):
    path = SHARED / relative
    if not path.exists():
        pytest.skip(f"{path} is absent (set TFPRUNE_SHARED)")
    return path


def pytest_make_parametrize_id(config, val, argname):
    """Names that are the same in every process, or the workers of a parallel run would see other tests."""
    if isinstance(val, bytes):
        return argname
    return getattr(val, "__name__", argname) if callable(val) else None


@pytest.fixture
def golden():
    """Folder of outputs of the original implementations."""
    return _shared("golden")


@pytest.fixture
def tfds_dir():
    """TFDS data_dir with MNIST and CIFAR-10."""
    return _shared("data/tfds")


@pytest.fixture
def lth(capsys, monkeypatch):
    """`lth("train", "--lr=1", ...)`: `python -m tfprune.lth` in this process; gives returncode, stdout and stderr."""
    from absl import flags

    from tfprune.cli import app
    from tfprune.experiments.lottery.flags import commands

    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # entry points change it for good

    def run(*words):
        values = flags.FlagValues()
        flags.DEFINE_bool("debug", False, "As that of every entry point.", flag_values=values)
        code = 0
        try:
            app.run_command(commands(), "", values, list(map(str, words)))
        except SystemExit as end:
            code = end.code
        return subprocess.CompletedProcess(words, code, *capsys.readouterr())

    return run
