"""Scores, filter scores, quotas and pruners of one's own: registered, imported by name, refused in a line."""

import functools

import keras
import numpy as np
import pytest
from keras import layers

import tfprune
from tfprune.errors import InputError
from tfprune.experiments.filters.settings import FilterSettings
from tfprune.experiments.one_shot.settings import OneShotSettings
from tfprune.pruning.losses import cross_entropy
from tfprune.pruning.scores import SCORES

pytestmark = pytest.mark.usefixtures("registries_as_they_were")


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((6, 6, 4)),
            layers.Conv2D(8, 3, name="conv"),
            layers.Flatten(),
            layers.Dense(6, name="dense"),
            layers.Dense(3, name="head"),
        ]
    )


def first(model, batches, masks, rng):
    """Position in the kernel, the first ones last. More."""
    return {path: np.arange(mask.size).reshape(mask.shape) for path, mask in masks.items()}


def test_a_score_has_a_name_everywhere(model):
    tfprune.register_score("first")(first)
    masks = tfprune.prune(model, "first", 0.5)
    for again in (first, tfprune.Pruner("first"), tfprune.Pruner(first), SCORES["first"]):
        assert tfprune.prune(model, again, 0.5) == masks
    uniform = tfprune.prune(model, "first", 0.5, scope="layerwise")
    assert all(not mask.ravel()[: mask.size // 2].any() for mask in uniform.values())
    assert tfprune.prune(model, tfprune.Pruner("first", "uniform"), 0.5) == uniform
    assert tfprune.scores()["first"] == tfprune.pruners()["first"] == "Position in the kernel, the first ones last"
    assert "\nfirst " in str(tfprune.scores()) and "\nfirst " in str(tfprune.pruners())
    assert OneShotSettings(pruner="first").folder.name == "direct"


def test_a_score_gets_what_it_asks_for(model):
    given = []

    @tfprune.register_score("asks", needs_data=True, options=("loss", "input_shape"))
    def asks(model, batches, masks, rng, loss, input_shape):
        given.append((sum(len(inputs) for inputs, *_ in batches), loss, input_shape))
        return {path: rng.random(mask.shape) for path, mask in masks.items()}

    data = np.zeros((5, 6, 6, 4), "f4"), np.zeros(5, int)
    tfprune.prune(model, "asks", 0.5, data=data, loss="cross_entropy", input_shape=(6, 6, 4), batch_size=2)
    tfprune.prune(model, asks, 0.5, data=data, loss="cross_entropy", input_shape=(6, 6, 4), batch_size=2)
    assert given == [(5, cross_entropy, (6, 6, 4))] * 2
    with pytest.raises(InputError, match="score asks needs data="):
        tfprune.prune(model, "asks", 0.5)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([], "score wrong must give path -> array; it gave list"),
        ({}, r"score wrong says nothing of \d kernels: leave them out, ignore=\['conv/kernel'"),
        (
            {"conv/kernel": np.ones(3)},
            r"an array of shape \(3,\) for kernel 'conv/kernel', whose shape is \(3, 3, 4, 8\)",
        ),
        ({"conv/kernel": np.full((3, 3, 4, 8), np.nan)}, "scores of kernel 'conv/kernel' are not finite"),
        ({"conv/kernel": "high"}, "score wrong gave no array of numbers for kernel 'conv/kernel': 'high'"),
    ],
)
def test_what_a_score_must_not_give(model, scores, message):
    @tfprune.register_score("wrong")
    def wrong(model, batches, masks, rng):
        if isinstance(scores, dict) and scores:
            return {path: np.ones(mask.shape) for path, mask in masks.items()} | scores
        return scores

    with pytest.raises(InputError, match=message):
        tfprune.prune(model, "wrong", 0.5)


def test_quotas_are_proportions(model):
    @tfprune.register_quota("inverse")
    def inverse(shapes, density):
        """In inverse proportion to the size."""
        return [1 / np.prod(shape) for shape in shapes]

    sizes = [288, 768, 18]
    for sparsity in (0.3, 0.9, 0.99):
        masks = tfprune.prune(model, "magnitude", sparsity, quota="inverse")
        assert abs(masks.kept - (1 - sparsity) * masks.size) <= 1.5
        whole = [count == size for count, size in zip(masks.counts.values(), sizes, strict=True)]
        others = [count for count, full in zip(masks.counts.values(), whole, strict=True) if not full]
        assert max(others) - min(others) <= 1  # the same number everywhere, as far as there are so many
    assert tfprune.quotas()["inverse"] == "In inverse proportion to the size"
    tfprune.register_quota("short")(lambda shapes, density: [1])
    with pytest.raises(InputError, match=r"quota short must give 3 numbers; received an array of \(1,\)"):
        tfprune.prune(model, "magnitude", 0.5, quota="short")
    tfprune.register_quota("negative")(lambda shapes, density: [-1, 1, 1])
    with pytest.raises(InputError, match="quota negative must give finite numbers ≥ 0"):
        tfprune.prune(model, "magnitude", 0.5, quota="negative")


def test_filter_scores(model):
    @tfprune.register_filter_score("position")
    def position(kernels, rng):
        return [np.arange(kernel.shape[-1]) for kernel in kernels]

    small = tfprune.prune_filters(model, "position", 0.5)
    np.testing.assert_array_equal(small.get_layer("conv").kernel, model.get_layer("conv").kernel[..., 4:])
    assert "position" in tfprune.filter_scores()
    assert FilterSettings(scoring=("position", "l2")).scorings == ("position", "l2")
    tfprune.register_filter_score("wrong")(lambda kernels, rng: [np.arange(3) for _ in kernels])
    with pytest.raises(
        InputError, match=r"filter score wrong must give arrays of shapes \[\(8,\)\]; received \[\(3,\)\]"
    ):
        tfprune.prune_filters(model, "wrong", 0.5)
    tfprune.register_filter_score("number")(lambda kernels, rng: np.nan)
    with pytest.raises(InputError, match=r"score number must give arrays of shapes \[\(8,\)\]; received float nan"):
        tfprune.prune_filters(model, "number", 0.5)


@pytest.mark.parametrize(
    ("register", "message"),
    [
        (lambda: tfprune.register_score("snip")(first), "there is a score 'snip' already"),
        (lambda: tfprune.register_score("snip/iterative")(first), "there is a score 'snip/iterative' already"),
        (lambda: tfprune.register_score("dense")(first), "there is a score 'dense' already"),
        (lambda: tfprune.register_quota("erk")(first), "there is a quota 'erk' already"),
        (lambda: tfprune.register_filter_score("all")(first), "there is a filter score 'all' already"),
        (lambda: tfprune.register_score("a b")(first), r"the name of a score is letters, .* received 'a b'"),
        (lambda: tfprune.register_score("../x")(first), "the name of a score is letters"),
        (lambda: tfprune.register_score(first), "the name of a score is letters"),
        (lambda: tfprune.register_quota(first), "the name of a quota is letters"),
        (lambda: tfprune.register_filter_score(first), "the name of a filter score is letters"),
        (lambda: tfprune.register_score("one")(1), "score 'one' must be a function; received 1"),
        (
            lambda: tfprune.register_score("one", options="losses"),
            "options of a score are of loss, input_shape; received",
        ),
    ],
)
def test_what_cannot_be_registered(register, message):
    with pytest.raises(InputError, match=message):
        register()


def test_a_cell_that_runs_again_takes_its_own_place_alone():
    for _ in range(2):
        namespace = {"__name__": "__main__"}
        exec("def cell(model, batches, masks, rng):\n    return {}", namespace)
        tfprune.register_score("cell")(namespace["cell"])
    assert SCORES["cell"].function is namespace["cell"]
    with pytest.raises(InputError, match="there is a score 'cell' already"):
        tfprune.register_score("cell")(first)
    with pytest.raises(InputError, match="there is a score 'cell' already"):
        tfprune.register_score("cell")(functools.partial(first))


MODULE = """
import numpy as np, tfprune

@tfprune.register_score("of_module", needs_data={needs_data})
def scored(model, batches, masks, rng):
    assert (batches is not None) == {needs_data}
    return {{path: np.arange(mask.size).reshape(mask.shape) for path, mask in masks.items()}}

@tfprune.register_filter_score("of_filters")
def filters(kernels, rng):
    return [np.arange(kernel.shape[-1]) for kernel in kernels]

ours = tfprune.Pruner("magnitude", "erk")
number = 3
"""


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    """Its name; the file lies in the working folder."""
    name = f"own_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(MODULE.format(needs_data=False))
    (tmp_path / f"{name}_data.py").write_text(MODULE.format(needs_data=True).replace("of_", "of_data_"))
    (tmp_path / f"{name}_broken.py").write_text("1 / 0")
    (tmp_path / f"{name}_ends.py").write_text("import sys\nsys.exit(3)")
    monkeypatch.chdir(tmp_path)
    return name


def test_a_module_of_the_working_folder(model, own_module):
    masks = tfprune.prune(model, f"{own_module}:scored", 0.5)
    assert masks == tfprune.prune(model, f"{own_module}:of_module", 0.5) == tfprune.prune(model, first, 0.5)
    assert tfprune.prune(model, f"{own_module}:ours", 0.5) == tfprune.prune(model, "magnitude/erk", 0.5)
    small = tfprune.prune_filters(model, f"{own_module}:filters", 0.5)
    np.testing.assert_array_equal(small.get_layer("conv").kernel, model.get_layer("conv").kernel[..., 4:])
    for name, message in (
        ("nowhere:x", "pruner nowhere:x: there is no module nowhere in .* or installed"),
        (f"{own_module}:x", f"module {own_module} .* neither has nor registers 'x'"),
        (f"{own_module}:number", "must be a tfprune.Pruner or a function that scores; it is 3"),
        (f"{own_module}_broken:x", "cannot be imported: ZeroDivisionError: division by zero"),
        (f"{own_module}_ends:x", "cannot be imported: SystemExit: 3"),
        ("a b:x", "'a b:x' is not written module:name"),
    ):
        with pytest.raises(InputError, match=message):
            tfprune.prune(model, name, 0.5)
    with pytest.raises(InputError, match=r"filter score .*number must be a function; it is 3"):
        tfprune.prune_filters(model, f"{own_module}:number", 0.5)


@pytest.mark.slow
def test_the_command_takes_a_module(own_module):
    options = {"data": "digits", "target_sparsity": 0.5, "train": False, "quiet": True}
    for name in (f"{own_module}:scored", f"{own_module}_data:scored"):
        run = tfprune.run("main", pruner=name, **options)
        (result,) = run.results.to_dict("records")
        assert result["method"] == name and run.folder == type(run.folder)(
            "EffectiveSparsity", "lenet300100", name.replace(":", "."), "direct"
        )


def test_a_command_refuses_what_is_not_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = {"data": "digits", "train": False, "quiet": True}
    with pytest.raises(InputError, match="--pruner=nowhere:x: there is no module nowhere in"):
        tfprune.run("main", pruner="nowhere:x", **options)
    with pytest.raises(InputError, match="--scoring=nowhere:x: there is no module nowhere in"):
        tfprune.run("filters", scoring=["nowhere:x"], data="digits")
    with pytest.raises(
        InputError, match=r"--pruner must be one of .*, or module:name of your own, .* Received: 'snipp'"
    ):
        tfprune.run("main", pruner="snipp", **options)


def test_parts_print_as_tables():
    for parts, name in (
        (tfprune.pruners(), "snip/iterative"),
        (tfprune.scores(), "lamp"),
        (tfprune.filter_scores(), "l2"),
        (tfprune.quotas(), "erk"),
    ):
        assert parts[name] and len(str(parts).splitlines()) == len(parts)
