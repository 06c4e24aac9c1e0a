"""What the library needs: TensorFlow, Keras and NumPy, with what these three need; the rest where it is used."""

import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CORE = ("tensorflow", "keras", "numpy")
HOOK = """
import sys

class Without:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in {absent!r}:
            return self.finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = map(Without, sys.meta_path)
"""
LIBRARY = """
import io, contextlib, warnings
import keras, numpy as np, tfprune
model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, name="c"), keras.layers.ReLU(),
                          keras.layers.Flatten(), keras.layers.Dense(2, name="d")])
masks = tfprune.prune(model, "magnitude", 0.9)
sparse = tfprune.masked(model, masks)
found = tfprune.sparsity(sparse)
assert "total" in repr(found) and "c/kernel" in repr(found), found
small = tfprune.compact(sparse)
assert "total" in repr(tfprune.compaction_report(sparse, small))
tfprune.save_masks("masks.npz", masks)
assert tfprune.load_masks("masks.npz").kept == masks.kept
sparse.save("sparse.keras")
assert tfprune.masks_of(tfprune.load_model("sparse.keras")).kept == masks.kept
fewer = tfprune.prune_filters(model, "l1_norm", 0.5)
tfprune.export(small, "small.keras")
tfprune.strip(sparse).save("plain.keras")
tfprune.prune(model, "synflow", 0.9, "effective")
"""
MORE = {
    "tfprune.accelerate(sparse)": "the sparse engine: the package numba is missing; pip install 'tfprune[sparse]' ",
    "found.table": "the table of a report: the package pandas is missing; pip install 'pandas' ",
    "tfprune.export(small, 'm.tflite')": "the package ai_edge_litert is missing; pip install 'tfprune[export]' ",
}


def _closure(names):
    found, waiting = set(), list(names)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        found.add(name)
        for line in importlib.metadata.requires(name) or []:
            requirement, _, marker = line.partition(";")
            needed = re.match(r"[\w.-]+", requirement).group()
            with_extra = "extra" in marker
            if not with_extra and _installed(needed):
                waiting.append(needed)
    return found


def _installed(name):
    try:
        return importlib.metadata.version(name) is not None
    except importlib.metadata.PackageNotFoundError:
        return False


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A process that finds no package but those of the core has used the library, and then asked for more."""
    place, known = tmp_path_factory.mktemp("alone"), _closure(CORE)
    normal = {
        module: {re.sub(r"[-_.]+", "-", name).lower() for name in names}
        for module, names in importlib.metadata.packages_distributions().items()
    }
    absent = {module for module, names in normal.items() if not names & known and module != "tfprune"}
    assert {"pandas", "tqdm", "matplotlib", "tensorflow_datasets", "ai_edge_litert"} <= absent
    (place / "sitecustomize.py").write_text(HOOK.format(absent=absent))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(place), str(ROOT)])}
    asked = (f"try:\n    {code}\nexcept tfprune.InputError as error:\n    print(error)" for code in MORE)
    command = [sys.executable, "-W", "ignore", "-c", "\n".join([LIBRARY, "print('all of it')", *asked])]
    return subprocess.run(command, capture_output=True, text=True, cwd=place, env=environment)


def test_the_library_needs_tensorflow_keras_and_numpy_alone(alone):
    assert "all of it" in alone.stdout.splitlines(), alone.stderr[-3000:]


@pytest.mark.parametrize("told", MORE.values(), ids=MORE)
def test_what_needs_more_says_the_command(alone, told):
    assert told in alone.stdout, alone.stderr[-3000:]
