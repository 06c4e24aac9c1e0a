"""Wanda by hand, its comparison within outputs, and models of many forms."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tfprune.errors import InputError
from tfprune.layers.masks import Masks
from tfprune.layers.prunable import prunable
from tfprune.pruning.pruner import prune
from tfprune.pruning.scores.wanda import wanda
from tfprune.pruning.specs import Pruner
from tfprune.pruning.within_outputs import within_outputs


def scores_of(model, *batches, masks=None):
    masks = Masks.dense(model) if masks is None else masks
    return wanda(model, [(x, np.zeros(len(x))) for x in batches], masks, np.random.default_rng(0))


@pytest.fixture
def tiny():
    """W = [[1, −2], [3, 0.5]], and then B = [[1, 1], [1, −1]]."""
    model = keras.Sequential([keras.Input((2,)), layers.Dense(2, "relu", name="a"), layers.Dense(2, name="b")])
    model.layers[0].kernel.assign([[1.0, -2.0], [3.0, 0.5]])
    model.layers[1].kernel.assign([[1.0, 1.0], [1.0, -1.0]])
    return model


def test_by_hand(tiny):
    # Inputs (3, 0), (4, 1), (0, 1): norms 5 and √2. Hidden (3, −6), (7, −7.5), (3, 0.5), cut at 0: norms √67 and 0.5.
    x = np.array([[3, 0], [4, 1], [0, 1]], np.float32)
    first, second = scores_of(tiny, x[:2], x[2:]).values()
    np.testing.assert_allclose(first, [[5, 10], [3 * 2**0.5, 0.5 * 2**0.5]], rtol=1e-6)
    np.testing.assert_allclose(second, [[67**0.5] * 2, [0.5] * 2], rtol=1e-6)
    masks = prune(tiny, "wanda", 0.5, data=(x, np.zeros(3)))
    # |w| alone would keep 3 in the first column; all columns keep one.
    np.testing.assert_array_equal(masks["a/kernel"], [[1, 1], [0, 0]])
    np.testing.assert_array_equal(masks["b/kernel"], [[1, 1], [0, 0]])
    magnitude = prune(tiny, Pruner("magnitude", per_output=True), 0.5)
    np.testing.assert_array_equal(magnitude["a/kernel"], [[0, 1], [1, 0]])


@pytest.mark.parametrize(
    "form", [np.asarray, lambda x: {"x": x}, lambda x: tf.data.Dataset.from_tensor_slices(x).batch(2)]
)
def test_inputs_alone_are_enough(form):
    x = np.array([[3, 0], [4, 1], [0, 1]], np.float32)
    model = keras.Sequential([keras.Input((2,), name="x"), layers.Dense(2, name="a")])
    masks = prune(model, "wanda", 0.5, data=form(x))
    np.testing.assert_array_equal(masks["a/kernel"], prune(model, "wanda", 0.5, data=(x, np.zeros(3)))["a/kernel"])
    with pytest.raises(InputError, match="data must be"):
        prune(model, "snip", 0.5, data=x)


def test_pruned_weights_give_later_layers_nothing(tiny):
    masks = {"a/kernel": np.array([[1, 0], [0, 1]], bool), "b/kernel": np.ones((2, 2), bool)}
    x = np.array([[3, 0], [4, 2]], np.float32)
    first, second = scores_of(tiny, x, masks=Masks(masks)).values()
    np.testing.assert_allclose(first, [[5, 0], [0, 1]], rtol=1e-6)
    np.testing.assert_allclose(second, [[5, 5], [1, 1]], rtol=1e-6)  # hidden (3, 0), (4, 1)


def test_patches_of_a_convolution():
    """A window of two, "same" padding: the first place sees all steps, the second all but the first."""
    model = keras.Sequential([keras.Input((3, 1)), layers.Conv1D(1, 2, padding="same")])
    model.layers[0].kernel.assign([[[1.0]], [[-1.0]]])
    (score,) = scores_of(model, np.array([[[2], [3], [6]]], np.float32)).values()
    np.testing.assert_allclose(score.ravel(), [7, 45**0.5], rtol=1e-6)


def test_norms_are_those_of_inputs_that_a_loop_collects(network):
    model, (inputs, _) = network
    found = scores_of(model, inputs[:9], inputs[9:])
    seen = keras.Model(model.input, [model.get_layer("head").input, model.get_layer("depthwise").input])
    flat, images = (np.asarray(part) for part in seen(inputs))
    kernels = {path: np.abs(variable.numpy()) for path, variable in prunable(model).items()}
    np.testing.assert_allclose(
        found["head/kernel"], kernels["head/kernel"] * np.linalg.norm(flat, axis=0)[:, None], 1e-4
    )
    expected = np.zeros((3, 3, 6, 1))
    for down, across in np.ndindex(3, 3):
        window = images[:, down : down + 2, across : across + 2]
        expected[down, across, :, 0] = np.sqrt((window**2).sum((0, 1, 2)))
    np.testing.assert_allclose(found["depthwise/kernel"], kernels["depthwise/kernel"] * expected, 1e-4)


@pytest.mark.parametrize("sparsity", [0.5, 0.7])
def test_each_output_keeps_the_same_part(network, sparsity):
    model, data = network
    masks = prune(model, "wanda", sparsity, data=data, frozen="prune")
    assert masks.kept == masks.size - int(sparsity * masks.size + 1e-6)
    for path in ("stem/kernel", "frozen/kernel", "head/kernel", "separable/pointwise_kernel"):
        columns = masks[path].reshape(-1, masks[path].shape[-1])
        assert (np.abs(columns.sum(0) - (1 - sparsity) * len(columns)) <= 1).all(), path
    scores = wanda(model, [data], Masks.dense(model), None)
    kept, scores = masks["head/kernel"], scores["head/kernel"]
    for output in range(4):  # and the best of each
        assert scores[kept[:, output], output].min() >= scores[~kept[:, output], output].max()


def test_ranks_within_outputs_by_hand():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2, name="d")])
    scores = np.array([[4, 1], [3, 1], [9, 1], [1, 1]], np.float32)
    mask = np.array([[1, 1], [1, 1], [0, 1], [1, 1]], bool)
    (ranked,) = (within_outputs(model, {"d/kernel": scores}, {"d/kernel": mask}, seed) for seed in [0])
    ranked = ranked["d/kernel"]
    np.testing.assert_allclose(ranked[:, 0], [0.875, 0.625, 0, 0.375])
    assert sorted(ranked[:, 1]) == [0.125, 0.375, 0.625, 0.875]
    orders = {
        tuple(within_outputs(model, {"d/kernel": scores}, {"d/kernel": mask}, s)["d/kernel"][:, 1]) for s in range(9)
    }
    assert len(orders) > 1  # ties fall by the seed


def test_half_precision_is_summed_in_full():
    policy = keras.DTypePolicy("mixed_float16")
    model = keras.Sequential([keras.Input((2,)), layers.Dense(2, dtype=policy, name="d")])
    model.layers[0].kernel.assign([[1.0, 1.0], [1.0, 1.0]])
    (score,) = scores_of(model, np.full((8, 2), 200, np.float32)).values()  # the sum of squares is 320,000 > 65,504
    np.testing.assert_allclose(score, 320_000**0.5, rtol=1e-6)


@keras.saving.register_keras_serializable("tfprune_wanda")
class Cell(layers.Layer):
    """Its layer is called in a loop that TensorFlow traces apart."""

    state_size = 4

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.step = layers.Dense(4)

    def build(self, input_shape):
        self.step.build(input_shape)

    def call(self, inputs, states):
        outputs = self.step(inputs) + states[0]
        return outputs, [outputs]


def test_kernels_without_known_inputs_are_named():
    tokens = keras.Input((None,), dtype="int32")
    x = layers.Embedding(9, 4, name="table")(tokens)
    x = layers.TimeDistributed(layers.Dense(4), name="steps")(x)
    x = layers.RNN(Cell(), return_sequences=True, name="loop")(x)
    x = layers.MultiHeadAttention(2, 3, name="heads")(x, x)
    model = keras.Model(tokens, layers.Dense(2, name="last")(layers.GlobalMaxPooling1D()(x)))
    data = np.random.default_rng(0).integers(0, 9, (6, 5)), np.zeros(6)
    with pytest.raises(InputError, match=r"says nothing of 2 kernels.*\['table/embeddings', 'loop/cell.step.kernel'\]"):
        prune(model, "wanda", 0.5, data=data)
    masks = prune(model, "wanda", 0.5, data=data, ignore=["table", "loop"])
    assert masks["table/embeddings"].all()
    for path, mask in masks.items():
        if path.startswith("heads"):
            columns = mask.reshape(6, 4) if "output" in path else mask.reshape(4, 6)
            np.testing.assert_array_equal(columns.sum(0), len(columns) // 2)


def test_inputs_that_are_no_numbers(tiny):
    with pytest.raises(InputError, match="'a/kernel' is multiplied with is not finite"):
        prune(tiny, "wanda", 0.5, data=(np.full((2, 2), np.nan, np.float32), np.zeros(2)))


@pytest.mark.filterwarnings("ignore:.*frozen")
def test_two_of_four_by_the_scores_themselves(network):
    model, data = network
    ignored = ["stem", "separable", "depthwise"]  # whose inputs are no multiple of four
    masks = prune(model, "wanda", pattern="2:4", data=data, ignore=ignored)
    scores = wanda(model, [data], Masks.dense(model), None)
    for path in ("frozen/kernel", "head/kernel"):
        groups = scores[path].reshape(-1, 4, scores[path].shape[1])
        expected = groups >= np.sort(groups, axis=1)[:, 2:3]
        np.testing.assert_array_equal(masks[path].reshape(groups.shape), expected)
