"""Shared paths. `TFPRUNE_SHARED` names the folder with golden files and data sets; tests skip where it is absent."""

import contextlib
import functools
import gc
import os
import runpy
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

# On CPUs TensorFlow has convolutions with channels first in oneDNN only, which is off on some CPUs by itself.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

# Graphs are made of many small objects: Python would look through all that there are again and again while one is made.
gc.set_threshold(10_000, 10, 10)

ROOT = Path(__file__).parents[1]
sys.path.append(str(Path(__file__).parent))  # for `faults`
SHARED = Path(os.environ.get("TFPRUNE_SHARED", ROOT.parent / "shared"))


@pytest.fixture(autouse=True, scope="module")
def what_is_there_is_not_looked_through():
    """Keras and LiteRT's converter collect garbage themselves: among what a module of tests made, not among all."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def tensorflow_as_it_was():
    """Where a trace fails within `tf.map_fn`, TensorFlow refuses to enter any strategy's scope from then on."""
    yield
    if "tensorflow" in sys.modules and hasattr(sys.modules["tensorflow"], "compat"):
        sys.modules["tensorflow"].compat.v1.get_variable_scope()._caching_device = None


@pytest.fixture(autouse=True)
def environment_as_it_was():
    """What imports within a test set is gone after it: tensorflow-model-optimization switches processes to Keras 2."""
    before = dict(os.environ)
    yield
    for name in os.environ.keys() | before:
        if os.environ.get(name) != before.get(name) and name != "PYTEST_CURRENT_TEST":
            os.environ.pop(name, None)
            if name in before:
                os.environ[name] = before[name]


@pytest.fixture
def registries_as_they_were():
    """What a test registers is gone after it."""
    from tfprune.pruning.filter_scores import FILTER_SCORES
    from tfprune.pruning.quotas import QUOTAS
    from tfprune.pruning.scores import SCORES
    from tfprune.records.registry import OWN
    from tfprune.training.schedules import SCHEDULES

    kept = [(registry, dict(registry)) for registry in (SCORES, FILTER_SCORES, QUOTAS, SCHEDULES, OWN)]
    yield
    for registry, before in kept:
        registry.clear()
        registry.update(before)


def _shared(relative):
    path = SHARED / relative
    if not path.exists():
        pytest.skip(f"{path} is absent (set TFPRUNE_SHARED)")
    return path


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """`slow_beyond(n)`: of a test's cases all but the first n are slow."""
    seen = {}
    for item in items:
        mark = item.get_closest_marker("slow_beyond")
        if mark is not None:
            function = item.nodeid.partition("[")[0]
            seen[function] = seen.get(function, 0) + 1
            if seen[function] > mark.args[0]:
                item.add_marker(pytest.mark.slow)


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


@pytest.fixture
def executed(monkeypatch, tmp_path_factory):
    """`executed(name, **environment)`: runs a notebook; its outputs as a list of {MIME type: data}."""
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    notebooks = ROOT / "notebooks"

    def run(name, **environment):
        places = {"PYTHONPATH": ROOT, "TFPRUNE_RUNS": tmp_path_factory.mktemp("runs"), "TFPRUNE_EPOCHS": 1}
        for variable, value in {**places, **environment}.items():
            monkeypatch.setenv(variable, str(value))
        notebook = nbformat.read(notebooks / name, as_version=4)
        nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(notebooks)}}).execute()
        outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
        told = "".join(output.text for output in outputs if output.get("name") == "stderr")
        assert "arning" not in told and "rror" not in told, told  # progress alone
        return [output.data for output in outputs if "data" in output]

    return run


@pytest.fixture
def command(capsys):
    """`command("main", "--pruner=snip", cwd=folder)`: `python -m tfprune.main --pruner=snip` in this process.

    Its flags are its own, its warnings and what it prints are those of a process. Gives returncode, stdout and stderr.
    """
    from absl import flags
    from absl.testing import flagsaver

    from tfprune.cli import app  # defines the flags that all have

    def run(module, *words, cwd="."):
        known, kept, code = set(flags.FLAGS), flagsaver.save_flag_values(), 0
        with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(), contextlib.chdir(cwd):
            patch.setattr(sys, "argv", [module, *map(str, words)])
            patch.setattr(warnings, "formatwarning", warnings.formatwarning)  # entry points change it for good
            warnings.simplefilter("default")
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.showwarning = _show_warning
            try:
                runpy.run_module(f"tfprune.{module}", run_name="__main__", alter_sys=True)
            except SystemExit as end:
                code = end.code
            finally:
                for name in set(flags.FLAGS) - known:
                    delattr(flags.FLAGS, name)
                flagsaver.restore_flag_values(kept)
        return subprocess.CompletedProcess(words, code or 0, *capsys.readouterr())

    assert app
    return run


def _show_warning(message, category, filename, lineno, file=None, line=None):
    print(warnings.formatwarning(message, category, filename, lineno), end="", file=sys.stderr)


@pytest.fixture
def lth(command):
    """`lth("train", "--lr=1", ...)`: `python -m tfprune.lth` in this process."""
    return functools.partial(command, "lth")
