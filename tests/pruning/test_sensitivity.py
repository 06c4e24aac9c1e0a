"""One layer pruned at a time: the metric is that of the model with this layer pruned, and the model stays as it is."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from channel_networks import drawn
from keras import layers as L

import tfprune
from tfprune.pruning.prune_channels import channel_layers


def network():
    """`a` and `c` have the same channels."""
    x = inputs = keras.Input((6, 6, 2))
    x = L.Conv2D(8, 3, padding="same", activation="relu", name="a")(x)
    y = L.Conv2D(6, 3, padding="same", activation="relu", name="b")(x)
    x = L.Add()([x, L.Conv2D(8, 3, padding="same", name="c")(y)])
    return drawn(keras.Model(inputs, L.Dense(3, name="last")(L.Flatten()(x))))


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(2)
    return rng.normal(size=(50, 6, 6, 2)).astype("f4"), rng.integers(0, 3, 50)


def accuracy_of(model, data):
    return np.mean(np.argmax(model.predict(data[0], verbose=0), -1) == data[1])


def test_weights_of_one_layer(data):
    model = network()
    before = model.get_weights()
    found = tfprune.sensitivity(model, data, sparsities=(0.5, 0.9), batch_size=20)
    assert found.baseline == pytest.approx(accuracy_of(model, data))
    assert list(found.values) == ["a", "b", "c", "last"] and found.sparsities == (0.5, 0.9)
    for layer, values in found.values.items():
        for place, sparsity in enumerate((0.5, 0.9)):
            kernel = model.get_layer(layer).kernel.numpy()
            kept = np.argsort(np.abs(kernel), axis=None)[-round((1 - sparsity) * kernel.size) :]
            mask = np.zeros(kernel.size, bool)
            mask[kept] = True
            masks = {**tfprune.masks_of(model), f"{layer}/kernel": mask.reshape(kernel.shape)}
            assert values[place] == pytest.approx(accuracy_of(tfprune.masked(model, masks), data))
            assert found.reached[layer][place] == pytest.approx(1 - len(kept) / kernel.size)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    ("chosen", "layers"),
    [
        ({"only": ["a", "last"]}, ["a", "last"]),
        ({"only": "[ab]*"}, ["a", "b"]),
        ({"only": L.Conv2D, "ignore": "b/kernel"}, ["a", "c"]),
        ({"ignore": lambda layer: isinstance(layer, L.Dense)}, ["a", "b", "c"]),
    ],
)
def test_a_choice_of_layers(data, chosen, layers):
    """They are as they are among all."""
    found = tfprune.sensitivity(network(), data, sparsities=(0.5, 0.9), **chosen)
    whole = tfprune.sensitivity(network(), data, sparsities=(0.5, 0.9))
    assert found.values == {layer: whole.values[layer] for layer in layers} and found.baseline == whole.baseline
    assert found.reached == {layer: whole.reached[layer] for layer in layers}


@pytest.mark.parametrize(
    ("chosen", "layers"),
    [
        ({"only": "a"}, ["a + c"]),  # with what is coupled
        ({"only": ["b", "last"]}, ["b"]),
        ({"ignore": "c"}, ["b"]),
        ({"only": L.Conv2D, "ignore": "b*"}, ["a + c"]),
    ],
)
def test_a_choice_of_layers_whose_channels_leave(data, chosen, layers):
    found = tfprune.sensitivity(network(), data, sparsities=(0.5,), scoring="l2", **chosen)
    whole = tfprune.sensitivity(network(), data, sparsities=(0.5,), scoring="l2")
    assert found.values == {layer: whole.values[layer] for layer in layers}


def test_only_some_kernels_of_a_layer(data):
    rng = np.random.default_rng(0)
    inputs = keras.Input((6, 6, 2))
    x = L.SeparableConv2D(4, 3, name="both")(inputs)
    model = drawn(keras.Model(inputs, L.Dense(3, name="last")(L.GlobalAveragePooling2D()(x))))
    for kernel in tfprune.prunable(model).values():
        kernel.assign(rng.normal(size=kernel.shape))
    (found,) = tfprune.sensitivity(model, data, "loss", (0.5,), only="both/depthwise*").values["both"]
    masks = tfprune.prune(model, "magnitude", {"both/depthwise_kernel": 0.5})
    assert masks.counts["both/pointwise_kernel"] == masks["both/pointwise_kernel"].size
    (pruned,) = tfprune.sensitivity(tfprune.masked(model, masks), data, "loss", (0,), only="last").values["last"]
    assert found == pytest.approx(pruned, rel=1e-6)


def test_channels_of_coupled_layers(data):
    """As the model from which they are removed; one channel stays."""
    model = network()
    found = tfprune.sensitivity(model, data, sparsities=(0.5, 0.99), scoring="l2", batch_size=20)
    assert list(found.values) == ["a + c", "b"]
    for name, values in found.values.items():
        layer = name[0]
        for value, sparsity, reached in zip(values, (0.5, 0.99), found.reached[name], strict=True):
            count = channel_layers(model)[layer]
            share = min(sparsity, 1 - 1 / count)
            small = tfprune.prune_channels(model, "l2", {layer: share})
            assert value == pytest.approx(accuracy_of(small, data)) and reached == pytest.approx(share)


def test_channels_that_attention_compares():
    """Their biases go, too: no kernel reads them."""
    rng = np.random.default_rng(0)
    inputs = keras.Input((5, 3))
    x = L.LSTM(6, return_sequences=True, name="lstm")(inputs)
    compared = [x, L.Dense(4, name="values")(inputs), L.LSTM(6, return_sequences=True, name="keys")(inputs)]
    x = L.GlobalAveragePooling1D()(L.Attention()(compared))
    model = drawn(keras.Model(inputs, L.Dense(3, name="last")(x)))
    for name in ("lstm", "keys"):
        model.get_layer(name).cell.bias.assign(np.full(24, 3.0))  # states that are far from 0 without any kernel
    data = rng.normal(size=(20, 5, 3)).astype("f4"), rng.integers(0, 3, 20)
    found = tfprune.sensitivity(model, data, "loss", sparsities=(0.5,), scoring="l2")
    assert list(found.values) == ["lstm + keys", "values"]
    for layer, (value,) in found.values.items():
        small = tfprune.prune_channels(model, "l2", {layer.partition(" ")[0]: 0.5})
        small.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        assert value == pytest.approx(small.evaluate(*data, verbose=0), rel=1e-5)


def test_the_loss_and_a_metric_of_ones_own_are_means_over_examples(data):
    model = network()
    weights = np.linspace(0, 2, 50).astype("f4")
    traced = []

    def hits(labels, outputs):
        traced.append(1)
        return tf.cast(tf.argmax(outputs, -1) == tf.cast(labels, tf.int64), tf.float32)

    own = tfprune.sensitivity(model, (*data, weights), hits, sparsities=(0.5, 0.75, 0.9), batch_size=20)
    named = tfprune.sensitivity(model, data, sparsities=(0.5, 0.75, 0.9), batch_size=20)
    assert own.values == named.values and own.metric == "hits"
    assert len(traced) == 1  # once for all batches, layers and sparsities
    loss = tfprune.sensitivity(model, (*data, weights), "loss", sparsities=(0.9,), batch_size=20)
    logits = model.predict(data[0], verbose=0).astype(float)
    log_sums = np.log(np.exp(logits).sum(1))
    assert loss.baseline == pytest.approx(np.mean(weights * (log_sums - logits[np.arange(50), data[1]])), rel=1e-5)


def test_accuracy_of_other_outputs():
    x = np.float32([[-2], [-1], [1], [3]])
    model = keras.Sequential([keras.Input((1,)), L.Dense(1, "sigmoid", name="a")])
    model.set_weights([np.ones((1, 1)), np.zeros(1)])
    for labels in ([0, 1, 1, 1], [[0], [1], [1], [1]]):
        assert tfprune.sensitivity(model, (x, np.array(labels)), sparsities=[0]).baseline == 0.75
    steps = keras.Sequential([keras.Input((4, 1)), L.Dense(2, name="a")])
    steps.set_weights([np.float32([[-1, 1]]), np.zeros(2)])
    for labels in ([0, 1, 1, 1], np.eye(2)[[0, 1, 1, 1]]):
        found = tfprune.sensitivity(steps, (x[None], np.array(labels)[None]), sparsities=[0])
        assert found.baseline == 0.75 and found.values == {"a": (0.75,)}


def test_what_masks_prune_stays_pruned(data):
    masks = {**tfprune.masks_of(network()), "b/kernel": np.random.default_rng(0).random((3, 3, 8, 6)) < 0.3}
    model = tfprune.masked(network(), masks)
    found = tfprune.sensitivity(model, data, sparsities=[0, 0.5], scoring="l2")
    assert found.baseline == pytest.approx(accuracy_of(model, data))
    for layer, (whole, half) in found.values.items():
        small = tfprune.prune_channels(model, "l2", {layer[0]: 0.5})
        assert (whole, half) == (found.baseline, pytest.approx(accuracy_of(small, data)))


def test_table_and_figure(data, tmp_path):
    found = tfprune.sensitivity(network(), data, sparsities=(0.5, 0.9), scoring="l1_norm")
    assert found.table.loc["b", 0.9] == found.values["b"][1] and found.table.shape == (2, 2)
    assert str(found).splitlines()[0].split() == ["0.5", "0.9"] and "with all layers whole" in str(found)
    (axes,) = found.figure().axes
    lines = {line.get_label(): line for line in axes.lines}
    assert set(lines) == {"nothing pruned", "a + c", "b"}
    np.testing.assert_allclose(lines["b"].get_xdata(), [0, 0.5, 5 / 6])
    np.testing.assert_allclose(lines["b"].get_ydata(), [found.baseline, *found.values["b"]])
    assert found.save(tmp_path / "s.png").stat().st_size > 1000
    with pytest.raises(
        tfprune.InputError, match=r"must end in \.png \(the numbers: \.table\.to_csv\(path\)\)\. Received: 's\.csv'"
    ):
        found.save("s.csv")


@pytest.mark.parametrize(
    "given, message",
    [
        ({"sparsities": []}, r"sparsities must be numbers in \[0, 1\), at least one; received \[\]"),
        ({"sparsities": [0.5, 1]}, r"sparsities must be numbers in \[0, 1\), at least one; received 1"),
        ({"sparsities": [90]}, ".*received 90; did you mean 0.9.*"),
        ({"pruner": "lamp", "scoring": "l2"}, ".*prunes weights by pruner or channels by scoring: give one of them"),
        ({"metric": "acuracy"}, "metric must be accuracy, loss or a function .*; received 'acuracy'; .*accuracy.*"),
        ({"data": None}, "sensitivity needs data=: the metric is measured on it"),
        (
            {"data": (np.zeros((4, 6, 6, 2)), np.zeros((4, 5, 2)))},
            "metric='accuracy': labels of shape .* do not fit .*",
        ),
        ({"scoring": "best"}, "scoring must be one of .*"),
        ({"pruner": "best"}, "pruner must be one of .*"),
        ({"scoring": "batch_norm_scale"}, "model '.*' has no channels that can leave and have scores"),
        ({"scoring": "l2", "only": "last"}, ".* that can leave and have scores, where only= and ignore= let them"),
        ({"only": "lost"}, "only= holds 'lost', which is no prunable kernel .*; did you mean 'last'.*"),
        ({"scoring": "l2", "ignore": "x*"}, r"ignore= holds 'x\*', which matches no prunable kernel .*"),
        ({"only": "a", "ignore": "a"}, "only= with ignore= leaves no kernel to prune"),
    ],
)
def test_refused(given, message, data):
    with pytest.raises(tfprune.InputError, match=f"^{message}$"):
        tfprune.sensitivity(network(), **{"data": data, **given})
