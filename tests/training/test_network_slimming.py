"""The term that draws scales of batch normalisation to 0: what a step of training does with it, and what is left."""

import keras
import numpy as np
import pytest
from keras import layers as L

import tfprune

RATE, STRENGTH = 0.5, 0.02
SCALES = np.float32([0.8, -0.5, 0, 1.5])


def model(jit=False, **norm):
    layers = [L.Dense(4, name="a"), L.BatchNormalization(name="n", **norm), L.ReLU(), L.Dense(2, name="last")]
    made = keras.Sequential([keras.Input((3,)), *layers])
    rng = np.random.default_rng(0)
    made.set_weights([rng.normal(size=array.shape) for array in made.get_weights()])
    if made.get_layer("n").scale:
        made.get_layer("n").gamma.assign(SCALES)
    made.compile(keras.optimizers.SGD(RATE), "mse", jit_compile=jit)
    return made


def fit(model, *callbacks):
    """One step; the loss."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(8, 3)).astype("f4"), rng.normal(size=(8, 2)).astype("f4")
    return model.fit(x, y, batch_size=8, epochs=1, verbose=0, callbacks=list(callbacks)).history["loss"][0]


def test_a_step_moves_scales_by_the_sign_and_nothing_else():
    plain, slim = model(), model()
    loss, with_term = fit(plain), fit(slim, tfprune.NetworkSlimming(STRENGTH))
    np.testing.assert_allclose(with_term - loss, STRENGTH * np.abs(SCALES).sum(), rtol=1e-4)
    for one, other in zip(plain.variables, slim.variables, strict=True):
        moved = RATE * STRENGTH * np.sign(SCALES) if one.name == "gamma" else 0
        np.testing.assert_allclose(one.numpy() - other.numpy(), moved, atol=1e-6)


def test_it_is_there_in_a_step_that_was_compiled_before_and_gone_afterwards():
    plain, slim = model(), model()
    fit(plain), fit(slim)
    before = slim.get_layer("n").gamma.numpy()
    fit(plain), fit(slim, tfprune.NetworkSlimming(STRENGTH))
    moved = plain.get_layer("n").gamma - slim.get_layer("n").gamma
    np.testing.assert_allclose(moved, RATE * STRENGTH * np.sign(before), atol=1e-6)
    assert slim.get_layer("n").gamma.regularizer is None and not slim.losses
    plain.set_weights(slim.get_weights())
    assert fit(plain) == pytest.approx(fit(slim), rel=1e-6)


def test_after_an_interrupt_the_next_training_ends_without_the_term():
    class Interrupt(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise KeyboardInterrupt

    slim = model()
    with pytest.raises(KeyboardInterrupt):
        fit(slim, tfprune.NetworkSlimming(STRENGTH), Interrupt())
    assert slim.losses
    fit(slim, tfprune.NetworkSlimming(STRENGTH))
    assert not slim.losses


def test_masked_models_in_compiled_steps():
    slim, plain = tfprune.masked(model(jit=True)), tfprune.masked(model(jit=True))
    fit(plain), fit(slim, tfprune.NetworkSlimming(STRENGTH))
    moved = plain.get_layer("n").gamma - slim.get_layer("n").gamma
    np.testing.assert_allclose(moved, RATE * STRENGTH * np.sign(SCALES), atol=1e-6)


@pytest.mark.parametrize("strength", [0, -1, "1e-4", True, float("nan")])
def test_strengths_that_are_refused(strength):
    with pytest.raises(tfprune.InputError, match=r"^strength must be a number above 0; received"):
        tfprune.NetworkSlimming(strength)


def test_models_that_are_refused():
    with pytest.raises(tfprune.InputError, match="'n' have a regularizer already"):
        fit(model(gamma_regularizer="l2"), tfprune.NetworkSlimming(STRENGTH))
    with pytest.raises(tfprune.InputError, match="has no batch normalisation with scales to draw to 0"):
        fit(model(scale=False), tfprune.NetworkSlimming(STRENGTH))
