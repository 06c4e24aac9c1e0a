"""The files that the pages of `docs/extending` show do what these say."""

import importlib
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers
from shown import blocks

import tfprune
from tfprune.errors import InputError

PAGES = Path(__file__).parents[2] / "docs" / "extending"


@pytest.fixture
def module(tmp_path, monkeypatch):
    """`module(page, place)`: the name of a module in the working folder, with that block of Python of a page."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    made = []

    def make(page, place=0):
        name = f"{page}_{place}_of_page_{tmp_path.name}"
        (tmp_path / f"{name}.py").write_text(blocks((PAGES / f"{page}.md").read_text(), "python")[place])
        importlib.invalidate_caches()
        made.append(name)
        return name

    yield make
    for name in made:
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    conv = [layers.Conv2D(8, 3, name="conv"), layers.Flatten()]
    return keras.Sequential(
        [keras.Input((6, 6, 1)), *conv, layers.Dense(12, name="dense"), layers.Dense(3, name="head")]
    )


@pytest.mark.usefixtures("registries_as_they_were")
def test_a_pruner(model, module):
    name = module("pruner")
    masks = tfprune.prune(model, f"{name}:relative", 0.75)
    assert masks == tfprune.prune(model, "relative", 0.75) and masks.kept == round(0.25 * masks.size)
    # By the formula: within an output the order is that of the sizes, and outputs of any scale keep alike.
    kernel = model.get_layer("dense").kernel.numpy()
    relative = abs(kernel) / np.sqrt(np.mean(kernel**2, 0))
    kept = masks["dense/kernel"]
    assert relative[kept].min() >= relative[~kept].max()
    shares = tfprune.prune(model, f"{name}:both", 0.75)
    densities = {path: count / shares[path].size for path, count in shares.counts.items()}
    ratio = densities["conv/kernel"] / densities["dense/kernel"]
    sizes = shares["dense/kernel"].size / shares["conv/kernel"].size
    assert densities["head/kernel"] == 1.0 or ratio == pytest.approx(sizes**0.5, rel=0.05)
    assert "root" in tfprune.quotas() and tfprune.pruners()["relative"].startswith("|w| over the root mean square")


@pytest.mark.usefixtures("registries_as_they_were")
def test_a_score_of_filters(model, module):
    small = tfprune.prune_filters(model, f"{module('pruner', 1)}:peak", 0.5)
    peaks = abs(model.get_layer("conv").kernel.numpy()).max((0, 1, 2))
    best = np.sort(np.argsort(peaks)[4:])
    np.testing.assert_array_equal(small.get_layer("conv").kernel, model.get_layer("conv").kernel.numpy()[..., best])


@pytest.mark.usefixtures("registries_as_they_were")
def test_a_schedule(module):
    importlib.import_module(module("pruner", 2))
    net = keras.Sequential([keras.Input((20,)), layers.Dense(10)])
    net.compile("sgd", "mse")
    prune = tfprune.Prune("magnitude", "square", sparsity=0.8)
    net.fit(np.zeros((64, 20)), np.zeros((64, 10)), batch_size=8, epochs=4, verbose=0, callbacks=[prune])
    found = [renewal.sparsity for renewal in prune.history]
    assert found == sorted(found) and found[-1] == pytest.approx(0.8, abs=0.005)


def test_a_model(module):
    name, how = module("model"), {"data": "digits", "pruner": "snip", "target_sparsity": 0.8, "quiet": True}
    run = tfprune.run("main", architecture=f"{name}:narrow", iterations=30, **how)
    (result,) = run.results.to_dict("records")
    assert run.folder == type(run.folder)("EffectiveSparsity", f"{name}.narrow", "snip", "direct")
    # 9·16 + 9·16·32 + 32·10 weights
    assert result["density"] == pytest.approx(0.2, abs=1 / 5072) and result["weights"] == 5072
    again = tfprune.run("main", architecture=f"{name}:narrow", sample="1", train=False, **how)
    masks = [
        tfprune.load_masks(next(one.folder.glob(f"{sample}_*masks.npz"))) for sample, one in enumerate((run, again))
    ]
    assert masks[0].kept == masks[1].kept and masks[0] != masks[1]  # other initial weights


def test_a_data_set(module):
    from tfprune.data.load import load_images
    from tfprune.data.prepared import load_prepared

    name = f"{module('data_set')}:shapes"
    images = load_prepared(name)
    assert (images.train.size, images.validation.size) == (1000, 200)
    assert (images.image_shape, images.classes) == ((1, 12, 12), 2)
    rows, _ = next(iter(images.train.chunks()))
    normal = (rows - images.mean) * images.scale
    assert abs(normal.mean()) < 0.1 and abs(normal.std() - 1) < 0.1
    first = load_images(name, data_ratio=0.5, val_size=50)
    assert (first.train.size, first.validation.size) == (500, 50)


def _input_file(name):
    Path("mine.ini").write_text(
        f"[Data]\ndataset = {name}\n[Network]\narch = f32:x\nsteps = 20\nbatch_size = 50\nval_size = 200\n"
        "[IMP]\nmax_iterations = 2\nweights_step = 5\n[IO]\nsave_dir = imp\n"
    )
    return "mine.ini"


_LOTTERY = {"default_hparams": "mnist_lenet_30", "training_steps": "2ep"}
_FILTERS = {"width": 0.0625, "epochs": 1, "finetune_epochs": 1, "version": ["v3_50"]}


@pytest.mark.parametrize(
    ("words", "flag", "options"),
    [
        pytest.param(["main"], "data", {"pruner": "random/igq", "iterations": 20}),
        pytest.param(["imp", _input_file], None, {}, marks=pytest.mark.slow),
        pytest.param(["lth", "train"], "dataset_name", _LOTTERY, marks=pytest.mark.slow),
        pytest.param(["filters"], "data", _FILTERS, marks=pytest.mark.slow),
        pytest.param(["energy"], "dataset", {"nnmodel": "lenet", "epochs": 1}, marks=pytest.mark.slow),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_every_study_takes_a_data_set(module, words, flag, options):
    name = f"{module('data_set')}:shapes"
    words = [word(name) if callable(word) else word for word in words]
    run = tfprune.run(*words, **options, **({flag: name} if flag else {}), quiet=True)
    assert run.results["accuracy"].between(0.3, 1).all() and ":" not in str(run.folder)


def test_a_system(module, tmp_path):
    def toy(*words):
        return subprocess.run([sys.executable, f"{name}.py", *words], capture_output=True, text=True, cwd=tmp_path)

    name = module("system")
    done = toy("--sparsity=0.9")
    assert done.returncode == 0, done.stderr
    table = tfprune.read_results("Toy")
    (result,) = table.to_dict("records")
    assert (result["family"], result["steps"]) == ("toy", 200)
    assert result["density"] == pytest.approx(0.1, abs=1e-3) and result["accuracy"] > 0.6
    assert f"test accuracy {result['accuracy']:.4f}" in done.stdout
    before = {path: path.stat().st_mtime_ns for path in Path("Toy").rglob("*.json")}
    assert toy("--sparsity=0.9", "--quiet").returncode == 0  # a finished run does nothing
    assert before == {path: path.stat().st_mtime_ns for path in Path("Toy").rglob("*.json")}
    refused = toy("--sparsity=2")
    assert refused.returncode == 2 and "--sparsity must be a number in [0, 1). Received: 2.0" in refused.stderr
    assert "Traceback" not in refused.stderr


WRONG = """
import keras, numpy as np
number = 3
def broken(*given): return 1 / 0
def floats(): return (np.zeros((4, 2, 2)), np.zeros(4, int)), (np.zeros((4, 2, 2)), np.zeros(4, int))
def labels(): return (np.zeros((4, 2, 2), "u1"), np.zeros(3, int)), (np.zeros((4, 2, 2), "u1"), np.zeros(4, int))
def shapes(): return (np.zeros((4, 2, 2), "u1"), np.zeros(4, int)), (np.zeros((4, 2, 3), "u1"), np.zeros(4, int))
def one(): return np.zeros((4, 2, 2), "u1")
def softmax(shape, classes):
    return keras.Sequential([keras.Input(shape), keras.layers.Flatten(), keras.layers.Dense(classes, "softmax")])
def narrow(shape, classes): return keras.Sequential([keras.Input(shape), keras.layers.Dense(classes)])
def unbuilt(shape, classes): return keras.Sequential([keras.layers.Dense(classes)])
"""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data": "nowhere:x"}, "data set nowhere:x: there is no module nowhere in .* or installed"),
        ({"data": "wrong:x"}, r"module wrong \(.*wrong.py\) neither has nor registers 'x'"),
        ({"data": "wrong:number"}, "data set wrong:number must be a function that gives images; it is 3"),
        ({"data": "wrong:broken"}, "data set wrong:broken cannot be made: ZeroDivisionError: division by zero"),
        ({"data": "wrong:floats"}, r"x_train must be uint8 \(n, height, width\) .*; it is float64 \(4, 2, 2\)"),
        ({"data": "wrong:labels"}, r"y_train must be 4 integers from 0 on, one for each image; it is int64 \(3,\)"),
        ({"data": "wrong:shapes"}, r"must have one shape; they have \(2, 2, 1\) and \(2, 3, 1\)"),
        ({"data": "wrong:one"}, r"must give \(x_train, y_train\), \(x_test, y_test\); it gave ndarray"),
        ({"architecture": "nowhere:x"}, "--architecture=nowhere:x: there is no module nowhere"),
        ({"architecture": "wrong:number"}, r"network wrong:number must be a function \(input_shape, classes\)"),
        ({"architecture": "wrong:broken"}, "network wrong:broken cannot be built: ZeroDivisionError"),
        ({"architecture": "wrong:one"}, "network wrong:one cannot be built: TypeError"),
        ({"architecture": "wrong:softmax"}, "must end in logits, which a softmax follows; its last layer .* has one"),
        ({"architecture": "wrong:narrow"}, r"\(None, 8, 8, 1\), \(None, 8, 8, 10\)"),
        ({"architecture": "wrong:unbuilt"}, "must give a Sequential or Functional model with its input's shape"),
        ({"architecture": "lenet"}, r"--architecture must be one of .*, or module:name of your own. Received: 'lenet'"),
    ],
)
def test_what_is_wrong_is_told_in_a_line(tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "wrong", raising=False)
    (tmp_path / "wrong.py").write_text(WRONG)
    importlib.invalidate_caches()
    with pytest.raises(InputError, match=message):
        tfprune.run("main", **{"data": "digits", "train": False, "quiet": True} | options)
