"""Whole models by SparseGPT: counts, patterns, order, what stays dense."""

import keras
import numpy as np
import pytest
from keras import layers

import tfprune
from tfprune.errors import InputError
from tfprune.pruning.sparsegpt import in_order

RNG = np.random.default_rng(0)
X = (RNG.normal(size=(60, 8)) @ RNG.normal(size=(8, 8))).astype("f4")


def dense(seed=0):
    keras.utils.set_random_seed(seed)
    return keras.Sequential([keras.Input((8,)), layers.Dense(12, "relu", name="a"), layers.Dense(6, name="b")])


def outputs_error(model, sparse, x):
    return float(np.square(np.asarray(model(x)) - np.asarray(sparse(x))).sum())


def test_counts_are_exact_and_the_model_is_left_as_it_is():
    model = dense()
    before = model.get_weights()
    for sparsity in (0, 0.3, 0.55):
        sparse = tfprune.sparsegpt(model, sparsity, X, blocksize=4)
        for path, mask in tfprune.masks_of(sparse).items():
            assert np.count_nonzero(~mask) == int(sparsity * mask.size + 1e-6)
            assert not tfprune.prunable(sparse)[path].numpy()[~mask].any()
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_allclose(tfprune.sparsegpt(model, 0, X)(X), model(X), atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_outputs_stay_closer_than_by_magnitude_or_wanda(seed):
    model = dense(seed)
    sparse = tfprune.sparsegpt(model, 0.5, X)
    error = outputs_error(model, sparse, X)
    magnitude = tfprune.masked(model, tfprune.prune(model, "magnitude/uniform", 0.5))
    wanda = tfprune.masked(model, tfprune.prune(model, "wanda", 0.5, data=(X, np.zeros(len(X)))))
    unmoved = tfprune.masked(model, tfprune.masks_of(sparse))
    assert error < min(outputs_error(model, other, X) for other in (magnitude, wanda, unmoved))


def test_two_of_four_and_refused_patterns():
    model = dense()
    sparse = tfprune.sparsegpt(model, pattern="2:4", data=X, blocksize=3)
    for mask in tfprune.masks_of(sparse).values():
        assert (mask.reshape(-1, 4, mask.shape[1]).sum(1) == 2).all()
    with pytest.raises(InputError, match=r"pattern 3:5 does not fit kernel 'a/kernel'.*8 inputs"):
        tfprune.sparsegpt(model, pattern="3:5", data=X)
    with pytest.raises(InputError, match=r"pattern N:M keeps N of M.*received '4:2'"):
        tfprune.sparsegpt(model, pattern="4:2", data=X)
    with pytest.raises(InputError, match="give sparsity= or pattern="):
        tfprune.sparsegpt(model, 0.5, X, pattern="2:4")


def test_later_layers_see_what_the_pruned_ones_give():
    model, seen = dense(), {}

    def compress(path, weights, alive, grams):
        seen[path] = grams
        return weights / 2, alive

    in_order(model, X, compress)
    hidden = np.maximum(X @ model.layers[0].kernel.numpy() / 2, 0)
    np.testing.assert_allclose(seen["a/kernel"][0], X.T @ X, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(seen["b/kernel"][0], hidden.T @ hidden, rtol=1e-4, atol=1e-3)


def test_masks_that_are_there_count():
    model = dense()
    first = tfprune.sparsegpt(model, 0.4, X)
    second = tfprune.masks_of(tfprune.sparsegpt(first, 0.7, X))
    for path, mask in tfprune.masks_of(first).items():
        assert not (second[path] & ~mask).any() and np.count_nonzero(~second[path]) == int(0.7 * mask.size)
    with pytest.raises(InputError, match=r"sparsity 0.2 is below that of kernel 'a/kernel', 0.39"):
        tfprune.sparsegpt(first, 0.2, X)


def test_convolutions_of_all_kinds(network):
    model, data = network
    sparse = tfprune.sparsegpt(model, 0.5, data, ignore="head")
    masks = tfprune.masks_of(sparse)
    assert masks["head/kernel"].all() and len(masks) == 6
    for path, mask in masks.items():
        assert path == "head/kernel" or np.count_nonzero(~mask) == mask.size // 2
    kernels = tfprune.prunable(sparse)
    # What the separable layer's second kernel reads is made with its first one as it is now: outputs stay close.
    stem = keras.Model(sparse.input, sparse.get_layer("separable").input)(data[0])
    old, new = model.get_layer("separable"), sparse.get_layer("separable")
    moved = np.square(np.asarray(old(stem)) - np.asarray(new(stem))).sum()
    for name in ("depthwise_kernel", "pointwise_kernel"):
        getattr(new, name).assign(getattr(old, name).numpy() * masks[f"separable/{name}"])
    assert moved < np.square(np.asarray(old(stem)) - np.asarray(new(stem))).sum()
    assert len(kernels) == 6


def test_attention_in_a_subclassed_model_and_what_stays_dense():
    @keras.saving.register_keras_serializable("tfprune_sparsegpt")
    class Net(keras.Model):
        def __init__(self, **arguments):
            super().__init__(**arguments)
            self.table, self.heads = layers.Embedding(9, 4), layers.MultiHeadAttention(2, 4)
            self.last = layers.Dense(2)

        def call(self, tokens):
            x = self.table(tokens)
            return self.last(x + self.heads(x, x))

    keras.utils.set_random_seed(0)
    model, tokens = Net(name="net"), RNG.integers(0, 9, (12, 5)).astype("int32")
    model(tokens)
    with pytest.warns(UserWarning, match="1 of 6 kernels stay dense.*'net/table.embeddings'"):
        sparse = tfprune.sparsegpt(model, 0.5, tokens)
    assert type(sparse).__name__ == "Net"
    for path, mask in tfprune.masks_of(sparse).items():
        assert mask.mean() == (1 if "table" in path else 0.5), path


def test_queries_keys_and_values_share_what_they_read():
    steps = keras.Input((5, 4))
    heads = layers.MultiHeadAttention(2, 3, name="heads")
    model = keras.Model(steps, layers.Dense(2, name="last")(heads(steps, steps)))
    x = RNG.normal(size=(9, 5, 4)).astype("f4")
    seen = []

    def compress(path, weights, alive, grams):
        seen.append((weights.shape, grams))
        return weights, alive

    in_order(model, x, compress)
    assert [shape for shape, _ in seen] == [(1, 4, 6), (1, 4, 6), (1, 4, 6), (1, 6, 4), (1, 4, 2)]
    assert seen[0][1] is seen[1][1] is seen[2][1] is not seen[3][1]
    rows = [x.reshape(-1, 4), _before_output(heads, x).reshape(-1, 6), np.asarray(heads(x, x)).reshape(-1, 4)]
    for (_, gram), given in zip(seen[2:], rows, strict=True):
        np.testing.assert_allclose(gram[0], given.T @ given, rtol=1e-4, atol=1e-3)


def _before_output(heads, x):
    """What attention's last projection is given: the values of each head, weighted."""
    parts = (
        (x @ part.kernel.numpy().reshape(4, 6) + part.bias.numpy().ravel()).reshape(*x.shape[:2], 2, 3)
        for part in (heads._query_dense, heads._key_dense, heads._value_dense)
    )
    query, key, value = parts
    scores = np.exp(np.einsum("bthd,bshd->bhts", query, key) / 3**0.5)
    return np.einsum("bhts,bshd->bthd", scores / scores.sum(-1, keepdims=True), value)


def test_a_layer_that_is_called_twice_is_pruned_for_both_calls():
    inputs, shared, seen = keras.Input((3,)), layers.Dense(3, name="twice", use_bias=False), []
    model = keras.Model(inputs, shared(shared(inputs)))
    x = RNG.normal(size=(10, 3)).astype("f4")

    def compress(path, weights, alive, grams):
        seen.append(grams[0])
        return weights, alive

    in_order(model, x, compress)
    again = x @ shared.kernel.numpy()
    np.testing.assert_allclose(seen, [x.T @ x + again.T @ again], rtol=1e-4, atol=1e-4)


def test_data_of_many_forms_and_bad_ones():
    import tensorflow as tf

    model = dense()
    expected = tfprune.sparsegpt(model, 0.5, X).get_weights()
    forms = [(X, np.zeros(60)), tf.data.Dataset.from_tensor_slices(X).batch(60), [(X, None)], {"input": X}]
    forms[3] = {model.inputs[0].name: X}
    for data in forms:
        for one, other in zip(expected, tfprune.sparsegpt(model, 0.5, data).get_weights(), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-6)
    for data, told in (
        (None, "needs data="),
        (X[:, :3], "takes batches of inputs of shape"),
        (X * np.nan, "'a/kernel' is multiplied with is not finite"),
    ):
        with pytest.raises(InputError, match=told):
            tfprune.sparsegpt(model, 0.5, data)
    with pytest.raises(InputError, match="Hessian of kernel 'a/kernel' is singular"):
        tfprune.sparsegpt(model, 0.5, np.repeat(X[:1], 4, 0), dampening=0)
