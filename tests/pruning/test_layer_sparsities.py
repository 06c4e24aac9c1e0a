"""A sparsity for each layer, by name; `only=` and `ignore=` by pattern and type."""

import keras
import numpy as np
import pytest
from keras import layers

import tfprune
from tfprune.errors import InputError
from tfprune.layers.masks import Masks
from tfprune.pruning.kernel_names import KernelNames
from tfprune.pruning.pruner import prune
from tfprune.pruning.schedules import Schedule


@pytest.fixture(scope="module")
def model():
    """Kernels of 72, 144, 144, 432 and 144 weights; conv1 occurs twice, and attention has kernels inside."""
    keras.utils.set_random_seed(0)
    convolution = {"filters": 4, "kernel_size": 3, "padding": "same"}
    names = ("conv1", "conv2")
    block = keras.Sequential(
        [keras.Input((6, 6, 4)), *(layers.Conv2D(**convolution, name=name) for name in names)], name="block"
    )
    return keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            layers.Conv2D(**convolution, name="conv1"),
            block,
            layers.Flatten(),
            layers.Dense(3, name="fc"),
            layers.Dense(48, name="head"),
        ]
    )


PATHS = ["conv1/kernel", "block/conv1/kernel", "block/conv2/kernel", "fc/kernel", "head/kernel"]
FIRST, INNER1, INNER2, FC, HEAD = PATHS


@pytest.mark.parametrize(
    ("sparsity", "kept"),
    [
        ({"conv*": 0.5, "head": 0}, [36, 72, 72, 432, 144]),
        ({"head": 0.25, "*": 0.75}, [18, 36, 36, 108, 108]),
        ({"*": 0.75, "head": 0.25}, [18, 36, 36, 108, 108]),
        ({"block": 0.5, "block/conv2": 0.75}, [72, 72, 36, 432, 144]),
        ({"block/conv2": 0.75, "block": 0.5}, [72, 72, 36, 432, 144]),
        ({"*conv2": 0.75, "block*": 0.5}, [72, 72, 36, 432, 144]),
        ({"block*": 0.5, "*conv2": 0.75}, [72, 72, 72, 432, 144]),
        ({"b*": 0.5, "block/conv2/kernel": 0}, [72, 72, 144, 432, 144]),
        ({layers.Dense: 0.5, "f?": 0.75}, [72, 144, 144, 216, 72]),
        ({"*": 0.1}, [65, 130, 130, 389, 130]),  # as many as of a kernel alone
    ],
)
def test_each_kernel_keeps_its_own(model, sparsity, kept):
    for rounds in (1, 3):
        masks = prune(model, "magnitude", sparsity, schedule=Schedule(rounds), verbose=0)
        assert masks.counts == dict(zip(PATHS, kept, strict=True))
    alone = {path: prune(model, "magnitude", 1 - kept / size, only=path) for path, kept, size in zip(
        PATHS, kept, (72, 144, 144, 432, 144), strict=True)}  # fmt: skip
    assert all(np.array_equal(masks[path], alone[path][path]) for path in PATHS)


def test_layers_and_functions_are_keys(model):
    masks = prune(
        model, "magnitude", {model.get_layer("fc"): 0.5, (lambda layer: layer.name == "head"): 0.75}, verbose=0
    )
    assert list(masks.counts.values()) == [72, 144, 144, 216, 36]


def test_effective_targets_are_totals(model):
    sparsity = {"conv*": 0.94, "fc": 0.97}
    direct, effective = (prune(model, "magnitude", sparsity, kind, verbose=0) for kind in ("direct", "effective"))
    target = 1 - direct.kept / direct.size
    report = tfprune.sparsity(model, effective)
    assert report.effective <= target < tfprune.sparsity(model, direct).effective
    assert effective["head/kernel"].all() and direct & effective == direct
    gone = {path: (1 - mask).sum() for path, mask in effective.items()}
    assert gone[FC] / gone[INNER1] == pytest.approx(0.97 * 432 / (0.94 * 144), abs=0.05)
    assert abs(gone[INNER1] - gone[INNER2]) <= 1


def test_masks_to_start_from_and_min_weights(model):
    start = prune(model, "magnitude", {"fc": 0.5}, verbose=0)
    masks = prune(model, "magnitude", {"conv2": 0.5}, masks=start, verbose=0)
    assert list(masks.counts.values()) == [72, 144, 72, 216, 144] and masks & start == masks
    with pytest.raises(InputError, match=r"sparsity 0\.25 of kernel 'fc/kernel' is below that of the masks .*, 0\.5"):
        prune(model, "magnitude", {"fc": 0.25}, masks=start)
    assert prune(model, "random", {"fc": 0.99}, min_weights=5, verbose=0).counts[FC] == 5
    with pytest.raises(
        InputError, match=r"min_weights keeps 6 of the 432 weights of kernel 'fc/kernel', so sparsity is a"
    ):
        prune(model, "random", {"fc": 0.99}, min_weights=6)


@pytest.mark.parametrize(
    ("named", "paths"),
    [
        ("conv*", [FIRST, INNER1, INNER2]),
        ("block/*", [INNER1, INNER2]),
        ("bloc?", [INNER1, INNER2]),
        ("*/kernel", PATHS),
        (["conv[2]", "head"], [INNER2, HEAD]),
        (layers.Conv2D, [FIRST, INNER1, INNER2]),
        ([layers.Dense, "conv2"], [INNER2, FC, HEAD]),
        (lambda layer: layer.name == "conv1", [FIRST, INNER1]),
    ],
)
def test_only_and_ignore_take_the_same_names(model, named, paths):
    only, ignored = (prune(model, "magnitude", 0.7, **{how: named}, verbose=0) for how in ("only", "ignore")) if (
        paths != PATHS) else (prune(model, "magnitude", 0.7, only=named, verbose=0), None)  # fmt: skip
    assert [path for path, mask in only.items() if not mask.all()] == paths
    size = sum(only[path].size for path in paths)
    assert only.kept == only.size - int(0.7 * size + 1e-6)
    if ignored is not None:
        assert [path for path, mask in ignored.items() if mask.all()] == paths


def test_types_within_layers():
    inputs = keras.Input((5, 8))
    x = layers.MultiHeadAttention(2, 4, name="attention")(inputs, inputs)
    x = layers.Bidirectional(layers.LSTM(3), name="both")(x)
    names = KernelNames(keras.Model(inputs, layers.Dense(2, name="head")(x)), "only=")
    assert [path.split(".")[0] for path in names.of(layers.EinsumDense)] == [
        f"attention/{name}_dense" for name in ("query", "key", "value", "output")
    ]
    assert names.of("attention/query_dense") == names.of("*query*") == ["attention/query_dense.kernel"]
    assert names.of(layers.LSTM) == names.of("both") and len(names.of("both")) == 4


class Around(layers.Layer):
    """Does what a layer does that is also elsewhere."""

    def __init__(self, inner, **options):
        super().__init__(**options)
        self.inner = inner

    def call(self, inputs):
        return self.inner(inputs)


def test_shared_kernels_have_either_name():
    shared = layers.Dense(4, name="first")
    shared.build((None, 4))
    model = keras.Sequential([keras.Input((4,)), shared, Around(shared, name="second"), layers.Dense(2, name="head")])
    names = KernelNames(model, "only=")
    assert names.of("second") == names.of("first") == names.of("sec*") == ["first/kernel"]
    assert Masks.dense(model).size == 24


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"sparsity": {"cov*": 0.5}},
            r"sparsity= holds 'cov\*', which matches no prunable kernel .*did you mean 'conv1",
        ),
        ({"sparsity": {"heads": 0.5}}, "sparsity= holds 'heads', which is no prunable kernel .*did you mean 'head'"),
        ({"sparsity": {"head": 90}}, r"sparsity of 'head' must lie in \[0, 1\); received 90; did you mean 0\.9\?"),
        ({"sparsity": {"head": None}}, "sparsity of 'head' must lie in"),
        ({"sparsity": {}}, "sparsity= holds nothing"),
        ({"sparsity": {5: 0.5}}, "sparsity= takes paths, names, .*; received int"),
        ({"sparsity": {"head": 0.5}, "ignore": "head"}, "holds 'head', which ignore=, only= or frozen= takes out"),
        ({"sparsity": {"head": 0.5}, "quota": "erk"}, "says what each kernel keeps, and so does quota erk"),
        ({"sparsity": {"head": 0.5}, "scope": "global"}, "which scope='global' excludes"),
        ({"only": "x*"}, r"only= holds 'x\*', which matches no prunable kernel"),
        ({"ignore": layers.LSTM}, "ignore= holds LSTM, and no layer of that type has prunable kernels"),
        ({"only": int}, "only= takes paths, .*; received type"),
        ({"only": []}, "only= leaves no kernel to prune"),
        ({"only": "fc", "ignore": "fc"}, "only= with ignore= leaves no kernel to prune"),
    ],
)
def test_refused(model, arguments, message):
    with pytest.raises(InputError, match=message) as caught:
        prune(model, "magnitude", **{"sparsity": 0.5, **arguments})
    assert "\n" not in str(caught.value)
