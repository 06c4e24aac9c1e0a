"""Training of IMP's networks by the engine: the numbers of dense training, whatever the inputs are made of."""

from itertools import pairwise

import keras
import numpy as np
import pytest
import tensorflow as tf

pytest.importorskip("numba")

from tfprune.data.images import MappedImages, ResidentImages
from tfprune.experiments.imp.masks import random_masks
from tfprune.experiments.imp.network import ImpNetwork, initial_weights
from tfprune.training.feeds import Normalised, RowsFeed
from tfprune.training.loop import TrainingLoop
from tfprune.training.samplers import DrawnSampler, with_replacement

IMAGE, WIDTH, BATCH, STEPS = (3, 16, 16), 768, 400, 5
ARCHS = {
    "dense": ("f256:f128:x", "T:T:F", 0.95, ["layer_0", "layer_1", "layer_2"]),
    "convolutions first": ("c3,8:p2,2:f256:f128:x", "T:T:T:T:F", 0.95, ["layer_2", "layer_3", "layer_4"]),
    "nothing pruned": ("f256:f128:x", "T:T:F", 0.0, []),  # though the last layer alone would pay
}
PREPARED = Normalised(np.linspace(100, 150, WIDTH, dtype=np.float32), 1 / 64)


OPTIMIZERS = {
    "SGD": (lambda: keras.optimizers.SGD(0.1), True),
    "Adam": (lambda: keras.optimizers.Adam(1e-3, epsilon=1e-3), True),
    "momentum": (lambda: keras.optimizers.SGD(0.1, momentum=0.9), False),
}


def _trained(arch, prune, sparsity, engine, prepared=PREPARED, is_mapped=False, optimizer="SGD", cuts=(STEPS,), **more):
    """Losses, what is trained, and the loop, after some steps."""
    rng = np.random.default_rng(0)
    rows, labels = rng.integers(0, 256, (400, WIDTH), np.uint8), rng.integers(0, 10, 400).astype(np.int32)
    images = MappedImages([rows], labels) if is_mapped else ResidentImages(rows, labels)
    network = ImpNetwork(arch, prune, IMAGE, 10, epsilon=1e-3)
    network.weights = initial_weights(network.layers, rng)
    network.masks = random_masks(network.layers, sparsity, rng)
    feed = RowsFeed(images, DrawnSampler(with_replacement(0, 400, BATCH), BATCH), prepared)
    loop = TrainingLoop(network.model, OPTIMIZERS[optimizer][0](), feed, engine=engine, **more)
    loop.begin()
    loop.trace()
    measures = [loop.run(first, last) for first, last in pairwise((0, *cuts))]
    errors, losses = (np.concatenate(parts) for parts in zip(*measures, strict=True))
    assert errors.dtype == losses.dtype == np.float32
    np.testing.assert_allclose(errors * BATCH, np.round(errors * BATCH), atol=1e-3)  # whole examples
    return losses, loop.state, loop


def _same(one, other):
    for found, expected in zip(one, other, strict=True):
        size = max(1.0, float(np.abs(1.0 * expected).max()))
        np.testing.assert_allclose(1.0 * found, 1.0 * expected, atol=1e-4 * size)


@pytest.mark.parametrize("kind", ARCHS)
def test_the_numbers_are_those_of_dense_training(kind):
    *given, kept = ARCHS[kind]
    (expected, dense, _), (losses, sparse, loop) = (_trained(*given, engine) for engine in ("dense", "sparse"))
    assert loop.kept == kept
    np.testing.assert_allclose(losses, expected, rtol=1e-4)
    _same(sparse, dense)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_whole_steps_are_taken_where_the_optimizer_is_plain(optimizer):
    *given, _ = ARCHS["dense"]
    (expected, dense, _), (losses, sparse, loop) = (
        _trained(*given, engine, optimizer=optimizer) for engine in ("dense", "sparse")
    )
    assert (loop._trained.updates is not None) == OPTIMIZERS[optimizer][1]
    np.testing.assert_allclose(losses, expected, rtol=1e-4)
    _same(sparse, dense)  # the optimizer's state is in it


def test_steps_are_not_whole_where_something_else_is_done_in_them():
    *given, _ = ARCHS["dense"]
    for more in ({"schedule": lambda step: 0.1 / (1.0 + tf.cast(step, tf.float32))}, {"xla": True}):
        (expected, dense, _), (losses, sparse, loop) = (
            _trained(*given, engine, **more) for engine in ("dense", "sparse")
        )
        assert (loop._trained.updates is not None) == ("schedule" not in more)
        np.testing.assert_allclose(losses, expected, rtol=1e-4)
        _same(sparse, dense)
    arch, *more, _ = ARCHS["convolutions first"]
    assert _trained(arch, *more, "sparse")[2]._trained.updates is None


@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
def test_same_bytes_wherever_a_stretch_ends(optimizer):
    *given, _ = ARCHS["dense"]
    runs = [_trained(*given, "sparse", optimizer=optimizer, cuts=cuts)[:2] for cuts in ((20,), (1, 3, 20))]
    for one, other in zip(*([losses, *state] for losses, state in runs), strict=True):
        np.testing.assert_array_equal(one, other)


def test_bytes_go_into_the_first_layer_where_nothing_else_is_done_to_them():
    *given, _ = ARCHS["dense"]
    runs = [_trained(*given, "sparse", made) for made in (PREPARED, lambda *rows: PREPARED(*rows))]
    assert [loop._trained.takes_stored for _, _, loop in runs] == [True, False]
    _same(runs[0][1], runs[1][1])


@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
def test_images_in_memory_and_in_files_give_the_same_bytes(optimizer):
    """Of the former the first layer is told the numbers."""
    *given, _ = ARCHS["dense"]
    runs = [_trained(*given, "sparse", is_mapped=is_mapped, optimizer=optimizer) for is_mapped in (False, True)]
    assert all(loop._trained.updates for *_, loop in runs)
    for one, other in zip(*(state for _, state, _ in runs), strict=True):
        np.testing.assert_array_equal(one, other)


def test_convolutions_take_floats():
    *given, _ = ARCHS["convolutions first"]
    loop = _trained(*given, "sparse")[2]
    assert loop._trained.quick is not None and not loop._trained.takes_stored
