"""masked and strip on models of every shape, and what they refuse."""

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops

from tfprune.errors import InputError
from tfprune.experiments.imp.normalized_dense import NormalizedMaskedDense
from tfprune.layers.convert import load_model, masked, masks_of, set_masks, strip
from tfprune.layers.masks import Masks
from tfprune.layers.prunable import prunable, unsupported
from tfprune.models.initializers import Binary
from tfprune.surgery.compact import compact


@pytest.fixture
def rich_model():
    """Two inputs and outputs by name, shared and nested models, Keras operations, an unsupported layer."""
    image, vector = keras.Input((6, 6, 2), name="image"), keras.Input((3,), name="vector")
    inner = keras.Input((6, 6, 2))
    block = keras.Model(inner, L.Add()([L.Conv2D(2, 3, padding="same", name="same")(inner), inner]), name="block")
    shared = L.Dense(2, name="shared")
    x = shared(block(shared(block(image))))
    x = L.BatchNormalization()(x)
    tokens = L.Reshape((36, 2))(x)
    x = L.Flatten()(L.MultiHeadAttention(1, 2, name="attention")(tokens, tokens))
    branch = keras.Sequential([L.Dense(4, activation="relu", name="same"), L.Dropout(0.5)], name="branch")
    x = ops.concatenate([x, branch(vector) * 2 + 1], axis=-1)
    outputs = {"one": L.Dense(2, name="one")(x), "two": L.Dense(1, name="two")(ops.relu(x))}
    return keras.Model({"image": image, "vector": vector}, outputs)


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    return {"image": rng.normal(size=(4, 6, 6, 2)).astype("f4"), "vector": rng.normal(size=(4, 3)).astype("f4")}


def _random_masks(model):
    rng = np.random.default_rng(1)
    return Masks({path: rng.random(variable.shape) < 0.7 for path, variable in prunable(model).items()})


def _assert_same(outputs, others):
    assert outputs.keys() == others.keys()
    for key, value in outputs.items():
        np.testing.assert_array_equal(value, others[key])


def test_paths_are_unique_and_survive_copies_and_files(rich_model, tmp_path):
    paths = ["block/same/kernel", "shared/kernel", "branch/same/kernel", "one/kernel", "two/kernel"]
    paths += [f"attention/{name}_dense.kernel" for name in ("query", "key", "value", "output")]
    assert sorted(prunable(rich_model)) == sorted(paths)
    assert unsupported(rich_model) == []
    order = list(prunable(rich_model))
    sparse = masked(rich_model, _random_masks(rich_model))
    sparse.save(tmp_path / "model.keras")
    for model in (sparse, strip(sparse), keras.saving.load_model(tmp_path / "model.keras")):
        assert list(prunable(model)) == order


def test_rich_model_there_and_back(rich_model, batch, tmp_path):
    outputs = rich_model(batch)
    _assert_same(outputs, masked(rich_model)(batch))
    masks = _random_masks(rich_model)
    sparse = masked(rich_model, masks)
    assert np.abs(sparse(batch)["one"] - outputs["one"]).max() > 1e-3
    sparse.compile("sgd", {"one": "mse", "two": "mse"})
    sparse.fit(batch, {"one": np.zeros((4, 2)), "two": np.ones((4, 1))}, verbose=0)
    outputs = sparse(batch)
    _assert_same(outputs, strip(sparse)(batch))
    _assert_same(outputs, masked(sparse)(batch))
    sparse.save(tmp_path / "model.keras")
    _assert_same(outputs, keras.saving.load_model(tmp_path / "model.keras")(batch))
    assert masks_of(masked(sparse)) == masks_of(sparse) == masks


def test_the_model_itself_is_left_alone(rich_model, batch):
    outputs, weights = rich_model(batch), [weight.numpy() for weight in rich_model.weights]
    sparse = masked(rich_model, _random_masks(rich_model))
    for weight in sparse.weights:
        weight.assign(weight * 0 + 1)
    assert all(np.array_equal(old, new.numpy()) for old, new in zip(weights, rich_model.weights, strict=True))
    _assert_same(outputs, rich_model(batch))


def test_shared_layers_stay_shared(rich_model):
    sparse = masked(rich_model)
    assert sparse.count_params() - rich_model.count_params() == Masks.dense(rich_model).size
    assert len(sparse.trainable_weights) == len(rich_model.trainable_weights)


def test_frozen_layers_stay_frozen():
    model = keras.Sequential([keras.Input((3,)), L.Dense(2, trainable=False), L.Dense(2)])
    sparse = masked(model)
    assert [layer.trainable for layer in sparse.layers] == [False, True]
    assert len(sparse.trainable_weights) == 2


def test_compiled_alike():
    model = keras.Sequential([keras.Input((3,)), L.Dense(1)])
    assert not masked(model).compiled
    model.compile(keras.optimizers.Adam(0.25), "mse", metrics=["mae"])
    sparse = masked(model)
    assert sparse.compiled
    assert float(sparse.optimizer.learning_rate) == 0.25


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = L.Dense(2)

    def call(self, inputs):
        return self.dense(inputs)


class Untraceable(Subclassed):
    def call(self, inputs):
        return self.dense(np.asarray(inputs))


def test_subclassed_models_that_cannot_be_served_are_refused_with_what_to_do():
    model = Subclassed()
    model.build((None, 3))  # which builds no layer of it
    for function in (prunable, unsupported, masked, strip, masks_of, Masks.dense):
        with pytest.raises(InputError, match=r"^model 'subclassed\w*' \(Subclassed\) has no weights yet: call it on"):
            function(model)
    model = Untraceable()
    model(np.zeros((1, 3), "f4"))
    assert list(prunable(model)) == [f"{model.name}/dense.kernel"]
    with pytest.raises(
        InputError, match=r"^model 'untraceable\w*' \(Untraceable\) is subclassed, and cannot be called"
    ):
        masked(model)


def test_models_without_weights_and_other_things_are_refused():
    with pytest.raises(InputError, match=r"model\.build"):
        masked(keras.Sequential([L.Dense(2)]))
    with pytest.raises(InputError, match="Received: Dense"):
        masked(L.Dense(2))


@keras.saving.register_keras_serializable("tfprune_test")
class OwnDense(L.Dense):
    pass


class NoConfig(L.Layer):
    def __init__(self, given):
        super().__init__()

    def call(self, inputs):
        return inputs


def test_own_subclasses_are_masked_as_they_are():
    model = keras.Sequential([keras.Input((3,)), OwnDense(2, name="own"), L.Dense(2, name="plain")])
    assert list(prunable(model)) == ["own/kernel", "plain/kernel"] and unsupported(model) == []
    own, plain = masked(model).layers
    assert isinstance(own, OwnDense) and type(own) is not OwnDense and type(plain).__name__ == "MaskedDense"
    assert [type(layer) for layer in strip(masked(model)).layers] == [OwnDense, L.Dense]


def test_layers_that_cannot_be_copied_are_named():
    number, array = (keras.Sequential([keras.Input((3,)), NoConfig(one), L.Dense(2)]) for one in (3, np.zeros(3)))
    masked(number)  # Keras knows what it was made of
    with pytest.raises(InputError, match=r"'no_config\w*' \(NoConfig\) cannot be copied: .*; its get_config has to"):
        masked(array)
    model = keras.Sequential([keras.Input((3,)), NormalizedMaskedDense(2, name="imp")])
    with pytest.raises(InputError, match=r"'imp'.*no counterpart"):
        strip(model)


def test_masks_need_masked_layers():
    model = keras.Sequential([keras.Input((3,)), L.Dense(2, name="d")])
    set_masks(model, Masks.dense(model))
    with pytest.raises(InputError, match="'d' has no masks"):
        set_masks(model, {"d/kernel": np.zeros((3, 2), bool)})


def test_quantized_layers_are_not_prunable():
    model = keras.Sequential([keras.Input((4,)), L.Dense(4, name="d"), L.Dense(2, name="e")])
    model.layers[0].quantize("int8")
    assert list(prunable(model)) == ["e/kernel"]


def test_adapted_normalization_is_copied():
    normalization = keras.layers.Normalization()
    normalization.adapt(np.array([[1.0], [5.0]], np.float32))  # mean 3, deviation 2
    model = keras.Sequential([keras.Input((1,)), normalization])
    for copy in (masked(model), strip(model)):
        np.testing.assert_allclose(copy(np.array([[7.0]], np.float32)), [[2.0]], rtol=1e-6)


def test_strip_leaves_nothing_of_this_package_and_compiles_on_request():
    start = keras.layers.Dense(2, kernel_initializer=Binary(3), name="a")
    sparse = masked(keras.Sequential([keras.Input((3,)), start]))
    sparse.compile("sgd", "mse")
    plain = strip(sparse, compiled=False)
    assert "tfprune" not in plain.to_json()
    np.testing.assert_array_equal(plain.get_layer("a").kernel, start.kernel)
    assert strip(sparse).compiled and not plain.compiled


@keras.saving.register_keras_serializable("tests_convert")
class _Unembedding(keras.layers.Layer):
    """Multiplies with the table of another layer of the model."""

    def __init__(self, table, **kwargs):
        super().__init__(**kwargs)
        self.table = table

    def call(self, x):
        return keras.ops.matmul(x, keras.ops.transpose(self.table.embeddings))

    def get_config(self):
        return {**super().get_config(), "table": keras.saving.serialize_keras_object(self.table)}

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "table": keras.saving.deserialize_keras_object(config["table"])})


def test_a_layer_that_holds_another_one_of_the_graph_holds_its_copy(tmp_path):
    words = keras.Input((5,), dtype="int32")
    table = keras.layers.Embedding(11, 6, name="table")
    model = keras.Model(words, _Unembedding(table)(keras.layers.Dense(6, name="dense")(table(words))))
    kernels = prunable(model)
    masks = {path: np.arange(kernel.numpy().size).reshape(kernel.shape) % 3 > 0 for path, kernel in kernels.items()}
    assert list(masks) == ["table/embeddings", "dense/kernel"]
    sparse = masked(model, masks)
    sparse.save(tmp_path / "sparse.keras")
    for path, kernel in prunable(model).items():
        kernel.assign(kernel * masks[path])
    x = np.arange(10).reshape(2, 5)
    with pytest.warns(UserWarning, match="_Unembedding"):
        small = compact(sparse)
    for one in (sparse, strip(sparse), load_model(tmp_path / "sparse.keras"), small):
        assert list(prunable(one)) == list(masks)
        np.testing.assert_allclose(one(x), model(x), rtol=1e-5, atol=1e-6)


def test_a_layer_in_the_graph_and_in_a_wrapper_stays_one():
    x = inputs = keras.Input((4, 6))
    shared = keras.layers.Dense(6, name="shared")
    x = shared(keras.layers.TimeDistributed(shared)(x))
    model = keras.Model(inputs, keras.layers.Dense(2, name="last")(x))
    for one in (masked(model), strip(model), strip(masked(model))):
        assert list(prunable(one)) == ["shared/kernel", "last/kernel"]
        assert one.layers[1].layer is one.layers[2]


def test_a_cell_of_two_layers_stays_one():
    x = inputs = keras.Input((4, 6))
    cell = keras.layers.GRUCell(6)
    for name in ("first", "second"):
        x = keras.layers.RNN(cell, return_sequences=True, name=name)(x)
    model = keras.Model(inputs, x)
    masks = {
        path: np.arange(kernel.numpy().size).reshape(kernel.shape) % 3 > 0 for path, kernel in prunable(model).items()
    }
    sparse = masked(model, masks)
    assert masks_of(sparse) == masks_of(masked(sparse)) and list(masks) == [
        "first/cell.kernel",
        "first/cell.recurrent_kernel",
    ]
    for path, kernel in prunable(model).items():
        kernel.assign(kernel * masks[path])
    given = np.ones((2, 4, 6))
    for one in (sparse, strip(sparse)):
        assert one.get_layer("first").cell is one.get_layer("second").cell
        np.testing.assert_allclose(one(given), model(given), rtol=1e-5, atol=1e-6)
