"""ONNX files compute what the model does, in ONNX Runtime, with the names of the model's inputs."""

import keras
import numpy as np
import pytest
from keras import layers as L

import tfprune
from tfprune.errors import InputError
from tfprune.surgery.export import export
from tfprune.surgery.export_report import export_report

runtime = pytest.importorskip("onnxruntime")
pytest.importorskip("tf2onnx")


def _noise(*shape, seed=1):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _rerun(path, given):
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    named = [output.name for output in session.get_outputs()]
    return dict(zip(named, session.run(None, given), strict=True))


def test_a_masked_model_that_was_never_called(tmp_path, capfd):
    model = keras.Sequential([keras.Input((8, 8, 3), name="x"), L.Conv2D(4, 3), L.BatchNormalization(), L.ReLU()])
    sparse = tfprune.masked(model, tfprune.prune(model, "random/uniform", 0.5, seed=0))
    capfd.readouterr()
    done = export(sparse, tmp_path / "m.onnx", examples=_noise(20, 8, 8, 3))
    assert capfd.readouterr() == ("", "")
    assert (done.format, done.precision, done.sparse) == ("onnx", "float32", False)
    assert done.bytes == done.path.stat().st_size and done.difference < 1e-5
    for batch in (1, 3):
        given = _noise(batch, 8, 8, 3)
        np.testing.assert_allclose(_rerun(done.path, {"x": given})["output_0"], sparse(given), rtol=1e-4, atol=1e-5)


def test_names_of_several_inputs_and_outputs(tmp_path):
    left, right = keras.Input((4,), name="z_left"), keras.Input((4,), name="a_right")
    hidden = L.Concatenate()([L.Dense(6, "relu")(left), L.Dense(6, "tanh")(right)])
    given = {"a_right": _noise(5, 4, seed=2), "z_left": _noise(5, 4, seed=3)}
    first, second = L.Dense(3)(hidden), L.Dense(3)(hidden)
    listed = keras.Model([left, right], [first, second])
    keyed = keras.Model({"one": left, "two": right}, {"zz": first, "aa": second})
    export(listed, tmp_path / "listed.onnx", examples=given)
    export(keyed, tmp_path / "keyed.onnx", examples=given)
    expected = listed([given["z_left"], given["a_right"]])
    for name, names in {"listed": ("output_0", "output_1"), "keyed": ("zz", "aa")}.items():
        found = _rerun(tmp_path / f"{name}.onnx", given)
        for key, outputs in zip(names, expected, strict=True):
            np.testing.assert_allclose(found[key], outputs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float64"])
def test_other_precisions_become_float32(policy, tmp_path):
    model = keras.Sequential([keras.Input((5,), name="x"), L.Dense(4, "relu", dtype=policy), L.Dense(3, dtype=policy)])
    twin = keras.Sequential([keras.Input((5,)), L.Dense(4, "relu"), L.Dense(3)])
    twin.set_weights(model.get_weights())
    done = export(model, tmp_path / "m.onnx", examples=_noise(6, 5))
    (found,) = _rerun(done.path, {"x": _noise(6, 5)}).values()
    assert found.dtype == np.float32 and done.difference < 1e-5
    np.testing.assert_allclose(found, twin(_noise(6, 5)), rtol=1e-4, atol=1e-5)
    saved = export(model, tmp_path / "saved", examples=_noise(6, 5))  # a SavedModel keeps the precision
    assert saved.difference <= 1e-5


RECURRENT = {
    "lstm of any length": lambda: [keras.Input((None, 4)), L.LSTM(3)],
    "gru": lambda: [keras.Input((6, 4)), L.GRU(3, return_sequences=True), L.GRU(2)],
    "masked": lambda: [keras.Input((6, 4)), L.Masking(0.5), L.Bidirectional(L.LSTM(3, return_sequences=True))],
    "images": lambda: [keras.Input((6, 4)), L.Reshape((6, 2, 2, 1)), L.ConvLSTM2D(2, 2)],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", RECURRENT)
def test_recurrent_layers(name, tmp_path):
    given = _noise(6, 6, 4)
    given[:, 4:] = 0.5
    assert export(keras.Sequential(RECURRENT[name]()), tmp_path / "m.onnx", examples=given).difference < 1e-5


def test_what_onnx_cannot_hold_is_one_line(tmp_path):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.ops.erfinv(0.5 * L.Dense(3, "tanh")(inputs)))
    with pytest.raises(InputError, match=r"cannot be loaded and run \(ONNX Runtime: it has no operation Erfinv\)$"):
        export(model, tmp_path / "m.onnx")
    for precision in ("int8", "float16"):
        with pytest.raises(InputError, match=r"precision of onnx .* must be one of float32"):
            export(model, tmp_path / "m.onnx", precision=precision)
    assert not any(tmp_path.iterdir())


def test_a_row_of_the_report():
    model = keras.Sequential([keras.Input((5,), name="x"), L.Dense(4, "relu"), L.Dense(3)])
    table = export_report({"m": model}, _noise(6, 5), precisions=(), batches=(2,), repeats=1, onnx=True)
    assert list(table["format"]) == ["keras", "savedmodel", "onnx"] and not table["sparse"].any()
    assert table["ms_batch_2"].iloc[-1] > 0 and table["difference"].iloc[-1] < 1e-5
