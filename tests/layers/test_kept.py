"""Copies of models with layers of kept weights: there and back, training, files, and what the library makes of them."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from kept_cases import images, masked_model, small_network
from keras import layers as L

import tfprune
from tfprune.errors import InputError
from tfprune.layers.kept import kept_copy, pairs, take_from, with_masks, write_back
from tfprune.layers.kept_layers import SparseDense, has_kept
from tfprune.layers.weights import weights_of

pytest.importorskip("numba")


def _all(layer, mask):
    return True


def _chain():
    """A masked model without anything random."""
    return masked_model([L.Conv2D(6, 3), L.BatchNormalization(), L.Flatten(), L.Dense(4)], (6, 6, 2))


def _same(one, other, given):
    np.testing.assert_allclose(one(given), other(given), rtol=1e-5, atol=1e-6)


def test_chosen_layers_are_kept_and_the_others_stay():
    asked = {}

    def chosen(layer, mask):
        asked[layer.name] = mask
        return layer.name == "dense"

    model = small_network()[1]
    fast = kept_copy(model, chosen)
    assert list(asked) == ["conv", "strided", "dense", "head"]  # only layers that can be
    for path, mask in tfprune.masks_of(model).items():
        np.testing.assert_array_equal(asked[path.partition("/")[0]], mask)
    assert [type(layer).__name__ for layer in fast.layers[1:]] == [
        *("MaskedConv2D", "BatchNormalization", "MaskedConv2D", "Flatten", "Dropout", "SparseDense", "MaskedDense")
    ]
    _same(fast, model, images((8, 8, 3)))
    plain = tfprune.strip(model)
    whole = kept_copy(plain, lambda layer, mask: layer.name == "dense" and mask.all())
    assert [type(layer).__name__ for layer in whole.layers if "dense" in layer.name] == ["SparseDense"]
    assert type(whole.get_layer("conv")) is L.Conv2D
    _same(whole, model, images((8, 8, 3)))


def test_weights_go_to_the_model_and_back():
    fast, model = small_network()
    given = images((8, 8, 3))
    before = weights_of(model)
    for variable in fast.variables:
        if "float" in variable.dtype:
            variable.assign(variable + 0.25)
    drawn = [variable.numpy() for variable in fast.non_trainable_variables if "seed" in variable.path]
    assert len(drawn) == 1
    write_back(fast, model)
    _same(fast, model, given)
    masks = tfprune.masks_of(model)
    for path, mask in masks.items():
        kernel = weights_of(model)[path]
        np.testing.assert_array_equal(kernel[mask], before[path][mask] + np.float32(0.25))
        if not path.startswith("head"):  # of kept layers, pruned weights stay
            np.testing.assert_array_equal(kernel[~mask], before[path][~mask])
    for variable in model.variables:
        if "float" in variable.dtype:
            variable.assign(0.5 * variable)
    take_from(fast, model)
    _same(fast, model, given)
    tfprune.set_masks(model, {**masks, "dense/kernel": ~masks["dense/kernel"]})
    with pytest.raises(InputError, match="layer 'dense': the kept weights of the copy are not those of the model's"):
        take_from(fast, model)


def test_layers_without_weights_left():
    model = masked_model([L.Dense(3, name="a")], (5,), density=0.0)
    fast = kept_copy(model, _all)
    before = model.get_weights()
    write_back(fast, model)
    take_from(fast, model)
    _same(fast, model, images((5,)))
    for one, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)
    assert not tfprune.masks_of(fast)["a/kernel"].any()


def test_random_states_go_along():
    fast, model = small_network()
    given = images((8, 8, 3))
    fast(given, training=True)
    write_back(fast, model)
    np.testing.assert_allclose(fast(given, training=True), model(given, training=True), rtol=1e-4, atol=1e-5)


def test_pairs_are_those_that_training_changes():
    fast, model = small_network()
    found = pairs(fast, model)
    assert [id(one) for one, _ in found] == [id(one) for one in model.trainable_variables]
    assert {id(other) for _, other in found} == {id(one) for one in fast.trainable_variables}
    assert [(one.name, other.name) for one, other in found[:2]] == [("kernel", "kernel_values"), ("bias", "bias")]
    model.get_layer("conv").trainable = False
    assert len(pairs(kept_copy(model, _all), model)) == len(found) - 2


def test_models_that_do_not_belong_together_are_told():
    fast, _ = small_network()
    other = masked_model([L.Dense(3, name="other")], (5,))
    for call in (write_back, take_from, pairs):
        with pytest.raises(InputError, match="model 'net' is no copy of model 'net': it has other layers"):
            call(fast, other)
    without = masked_model([L.Dense(3, use_bias=False, name="a")], (5,))
    with_bias = masked_model([L.Dense(3, name="a")], (5,))
    with pytest.raises(InputError, match="layer 'a' is no copy of layer 'a': it has other variables"):
        pairs(kept_copy(without, _all), with_bias)


def test_a_masked_model_comes_back():
    fast, model = small_network()
    for variable in fast.trainable_variables:
        variable.assign(variable + 0.1)
    fast.compile("adam", "mse", metrics=["mae"])
    back = tfprune.masked(fast)
    assert has_kept(fast) and not has_kept(back) and with_masks(back) is back
    assert [type(layer) for layer in back.layers] == [type(layer) for layer in model.layers]
    assert tfprune.masks_of(back) == tfprune.masks_of(fast) == tfprune.masks_of(model)
    _same(back, fast, images((8, 8, 3)))
    assert back.compiled and type(back.optimizer) is keras.optimizers.Adam
    for path, mask in tfprune.masks_of(back).items():
        if not path.startswith("head"):
            assert not weights_of(back)[path][~mask].any()
    again = kept_copy(fast, _all)  # of a model with kept layers, through its masked one
    assert isinstance(again.get_layer("head"), SparseDense)
    _same(again, fast, images((8, 8, 3)))


def _nested_and_shared():
    inner = keras.Sequential([keras.Input((6,)), L.Dense(6, "relu", name="d")], name="inner")
    given, shared = keras.Input((6,)), L.Dense(6, "tanh", name="shared")
    x = inner(shared(shared(given)))
    return keras.Model(given, inner(x) + x, name="net")


class _Subclassed(keras.Model):
    def __init__(self):
        super().__init__(name="own")
        self.first, self.second = L.Dense(5), L.Dense(2)

    def call(self, inputs):
        return self.second(self.first(inputs))


def test_nested_and_shared_layers_and_sequential_models():
    rng = np.random.default_rng(0)
    plain = _nested_and_shared()
    for model in (plain, plain.get_layer("inner")):
        masks = {path: rng.random(kernel.shape) < 0.5 for path, kernel in tfprune.prunable(model).items()}
        sparse = tfprune.masked(model, masks)
        fast = kept_copy(sparse, _all)
        assert type(fast) is type(sparse)
        assert sum(isinstance(layer, SparseDense) for layer in fast._flatten_layers()) == len(masks)
        _same(fast, sparse, images((6,)))
        assert tfprune.masks_of(tfprune.masked(fast)) == tfprune.Masks(masks)
        assert len(pairs(fast, sparse)) == 2 * len(masks)


def test_subclassed_models_stay_masked():
    model = _Subclassed()
    model(images((4,)))
    rng = np.random.default_rng(0)
    sparse = tfprune.masked(model, {p: rng.random(k.shape) < 0.5 for p, k in tfprune.prunable(model).items()})
    fast = kept_copy(sparse, _all)
    assert isinstance(fast, _Subclassed) and not has_kept(fast)
    np.testing.assert_array_equal(fast(images((4,))), sparse(images((4,))))
    write_back(fast, sparse)


def test_kept_layers_within_others_cannot_be_masked():
    model = keras.Sequential([keras.Input((3, 5)), L.TimeDistributed(SparseDense(4, kept=3), name="steps")])
    for call in (tfprune.masked, tfprune.masks_of, tfprune.strip, tfprune.sparsity):
        with pytest.raises(InputError, match=r"layer 'steps' \(TimeDistributed\) consists of layers that hold kept"):
            call(model)


def test_training_is_that_of_the_masked_model():
    model = _chain()
    fast = kept_copy(model, _all)
    given, wanted = images((6, 6, 2), batch=64), images((4,), 1, batch=64)
    losses = []
    for one in (model, fast):
        one.compile(keras.optimizers.Adam(0.01, clipnorm=1.0), "mse", metrics=["mae"])
        losses.append(one.fit(given, wanted, batch_size=16, epochs=4, shuffle=False, verbose=0).history["loss"])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-3)
    assert fast.evaluate(given, wanted, verbose=0, return_dict=True)["loss"] < losses[1][0]
    assert fast.predict(given, verbose=0).shape == wanted.shape
    slots = [slot.shape for slot in fast.optimizer.variables if "kernel" in slot.name]
    assert slots == [one.shape for one in fast.trainable_variables for _ in "mv" if one.name == "kernel_values"]


def test_own_training_steps():
    fast, _ = small_network()
    optimizer = keras.optimizers.SGD(0.01)
    given = images((8, 8, 3))
    before = float(keras.ops.mean(keras.ops.square(fast(given))))

    @tf.function(jit_compile=False)
    def step(batch):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(fast(batch)))
        gradients = tape.gradient(loss, fast.trainable_variables)
        optimizer.apply_gradients(zip(gradients, fast.trainable_variables, strict=True))
        return loss

    losses = [float(step(given)) for _ in range(5)]
    assert losses[0] == pytest.approx(before, rel=1e-5) and losses == sorted(losses, reverse=True)


def test_a_training_resumes_to_the_same_bytes(tmp_path):
    given, wanted = images((6, 6, 2), batch=32), images((4,), 1, batch=32)

    def interrupt(epoch, logs):
        if epoch == 2:
            raise KeyboardInterrupt

    def train(folder, *others):
        fast = kept_copy(_chain(), _all)
        fast.compile("adam", "mse")
        backup = keras.callbacks.BackupAndRestore(folder, delete_checkpoint=False)
        fast.fit(given, wanted, batch_size=8, epochs=3, shuffle=False, verbose=0, callbacks=[backup, *others])
        return [variable.numpy() for variable in (*fast.variables, *fast.optimizer.variables)]

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut", keras.callbacks.LambdaCallback(on_epoch_begin=interrupt))
    for one, other in zip(train(tmp_path / "whole"), train(tmp_path / "cut"), strict=True):
        np.testing.assert_array_equal(one, other)


def test_files_and_clones(tmp_path):
    fast, _ = small_network()
    fast.compile("adam", "mse")
    given = images((8, 8, 3), batch=8)
    fast.fit(given, images((4,), 1, batch=8), verbose=0)
    fast.save(tmp_path / "fast.keras")
    for again in (tfprune.load_model(tmp_path / "fast.keras"), keras.saving.load_model(tmp_path / "fast.keras")):
        np.testing.assert_array_equal(again(given), fast(given))
        assert [v.shape for v in again.optimizer.variables] == [v.shape for v in fast.optimizer.variables]
    fast.save_weights(tmp_path / "fast.weights.h5")
    clone = keras.models.clone_model(fast)
    clone.load_weights(tmp_path / "fast.weights.h5")
    np.testing.assert_array_equal(clone(given), fast(given))
    clone = keras.models.clone_model(fast)
    clone.set_weights(fast.get_weights())
    np.testing.assert_array_equal(clone(given), fast(given))


@pytest.fixture(scope="module")
def network():
    return small_network()


def test_the_library_tells_what_it_tells_of_the_masked_model(network, tmp_path):
    fast, model = network
    given = images((8, 8, 3))
    assert str(tfprune.sparsity(fast)) == str(tfprune.sparsity(model))
    assert str(tfprune.pattern_report(fast)) == str(tfprune.pattern_report(model))
    assert tfprune.prune(fast, "magnitude", 0.9) == tfprune.prune(model, "magnitude", 0.9)
    masks = tfprune.masks_of(model)
    assert tfprune.Reachability(fast)(masks) == tfprune.Reachability(model)(masks)
    small = tfprune.compact(fast)
    assert not has_kept(small) and small.count_params() == tfprune.compact(model).count_params()
    assert str(tfprune.compaction_report(fast, small)) == str(tfprune.compaction_report(model, small))
    stripped = tfprune.strip(fast)
    assert type(stripped.get_layer("dense")) is L.Dense
    _same(stripped, fast, given)
    tfprune.export(fast, tmp_path / "plain.keras")
    np.testing.assert_allclose(keras.saving.load_model(tmp_path / "plain.keras")(given), fast(given), atol=1e-5)
    halved = tfprune.prune_filters(fast, "l1_norm", [0.5, 0.5])
    assert halved.count_params() == tfprune.prune_filters(model, "l1_norm", [0.5, 0.5]).count_params()


def test_masks_are_fixed(network):
    fast, model = network
    masks = tfprune.masks_of(model)
    tfprune.set_masks(fast, masks)
    with pytest.raises(InputError, match="model 'net' holds kept weights only, their places are fixed: set the masks"):
        tfprune.set_masks(fast, {**masks, "dense/kernel": ~masks["dense/kernel"]})
    with pytest.raises(InputError, match="mask 'other': the model 'net' has no such kernel"):
        tfprune.set_masks(fast, {"other": masks["dense/kernel"]})
    other = {**masks, "dense/kernel": masks["dense/kernel"] & (np.arange(12) > 3)}
    assert tfprune.masks_of(tfprune.masked(fast, other)) == tfprune.Masks(other)


def test_what_needs_kernels_says_which_model_has_them(network):
    fast, _ = network
    schedule = tfprune.PolynomialSchedule(0.9, end_step=4, frequency=1)
    calls = [
        lambda: tfprune.prunable(fast),
        lambda: tfprune.unsupported(fast),
        lambda: tfprune.Masks.dense(fast),
        lambda: tfprune.quantization_aware(fast, images((8, 8, 3))),
        lambda: fast.fit(images((8, 8, 3)), images((4,)), verbose=0, callbacks=[tfprune.Prune("magnitude", schedule)]),
    ]
    fast.compile("sgd", "mse")
    for call in calls:
        with pytest.raises(InputError, match=r"layer 'conv' holds kept weights only and has no kernel: take tfprune\."):
            call()
