"""The order of the rooms: imports point down, a system is known to its own room alone, and what is light stays so."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "tfprune"
# Entry points (modules at the root, `__main__` of a room) stand above all; `quiet` and `errors` below all.
ORDER = (
    "sweeps",
    "overview",
    "experiments",
    "cli",
    "training",
    "pruning",
    "connectivity",
    "surgery",
    "models",
    "layers",
    "engine",
    "data",
    "plots",
    "records",
    "quiet",
    "errors",
)
SYSTEMS = sorted(path.name for path in (PACKAGE / "experiments").iterdir() if (path / "__init__.py").exists())
# The entry points of each system; all others know none.
ENTRIES = {
    "imp": {"imp"},
    "main": {"one_shot"},
    "demo": {"one_shot"},
    "visualization": {"one_shot"},
    "lth": {"lottery"},
    "filters": {"filters"},
    "energy": {"energy"},
}
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


def test_the_systems_are_those_we_know():
    assert SYSTEMS == ["energy", "filters", "imp", "lottery", "one_shot"]


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_its_own_room_and_entry_points_know_a_system(path):
    parts = path.relative_to(PACKAGE).parts
    known = ENTRIES.get(path.stem, set()) if len(parts) == 1 else set()
    if parts[0] == "experiments" and parts[1] in SYSTEMS:
        known = {parts[1]}
    for name in _imports(path):
        match = re.match(r"tfprune\.experiments\.(\w+)", name)
        assert not match or match[1] not in SYSTEMS or match[1] in known, f"{path} imports {name}"


def test_no_shared_room_has_a_file_named_after_a_system():
    names = re.compile(rf"(.*_)?({'|'.join([*SYSTEMS, 'lth'])})(_.*)?")
    shared = [path for path in PACKAGE.rglob("*.py") if path.relative_to(PACKAGE).parts[0] != "experiments"]
    found = [path for path in shared if path.parent != PACKAGE and names.fullmatch(path.stem)]
    # What filters are to everybody: channels that can be scored, searched and removed.
    own = {PACKAGE / "pruning" / f"{name}_filters.py" for name in ("prune", "search")}
    assert set(found) <= own


@pytest.mark.parametrize("entry", sorted(ENTRIES))
def test_a_system_is_loaded_only_when_it_is_asked_for(entry):
    code = f"""
import sys
sys.argv = ["x", "--help"]
try:
    import runpy
    runpy.run_module("tfprune.{entry}", run_name="__main__", alter_sys=True)
except SystemExit:
    pass
systems = {{name.split(".")[2] for name in sys.modules if name.startswith("tfprune.experiments.")}}
print("LOADED", sorted(systems & set({SYSTEMS!r})), "tensorflow" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    systems, tensorflow = re.fullmatch(r"LOADED (\[.*]) (\w+)", done.stdout.splitlines()[-1]).groups()
    assert set(ast.literal_eval(systems)) <= ENTRIES[entry] and tensorflow == "False"


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
