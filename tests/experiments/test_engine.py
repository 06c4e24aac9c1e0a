"""The setting `engine` of the studies: it names nothing, is refused where it cannot be, and is told in results.

A process that is killed ends with the same numbers by either engine.
"""

import io
import json
import os
import sys
import zipfile
from functools import cache, partial

import pytest
from faults import kill_when_new, tree
from few_figures import few_figures

import tfprune
from tfprune.cli.run import RunSettings, carry_out
from tfprune.engine.choice import ENGINES
from tfprune.errors import InputError
from tfprune.experiments.family import study_of
from tfprune.overview.table import overview_table

INI = """
[IO]
save_dir = {}
[Data]
dataset = digits
[Network]
arch = f1024:f1024:x
steps = 10
batch_size = 250
val_size = 150
validate_step = 5
[IMP]
prune = T:T:F
prune_ratio = 0.9
weights_step = 5
max_iterations = 2
[Run]
checkpoint_step = 9
"""
WIDE = """
import keras
from keras import layers

def wide(input_shape, classes):
    hidden = [layers.Dense(1024, "relu", name=name) for name in "ab"]
    return keras.Sequential([keras.Input(input_shape), layers.Flatten(), *hidden, layers.Dense(classes, name="c")])
"""
LENET = {"default_hparams": "mnist_lenet_1024_1024", "dataset_name": "digits", "training_steps": "2ep"}


def _imp(folder):
    path = folder / "run.ini"
    path.write_text(INI.format(folder / "imp"))
    return [str(path)], {}


def _main(folder):
    how = {"data": "digits", "iterations": 20, "architecture": "wide_network:wide", "target_sparsity": 0.95}
    return [], {**how, "checkpoint_step": 9, "out_path": str(folder / "main")}


def _lth(folder):
    return ["lottery"], {**LENET, "levels": 1, "pruning_fraction": 0.95, "root": str(folder / "lth")}


def _energy(folder):
    how = {
        "dataset": "digits",
        "nnmodel": "lenet",
        "width": 8.0,
        "model": "random",
        "init_probability": 0.06,
        "epochs": 2,
        "batch_size": 431,
        "lr": 0.1,
    }
    return [], {**how, "out_path": str(folder / "energy")}


def _study(command, folder, **given):
    words, how = ASKED[command](folder)
    return study_of(command).asked(words, {**how, **given})


# System -> folder -> words and flags of its command.
ASKED = {"imp": _imp, "main": _main, "lth": _lth, "energy": _energy}
STUDIES = {command: partial(_study, command) for command in ASKED}
# System -> what computes each of its networks where the rule decides, and by the sparse engine how many layers.
USED = {
    "imp": [("dense", 0), ("sparse", 3)],  # the last layer goes along
    "main": [("sparse", 1)],
    "lth": [("dense", 0), ("sparse", 1)],
    "energy": [("sparse", 3)],
}
QUIET = RunSettings(quiet=True)


@pytest.fixture(scope="module", autouse=True)
def wide_network(tmp_path_factory):
    """Folder with a network of one's own, whose second kernel has a million weights."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "wide_network.py").write_text(WIDE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(command, engine) -> folder in which the study was carried out."""

    @cache
    def carried_out(command, engine):
        folder = tmp_path_factory.mktemp(f"{command}-{engine}")
        with few_figures():
            carry_out(STUDIES[command](folder, engine=engine), QUIET)
        return folder

    return carried_out


@pytest.mark.parametrize("command", STUDIES)
def test_an_engine_names_nothing(command, tmp_path):
    studies = [STUDIES[command](tmp_path, **given) for given in ({}, *({"engine": engine} for engine in ENGINES))]
    assert len({(study.folder, study.prefix, study.digest) for study in studies}) == 1
    assert studies[0].places == studies[3].places and '"engine"' not in json.dumps(studies[3].settings.record())


@pytest.mark.parametrize("command", STUDIES)
def test_an_unknown_engine(command, tmp_path):
    with pytest.raises(InputError, match=r"engine must be one of auto, dense, sparse. Received: 'spare'"):
        STUDIES[command](tmp_path, engine="spare")


@pytest.mark.parametrize("command", STUDIES)
def test_sparse_without_its_package(command, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    STUDIES[command](tmp_path, engine="auto").check()
    with pytest.raises(
        InputError, match=r"engine=sparse: the package numba is missing; pip install 'tfprune\[sparse\]'"
    ):
        STUDIES[command](tmp_path, engine="sparse").check()


@pytest.mark.parametrize(
    ("command", "given", "told"),
    [
        ("imp", {"precision": "bfloat16"}, "engine = sparse computes in float32. Received: precision = bfloat16"),
        ("main", {"pruner": "tfmot/polynomial"}, "--engine must be auto or dense"),
        ("lth", {"distribute": "mirrored"}, "one device. Received: --distribute=mirrored"),
        ("lth", {"precision": "mixed_bfloat16"}, "computes in float32. Received: --precision=mixed_bfloat16"),
    ],
)
def test_what_sparse_cannot_be(command, given, told, tmp_path):
    STUDIES[command](tmp_path, engine="auto", **given).check()
    with pytest.raises(InputError, match=told):
        STUDIES[command](tmp_path, engine="sparse", **given).check()


# What the engine trains in energy-based pruning is tested beside it.
QUICK = [pytest.param(command, marks=pytest.mark.slow) if command == "energy" else command for command in STUDIES]


@pytest.mark.parametrize("command", QUICK)
def test_results_tell_what_was_used(command, trained):
    pytest.importorskip("numba")
    sparse, dense = (tfprune.read_results(trained(command, engine)) for engine in ("auto", "dense"))
    assert list(zip(sparse["engine"], sparse["kept_layers"], strict=True)) == USED[command]
    assert set(zip(dense["engine"], dense["kept_layers"], strict=True)) == {("dense", 0)}
    assert sparse["digest"].tolist() == dense["digest"].tolist()
    for name in ("accuracy", "loss"):  # the same batches, distorted alike
        assert sparse[name].dropna().tolist() == pytest.approx(dense[name].dropna().tolist(), rel=1e-3)
    same = [number for number, (engine, _) in enumerate(USED[command]) if engine == "dense"]
    assert sparse["loss"][same].dropna().tolist() == dense["loss"][same].dropna().tolist()
    assert overview_table(trained(command, "auto"))["engine"].tolist() == sparse["engine"].tolist()


@pytest.mark.slow
@pytest.mark.parametrize("command", STUDIES)
def test_asked_for_it_is_the_same_engine(command, trained):
    pytest.importorskip("numba")
    auto, sparse = (tfprune.read_results(trained(command, engine)) for engine in ("auto", "sparse"))
    for name in ("engine", "kept_layers", "accuracy", "loss"):
        assert auto[name].equals(sparse[name])


@pytest.mark.parametrize("command", QUICK)
def test_a_finished_run_is_finished_by_any_engine(command, trained, monkeypatch):
    folder = trained(command, "dense")
    files = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    monkeypatch.setitem(sys.modules, "numba", None)  # what is done needs no engine
    carry_out(STUDIES[command](folder, engine="sparse"), QUIET)
    now = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    assert {path for path in files if now[path] != files[path]} <= {folder / "run.ini"}


# System -> the file at whose writing its process is killed, and how often: at last where kept weights train alone.
KILLED = {
    "imp": ("imp/IMP_checkpoint.npz", 2),
    "main": ("main/**/*_checkpoint.npz", 2),
    "lth": ("lth/*/replicate_1/level_1/main/checkpoint.npz", 1),
    "energy": ("energy/*/checkpoint.npz", 1),
}
TIMES = ("seconds", "ms_per_batch", "ms_per_batch_compacted")


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["sparse", "auto"])
@pytest.mark.parametrize("command", STUDIES)
def test_a_killed_process_ends_with_the_same_numbers(command, engine, trained, wide_network, tmp_path, monkeypatch):
    pytest.importorskip("numba")
    words, how = ASKED[command](tmp_path)
    flags = [f"--{name}={value}" for name, value in {**how, "engine": engine}.items()]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(wide_network), os.environ.get("PYTHONPATH", "")]))
    pattern, times = KILLED[command]
    for _ in range(times):
        assert kill_when_new([f"tfprune.{command}", *words, *flags], tmp_path, pattern)
    carry_out(STUDIES[command](tmp_path, engine=engine), QUIET)
    expected, came = (_numbers(folder) for folder in (trained(command, engine), tmp_path))
    assert sorted(came) == sorted(expected)
    assert [name for name in came if came[name] != expected[name]] == []


def _numbers(folder):
    """What each file of a run holds, but for times; of tables and prose that it is there; pictures are left out."""
    files = tree(next(path for path in folder.iterdir() if path.is_dir()))
    files = {name: content for name, content in files.items() if not name.endswith(".png")}
    for name, content in files.items():
        if name.endswith("result.json") or "result_" in name:
            content = json.loads(content)
            files[name] = {key: value for key, value in content.items() if key not in TIMES}
        elif name.endswith(".keras"):
            with zipfile.ZipFile(io.BytesIO(content)) as file:
                files[name] = file.read("model.weights.h5")
        elif not name.endswith((".npz", ".npy", ".pkl", ".dat", ".log", ".txt")):
            files[name] = ""
    return files
