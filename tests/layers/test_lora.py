"""Low-rank updates and quantized layers: every call gives the outputs of the model as it is, or refuses by name."""

import warnings
from functools import partial

import keras
import numpy as np
import pytest
from keras import layers as L

import tfprune
from tfprune.errors import InputError
from tfprune.layers.variants import with_precision
from tfprune.layers.weights import weights_of
from tfprune.pruning.prune_filters import filter_scores
from tfprune.surgery.groups import channel_groups

LAYERS = {
    "dense": (lambda: L.Dense(6, name="a"), (5, 4)),
    "einsum": (lambda: L.EinsumDense("abc,cd->abd", output_shape=(5, 6), bias_axes="d", name="a"), (5, 4)),
    "conv1": (lambda: L.Conv1D(6, 3, name="a"), (5, 4)),
    "conv2": (lambda: L.Conv2D(6, 2, activation="relu", padding="same", name="a"), (4, 4, 3)),
    "conv3": (lambda: L.Conv3D(6, 2, groups=2, name="a"), (3, 3, 3, 2)),
    "embedding": (lambda: L.Embedding(9, 6, name="a"), (5,)),
    "reversible": (lambda: L.ReversibleEmbedding(9, 6, name="a"), (5,)),
    "attention": (lambda: L.MultiHeadAttention(2, 3, name="a"), (5, 4)),
    "distributed": (lambda: L.TimeDistributed(L.Dense(6), name="a"), (5, 4)),
}
PRUNABLE = tuple(LAYERS)
QUANTIZED = ("dense", "einsum", "embedding", "reversible", "attention")


def _model(name, masked):
    """The layer between two others; a layer with the name `a` is the one in question."""
    make, shape = LAYERS[name]
    inputs = keras.Input(shape, dtype="int32" if name in ("embedding", "reversible") else None)
    layer = make()
    x = layer(inputs, inputs) if name == "attention" else layer(inputs)
    x = L.BatchNormalization(name="norm")(x)
    model = keras.Model(inputs, L.Dense(3, name="out")(L.Flatten()(x)), name="net")
    rng = np.random.default_rng(0)
    for variable in model.weights:
        drawn = rng.normal(0, 0.5, variable.shape)
        variable.assign(np.abs(drawn) + 0.5 if variable.name in ("gamma", "moving_variance") else drawn)
    if masked:
        masks = {path: rng.random(kernel.shape) < 0.5 for path, kernel in tfprune.prunable(model).items()}
        model = tfprune.masked(model, masks)
    given = rng.normal(size=(4, *shape)).astype(np.float32)
    return model, np.abs(3 * given).astype(np.int32) % 9 if inputs.dtype == "int32" else given


def _updated(name, masked):
    """With an update of a scale that is not 1, which Keras's own copies forget."""
    model, given = _model(name, masked)
    layer = model.get_layer("a")
    inner = {"attention": "_value_dense", "distributed": "layer"}.get(name)
    layer = getattr(layer, inner) if inner else layer
    layer.enable_lora(2, lora_alpha=3)
    rng = np.random.default_rng(1)
    for variable in layer.trainable_variables:
        if "lora" in variable.name:
            variable.assign(rng.normal(0, 0.7, variable.shape))
    return model, given


@pytest.fixture(scope="module", params=[(name, masked) for name in LAYERS for masked in (False, True)], ids=str)
def updated(request):
    model, given = _updated(*request.param)
    return model, given, model(given).numpy()


def _saved(model, folder):
    model.save(folder / "model.keras")
    return tfprune.load_model(folder / "model.keras")


COPIES = {
    "masked": lambda model, folder: tfprune.masked(model),
    "strip": lambda model, folder: tfprune.strip(model),
    "compact": lambda model, folder: tfprune.compact(model),
    "fold": lambda model, folder: tfprune.compact(model, fold_batchnorm=True),
    "compact masked": lambda model, folder: tfprune.compact(tfprune.masked(model)),
    "precision": lambda model, folder: with_precision(model, "float32"),
    "save": _saved,
    "export": lambda model, folder: keras.saving.load_model(
        tfprune.export(model, folder / "out.keras", tolerance=np.inf, examples=_model_inputs(model)).path
    ),
}


def _model_inputs(model):
    (tensor,) = model.inputs
    return np.ones((2, *tensor.shape[1:]), tensor.dtype)


@pytest.mark.slow_beyond(24)
@pytest.mark.parametrize("call", COPIES)
def test_copies_compute_what_the_model_does(updated, call, tmp_path):
    model, given, expected = updated
    copy = COPIES[call](model, tmp_path)
    assert np.abs(copy(given).numpy() - expected).max() <= 2e-5 * np.abs(expected).max()
    assert np.array_equal(model(given), expected)
    if call != "save":
        assert not any("lora" in path for path in weights_of(copy))
        assert np.abs(tfprune.masked(copy)(given).numpy() - expected).max() <= 2e-5 * np.abs(expected).max()


REFUSED = {
    "prunable": tfprune.prunable,
    "unsupported": tfprune.unsupported,
    "masks_of": tfprune.masks_of,
    "set_masks": lambda model: tfprune.set_masks(model, {}),
    "Masks.dense": tfprune.Masks.dense,
    "sparsity": tfprune.sparsity,
    "prune": lambda model: tfprune.prune(model, "magnitude", 0.9),
    "Reachability": tfprune.Reachability,
    "compaction_report": lambda model: tfprune.compaction_report(model, model),
    "channel_groups": channel_groups,
}


@pytest.mark.slow_beyond(20)
@pytest.mark.parametrize("call", REFUSED)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", PRUNABLE)
def test_what_speaks_of_kernels_refuses_them(name, masked, call):
    model, _ = _updated(name, masked)
    with pytest.raises(InputError, match=r"^layer 'a' has a low-rank update .*tfprune\.masked\(model\)") as caught:
        REFUSED[call](model)
    assert "\n" not in str(caught.value)
    if call != "set_masks":
        REFUSED[call](tfprune.masked(model))  # the way out


def test_a_masked_update_is_masked_with_its_kernel():
    """y = x · ((W + α/r·A·B) ∘ m) + b, by hand; merging leaves pruned weights at 0."""
    model, given = _updated("dense", True)
    layer = model.get_layer("a")
    a, b, w, mask = (v.numpy() for v in (layer.lora_kernel_a, layer.lora_kernel_b, layer._kernel, layer.kernel_mask))
    kernel = (w + 3 / 2 * a @ b) * mask
    found = keras.Model(model.inputs, layer.output)(given).numpy()
    np.testing.assert_allclose(found, given @ kernel + layer.bias.numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(tfprune.strip(model).get_layer("a").kernel, kernel, rtol=1e-5, atol=1e-6)
    assert tfprune.masks_of(tfprune.masked(model))["a/kernel"].sum() == mask.sum() < 18


@pytest.mark.slow_beyond(2)
@pytest.mark.parametrize("name", ["dense", "conv2", "einsum", "conv1", "conv3"])
def test_updates_of_masked_layers_train(name):
    """Kernels stay, A and B move, and what the model computes afterwards is what its merged copy computes."""
    model, given = _updated(name, True)
    layer = model.get_layer("a")
    before = [variable.numpy() for variable in (layer._kernel, layer.lora_kernel_a, layer.lora_kernel_b)]
    model.compile(keras.optimizers.SGD(0.01), "mse")
    model.fit(given, np.ones((4, 3)), epochs=2, verbose=0)
    after = [variable.numpy() for variable in (layer._kernel, layer.lora_kernel_a, layer.lora_kernel_b)]
    assert [bool((one != other).any()) for one, other in zip(before, after, strict=True)] == [False, True, True]
    expected = model(given).numpy()
    merged = tfprune.strip(model, compiled=False)
    assert np.abs(merged(given).numpy() - expected).max() <= 2e-5 * np.abs(expected).max()
    kernel, mask = merged.get_layer("a").kernel.numpy(), layer.kernel_mask.numpy()
    assert not kernel[mask == 0].any() and kernel[mask == 1].all()


@pytest.mark.parametrize("name", ["dense", "conv2"])
def test_weight_files_keep_masked_updates(name, tmp_path):
    model, given = _updated(name, True)
    expected = model(given).numpy()
    model.save_weights(tmp_path / "model.weights.h5")
    for variable in model.variables:
        variable.assign(0.0 * variable)
    model.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(model(given), expected)


@pytest.mark.parametrize("name", ["conv1", "conv2"])
def test_filters_are_scored_with_their_update(name):
    model, _ = _updated(name, True)
    plain = tfprune.strip(model)
    for path, scores in filter_scores(model, "l1_norm").items():
        np.testing.assert_array_equal(scores, filter_scores(plain, "l1_norm")[path])
    small, other = (weights_of(tfprune.prune_filters(one, "l1_norm", 0.5)) for one in (model, plain))
    assert all(np.array_equal(small[path], other[path]) for path in other) and list(small) == list(other)


@pytest.mark.slow_beyond(5)
@pytest.mark.parametrize("call", [call for call in COPIES if call != "precision"])
@pytest.mark.parametrize("name", QUANTIZED)
def test_quantized_layers_are_copied_as_they_are(name, call, tmp_path):
    model, given = _model(name, False)
    layer = model.get_layer("a")
    (layer._value_dense if name == "attention" else layer).quantize("int8")
    expected = model(given).numpy()
    if (name, call) == ("attention", "save"):
        return  # Keras itself cannot read what it writes
    try:
        copy = COPIES[call](model, tmp_path)
    except InputError as error:  # the configuration of attention does not say that a part of it is quantized
        assert name == "attention" and "'a'" in str(error) and "\n" not in str(error)
        return
    assert np.abs(copy(given).numpy() - expected).max() <= 2e-5 * np.abs(expected).max()


def test_updates_of_quantized_layers_are_refused():
    model, _ = _model("dense", False)
    model.get_layer("a").quantize("int8")
    model.get_layer("a").enable_lora(2)
    for call in (tfprune.masked, tfprune.strip, tfprune.compact):
        with pytest.raises(InputError, match=r"^layer 'a' is quantized and has a low-rank update"):
            call(model)


def test_masked_layers_are_not_quantized():
    model, _ = _model("dense", True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for quantize in (model.get_layer("a").quantize, partial(model.quantize, filters="^a$")):
            with pytest.raises(InputError, match=r"^layer 'a' has masks .* quantize tfprune\.strip\(model\)"):
                quantize("int8")
    plain = tfprune.strip(model)
    plain.quantize("int8", filters="^a$")
    assert plain.get_layer("a").quantization_mode == "int8"
