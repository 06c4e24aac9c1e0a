"""The order of the rooms: imports point down, the low rooms stay light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "tfprune"
# Entry points (modules at the root, `__main__` of a room) stand above all; `quiet` and `errors` below all.
ORDER = (
    "experiments",
    "cli",
    "training",
    "pruning",
    "connectivity",
    "surgery",
    "models",
    "layers",
    "data",
    "plots",
    "records",
    "quiet",
    "errors",
)
ONLY = {"plots": {"plots", "records", "errors"}, "records": {"records", "errors"}}


def _imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        assert not (isinstance(node, ast.ImportFrom) and node.level), f"{path}: relative import"


def test_every_room_is_known():
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert rooms <= set(ORDER)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path):
    parts = path.relative_to(PACKAGE).parts
    if len(parts) == 1 or parts[-1] == "__main__.py":
        return
    room = parts[0]
    for name in _imports(path):
        if name.startswith("tfprune."):
            target = name.split(".")[1]
            assert ORDER.index(target) >= ORDER.index(room), f"{path} imports {name}"
            assert target in ONLY.get(room, ORDER), f"{path} imports {name}"


@pytest.mark.parametrize("registry", ["scores", "filter_scores"])
def test_scores_do_not_import_each_other(registry):
    for path in (PACKAGE / "pruning" / registry).glob("*.py"):
        if path.name != "__init__.py":
            assert not [name for name in _imports(path) if name.startswith(f"tfprune.pruning.{registry}")], path


@pytest.mark.parametrize(
    "module",
    [
        *("tfprune", "tfprune.imp", "tfprune.experiments.imp.settings", "tfprune.experiments.imp.files.iterations"),
        *(
            "tfprune.experiments.imp.figures.report",
            "tfprune.lth",
            "tfprune.models.names",
            "tfprune.experiments.lottery.results",
        ),
        "tfprune.experiments.lottery.figures",
    ],
)
def test_light_modules_do_not_load_tensorflow(module):
    code = f"import sys, {module}; sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
