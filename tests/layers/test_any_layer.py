"""What holds for every layer with kernels, whatever its type: masked as it is, trained, copied, saved, made smaller."""

import pickle
import subprocess
import sys
from pathlib import Path

import any_layers
import keras
import numpy as np
import pytest

import tfprune

TESTS = Path(__file__).parents[1]
NAMES = list(any_layers.NETWORKS)
QUICK = "embedding", "lstm", "attention", "own dense", "own block", "subclassed", "encoder"


def _every(*but):
    """All networks; quick are those that take little time, but for the named ones."""
    quick = set(QUICK) - set(but)
    return pytest.mark.parametrize(
        "name", [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in NAMES]
    )


every = _every()
pytestmark = [pytest.mark.filterwarnings("ignore:.*no rule knows"), pytest.mark.filterwarnings("ignore:layer collapse")]


def _made(name):
    if name in ("encoder", "decoder", "mixer"):
        pytest.importorskip("keras_hub")
    return any_layers.made(name)


def _sparse(model, density=0.5):
    rng = np.random.default_rng(1)
    masks = {path: rng.random(kernel.shape) < density for path, kernel in tfprune.prunable(model).items()}
    return tfprune.masked(model, masks), tfprune.Masks(masks)


def _close(found, expected, relative=1e-5):
    assert np.abs(found - expected).max() <= relative * np.abs(expected).max()


@every
def test_masks_leave_weights_out_of_the_outputs(name):
    """The masked model computes what the plain one does with zeros written into its kernels; nothing else differs."""
    model, x = _made(name)
    sparse, masks = _sparse(model)
    assert tfprune.masks_of(sparse) == masks and masks.size == sum(
        k.numpy().size for k in model.trainable_variables if _is_matrix(k)
    )
    found, dense = np.asarray(sparse(x)), np.asarray(model(x))
    for path, kernel in tfprune.prunable(model).items():
        kernel.assign(kernel.numpy() * masks[path])
    expected = np.asarray(model(x))
    _close(found, expected)
    assert name == "scaled attention" or np.abs(expected - dense).max() > 1e-3 * np.abs(dense).max()
    plain = tfprune.strip(sparse)
    np.testing.assert_array_equal(plain(x), expected)
    layers = zip(model._flatten_layers(), plain._flatten_layers(), strict=True)
    assert all(type(one) is type(other) for one, other in layers)


def _is_matrix(variable):
    return len(variable.shape) > 1 and max(variable.shape[:-1]) > 1 and variable.name != "bias"


@_every("encoder", "subclassed", "own dense")
def test_pruned_weights_stay_out_through_training(name):
    model, x = _made(name)
    sparse, masks = _sparse(model)
    optimizer = keras.optimizers.AdamW(1e-2, weight_decay=1e-2, use_ema=True, ema_momentum=0.5)
    sparse.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    before = {path: kernel.numpy() for path, kernel in tfprune.prunable(sparse).items()}
    sparse.fit(x, np.arange(len(x)) % 3, epochs=2, verbose=0)
    assert tfprune.masks_of(sparse) == masks
    plain = tfprune.strip(sparse, compiled=False)
    np.testing.assert_array_equal(plain(x), sparse(x))
    for path, kernel in tfprune.prunable(plain).items():
        values = kernel.numpy()
        assert not values[~masks[path]].any()
        assert (values != before[path])[masks[path]].any() or not masks[path].any()


@every
def test_gradients_are_those_of_the_kept_weights(name):
    """Of a pruned weight 0; of a kept one that of the plain model with zeros."""
    model, x = _made(name)
    sparse, masks = _sparse(model)
    found = _gradients(sparse, x)
    expected = _gradients(tfprune.strip(sparse), x)
    for path, mask in masks.items():
        assert not found[path][~mask].any()
        np.testing.assert_allclose(found[path][mask], expected[path][mask], rtol=1e-4, atol=1e-6)


def _gradients(model, x):
    import tensorflow as tf

    kernels = tfprune.prunable(model)
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(model(x) ** 2)
    gradients = tape.gradient(value, [kernel.value for kernel in kernels.values()])
    return {path: np.asarray(tf.convert_to_tensor(one)) for path, one in zip(kernels, gradients, strict=True)}


@every
def test_compact_computes_the_same(name):
    model, x = _made(name)
    sparse, _ = _sparse(model, 0.15)
    small = tfprune.compact(sparse)
    _close(np.asarray(small(x)), np.asarray(sparse(x)))
    assert small.count_params() <= model.count_params()


@_every("lstm")
def test_no_path_is_lost_with_ineffective_weights(name):
    """What an entry of the input changes in the outputs, it still changes once all that is not effective is gone."""
    model, x = _made(name)
    sparse, masks = _sparse(model, 0.3)
    effective = tfprune.sparsity(sparse, input_shape=x.shape[1:]).effective_masks
    assert all((effective[path] <= mask).all() for path, mask in masks.items())
    before = _changes(sparse, x)
    tfprune.set_masks(sparse, effective)
    after = _changes(sparse, x)
    assert before.any() and (after[before > 1e-4 * before.max()] > 0).all()


def _changes(model, x):
    """(entries of an input, entries of an output): how far changing the one moves the other, in any example."""
    entries, found = x[0].size, []
    for at in range(entries):
        changed = x.reshape(len(x), -1).copy()
        changed[:, at] = (changed[:, at] + 7) % 20 if "int" in x.dtype.name else changed[:, at] + 1
        moved = np.abs(np.asarray(model(changed.reshape(x.shape))) - np.asarray(model(x)))
        found.append(moved.reshape(len(x), -1).max(0))
    return np.array(found)


@pytest.mark.parametrize("pruner", ["magnitude/global", "lamp", "snip", "synflow", "random/erk"])
@pytest.mark.parametrize("name", ["attention", "own block", "subclassed"])
def test_every_pruner_finds_the_kernels(name, pruner):
    model, x = _made(name)
    masks = tfprune.prune(model, pruner, 0.5, data=(x, np.arange(len(x)) % 3), input_shape=x.shape[1:])
    assert list(masks) == list(tfprune.prunable(model))
    assert abs(masks.kept - 0.5 * masks.size) <= len(masks)


@pytest.mark.parametrize("name", ["own width", "own block", "lstm"])
def test_files_are_read_back(name, tmp_path):
    model, x = _made(name)
    sparse, masks = _sparse(model)
    sparse.save(tmp_path / "model.keras")
    again = tfprune.load_model(tmp_path / "model.keras")
    assert tfprune.masks_of(again) == masks
    np.testing.assert_array_equal(again(x), sparse(x))
    effective = tfprune.sparsity(sparse, input_shape=x.shape[1:]).effective_masks
    assert min(effective.counts.values()) > 0


@pytest.mark.slow
def test_files_are_read_in_a_fresh_process(tmp_path):
    """Masks, weights and values of pruned weights are there; Keras alone reads the weights of the plain model."""
    expected = {}
    for name in NAMES:
        try:
            model, x = _made(name)
        except pytest.skip.Exception:
            continue
        sparse, masks = _sparse(model)
        sparse.save(tmp_path / f"{name}.keras")
        sparse.save_weights(tmp_path / f"{name}.weights.h5")
        kernels = [kernel.numpy() for kernel in tfprune.prunable(sparse).values()]
        expected[name] = x, np.asarray(sparse(x)), dict(masks), kernels
    (tmp_path / "expected.pkl").write_bytes(pickle.dumps(expected))
    ran = subprocess.run([sys.executable, "-c", _READ, str(tmp_path)], cwd=TESTS, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert ran.stdout.split() == [f"{len(expected)}"]


_READ = """
import pickle, sys, warnings
from pathlib import Path
import numpy as np
import tfprune, any_layers
folder = Path(sys.argv[1])
expected = pickle.loads((folder / "expected.pkl").read_bytes())
done = 0
for name, (x, outputs, masks, kernels) in expected.items():
    model = tfprune.load_model(folder / f"{name}.keras")
    assert tfprune.masks_of(model) == tfprune.Masks(masks), name
    np.testing.assert_array_equal(model(x), outputs, err_msg=name)
    for kernel, array in zip(tfprune.prunable(model).values(), kernels, strict=True):
        np.testing.assert_array_equal(kernel, array, err_msg=name)
    plain = any_layers.made(name)[0]
    plain.load_weights(folder / f"{name}.weights.h5")
    assert np.abs(np.asarray(plain(x)) - outputs).max() <= 1e-6 * np.abs(outputs).max(), name
    done += 1
print(done)
"""
