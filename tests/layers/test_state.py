"""State that layers keep outside of their variables: vocabularies, statistics, boundaries, seeds, assets."""

import inspect
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops

from tfprune.layers.convert import masked, strip
from tfprune.layers.verify import check_copy
from tfprune.surgery.compact import compact

WORDS = np.array([["red"], ["green"], ["red"], ["blue"]])
NUMBERS = np.array([[12], [36], [36], [7]])
TEXTS = np.array([["the red fox"], ["a Green, green tree"], ["the sea"]])
VALUES = np.array([[1.0, 7.0], [5.0, 2.0], [3.0, 9.0], [8.0, 0.0]], "f4")


def _adapted(layer, data):
    layer.adapt(data)
    return layer


def _given(layer, *arguments):
    layer.set_vocabulary(*arguments)
    return layer


def _split(text):
    import tensorflow as tf

    return tf.strings.split(text, "e")


STATEFUL = {
    "StringLookup": (lambda: _adapted(L.StringLookup(), WORDS), WORDS),
    "StringLookup, constructed": (lambda: L.StringLookup(vocabulary=["blue", "red"]), WORDS),
    "StringLookup, given": (lambda: _given(L.StringLookup(), ["blue", "red"]), WORDS),
    "StringLookup, no OOV": (
        lambda: _adapted(L.StringLookup(num_oov_indices=0, output_mode="multi_hot"), WORDS),
        WORDS,
    ),
    "StringLookup, inverse": (
        lambda: keras.Sequential(
            [_given(L.StringLookup(), ["a", "b"]), _given(L.StringLookup(invert=True), ["a", "b"])]
        ),
        np.array([["b"], ["c"]]),
    ),
    "StringLookup, padded": (
        lambda: _adapted(L.StringLookup(max_tokens=9, pad_to_max_tokens=True, output_mode="tf_idf"), WORDS),
        WORDS,
    ),
    "StringLookup, counts": (lambda: _adapted(L.StringLookup(output_mode="count", mask_token="red"), WORDS), WORDS),
    "StringLookup, line break": (lambda: _given(L.StringLookup(), ["a\nb", "c"]), np.array([["a\nb"], ["c"]])),
    "IntegerLookup": (lambda: _adapted(L.IntegerLookup(), NUMBERS), NUMBERS),
    "IntegerLookup, tf_idf": (
        lambda: _adapted(L.IntegerLookup(output_mode="tf_idf", num_oov_indices=2), NUMBERS),
        NUMBERS,
    ),
    "IntegerLookup, masked": (lambda: _adapted(L.IntegerLookup(mask_token=0, output_mode="int"), NUMBERS), NUMBERS),
    "TextVectorization": (lambda: _adapted(L.TextVectorization(output_sequence_length=5), TEXTS), TEXTS),
    "TextVectorization, tf_idf": (lambda: _adapted(L.TextVectorization(output_mode="tf_idf", ngrams=2), TEXTS), TEXTS),
    "TextVectorization, constructed": (
        lambda: L.TextVectorization(vocabulary=["red", "sea"], output_mode="multi_hot"),
        TEXTS,
    ),
    "TextVectorization, own functions": (
        lambda: _adapted(
            L.TextVectorization(standardize=lambda x: ops.add(x, "e"), split=_split, output_mode="multi_hot"), TEXTS
        ),
        TEXTS,
    ),
    "Normalization": (lambda: _adapted(L.Normalization(), VALUES), VALUES),
    "Normalization, inverse": (lambda: _adapted(L.Normalization(invert=True, axis=None), VALUES), VALUES),
    "Normalization, constructed": (lambda: L.Normalization(mean=[1.0, 2.0], variance=[4.0, 9.0]), VALUES),
    "Normalization, within": (
        lambda: L.TimeDistributed(_adapted(L.Normalization(), VALUES)),
        np.stack([VALUES, VALUES * 2]),
    ),
    "Discretization": (lambda: _adapted(L.Discretization(num_bins=3), VALUES), VALUES),
    "Discretization, constructed": (lambda: L.Discretization([2.0, 4.0], output_mode="one_hot"), VALUES),
    "Hashing": (lambda: L.Hashing(7, salt=[3, 4]), WORDS),
    "HashedCrossing": (
        lambda: _two_inputs(L.HashedCrossing(7, output_mode="one_hot"), "string"),
        [WORDS[:, 0], WORDS[:, 0]],
    ),
    "CategoryEncoding": (lambda: L.CategoryEncoding(40, output_mode="multi_hot"), NUMBERS),
    "MelSpectrogram": (
        lambda: L.MelSpectrogram(64, 16, num_mel_bins=8),
        np.random.default_rng(0).normal(size=(2, 300)),
    ),
    "STFTSpectrogram": (
        lambda: L.STFTSpectrogram(frame_length=16, frame_step=8),
        np.random.default_rng(0).normal(size=(2, 64, 1)),
    ),
    "SpectralNormalization": (lambda: L.SpectralNormalization(L.Dense(3)), VALUES),
    "BatchNormalization": (lambda: L.BatchNormalization(), VALUES),
}


def _two_inputs(layer, dtype):
    given = [keras.Input((), dtype=dtype), keras.Input((), dtype=dtype)]
    return keras.Model(given, layer(given))


def _stateful_model(name):
    keras.utils.set_random_seed(3)
    make, data = STATEFUL[name]
    made = make()
    if isinstance(made, keras.Model) and made.built and made.inputs:
        return made, data
    dtype = "string" if data.dtype.kind in "UO" else str(data.dtype).replace("float64", "float32")
    given = keras.Input(data.shape[1:], dtype=dtype)
    x = made(given)
    if "int" not in x.dtype and x.dtype != "string" and x.shape[-1] is not None:
        x = L.Dense(2)(x)
    model = keras.Model(given, x)
    rng = np.random.default_rng(0)
    for variable in model.variables:  # what training would have changed
        if variable.name in ("moving_mean", "gamma", "beta", "vector_u"):
            variable.assign(rng.normal(size=variable.shape))
    return model, data


def _call(model, data, **options):
    data = ops.convert_to_tensor(data) if not isinstance(data, list) else list(map(ops.convert_to_tensor, data))
    return ops.convert_to_numpy(model(data, **options))


@pytest.mark.parametrize("name", STATEFUL)
def test_state_outside_of_variables_is_copied(name, tmp_path):
    model, data = _stateful_model(name)
    expected = _call(model, data)
    assert len(np.unique(expected)) > 1
    sparse = masked(model, verify=False)
    for copy in (sparse, strip(sparse, verify=False), masked(sparse, verify=False)):
        np.testing.assert_array_equal(_call(copy, data), expected)
        check_copy(copy, model)
    if not name.endswith(("own functions", "line break", "padded")):  # which Keras cannot write or read
        sparse.save(tmp_path / "copy.keras")
        np.testing.assert_array_equal(_call(keras.saving.load_model(tmp_path / "copy.keras"), data), expected)


def test_every_layer_with_such_state_is_here():
    """Layers that Keras adapts, saves in a way of their own, or that have assets."""
    plain = keras.layers.Layer
    found = set()
    for name, kind in vars(keras.layers).items():
        if not (inspect.isclass(kind) and issubclass(kind, plain)) or kind is plain or issubclass(kind, keras.Model):
            continue
        own = kind.load_own_variables is not plain.load_own_variables
        if own or any(hasattr(kind, method) for method in ("adapt", "save_assets", "finalize_state", "set_vocabulary")):
            found.add(name)
    # Their own way is for quantized weights and those with a low-rank update.
    kernels = {"Dense", "EinsumDense", "Embedding", "ReversibleEmbedding"}
    kernels |= {f"Conv{rank}D{kind}" for rank in "123" for kind in ("", "Transpose")}
    kernels |= {name.replace("Conv", "Convolution") for name in kernels}
    tested = {name.split(",")[0] for name in STATEFUL}
    assert found - kernels - tested == {"TorchModuleWrapper"}  # which needs PyTorch


RANDOM = {
    "Dropout": lambda: L.Dropout(0.5),
    "GaussianNoise": lambda: L.GaussianNoise(1.0),
    "AlphaDropout": lambda: L.AlphaDropout(0.5),
    "SpatialDropout2D": lambda: L.SpatialDropout2D(0.5),
    "RandomFlip": lambda: L.RandomFlip(),
    "RandomBrightness": lambda: L.RandomBrightness(0.5, value_range=(0, 1)),
    "RandomErasing": lambda: L.RandomErasing(value_range=(0, 1)),
    "MixUp": lambda: L.RandomZoom(0.5),
    "LSTM": lambda: keras.Sequential([L.Reshape((18, 8)), L.LSTM(4, dropout=0.5, recurrent_dropout=0.5)]),
}


@pytest.mark.parametrize("make", RANDOM.values(), ids=RANDOM)
def test_states_of_random_generators_are_copied(make):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((6, 6, 4)), make(), L.Flatten()])
    images = np.random.default_rng(0).random((8, 6, 6, 4)).astype("f4")
    model(images, training=True)  # the generators have moved
    copies = [masked(model), strip(masked(model)), compact(model)]
    expected = [_call(model, images, training=True) for _ in range(2)]
    assert not np.array_equal(*expected)
    for copy in copies:
        for outputs in expected:
            np.testing.assert_array_equal(_call(copy, images, training=True), outputs)


class Counted(L.Layer):
    """Keeps a file of its own and a number that is no variable."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.note, self.count = "", 0

    def call(self, x):
        return x + self.count

    def compute_output_shape(self, shape):
        return shape

    def save_own_variables(self, store):
        store["count"] = np.array(self.count)

    def load_own_variables(self, store):
        self.count = int(np.array(store["count"]))

    def save_assets(self, folder):
        Path(folder, "note.txt").write_text(self.note)

    def load_assets(self, folder):
        self.note = Path(folder, "note.txt").read_text()


@pytest.mark.parametrize("wrap", [lambda layer: layer, L.TimeDistributed], ids=["layer", "within"])
def test_assets_of_own_layers_are_copied(wrap):
    layer = Counted()
    layer.note, layer.count = "seen", 7
    model = keras.Sequential([keras.Input((3, 2)), wrap(layer), L.Dense(1)])
    sparse = masked(model)
    for copy in (sparse, strip(sparse), compact(model)):
        (own,) = [one for one in copy._flatten_layers() if isinstance(one, Counted)]
        assert own is not layer and (own.note, own.count) == ("seen", 7)


def test_stateful_layers_go_on_where_they_were_and_the_check_leaves_them_there():
    model = keras.Sequential([keras.Input(batch_shape=(2, 3, 4)), L.GRU(3, stateful=True), L.Dense(1)])
    steps = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("f4")
    model(steps)
    before = [variable.numpy() for variable in model.variables]
    sparse = masked(model)
    assert all(np.array_equal(old, new.numpy()) for old, new in zip(before, model.variables, strict=True))
    np.testing.assert_allclose(sparse(steps), model(steps), rtol=1e-6)
