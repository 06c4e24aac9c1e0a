"""Effective masks: what callers rely on, and the big networks of keras.applications."""

import gc
import weakref

import keras
import numpy as np
import pytest
from keras import layers as L

from tfprune.connectivity import reachability
from tfprune.connectivity.reachability import Reachability
from tfprune.connectivity.report import sparsity
from tfprune.errors import InputError
from tfprune.layers.convert import masked
from tfprune.layers.masks import Masks
from tfprune.layers.prunable import prunable
from tfprune.pruning.pruner import prune


def _random_masks(model, density, seed=0):
    rng = np.random.default_rng(seed)
    return Masks({path: rng.random(variable.shape) < density for path, variable in prunable(model).items()})


def _deep(width):
    inputs = x = keras.Input((width,))
    for _ in range(100):
        x = L.Dense(width, use_bias=False)(x)
    return keras.Model(inputs, x)


@pytest.fixture
def model():
    return keras.Sequential([keras.Input((6, 6, 2)), L.Conv2D(4, 3, activation="relu"), L.Flatten(), L.Dense(3)])


def test_a_hundred_layers_deep_neither_vanish_nor_overflow():
    wide = _deep(64)
    masks = Masks.dense(wide)
    assert Reachability(wide)(masks) == masks  # 64^100 paths
    narrow = _deep(1)
    masks = Masks.dense(narrow)
    assert Reachability(narrow)(masks) == masks
    broken = Masks({**masks, list(masks)[50]: np.zeros((1, 1), bool)})
    assert Reachability(narrow)(broken).kept == 0


def test_weights_and_masks_are_left_alone(model):
    before = [weight.numpy() for weight in model.weights]
    masks = _random_masks(model, 0.2)
    copy = {path: mask.copy() for path, mask in masks.items()}
    Reachability(model)(masks)
    assert all(np.array_equal(old, new.numpy()) for old, new in zip(before, model.weights, strict=True))
    assert all(np.array_equal(copy[path], masks[path]) for path in masks)


def test_effective_weights_are_kept_and_stay_effective(model):
    reachability = Reachability(model)
    masks = _random_masks(model, 0.05)
    effective = reachability(masks)
    assert 0 < effective.kept < masks.kept
    assert effective & masks == effective
    assert reachability(effective) == effective


def test_masked_model_and_other_order_give_the_same(model):
    masks = _random_masks(model, 0.05)
    expected = Reachability(model)(masks)
    assert Reachability(masked(model, masks))(masks) == expected
    assert Reachability(model)({path: masks[path] for path in reversed(list(masks))}) == expected


def test_how_a_layer_is_called_and_how_often():
    pixels = keras.Input((3,))
    shared = L.Dense(3, name="shared")
    once = shared(inputs=shared(pixels, training=False))
    reachability = Reachability(keras.Model(pixels, L.Dense(1, name="head")(once, training=False)))
    # The kernel is used twice: 0 → 1 → 2, which the head reads. Nothing that starts with 2 → 0 gets there.
    kernel = np.zeros((3, 3), bool)
    kernel[0, 1] = kernel[1, 2] = kernel[2, 0] = True
    head = np.array([[False], [False], [True]])
    effective = reachability({"shared/kernel": kernel, "head/kernel": head})
    assert np.argwhere(effective["shared/kernel"]).tolist() == [[0, 1], [1, 2]]
    assert reachability.uses == {"shared/kernel": 2, "head/kernel": 1}


def test_wrong_masks_are_refused(model):
    reachability = Reachability(model)
    masks = Masks.dense(model)
    first = next(iter(masks))
    with pytest.raises(InputError, match=rf"{first}.*\(3, 3, 2, 3\).*\(3, 3, 2, 4\)"):
        reachability({**masks, first: masks[first][..., 1:]})
    with pytest.raises(InputError, match="has no mask"):
        reachability({first: masks[first]})


@pytest.mark.parametrize(
    "name",
    [
        "MobileNetV2",
        pytest.param("ResNet50", marks=pytest.mark.slow),
        pytest.param("DenseNet121", marks=pytest.mark.slow),
        pytest.param("InceptionV3", marks=pytest.mark.slow),
        pytest.param("EfficientNetB0", marks=pytest.mark.slow),
    ],
)
def test_applications(name):
    model = getattr(keras.applications, name)(weights=None)
    reachability = Reachability(model)
    dense = Masks.dense(model)
    # Only the first layers' padding could hide weights, and an image of 224 or 299 pixels is large enough.
    assert reachability(dense) == dense
    masks = _random_masks(model, 0.1)
    effective = reachability(masks)
    assert 0 < effective.kept <= masks.kept
    assert effective & masks == effective
    assert reachability(effective) == effective
    last = list(masks)[-1]
    assert reachability(Masks({**masks, last: np.zeros_like(masks[last])})).kept == 0


def test_squeeze_and_excite_that_has_lost_its_kernel():
    """Its sigmoid is a constant then, and the block stays open; the paper's convention closes it."""
    whole = keras.applications.EfficientNetB0(weights=None, input_shape=(64, 64, 3), classes=5)
    model = keras.Model(whole.input, whole.get_layer("block3a_project_bn").output)
    masks = Masks.dense(model)
    (expand,) = [path for path in masks if path.startswith("block2b_se_expand")]
    closed = Masks({**masks, expand: np.zeros_like(masks[expand])})
    reachability = Reachability(model)
    before, effective = reachability(masks).counts, reachability(closed).counts
    changed = {path for path in masks if effective[path] != before[path]}
    assert changed == {expand, expand.replace("expand", "reduce")}
    assert not any(effective[path] for path in changed)
    effective = Reachability(model, convention="paper")(closed)
    dead = {path.split("_")[0] for path, count in effective.counts.items() if count == 0}
    assert dead == {"block2b"}
    assert effective.counts["block2a_dwconv/kernel"] == masks["block2a_dwconv/kernel"].size


def test_closed_branch_of_a_residual_block_leaves_the_shortcut():
    whole = keras.applications.ResNet50(weights=None, input_shape=(64, 64, 3), classes=5)
    model = keras.Model(whole.input, whole.get_layer("conv3_block3_out").output)
    masks = Masks.dense(model)
    reachability = Reachability(model)
    before = reachability(masks)
    closed = "conv3_block2_2_conv/kernel"
    effective = reachability(Masks({**masks, closed: np.zeros_like(masks[closed])}))
    changed = {path for path in masks if effective.counts[path] != before.counts[path]}
    assert changed == {f"conv3_block2_{index}_conv/kernel" for index in (1, 2, 3)}
    assert all(effective.counts[path] == 0 for path in changed)


def test_traced_once_and_again_where_a_layer_has_changed(model, monkeypatch):
    traces, trace = [], reachability._trace
    monkeypatch.setattr(reachability, "_trace", lambda *args: traces.append(args) or trace(*args))
    masks = prune(model, "random/erk", 0.9, "effective")
    first = sparsity(model, masks)
    assert first.effective_masks == Reachability(model)(masks) and len(traces) == 1
    model.layers[0].activation = keras.activations.softmax
    own, fresh = sparsity(model, masks), sparsity(keras.models.clone_model(model), masks)
    assert len(traces) == 3
    assert own.weights_of == fresh.weights_of != first.weights_of
    Reachability(model, convention="paper")
    with pytest.raises(InputError, match="input_shape"):
        Reachability(model, (3, 3, 2))
    assert len(traces) == 5


def test_a_trace_keeps_no_layer_alive():
    model = keras.Sequential([keras.Input((4, 3)), L.Conv1D(4, 2), L.GRU(3), L.Dense(3, activation="softmax")])
    Reachability(model)(_random_masks(model, 0.5))
    ends = [weakref.ref(layer) for layer in model.layers]
    del model
    gc.collect()
    assert [end() for end in ends] == [None] * len(ends)


def test_a_recurrent_layer_is_no_larger_a_graph_over_more_steps():
    sizes = []
    for steps in (2, 16):
        x = keras.Input((steps, 3))
        graph = Reachability(keras.Model(x, L.GRU(2)(x)))._function.graph.as_graph_def()
        sizes.append(len(graph.node) + sum(len(function.node_def) for function in graph.library.function))
    assert sizes[0] == sizes[1]
