"""Accelerated models: the same outputs, training as with masks, files, and a line where something cannot be."""

import warnings

import keras
import numpy as np
import pytest
from keras import layers as L

import tfprune
from tfprune.errors import InputError
from tfprune.layers.kept_layers import KeptKernel, has_kept

pytest.importorskip("numba")


def _mlp():
    return keras.Sequential(
        [
            keras.Input((64,)),
            L.Dense(256, name="first"),
            L.BatchNormalization(),
            L.ReLU(),
            L.Dense(256, "relu", name="second"),
            L.Dense(10, name="head"),
        ],
        name="mlp",
    )


def _vgg():
    stack = [keras.Input((8, 8, 3))]
    for number, width in enumerate((16, 16, 32)):
        stack += [L.Conv2D(width, 3, padding="same", use_bias=False, name=f"conv{number}"), L.BatchNormalization()]
        stack += [L.ReLU(), L.MaxPooling2D()]
    return keras.Sequential([*stack, L.Flatten(), L.Dense(10, name="head")], name="vgg")


def _resnet():
    given = keras.Input((8, 8, 3))
    x = L.Conv2D(16, 3, padding="same", name="stem")(given)
    for number, strides in enumerate((1, 2)):
        # Without biases: in front of a normalisation their gradients are nothing but rounding.
        y = L.BatchNormalization()(L.Conv2D(16, 3, strides, padding="same", use_bias=False, name=f"a{number}")(x))
        y = L.Conv2D(16, 3, padding="same", use_bias=False, name=f"b{number}")(L.ReLU()(y))
        x = x if strides == 1 else L.Conv2D(16, 1, strides, name=f"shortcut{number}")(x)
        x = L.ReLU()(L.Add()([x, L.BatchNormalization()(y)]))
    return keras.Model(given, L.Dense(10, name="head")(L.GlobalAveragePooling2D()(x)), name="resnet")


def _mobilenet():
    given = keras.Input((8, 8, 3))
    x = L.Conv2D(8, 3, 2, padding="same", name="stem")(given)
    for number in range(2):
        y = L.ReLU(6.0)(L.BatchNormalization()(L.Conv2D(48, 1, use_bias=False, name=f"expand{number}")(x)))
        y = L.DepthwiseConv2D(3, padding="same", use_bias=False, name=f"depthwise{number}")(y)
        y = L.ReLU(6.0)(L.BatchNormalization()(y))
        x = L.Add()([x, L.BatchNormalization()(L.Conv2D(8, 1, use_bias=False, name=f"project{number}")(y))])
    return keras.Model(given, L.Dense(10, name="head")(L.GlobalAveragePooling2D()(x)), name="mobilenet")


def _transformer():
    given = keras.Input((6, 32))
    query, key, value = (
        L.EinsumDense("btd,dhk->bthk", (None, 4, 8), bias_axes="hk", name=name)(given)
        for name in ("query", "key", "value")
    )
    scores = L.Softmax()(keras.ops.einsum("bthk,bshk->bhts", query, key))
    mixed = keras.ops.einsum("bhts,bshk->bthk", scores, value)
    x = L.LayerNormalization()(given + L.EinsumDense("bthk,hkd->btd", (None, 32), bias_axes="d", name="out")(mixed))
    x = x + L.Dense(32, name="down")(L.Dense(128, "gelu", name="up")(x))
    return keras.Model(given, L.Dense(10, name="head")(x[:, 0]), name="transformer")


def _shared_and_nested():
    inner = keras.Sequential([keras.Input((64,)), L.Dense(64, "relu", name="d")], name="inner")
    given, shared = keras.Input((64,)), L.Dense(64, "tanh", name="shared")
    x = inner(shared(shared(given)))
    return keras.Model(given, L.Dense(10, name="head")(inner(x)), name="shared_and_nested")


NETWORKS = _mlp, _vgg, _resnet, _mobilenet, _transformer, _shared_and_nested


def _sparse(build, sparsity=0.9):
    keras.utils.set_random_seed(0)
    model = build()
    return tfprune.masked(model, tfprune.prune(model, "magnitude/uniform", sparsity))


def _examples(model, count=8):
    return np.random.default_rng(0).normal(size=(count, *model.input_shape[1:])).astype("float32")


def _assert_same(one, other, examples, tolerance=1e-5):
    expected, found = (model.predict(examples, verbose=0) for model in (one, other))
    assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()


def _kept(model):
    return [layer.name for layer in model._flatten_layers() if isinstance(layer, KeptKernel)]


@pytest.mark.parametrize("build", NETWORKS)
@pytest.mark.parametrize("compact", [True, False])
def test_outputs_are_the_masked_model_s(build, compact):
    model = _sparse(build)
    fast = tfprune.accelerate(model, engine="sparse", compact=compact)
    kernels = {path.rpartition("/")[0].rpartition("/")[2] for path in tfprune.prunable(model)}
    assert set(_kept(fast)) == kernels
    _assert_same(model, fast, _examples(model))
    if not compact:
        assert tfprune.masks_of(fast) == tfprune.masks_of(model)


@pytest.mark.slow_beyond(3)
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("build", [_mlp, _resnet, _transformer])
def test_fit_trains_as_the_masked_model_does(build, optimizer):
    model = _sparse(build)
    fast = tfprune.accelerate(model, engine="sparse", compact=False)
    x, y = _examples(model, 160), np.arange(160) % 10
    for one in (model, fast):
        one.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        one.fit(x, y, batch_size=16, epochs=2, shuffle=False, verbose=0)  # 20 steps
    trained, masks = tfprune.masked(fast), tfprune.masks_of(model)
    assert tfprune.masks_of(trained) == masks
    found = tfprune.prunable(trained)
    for path, kernel in tfprune.prunable(model).items():
        moved = np.abs(kernel.numpy() * masks[path]).max()
        assert np.abs(found[path].numpy() - kernel.numpy() * masks[path]).max() < 1e-3 * moved, path
    _assert_same(model, fast, x, 1e-3)


def test_optimizer_slots_have_the_size_of_the_kept_weights():
    model = _wide()
    model.compile("adam", "mse", metrics=["mae"])
    fast = tfprune.accelerate(model, batch_size=128, compact=False)
    assert (
        isinstance(fast.optimizer, keras.optimizers.Adam)
        and fast.evaluate(_examples(model), np.zeros((8, 10)), verbose=0)[1] > 0
    )
    slots = {variable.shape for variable in fast.optimizer.variables if "kernel_values" in variable.name}
    assert slots == {(10486,)} and len(fast.optimizer.variables) == 2 + 2 * 4


@pytest.mark.parametrize("build", [_vgg, _shared_and_nested])
def test_files(build, tmp_path):
    model = _sparse(build)
    fast = tfprune.accelerate(model, engine="sparse")
    fast.save(tmp_path / "fast.keras")
    again, x = tfprune.load_model(tmp_path / "fast.keras"), _examples(model)
    assert _kept(again) == _kept(fast)
    np.testing.assert_array_equal(again.predict(x, verbose=0), fast.predict(x, verbose=0))
    for one, name in ((fast, "of_fast"), (tfprune.masked(fast), "of_masked")):
        tfprune.export(one, tmp_path / f"{name}.keras", examples=x)
    files = [tfprune.load_model(tmp_path / f"{name}.keras") for name in ("of_fast", "of_masked")]
    assert not any(map(has_kept, files))
    np.testing.assert_array_equal(*(one.predict(x, verbose=0) for one in files))


def _wide():
    """1,048,576 weights of which 1 % is kept, and 10,240 that are not pruned."""
    keras.utils.set_random_seed(0)
    stack = [L.Dense(1024, "relu", name="first"), L.Dense(10, name="head")]
    model = keras.Sequential([keras.Input((1024,)), *stack], name="wide")
    return tfprune.masked(model, tfprune.prune(model, "magnitude/uniform", 0.99, ignore="head"))


def test_the_rule_says_which_layers_hold_kept_weights_and_what_is_not_pruned_is_plain():
    model = _wide()
    fast = tfprune.accelerate(model, batch_size=128, compact=False)
    assert _kept(fast) == ["first"] and type(fast.get_layer("head")) is L.Dense
    assert fast.get_layer("first").kernel_values.shape == (10486,)
    np.testing.assert_array_equal(
        fast.get_layer("first").kernel_indices, np.flatnonzero(tfprune.masks_of(model)["first/kernel"])
    )
    again = tfprune.accelerate(fast, batch_size=128)
    assert _kept(again) == ["first"]
    _assert_same(fast, again, _examples(model))
    dense = tfprune.accelerate(model, engine="dense", compact=False)
    assert not has_kept(dense) and tfprune.masks_of(dense) == tfprune.masks_of(model)


def test_masks_may_be_given_and_zeros_of_a_plain_model_are_pruned():
    model = _wide()
    plain = tfprune.strip(model)
    masks = tfprune.masks_of(model)
    indices = np.flatnonzero(masks["first/kernel"])
    kernel = plain.get_layer("first").kernel
    kernel.assign(np.where(kernel == 0, 1e-3, kernel))
    given = tfprune.accelerate(plain, masks, batch_size=128, compact=False)
    np.testing.assert_array_equal(given.get_layer("first").kernel_indices, indices)
    found = tfprune.accelerate(tfprune.strip(model), batch_size=128, compact=False)
    np.testing.assert_array_equal(found.get_layer("first").kernel_indices, indices)
    assert all(np.array_equal(a, b) for a, b in zip(given.get_weights(), found.get_weights(), strict=True))


def test_compacting_comes_first():
    """What no unit of `second` reads leaves `first`."""
    model = _sparse(_mlp)
    masks = {path: np.array(mask) for path, mask in tfprune.masks_of(model).items()}
    masks["second/kernel"][:100] = False
    fast = tfprune.accelerate(model, masks, engine="sparse")
    assert fast.get_layer("first").kernel_shape[1] <= 156
    _assert_same(tfprune.masked(model, masks), fast, _examples(model))


def test_normalisation_goes_into_the_layer_in_front():
    x = given = keras.Input((12, 12, 8))
    for width in (24, 16):
        x = L.ReLU()(L.BatchNormalization()(L.Conv2D(width, 3)(x)))
    model = keras.Model(given, L.Dense(3)(L.Flatten()(x)))
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, L.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, shape.shape) for shape in layer.get_weights()])
    sparse = tfprune.masked(model, tfprune.prune(model, "magnitude", 0.8, verbose=False))
    fast = tfprune.accelerate(sparse, engine="sparse", fold_batchnorm=True)
    assert not any(isinstance(layer, L.BatchNormalization) for layer in fast.layers)
    assert len(_kept(fast)) == 3
    _assert_same(sparse, fast, _examples(sparse))


def test_what_cannot_hold_kept_weights_stays_and_is_named():
    given = keras.Input((8, 256))
    x = L.LSTM(256, name="lstm")(given)
    x = L.Dense(256, dtype="mixed_bfloat16", name="half")(x)
    model = keras.Model(given, L.Dense(256, name="full")(x), name="mixed")
    masks = tfprune.prune(model, "magnitude/uniform", 0.99)
    told = "2 layers with 90 % of the parameters {} stay dense: 'lstm' .LSTM .*, 'half' .it computes in mixed"
    sparse = tfprune.masked(model, masks)
    with pytest.warns(UserWarning, match=told.format("would pay and")):
        tfprune.accelerate(sparse, batch_size=1024, compact=False)
    with pytest.warns(UserWarning, match=told.format("cannot hold kept weights alone and")) as caught:
        fast = tfprune.accelerate(sparse, batch_size=1, engine="sparse", compact=False)  # where the rule takes none
    assert len(caught) == 1
    assert _kept(fast) == ["full"] and tfprune.masks_of(fast) == masks


@pytest.mark.parametrize(
    "shape, more, told",
    [
        ((64, 32, 32), {"data_format": "channels_first"}, "'conv2d' .its channels come first"),
        ((None, None, 64), {}, "'conv2d' .the size of its images is not known"),
    ],
)
def test_a_convolution_would_pay_by_its_positions(shape, more, told):
    model = keras.Sequential([keras.Input(shape), L.Conv2D(64, 3, padding="same", name="conv2d", **more)])
    with pytest.warns(UserWarning, match=f"1 layer with 100 % of the parameters would pay and stay dense: {told}"):
        tfprune.accelerate(model, tfprune.prune(model, "magnitude", 0.98))


def test_looking_up_would_not_pay():
    model = keras.Sequential([keras.Input((100,), dtype="int32"), L.Embedding(5000, 64)])
    with pytest.warns(UserWarning, match="no layer is sparse and large enough"):
        tfprune.accelerate(model, tfprune.prune(model, "magnitude", 0.99), compact=False)


def test_a_line_says_that_nothing_gets_faster():
    model = _mlp()
    with pytest.warns(UserWarning, match="nothing of model 'mlp' gets faster: it has no pruned weights") as caught:
        fast = tfprune.accelerate(model)
    assert len(caught) == 1 and type(fast.get_layer("first")) is L.Dense
    with pytest.warns(UserWarning, match="nothing of model 'mlp' gets faster: no layer is sparse and large enough"):
        tfprune.accelerate(_sparse(_mlp, 0.1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tfprune.accelerate(model, engine="dense")


def test_bad_input(monkeypatch):
    model = _sparse(_mlp)
    wrong = [
        ({"engine": "spares"}, "engine must be one of auto, dense, sparse. Received: 'spares'; did you mean"),
        ({"batch_size": 0}, "batch_size must be a number of examples, 1 or more. Received: 0"),
        ({"batch_size": 1.5}, "batch_size must be a number of examples, 1 or more. Received: 1.5"),
        ({"masks": {"a/kernel": np.ones(3)}}, "the model 'mlp' has no such kernel"),
    ]
    for arguments, told in wrong:
        for compact in (True, False):
            with pytest.raises(InputError, match=told) as caught:
                tfprune.accelerate(model, **arguments, compact=compact)
            assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"fold_batchnorm = True is a part of compaction\. Received: compact=False"):
        tfprune.accelerate(model, compact=False, fold_batchnorm=True)
    with pytest.raises(InputError, match=r"a Keras model is needed\. Received: list"):
        tfprune.accelerate([])
    monkeypatch.setattr("tensorflow.config.get_visible_devices", lambda kind: [kind])
    with pytest.raises(InputError, match="the sparse engine computes on CPUs, and TensorFlow sees 1 GPU, where"):
        tfprune.accelerate(model)
    assert not has_kept(tfprune.accelerate(model, engine="dense"))
