"""Pruning a model that is masked: nothing that is pruned comes back, and stale values under masks do not matter."""

import keras
import numpy as np
import pytest
from keras import layers

from tfprune.errors import InputError
from tfprune.layers.convert import masked, masks_of, set_masks
from tfprune.layers.masks import Masks
from tfprune.layers.prunable import prunable
from tfprune.pruning.pruner import prune
from tfprune.pruning.schedules import Schedule
from tfprune.pruning.specs import PRUNERS

SHORT = {"synflow": Schedule(3), "snip/iterative": Schedule(3)}


@pytest.fixture(scope="module")
def sparse():
    """A masked network of density 0.6, and data."""
    keras.utils.set_random_seed(2)
    inputs = keras.Input((8, 8, 2))
    x = layers.Conv2D(6, 3, padding="same", activation="relu")(inputs)
    x = layers.Conv2D(6, 3, padding="same", activation="relu")(x)
    plain = keras.Model(inputs, layers.Dense(4)(layers.Flatten()(x)))
    rng = np.random.default_rng(0)
    masks = Masks({path: rng.random(variable.shape) < 0.6 for path, variable in prunable(plain).items()})
    data = rng.normal(size=(24, 8, 8, 2)).astype("f4"), rng.integers(0, 4, 24)
    return masked(plain, masks), data


def with_stale(model, value):
    """A copy whose pruned weights have another value."""
    copy, masks = masked(model), masks_of(model)
    for path, variable in prunable(copy).items():
        variable.assign(np.where(masks[path], variable.numpy(), value))
    return copy


@pytest.mark.slow_beyond(8)
@pytest.mark.parametrize("name", [name for name in PRUNERS if not name.endswith("uniform_plus")])
@pytest.mark.parametrize("pruning_type", ["direct", "effective"])
def test_nothing_comes_back_whatever_lies_under_the_masks(sparse, name, pruning_type):
    model, data = sparse
    options = {"data": data, "batch_size": 12, "schedule": SHORT.get(name), "verbose": 0}
    before = masks_of(model)
    masks = prune(model, name, 0.75, pruning_type, **options)
    assert all(not (masks[path] & ~before[path]).any() for path in before)
    if pruning_type == "direct" and PRUNERS[name].quota is None:
        assert masks.kept == masks.size - int(0.75 * masks.size)
    assert masks == prune(model, name, 0.75, pruning_type, masks=before, **options)
    for value in (1e4, -3.0, 0.0):
        assert prune(with_stale(model, value), name, 0.75, pruning_type, **options) == masks
    assert masks_of(model) == before


def test_the_largest_of_what_is_left_by_hand(sparse):
    model, _ = sparse
    before = masks_of(model)
    magnitudes = {path: np.abs(variable.numpy()) for path, variable in prunable(model).items()}
    masks = prune(with_stale(model, 50.0), "magnitude", 0.8)
    order = np.sort(np.concatenate([magnitudes[path][before[path]] for path in before]))[::-1]
    threshold = order[masks.kept - 1]
    assert masks.kept == masks.size - int(0.8 * masks.size)
    assert all((masks[path] == (before[path] & (magnitudes[path] >= threshold))).all() for path in masks)


def test_a_sparsity_below_the_present_one_is_refused(sparse):
    model, _ = sparse
    present = masks_of(model).sparsity
    with pytest.raises(InputError, match=rf"sparsity 0\.2 is below that of the masks to start from, {present:.6g}"):
        prune(model, "magnitude", 0.2)
    assert prune(model, "magnitude", present) == masks_of(model)


def test_masks_that_would_bring_weights_back_are_refused(sparse):
    model, _ = sparse
    with pytest.raises(InputError, match=r"masks= brings back \d+ weights of kernel 'conv2d.*/kernel'"):
        prune(model, "magnitude", 0.5, masks=Masks.dense(model))
    other = masked(model)
    set_masks(other, Masks.dense(model))
    assert prune(other, "magnitude", 0.5).density == pytest.approx(0.5, abs=1e-3)
