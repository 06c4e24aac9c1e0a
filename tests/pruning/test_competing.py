"""Which kernels compete: what `ignore=` names, frozen kernels, and what a call says of them and of dense layers."""

import keras
import numpy as np
import pytest
from keras import layers

import tfprune
from tfprune.errors import InputError
from tfprune.layers.masks import Masks
from tfprune.layers.prunable import frozen_kernels, prunable, unsupported
from tfprune.pruning.kernel_names import KernelNames
from tfprune.pruning.pruner import prune


@pytest.fixture(scope="module")
def model():
    """Kernels conv1, block/conv1, block/conv2, head; a nested model, and a name that occurs twice."""
    keras.utils.set_random_seed(0)
    convolution = {"filters": 4, "kernel_size": 3, "padding": "same"}
    names = ("conv1", "conv2")
    block = keras.Sequential(
        [keras.Input((6, 6, 4)), *(layers.Conv2D(**convolution, name=name) for name in names)], name="block"
    )
    first = layers.Conv2D(**convolution, name="conv1")
    return keras.Sequential(
        [keras.Input((6, 6, 2)), first, layers.ReLU(name="relu"), block, layers.Flatten(), layers.Dense(3, name="head")]
    )


@pytest.mark.parametrize(
    ("ignore", "paths"),
    [
        (["head/kernel"], ["head/kernel"]),
        ("head/kernel", ["head/kernel"]),
        ("head", ["head/kernel"]),
        (["conv2", "head"], ["block/conv2/kernel", "head/kernel"]),
        ({"conv1"}, ["conv1/kernel"]),  # the path of a layer goes before the name of another
        (("block",), ["block/conv1/kernel", "block/conv2/kernel"]),
        ("block/conv1", ["block/conv1/kernel"]),
        (lambda layer: isinstance(layer, layers.Dense), ["head/kernel"]),
        ([lambda layer: layer.name == "conv1", "head"], ["conv1/kernel", "block/conv1/kernel", "head/kernel"]),
        ((), []),
    ],
)
def test_what_ignore_names(model, ignore, paths):
    assert KernelNames(model, "ignore=").all_of(ignore) == paths
    masks = prune(model, "magnitude", 0.7, ignore=ignore)
    assert [path for path, mask in masks.items() if mask.all()] == paths
    size = sum(mask.size for path, mask in masks.items() if path not in paths)
    assert masks.kept == masks.size - int(0.7 * size + 1e-6)


def test_layers_themselves(model):
    assert KernelNames(model, "ignore=").all_of(model.get_layer("head")) == ["head/kernel"]
    assert KernelNames(model, "ignore=").all_of([model.get_layer("block")]) == [
        "block/conv1/kernel",
        "block/conv2/kernel",
    ]
    other = keras.Sequential([keras.Input((2,)), layers.Dense(2, name="head")])
    with pytest.raises(InputError, match="layer 'head', which has no prunable kernel in this model"):
        KernelNames(model, "ignore=").of(other.layers[0])


@pytest.mark.parametrize(
    ("ignore", "message"),
    [
        (["nothing"], "'nothing', which is no prunable kernel and no layer with one; there are conv1/kernel, "),
        (["heads"], "did you mean 'head'"),
        ("relu", "'relu', which is no prunable kernel"),
        (["conv1/kernal"], "did you mean 'conv1/kernel'"),
        (5, "received int"),
        ([5], "received int"),
        (lambda layer: True, "ignore= leaves no kernel"),
    ],
)
def test_what_ignore_cannot_be(model, ignore, message):
    with pytest.raises(InputError, match=message):
        prune(model, "magnitude", 0.7, ignore=ignore)


def test_a_name_of_several_layers():
    blocks = [keras.Sequential([layers.Dense(4, name="same")], name=name) for name in "ab"]
    with pytest.raises(InputError, match="'same', a name of several layers: a/same, b/same"):
        prune(keras.Sequential([keras.Input((4,)), *blocks]), "magnitude", 0.5, ignore=["same"])


@pytest.fixture
def half_frozen():
    """A frozen layer, a frozen nested model, a single frozen variable, and two trainable kernels."""
    inner = keras.Sequential([layers.Dense(8, name="x")], name="inner")
    names = "abcd"
    model = keras.Sequential(
        [keras.Input((6,)), *(layers.Dense(8, use_bias=False, name=name) for name in names), inner]
    )
    model.get_layer("a").trainable = False
    model.get_layer("c").kernel.trainable = False
    inner.trainable = False
    return model


def test_frozen_kernels_are_told_and_can_be_kept(half_frozen, recwarn):
    frozen = ["a/kernel", "c/kernel", "inner/x/kernel"]
    assert frozen_kernels(half_frozen) == frozen
    masks = prune(half_frozen, "magnitude", 0.75)
    assert masks.kept == masks.size - int(0.75 * masks.size)
    told = "3 of 5 kernels are frozen (trainable=False) and pruned like the others: 'a/kernel', 'c/kernel', 'inner"
    (warning,) = list(recwarn)
    assert str(warning.message).startswith(told) and warning.filename == __file__
    recwarn.clear()
    assert prune(half_frozen, "magnitude", 0.75, frozen="prune") == masks
    for pruning_type in ("direct", "effective"):
        kept = prune(half_frozen, "magnitude", 0.75, pruning_type, frozen="keep")
        assert all(kept[path].all() for path in frozen)
        if pruning_type == "direct":  # the target is of the two others
            assert kept["b/kernel"].sum() + kept["d/kernel"].sum() == 128 - 96
    assert prune(half_frozen, "magnitude", 0.75, ignore=frozen) == prune(half_frozen, "magnitude", 0.75, frozen="keep")
    for layer in half_frozen.layers:
        layer.trainable = True
    half_frozen.get_layer("c").kernel.trainable = True
    prune(half_frozen, "magnitude", 0.75)
    assert [str(warning.message) for warning in recwarn] == []
    half_frozen.trainable = False
    with pytest.raises(InputError, match='frozen="keep" leaves no kernel to prune'):
        prune(half_frozen, "magnitude", 0.75, frozen="keep")


class Own(layers.Layer):
    """A dense layer of a user's own, whose matrix is not trained."""

    def build(self, shape):
        self.matrix = self.add_weight(shape=(shape[-1], 10), name="matrix", trainable=False)

    def call(self, inputs):
        return inputs @ self.matrix


def test_layers_that_stay_dense_are_told_once_with_their_share(recwarn):
    model = keras.Sequential(
        [keras.Input((10,)), layers.Dense(10, name="a"), Own(name="own"), layers.LayerNormalization(), layers.Dense(5)]
    )
    told = "1 layer with weights stays dense, 34.5 % of the parameters: 'own'"  # 100 of 110 + 100 + 20 + 55 + 5
    assert model.count_params() == 285 and f"{100 * 100 / 285:.3g}" == "35.1"
    prune(model, "magnitude", 0.5)
    assert [str(warning.message) for warning in recwarn] == [told.replace("34.5", "35.1")]
    recwarn.clear()
    prune(tfprune.masked(keras.Sequential([keras.Input((10,)), layers.Dense(10), Own(name="own")])), "magnitude", 0.5)
    (warning,) = list(recwarn)  # 100 of 210: masks are no parameters
    assert "47.6 % of the parameters: 'own'" in str(warning.message)


def test_unsupported_names_quantized_layers_alone():
    inputs = keras.Input((5,), dtype="int32")
    x = layers.Embedding(10, 4, name="table")(inputs)
    x = layers.Bidirectional(layers.LSTM(3), name="both")(x)
    x = layers.Dense(4, name="small")(x)
    x = layers.BatchNormalization()(x)
    model = keras.Model(inputs, layers.Dense(2, name="head")(x))
    assert unsupported(model) == []
    model.trainable = False
    assert unsupported(model) == []
    model.get_layer("small").quantize("int8")
    assert unsupported(model) == ["small"]
    cells = [f"both/{way}_layer.cell.{name}kernel" for way in ("forward", "backward") for name in ("", "recurrent_")]
    assert list(prunable(model)) == ["table/embeddings", *cells, "head/kernel"]


@pytest.mark.parametrize("wrong", [5, [1], "masks"])
def test_masks_of_a_report_must_be_masks(model, wrong):
    with pytest.raises(InputError, match="masks must be a mapping"):
        tfprune.sparsity(model, wrong)
    assert tfprune.sparsity(model, Masks.dense(model)).direct == 0 == np.float64(0)
