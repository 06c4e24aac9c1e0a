"""`prune` from outside: exact counts, every named pruner, masks to start from, and what is refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tfprune.errors import InputError
from tfprune.layers.masks import Masks
from tfprune.layers.prunable import prunable
from tfprune.pruning.pruner import prune
from tfprune.pruning.quotas import QUOTAS
from tfprune.pruning.schedules import Schedule
from tfprune.pruning.specs import PRUNERS, Pruner


@pytest.fixture(scope="module")
def dense_net():
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((12,)), layers.Dense(30, "relu"), layers.Dense(20, "relu"), layers.Dense(3)])


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(50, 12)).astype("f4"), rng.integers(0, 3, 50)


# Shorter than the published schedules.
ROUNDS = {"synflow": Schedule(5), "snip/iterative": Schedule(5)}


@pytest.mark.slow_beyond(20)
@pytest.mark.parametrize("name", PRUNERS)
@pytest.mark.parametrize("pruning_type", ["direct", "effective"])
def test_every_named_pruner(network, name, pruning_type):
    model, data = network
    masks = prune(model, name, 0.6, pruning_type, data=data, seed=3, batch_size=10, schedule=ROUNDS.get(name))
    assert list(masks) == list(prunable(model))
    if pruning_type == "effective":
        assert masks.sparsity <= 0.6 + 1e-9
    elif PRUNERS[name].quota is None:
        assert masks.kept == masks.size - int(0.6 * masks.size + 1e-6)
    else:
        assert abs(masks.kept - 0.4 * masks.size) <= len(masks) / 2
    assert masks == prune(model, name, 0.6, pruning_type, data=data, seed=3, batch_size=10, schedule=ROUNDS.get(name))


@pytest.mark.parametrize("quota", QUOTAS)
def test_quota_of_each_layer(network, quota):
    model, _ = network
    masks = prune(model, "random", 0.7, quota=quota)
    shapes = [mask.shape for mask in masks.values()]
    expected = QUOTAS[quota](shapes, 1 - 0.7)
    for mask, density in zip(masks.values(), expected, strict=True):
        assert abs(np.count_nonzero(mask) - density * mask.size) <= 0.5


def test_scopes(dense_net):
    largest = prune(dense_net, "magnitude", 0.9)
    weights = {path: np.abs(variable.numpy()) for path, variable in prunable(dense_net).items()}
    kept = min(weights[path][mask].min() for path, mask in largest.items() if mask.any())
    assert all(weights[path][~mask].max() <= kept for path, mask in largest.items())
    layerwise = prune(dense_net, "magnitude", 0.9, scope="layerwise")
    assert list(layerwise.counts.values()) == [36, 60, 6]
    assert prune(dense_net, "magnitude/igq", 0.9, scope="global") == largest
    assert prune(dense_net, "magnitude", 0.9, quota="igq") == prune(dense_net, "magnitude/igq", 0.9)
    assert prune(dense_net, Pruner("magnitude", "igq"), 0.9) == prune(dense_net, "magnitude/igq", 0.9)


def test_borrowed_densities(dense_net, data):
    snip = prune(dense_net, "snip", 0.8, data=data)
    shuffled = prune(dense_net, "random/snip", 0.8, data=data)
    assert snip.counts == shuffled.counts and snip != shuffled


def test_rounds_never_bring_a_weight_back(dense_net, data):
    early = prune(dense_net, "snip", 0.5, data=data)
    later = prune(dense_net, "snip", 0.8, data=data, masks=early, schedule=Schedule(4))
    assert later.kept == later.size - int(0.8 * later.size + 1e-6)
    assert all(not (mask & ~early[path]).any() for path, mask in later.items())


def test_the_seed_decides(dense_net):
    assert prune(dense_net, "random", 0.5, seed=1) == prune(dense_net, "random", 0.5, seed=1)
    assert prune(dense_net, "random", 0.5, seed=1) != prune(dense_net, "random", 0.5, seed=2)


def test_forms_of_data(dense_net, data):
    inputs, labels = data
    dataset = tf.data.Dataset.from_tensor_slices(data).batch(20)
    pairs = [(inputs[i : i + 20], labels[i : i + 20]) for i in (0, 20, 40)]
    expected = prune(dense_net, "grasp", 0.7, data=data, batch_size=20)
    for form in (dataset, pairs, iter(pairs), (pair for pair in pairs)):
        assert prune(dense_net, "grasp", 0.7, data=form) == expected


def test_swapped_loss_keeps_other_weights(dense_net, data):
    assert prune(dense_net, "snip", 0.9, data=data) != prune(dense_net, "snip", 0.9, data=data, loss="published")


class Subclassed(keras.Model):
    def call(self, inputs):
        return inputs


def nan_weights():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2, name="broken")])
    model.layers[0].kernel.assign(np.full((3, 2), np.nan))
    return model


NO_BATCHES = tf.data.Dataset.from_tensor_slices((np.zeros((0, 12), "f4"), np.zeros(0, int))).batch(2)
ENDLESS = tf.data.Dataset.from_tensors((np.zeros((2, 12), "f4"), np.zeros(2, int))).repeat()
ONE_BATCH = np.ones((2, 12), "f4"), np.array([0, 1])


@pytest.mark.parametrize(
    ("pruner", "arguments", "message"),
    [
        ("fisher", {}, "pruner must be one of random, random/uniform, .*; received 'fisher'$"),
        ("synflwo", {}, "received 'synflwo'; did you mean 'synflow'"),
        ("Magnitude/IGQ", {}, "did you mean 'magnitude/igq'"),
        ([], {}, r"pruner must be one of .*; received \[\]"),
        (None, {}, "pruner must be one of .*; received None"),
        ("random", {"sparsity": 1.0}, r"sparsity must lie in \[0, 1\); received 1.0"),
        ("random", {"sparsity": -0.1}, "sparsity must lie"),
        ("random", {"sparsity": 90}, r"received 90; did you mean 0\.9\?"),
        ("random", {"sparsity": 100}, "received 100$"),
        ("random", {"sparsity": 97.5}, r"did you mean 0\.975\?"),
        ("random", {"sparsity": 101}, "received 101$"),
        ("random", {"pruning_type": "efective"}, "did you mean 'effective'"),
        ("random", {"frozen": "kept"}, "frozen must be one of prune, keep; received 'kept'; did you mean 'keep'"),
        ("random", {"sparsity": "0.5"}, "sparsity must lie"),
        ("random", {"pruning_type": "exact"}, "one of direct, effective; received 'exact'"),
        ("random", {"seed": -1}, "seed must be a non-negative integer"),
        ("random", {"scope": "block"}, "one of global, layerwise, per_output; received 'block'"),
        ("random", {"quota": "er"}, "one of uniform, uniform_plus, erk, igq; received 'er'; did you mean 'erk'"),
        ("random", {"quota": "erk", "scope": "global"}, "scope='global' excludes"),
        ("random", {"schedule": 5}, "schedule must be a tfprune"),
        ("random/uniform_plus", {}, "uniform_plus needs at least three prunable layers and a convolution"),
        ("random/erk", {"sparsity": 0.02, "quota_rule": "published"}, "density .* of kernel .*: no mask has it"),
        ("snip", {}, "snip needs data="),
        ("random/snip", {}, "snip needs data="),
        ("snip", {"data": 3}, "data must be"),
        ("snip", {"data": []}, "holds no batches"),
        ("snip", {"data": NO_BATCHES}, "empty"),
        ("snip", {"data": ENDLESS}, "data.take"),
        ("snip", {"data": (ONE_BATCH[0], ONE_BATCH[1][:1])}, "as many labels as inputs"),
        ("snip", {"data": ONE_BATCH, "batch_size": 0}, "batch_size must be"),
        ("snip", {"data": (ONE_BATCH[0], np.array([0, 3]))}, r"labels must lie in 0\.\.2"),
        ("snip", {"data": (np.full((2, 12), np.nan, "f4"), ONE_BATCH[1])}, "scores of kernel '.*' are not finite"),
        ("snip", {"data": ONE_BATCH, "loss": "mse"}, "loss must be one of"),
        ("magnitude", {"masks": {}}, "has no mask"),
        ("magnitude", {"masks": 5}, "masks must be a mapping from kernel paths to arrays of bool.*Received: int"),
    ],
)
def test_refused(dense_net, pruner, arguments, message):
    with pytest.raises(InputError, match=message) as caught:
        prune(dense_net, pruner, **{"sparsity": 0.5, **arguments})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nan_weights, "kernel 'broken/kernel' .* holds NaN"),
        (Subclassed, "subclassed"),
        (lambda: keras.Sequential([keras.Input((3,)), layers.ReLU()]), "no kernels that can be pruned"),
        (lambda: 3, "a Keras model is needed"),
    ],
)
def test_refused_models(model, message):
    with pytest.raises(InputError, match=message):
        prune(model(), "magnitude", 0.5)


def test_masks_that_are_too_sparse_to_start_from(dense_net):
    start = prune(dense_net, "magnitude", 0.8)
    with pytest.raises(InputError, match=r"sparsity 0\.5 is below that of the masks to start from, 0\.8"):
        prune(dense_net, "magnitude", 0.5, masks=start)
    with pytest.raises(InputError, match=r"shape \(2, 2\)"):
        prune(dense_net, "magnitude", 0.5, masks={**Masks.dense(dense_net), next(iter(start)): np.ones((2, 2))})


def thin_middle():
    """Two wide kernels of weights near 1 around one of weights near 0."""
    model = keras.Sequential([keras.Input((8,)), *(layers.Dense(8, use_bias=False, name=name) for name in "abc")])
    rng = np.random.default_rng(0)
    for layer, scale in zip(model.layers, (1, 1e-3, 1), strict=True):
        layer.kernel.assign(scale * rng.uniform(0.5, 1, (8, 8)))
    return model


def test_layer_collapse_is_told(recwarn):
    model = thin_middle()
    masks = prune(model, "magnitude", 1 / 3)
    assert masks.counts == {"a/kernel": 64, "b/kernel": 0, "c/kernel": 64}
    lost = "1 of 3 kernels have no weights left: 'b/kernel'; nothing reaches the output any more"
    told = f"layer collapse at sparsity 0.333333: {lost}"
    assert [str(warning.message) for warning in recwarn] == [told]
    assert recwarn.pop().filename == __file__
    prune(model, "magnitude", 0.4, masks=masks)  # it was so before
    # The search passes masks without the middle on its way; those that it returns have some of it.
    assert prune(model, "magnitude", 0.3, "effective").counts["b/kernel"] > 0
    assert not list(recwarn)


def test_effective_targets_out_of_reach(network):
    model, _ = network
    with pytest.raises(InputError, match="quota uniform_plus keeps the first layer"):
        prune(model, "random/uniform_plus", 0.99)
    # Effective sparsity goes further: where the quota ends, the layers between are empty and nothing is effective.
    assert prune(model, "magnitude/uniform_plus", 0.99, "effective").sparsity < 0.99
    # A 3 x 3 kernel on one pixel only ever meets padding with 8 of its 9 weights.
    padded = keras.Sequential([keras.Input((1, 1, 1)), layers.Conv2D(1, 3, padding="same")])
    with pytest.raises(InputError, match=r"already 0\.888889; ask"):
        prune(padded, "magnitude", 0.5, "effective")
    assert prune(padded, "magnitude", 0.8889, "effective").kept <= 9


def test_ignored_kernels_stay_and_do_not_count(dense_net, data):
    *others, last = prunable(dense_net)
    size = sum(int(np.prod(prunable(dense_net)[path].shape)) for path in others)
    for pruning_type in ("direct", "effective"):
        masks = prune(dense_net, "magnitude", 0.8, pruning_type, ignore=[last])
        assert masks[last].all() and list(masks) == [*others, last]
        if pruning_type == "direct":
            assert sum(masks.counts[path] for path in others) == size - int(0.8 * size + 1e-6)


def test_highest_scores_pruned_in_place_of_the_lowest(dense_net):
    weights = {path: np.abs(variable.numpy()) for path, variable in prunable(dense_net).items()}
    masks = prune(dense_net, "magnitude", 0.3, highest=True)
    assert masks.kept == masks.size - int(0.3 * masks.size + 1e-6)
    kept = max(weights[path][mask].max() for path, mask in masks.items() if mask.any())
    assert all(weights[path][~mask].min() >= kept for path, mask in masks.items() if not mask.all())
