"""LiteRT's sparse encoding is used where it is smaller and right, and refused where LiteRT would read it wrongly."""

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from keras import layers as L

import tfprune
from tfprune.errors import InputError
from tfprune.surgery.export import export


def _pruned(*widths, block=1, density=0.1, seed=0):
    """A dense network whose kernels keep blocks along their inputs, and examples of its inputs."""
    rng = np.random.default_rng(seed)
    model = keras.Sequential([keras.Input(widths[:1]), *(L.Dense(width, "relu") for width in widths[1:])])
    for layer in model.layers:
        size, units = layer.kernel.shape
        kept = np.repeat(rng.random((-(-size // block), units)) < density, block, axis=0)[:size]
        layer.kernel.assign(rng.normal(0, 0.3, (size, units)) * kept)
    return model, rng.normal(size=(40, widths[0])).astype(np.float32)


def _encoded(path):
    return sum(bool(details["sparsity_parameters"]) for details in Interpreter(str(path)).get_tensor_details())


def test_the_smaller_file_is_kept(tmp_path):
    model, given = _pruned(64, 64, 16)
    path = tmp_path / "model.tflite"
    dense, chosen = (export(model, path, sparse=sparse, examples=given) for sparse in (False, None))
    assert (dense.sparse, chosen.sparse) == (False, True) and "float32, sparse)" in repr(chosen)
    assert chosen.bytes < 0.4 * dense.bytes and _encoded(path) == 2
    runner = Interpreter(str(path)).get_signature_runner()
    found = runner(**dict.fromkeys(runner.get_input_details(), given[:3]))["output_0"]
    np.testing.assert_allclose(found, model(given[:3]), rtol=1e-4, atol=1e-5)
    few, given = _pruned(12, 6, 3)  # what describes the zeros takes more than they do
    assert not export(few, path, examples=given).sparse and not _encoded(path)


def test_a_masked_model_in_int8_with_blocks(tmp_path):
    model, given = _pruned(64, 32, 16, block=16, density=0.3)
    masks = {path: variable.numpy() != 0 for path, variable in tfprune.prunable(model).items()}
    done = export(tfprune.masked(model, masks), tmp_path / "m.tflite", precision="int8", representative=given)
    assert done.sparse and done.difference < 0.03 and _encoded(done.path) == 2


@pytest.mark.parametrize(
    "widths, options, precision, message",
    [
        ((50, 32), {"block": 4}, "float32", r"blocks of 4 that do not divide the kernel of shape \(50, 32\) wrongly$"),
        ((64, 32), {"block": 4}, "float16", r"it reads blocks of zeros wrongly, as in the kernel of shape \(64, 32\)$"),
        ((64, 32), {}, "int8", r"must come in blocks of 16 inputs, not so in the kernel of shape \(64, 32\)$"),
        ((64, 32), {"density": 0.9}, "float32", r"in its sparse encoding: none of its kernels has 30% zeros$"),
    ],
)
def test_what_litert_reads_wrongly_is_refused(widths, options, precision, message, tmp_path):
    model, given = _pruned(*widths, **options)
    with pytest.raises(InputError, match=message):
        export(model, tmp_path / "m.tflite", precision=precision, sparse=True, representative=given)
    assert not any(tmp_path.iterdir())
    if precision == "float16":  # not asked for, the file is a dense one
        assert not export(model, tmp_path / "m.tflite", precision=precision, representative=given).sparse


@pytest.mark.slow
def test_convolutions_in_less_precision(tmp_path):
    rng = np.random.default_rng(0)
    model = keras.Sequential([keras.Input((6, 6, 16)), L.Conv2D(33, 3, activation="relu"), L.Conv2D(64, 1)])
    for layer in model.layers:
        layer.kernel.assign(layer.kernel * (rng.random(layer.kernel.shape) < 0.1))
    given = rng.normal(size=(8, 6, 6, 16)).astype(np.float32)
    for precision in ("float16", "int8"):
        path = tmp_path / "m.tflite"
        dense, sparse = (
            export(model, path, precision=precision, sparse=kind, representative=given) for kind in (False, None)
        )
        assert sparse.sparse and sparse.bytes < dense.bytes and sparse.difference == dense.difference
