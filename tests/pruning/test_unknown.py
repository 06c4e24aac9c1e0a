"""Pruning models with operations that no rule knows."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as L

import tfprune
from tfprune.errors import InputError
from tfprune.pruning.filter_states import channel_states
from tfprune.pruning.scores.synflow import flow


class Mixer(L.Layer):
    def call(self, x):
        return tf.sort(x, axis=-1)


@pytest.fixture
def model():
    keras.utils.set_random_seed(0)
    layers = [L.Dense(8, name="a"), L.Dense(8, name="b"), Mixer(name="mix"), L.Dense(8, name="c"), L.Dense(2, name="d")]
    return keras.Sequential([keras.Input((6,)), *layers])


def _told(call):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = call()
    return found, [str(one.message) for one in told if "no rule knows" in str(one.message)]


@pytest.mark.parametrize("pruner", ["magnitude", "synflow", "random/erk"])
def test_effective_pruning_around_a_barrier(model, pruner):
    for _ in range(2):  # what is traced once is told each time
        masks, lines = _told(lambda: tfprune.prune(model, pruner, 0.8, "effective"))
        assert len(lines) == 1 and "'mix' (Mixer)" in lines[0]
    with pytest.warns(UserWarning, match="no rule knows"):
        report = tfprune.sparsity(model, masks)
    assert 0.78 < report.effective <= 0.8
    with pytest.raises(InputError, match=r"'mix': nothing says which outputs of the layer type Mixer"):
        tfprune.prune(model, pruner, 0.8, "effective", unknown="refuse")


def test_direct_pruning_asks_for_paths_only_where_it_must(model):
    assert _told(lambda: tfprune.prune(model, "magnitude", 0.5, unknown="refuse"))[1] == []
    assert len(_told(lambda: tfprune.prune(model, "synflow", 0.5))[1]) == 1
    with pytest.raises(InputError, match="'mix'"):
        tfprune.prune(model, "synflow", 0.5, unknown="refuse")
    with pytest.raises(InputError, match="unknown must be one of barrier, refuse"):
        tfprune.prune(model, "magnitude", 0.5, unknown="ignore")


def test_a_kernel_on_no_path_scores_nothing_beyond_a_barrier(model):
    """SynFlow goes through the mean of all that a barrier reads."""
    masks = tfprune.Masks.dense(model)
    with pytest.raises(InputError, match="'mix'"):  # nobody here would name the barrier
        flow(model, masks)
    for path in ("a/kernel", "d/kernel"):
        lost = tfprune.Masks({**masks, path: np.zeros_like(masks[path])})
        pruned = tfprune.prune(model, "synflow", 0.5, masks=lost, verbose=False)
        assert pruned[path].sum() == 0
    kernel = {path: np.abs(variable.numpy()).astype(float) for path, variable in tfprune.prunable(model).items()}
    from tfprune.layers.barriers import barriers

    with barriers(model):
        scores, exponent = flow(model, masks)
    inside = (np.ones(6) @ kernel["a/kernel"] @ kernel["b/kernel"]).mean()
    outside = (np.ones(8) @ kernel["c/kernel"] @ kernel["d/kernel"]).sum()
    for path, total in (("b/kernel", inside * outside), ("c/kernel", inside * outside)):
        assert scores[path].sum() * 2.0**exponent == pytest.approx(total, rel=1e-4)


def test_states_of_channels_around_a_barrier(model):
    space, lines = _told(lambda: channel_states(model))
    assert [(one.name, one.size) for one in space.stretches] == [("a", 8), ("c", 8)] and len(lines) == 1
    with pytest.raises(InputError, match="'mix'"):
        channel_states(model, unknown="refuse")
    kept = keras.Sequential([keras.Input((6,)), L.Dense(4, name="a"), Mixer(name="mix")])
    with pytest.warns(UserWarning), pytest.raises(InputError, match=r"all are kept by 'mix' \(Mixer\)"):
        channel_states(kept)


def test_searching_filters_names_the_barrier_once(model):
    x, y = np.random.default_rng(0).normal(size=(32, 6)).astype("float32"), np.zeros(32, int)
    found, lines = _told(lambda: tfprune.search_filters(model, (x, y), population=4, generations=1, verbose=False))
    assert set(found.filters) == {"a", "c"} and len(lines) == 1
    with pytest.raises(InputError, match="'mix'"):
        tfprune.search_filters(model, (x, y), population=4, generations=1, verbose=False, unknown="refuse")
