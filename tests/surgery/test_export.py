"""Exported files run elsewhere, hold what they should, and never take the place of something good by mistake."""

import gzip
import itertools
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from keras import layers as L

import tfprune
from tfprune.errors import InputError
from tfprune.models.initializers import Binary
from tfprune.surgery.examples import MOST, read_examples
from tfprune.surgery.export import ExportError, export
from tfprune.surgery.export_report import export_report

FILES = {
    ("keras", "float32"): "net.keras",
    ("savedmodel", "float32"): "net",
    ("litert", "float32"): "net32.tflite",
    ("litert", "float16"): "net16.tflite",
    ("litert", "int8"): "net8.tflite",
}


def _drawn(model, seed=0):
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        spread = 1 / np.sqrt(np.prod(variable.shape[:-1])) if "kernel" in variable.name else 0.3
        low = 0.5 if variable.name in ("gamma", "moving_variance") else None
        values = rng.normal(0, spread, variable.shape) if low is None else rng.uniform(low, 1.5, variable.shape)
        variable.assign(values)
    return model


def _net():
    """36,106 weights, of which 36,032 are in kernels."""
    hidden = [L.Conv2D(8, 3, name="conv"), L.BatchNormalization(), L.ReLU(), L.Flatten(), L.Dense(120, "relu")]
    return _drawn(keras.Sequential([keras.Input((8, 8, 3)), *hidden, L.Dense(10, "softmax", name="out")]))


def _two():
    """Two inputs and two outputs of equal shapes, so that a mix-up is seen in the numbers alone."""
    left, right = keras.Input((4,), name="z_left"), keras.Input((4,), name="a_right")
    hidden = L.Concatenate()([L.Dense(6, "relu")(left), L.Dense(6, "tanh")(right)])
    return _drawn(keras.Model([left, right], [L.Dense(3)(hidden), L.Dense(3)(hidden)]))


def _small():
    return _drawn(keras.Sequential([keras.Input((5,)), L.Dense(4, "relu", name="a"), L.Dense(3, name="b")]))


def _noise(*shape, seed=1):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.fixture(scope="module")
def net():
    return _net()


@pytest.fixture(scope="module")
def exported(net, tmp_path_factory):
    folder, images = tmp_path_factory.mktemp("exports"), _noise(24, 8, 8, 3)
    return {key: export(net, folder / name, precision=key[1], representative=images) for key, name in FILES.items()}


def _rerun(path, images):
    if path.suffix == ".keras":
        return keras.saving.load_model(path)(images).numpy()
    if path.suffix == ".tflite":
        runner = Interpreter(str(path)).get_signature_runner()
        return runner(**dict.fromkeys(runner.get_input_details(), images))["output_0"]
    loaded = tf.saved_model.load(path)
    return loaded.serve(images).numpy()


@pytest.mark.parametrize("key", FILES, ids="-".join)
def test_reported_numbers_are_those_of_the_file(key, net, exported):
    done, images = exported[key], _noise(24, 8, 8, 3)
    assert (done.format, done.precision, done.path.name) == (*key, FILES[key])
    expected = net(images).numpy()
    found = _rerun(done.path, images)
    assert done.difference == pytest.approx(np.abs(found - expected).max() / expected.max(), abs=1e-6)
    assert done.agreement == (found.argmax(1) == expected.argmax(1)).mean()
    files = [done.path] if done.path.is_file() else [path for path in done.path.rglob("*") if path.is_file()]
    assert done.bytes == sum(path.stat().st_size for path in files)
    assert done.gzip_bytes == pytest.approx(sum(len(gzip.compress(path.read_bytes(), 6)) for path in files), rel=0.05)


def test_rounding_grows_as_precision_falls(exported):
    exact, half, whole = (exported["litert", precision].difference for precision in ("float32", "float16", "int8"))
    assert exact < 1e-5 < half < 1e-2 and half < whole < 0.1


def test_int8_is_int8(exported):
    path = exported["litert", "int8"].path
    interpreter = Interpreter(str(path))
    shapes = {(8, 3, 3, 3), (120, 288), (10, 120)}  # kernels, outputs first
    kernels = [d for d in interpreter.get_tensor_details() if tuple(d["shape"]) in shapes]
    assert {tuple(d["shape"]) for d in kernels} == shapes
    assert {d["dtype"] for d in kernels} == {np.int8}
    ends = interpreter.get_input_details() + interpreter.get_output_details()
    assert [d["dtype"] for d in ends] == [np.float32, np.float32]


def test_sizes(net, exported):
    """Kernels dominate: 4, 2 and 1 bytes each. A SavedModel holds every variable once."""
    weights = 4 * net.count_params()
    sizes = {key: done.bytes / weights for key, done in exported.items()}
    assert 1 < sizes["litert", "float32"] < 1.1
    assert 0.5 < sizes["litert", "float16"] < 0.6
    assert 0.25 < sizes["litert", "int8"] < 0.35
    data = exported["savedmodel", "float32"].path / "variables/variables.data-00000-of-00001"
    assert weights < data.stat().st_size < 1.1 * weights


@pytest.mark.parametrize("name, precision", [("two", "float32"), ("two.keras", "float32"), ("two.tflite", "int8")])
def test_several_inputs_and_outputs_keep_their_names_and_order(name, precision, tmp_path):
    model = _two()
    given = {"a_right": _noise(40, 4, seed=2), "z_left": _noise(40, 4, seed=3)}
    done = export(model, tmp_path / name, precision=precision, representative=given)
    if precision != "float32":
        runner = Interpreter(str(done.path)).get_signature_runner()
        found = runner(**given)
        for number, expected in enumerate(model([given["z_left"], given["a_right"]])):
            assert np.abs(found[f"output_{number}"] - expected).max() < 0.1 * np.abs(expected).max()
    assert done.difference < (1e-5 if precision == "float32" else 0.1)


def test_outputs_in_a_dict_keep_their_keys(tmp_path):
    inputs = keras.Input((4,), name="x")
    model = _drawn(keras.Model(inputs, {"z": L.Dense(3)(inputs), "b": L.Dense(3)(inputs)}))
    done = export(model, tmp_path / "named")
    images, loaded = _noise(3, 4), tf.saved_model.load(done.path)
    for key, expected in model(images).items():
        np.testing.assert_allclose(loaded.serve(images)[key], expected, rtol=1e-5)
    assert done.difference <= 1e-5


def test_files_of_masked_models_need_no_tfprune(tmp_path):
    start = L.Dense(4, "relu", name="a", kernel_initializer=Binary(3))
    sparse = tfprune.masked(keras.Sequential([keras.Input((5,)), start, L.Dense(3, name="b")]))
    tfprune.set_masks(sparse, {"a/kernel": np.eye(5, 4, dtype=bool), "b/kernel": np.eye(4, 3, dtype=bool)})
    sparse.compile("sgd", loss=lambda y, p: p)  # a loss that no file could hold
    for name in ("sparse.keras", "sparse"):
        export(sparse, tmp_path / name)
    np.save(tmp_path / "given.npy", _noise(6, 5))
    code = """
        import sys; sys.modules["tfprune"] = None
        import keras, numpy as np, tensorflow as tf
        given, loaded = np.load("given.npy"), tf.saved_model.load("sparse")
        model = keras.saving.load_model("sparse.keras")
        assert np.count_nonzero(model.get_layer("a").kernel) == 4 and not model.compiled
        np.savez("found.npz", model(given), loaded.serve(given))
    """
    command = [sys.executable, "-c", "\n".join(map(str.strip, code.splitlines()))]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env={"PATH": ""})
    assert done.returncode == 0, done.stderr[-2000:]
    expected = sparse(_noise(6, 5)).numpy()
    for found in np.load(tmp_path / "found.npz").values():
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_file_that_differs_is_not_put_in_place(tmp_path):
    path = tmp_path / "small.tflite"
    path.write_bytes(b"good")
    with pytest.raises(ExportError, match=r"in int8 the outputs .* change by 0\.0.* allowed is 1e-09") as caught:
        export(_small(), path, precision="int8", representative=_noise(9, 5), tolerance=1e-9)
    assert isinstance(caught.value, InputError) and "\n" not in str(caught.value)
    assert [*tmp_path.iterdir()] == [path] and path.read_bytes() == b"good"


def test_an_operation_without_a_kernel_is_named(tmp_path):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.ops.erfinv(L.Dense(3)(inputs)))
    with pytest.raises(InputError, match=r"LiteRT cannot hold model .* in float32: it has no kernel for Erfinv$"):
        export(model, tmp_path / "model.tflite")
    assert not any(tmp_path.iterdir())


def test_a_saved_model_replaces_only_a_saved_model(tmp_path):
    model, path = _small(), tmp_path / "small"
    path.mkdir()
    export(model, path)
    _drawn(model, seed=1)
    export(model, path)
    images, loaded = _noise(3, 5), tf.saved_model.load(path)
    np.testing.assert_allclose(loaded.serve(images), model(images), rtol=1e-5)
    assert [*tmp_path.iterdir()] == [path]
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/a.txt").write_text("mine")
    for name in ("notes", "notes/a.txt"):
        with pytest.raises(InputError, match=r"cannot write|Received"):
            export(model, tmp_path / name)
    assert (tmp_path / "notes/a.txt").read_text() == "mine"


def test_nothing_is_printed_and_nothing_warned(tmp_path, capfd, recwarn):
    export(_small(), tmp_path / "small.tflite", precision="int8", representative=_noise(9, 5))
    export(_small(), tmp_path / "small")
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keras.Model, "save", full)
    with pytest.raises(InputError, match=r"cannot write .*model\.keras, on the way to .*a\.keras: No space left"):
        export(_small(), tmp_path / "a.keras")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name, arguments, message",
    [
        ("a.h5", {}, r"ends in \.keras, \.tflite or \.onnx, or has no suffix .*a\.h5$"),
        (".keras", {}, r"ends in \.keras, "),
        ("a.keras", {"sparse": True}, r"keras .* has no sparse encoding, only \.tflite files have"),
        ("a.tflite", {"sparse": "yes"}, "sparse must be True, False or None. Received: 'yes'"),
        ("a.keras", {"precision": "int8"}, "precision of keras .* must be one of float32. Received: 'int8'"),
        ("a", {"precision": "float16"}, "precision of savedmodel .* must be one of float32. Received: 'float16'"),
        ("a.tflite", {"precision": "int4"}, "must be one of float32, float16, int8. Received: 'int4'"),
        ("a.tflite", {"precision": "int8"}, "int8 needs representative examples"),
        ("no/a.keras", {}, "there is no folder .*no$"),
        ("a.keras", {"representative": []}, r"representative: at least 1 examples .*\(N, 5\)"),
        ("a.keras", {"examples": _noise(0, 5)}, "examples: at least 1 example"),
        ("a.keras", {"examples": _noise(7, 4)}, r"shapes must be .* \(N, 5\), .* Received: float32 \(7, 4\)"),
        ("a.keras", {"examples": 3}, "arrays or an iterable of them are needed. Received: 3"),
        ("a.keras", {"examples": {"x": _noise(7, 5)}}, "examples: inputs are .* Received: x$"),
    ],
)
def test_bad_input_is_one_line(name, arguments, message, tmp_path):
    with pytest.raises(InputError, match=message) as caught:
        export(_small(), tmp_path / name, **arguments)
    assert "\n" not in str(caught.value)
    assert not any(tmp_path.iterdir())


def test_a_model_that_gives_nothing_to_compare_is_refused(tmp_path):
    model = _small()
    model.get_layer("b").bias.assign([0, np.nan, 0])
    with pytest.raises(InputError, match=r"outputs of model .* are not finite on the examples"):
        export(model, tmp_path / "a.keras", tolerance=np.inf)
    assert not any(tmp_path.iterdir())


def test_models_that_signatures_cannot_describe_are_refused(tmp_path):
    inputs = keras.Input((3,), name="my-input")
    with pytest.raises(InputError, match=r"different names of letters, digits and _\. Received: my-input"):
        export(keras.Model(inputs, L.Dense(2)(inputs)), tmp_path / "a")
    inputs = keras.Input((3,))
    nested = keras.Model(inputs, [L.Dense(2)(inputs), (L.Dense(2)(inputs),)])
    with pytest.raises(InputError, match=r"outputs within outputs, which only a \.keras"):
        export(nested, tmp_path / "a")
    assert export(nested, tmp_path / "a.keras").difference <= 1e-5


def test_inputs_that_noise_is_no_example_of(tmp_path):
    words = _drawn(keras.Sequential([keras.Input((6,), dtype="int32"), L.Embedding(10, 4), L.Flatten(), L.Dense(2)]))
    with pytest.raises(InputError, match=r"int32 \(N, 6\)\) cannot be made up: give examples"):
        export(words, tmp_path / "a.keras")
    assert export(words, tmp_path / "a.keras", examples=np.arange(12).reshape(2, 6) % 10).difference <= 1e-5


def test_examples_come_in_many_forms():
    model, images = _small(), _noise(300, 5)
    endless = (images[:7] for _ in itertools.count())
    for given in (images, tf.data.Dataset.from_tensor_slices(images).batch(100).repeat(), [images]):
        (array,) = read_examples(model, given, "examples")
        np.testing.assert_array_equal(array, images[:MOST])
    assert read_examples(model, endless, "examples")[0].shape == (MOST, 5)
    two = {"a_right": _noise(5, 4, seed=2), "z_left": _noise(5, 4, seed=3)}
    for given in (two, [two["z_left"], two["a_right"]], iter([two])):
        left, right = read_examples(_two(), given, "examples")
        np.testing.assert_array_equal(left, two["z_left"])
        np.testing.assert_array_equal(right, two["a_right"])
    with pytest.raises(
        InputError, match=r"z_left \(N, 4\), a_right \(N, 4\), with as many .*\(5, 4\), float32 \(3, 4\)"
    ):
        read_examples(_two(), [two["z_left"], two["a_right"][:3]], "examples")
    fixed = keras.Sequential([keras.Input(batch_shape=(4, 5)), L.Dense(2)])
    assert read_examples(fixed, _noise(11, 5), "examples")[0].shape == (8, 5)
    with pytest.raises(InputError, match="at least 4 examples"):
        read_examples(fixed, _noise(3, 5), "examples")


def test_examples_in_lists_and_texts(tmp_path):
    model, images = _small(), _noise(6, 5)
    for given in ([images], (images,), [[images[:3]], [images[3:]]], ((batch,) for batch in (images[:4], images[4:]))):
        np.testing.assert_array_equal(read_examples(model, given, "examples")[0], images)
    np.testing.assert_array_equal(read_examples(model, images.tolist(), "examples")[0], images)
    with pytest.raises(InputError, match=r"\(N, 5\), with as many"):
        read_examples(model, [[1, 2], [3]], "examples")
    texts = [L.Hashing(8), L.Embedding(8, 3), L.Flatten(), L.Dense(2)]
    reader = _drawn(keras.Sequential([keras.Input((2,), dtype="string"), *texts]))
    words = [["a", "b"], ["c", "a"], ["longer", "b"]]
    for given in (words, np.array(words), np.array(words, object), np.array(words, "S6"), [np.array(words)]):
        assert export(reader, tmp_path / "reader.keras", examples=given).difference == 0
    assert export(reader, tmp_path / "reader", examples=iter([words[:2], words[2:]])).difference <= 1e-5
    with pytest.raises(InputError, match=r"\(N, 2\) of strings, with as many .* int64 \(1, 2\)"):
        export(reader, tmp_path / "other", examples=[[1, 2]])
    table = [L.StringLookup(vocabulary=["a", "b", "c"]), *texts[1:]]
    looked_up = keras.Sequential([keras.Input((2,), dtype="string"), *table])
    for name in ("looked_up", "looked_up.keras", "looked_up.tflite"):
        assert export(looked_up, tmp_path / name, examples=words).difference <= 1e-5
    words_of = L.TextVectorization(max_tokens=9, output_sequence_length=4)
    words_of.adapt(["a good film", "a bad film"])
    inputs = keras.Input((), dtype="string")
    sentences = keras.Model(inputs, L.Dense(2)(L.GlobalAveragePooling1D()(L.Embedding(9, 3)(words_of(inputs)))))
    for name in ("sentences", "sentences.keras"):
        assert export(sentences, tmp_path / name, examples=["good film", "bad"]).difference <= 1e-5
    spelled = keras.Sequential([keras.Input((2,), dtype="int64"), L.StringLookup(vocabulary=["a", "b"], invert=True)])
    with pytest.raises(InputError, match=r"^outputs of model .* are texts"):
        export(spelled, tmp_path / "spelled", examples=[[1, 2]])
    with pytest.raises(InputError, match="has no kernel for StringToHashBucketFast"):
        export(reader, tmp_path / "reader.tflite", examples=words)


@pytest.mark.slow_beyond(1)
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16", "float64"])
def test_other_precisions_become_float32_in_litert(policy, tmp_path):
    """The file computes what the weights say in float32: here by a twin that is built, not copied."""

    def build(dtype):
        inputs = keras.Input((6, 4))
        x = L.Conv1D(5, 2, activation="relu", dtype=dtype)(inputs)
        x = L.MultiHeadAttention(2, 3, dtype=dtype)(L.BatchNormalization(dtype=dtype)(x), x)
        return keras.Model(inputs, L.Dense(3, dtype=dtype)(L.Bidirectional(L.GRU(3, dtype=dtype), dtype=dtype)(x)))

    model, twin, given = _drawn(build(policy)), build("float32"), _noise(20, 6, 4)
    twin.set_weights(model.get_weights())
    done = export(model, tmp_path / "model.tflite", examples=given)
    (details,) = Interpreter(str(done.path)).get_output_details()
    assert details["dtype"] == np.float32 and done.difference <= 1e-5
    found, expected = _rerun(done.path, given), twin(given).numpy()
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
    rough = model(given).numpy().astype(np.float32)
    assert np.abs(rough - expected).max() <= 0.05 * np.abs(expected).max()  # it is the same network
    assert export(model, tmp_path / "model.keras", examples=given).difference <= 1e-5  # in its own precision


RECURRENT = {
    "lstm": lambda: [L.LSTM(3)],
    "gru": lambda: [L.GRU(3, return_sequences=True), L.GRU(2)],
    "simple": lambda: [L.SimpleRNN(3)],
    "both ways": lambda: [L.Bidirectional(L.LSTM(3, return_sequences=True), merge_mode="sum")],
    "cells": lambda: [L.RNN([L.LSTMCell(3), L.GRUCell(2)])],
    "wrapped": lambda: [L.Reshape((2, 3, 4)), L.TimeDistributed(L.GRU(3))],
    "images": lambda: [L.Reshape((6, 2, 2, 1)), L.ConvLSTM2D(2, 2)],
    "masked": lambda: [L.Masking(0.5), L.LSTM(3)],
}


@pytest.mark.slow_beyond(1)
@pytest.mark.parametrize("name", RECURRENT)
def test_recurrent_layers_in_litert(name, tmp_path):
    """For batches of any size as a chain of steps, for those of one size as a loop."""
    given = _noise(6, 6, 4)
    given[:, 4:] = 0.5
    for batch in (None, 2):
        model = keras.Sequential([keras.Input(batch_shape=(batch, 6, 4)), *RECURRENT[name](), L.Flatten(), L.Dense(2)])
        done = export(_drawn(model), tmp_path / "model.tflite", examples=given)
        assert done.difference <= 1e-5
        part = given[: batch or 5]
        np.testing.assert_allclose(_rerun(done.path, part), model(part), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_recurrent_layers_in_int8_and_of_any_length(tmp_path):
    given = _noise(40, 6, 4)
    for batch in (None, 2):
        model = _drawn(keras.Sequential([keras.Input(batch_shape=(batch, 6, 4)), L.LSTM(3), L.Dense(2)]))
        done = export(model, tmp_path / "model.tflite", precision="int8", representative=given)
        assert 0 < done.difference < 0.2
    fixed = _drawn(keras.Sequential([keras.Input(batch_shape=(1, None, 4)), L.LSTM(3), L.Dense(2)]))
    done = export(fixed, tmp_path / "any.tflite", examples=given)
    for steps in (3, 9):
        np.testing.assert_allclose(_rerun(done.path, _noise(1, steps, 4)), fixed(_noise(1, steps, 4)), rtol=1e-4)
    line = r"recurrent layers take any number of steps; fix it with keras\.Input\(\(steps, features\)\)"
    with pytest.raises(InputError, match=line + "$"):
        export(fixed, tmp_path / "any8.tflite", precision="int8", representative=given)
    free = keras.Sequential([keras.Input((None, 4)), L.LSTM(3), L.Dense(2)])
    with pytest.raises(InputError, match=line + r", or the size of a batch, .*\(1, None, features\)\)$"):
        export(free, tmp_path / "free.tflite", examples=given)
    with pytest.raises(InputError, match=r"cannot take inputs of shapes \[\(3, 6, 4\)\]"):
        export_report({"fixed": fixed}, given, batches=(3,), precisions=("float32",), repeats=1)


@pytest.mark.slow
def test_masked_steps_backwards_need_a_fixed_batch(tmp_path):
    tokens = np.random.default_rng(0).integers(0, 3, (6, 5))

    def network(batch):
        layers = [L.Embedding(10, 4, mask_zero=True), L.Bidirectional(L.LSTM(3, return_sequences=True)), L.Flatten()]
        return _drawn(keras.Sequential([keras.Input(batch_shape=(batch, 5)), *layers, L.Dense(2)]))

    with pytest.raises(InputError, match=r"backwards over masked steps .* fix the size of a batch"):
        export(network(None), tmp_path / "open.tflite", examples=tokens)
    assert export(network(2), tmp_path / "fixed.tflite", examples=tokens).difference < 1e-5


def test_report(tmp_path, capfd):
    dense = _small()
    masks = {"a/kernel": np.ones((5, 4), bool), "b/kernel": np.ones((4, 3), bool)}
    masks["b/kernel"][1:] = False
    models = {"pruned": tfprune.masked(dense, masks), "compacted": tfprune.compact(dense, masks)}
    table = export_report(models, _noise(5, 5), tmp_path, precisions=("int8",), batches=(1, 7), repeats=2)
    assert capfd.readouterr() == ("", "")
    assert list(table.columns) == [
        *("model", "format", "precision", "sparse", "bytes", "gzip_bytes", "difference", "agreement"),
        *("ms_batch_1", "ms_batch_7"),
    ]
    kinds = [("keras", "float32"), ("savedmodel", "float32"), ("litert", "int8")]
    assert [*table[["model", "format", "precision"]].itertuples(index=False, name=None)] == [
        (name, *kind) for name in models for kind in kinds
    ]
    assert (table[["ms_batch_1", "ms_batch_7"]] > 0).all(axis=None)
    names = {f"{name}{end}" for name in models for end in (".keras", "-savedmodel", "-int8.tflite")}
    assert {path.name for path in tmp_path.iterdir()} == names
    sizes = table.set_index(["model", "format"])["bytes"]
    assert sizes["pruned", "litert"] == (tmp_path / "pruned-int8.tflite").stat().st_size > sizes["compacted", "litert"]


class Unregistered(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = L.Dense(2)

    def call(self, x):
        return self.dense(x)


def test_a_class_that_keras_does_not_know_is_named(tmp_path):
    model = Unregistered()
    model(_noise(4, 5))
    with pytest.raises(ExportError, match=r"Keras does not know Unregistered: decorate it with @keras\.saving\.reg"):
        export(model, tmp_path / "net.keras")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"models": {"a/b": None}}, "names of models must be of letters, digits, _ and -. Received: 'a/b'"),
        ({"batches": (1, 0)}, "batches must be at least 1. Received: 0"),
        ({"repeats": 0}, "repeats must be at least 1. Received: 0"),
        ({"threads": 0}, "threads must be at least 1. Received: 0"),
        ({"precisions": ("int4",)}, r"^precisions must be a list of float32, float16, int8. Received: \('int4',\)$"),
        ({"precisions": "int8"}, "precisions must be a list of float32, float16, int8. Received: 'int8'"),
    ],
)
def test_bad_arguments_of_the_report(arguments, message):
    with pytest.raises(InputError, match=message):
        export_report(**{"models": {"a": _small()}, "examples": _noise(4, 5), **arguments})
