"""What the engine leaves behind when a network and its compiled functions are gone."""

import gc
import weakref

import keras
import pytest
import tensorflow as tf

from tfprune.engine.geometry import Geometry
from tfprune.engine.normalized import NormalizedProducts
from tfprune.engine.normalized_pass import NormalizedLayer
from tfprune.engine.products import KeptProduct

pytest.importorskip("numba")
VALUES, INDICES = tf.constant([1.0, 2.0]), tf.constant([0, 3])


def _plain(product, inputs, values):
    return product(tf.reshape(inputs, (-1, 1, 1, 2)), values, INDICES)


def _normalized(product, inputs, values):
    ones = tf.ones(2)
    weights, averages = [values, ones, ones, ones], [ones, ones, tf.constant(1.0)]
    return product(inputs, [weights, weights], [INDICES, INDICES], [averages, averages], True)[0]


PRODUCTS = {
    "plain": (lambda: KeptProduct(Geometry.dense(2, 2)), _plain),
    "normalized": (lambda: NormalizedProducts(2 * [NormalizedLayer(2, 2, True, 0.9, 1e-3)]), _normalized),
}


@pytest.mark.parametrize("kind", PRODUCTS)
def test_nothing_of_a_compiled_training_stays(kind):
    make, compute = PRODUCTS[kind]

    def train():
        product, kept, before = make(), keras.Variable(VALUES), keras.Variable(tf.eye(2))

        @tf.function(autograph=False)
        def step():
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(compute(product, tf.constant([[1.0, 2.0], [4.0, 3.0]]) @ before.value, kept.value))
            return tape.gradient(loss, [before.value, kept.value])

        assert all(gradient is not None for gradient in step())
        return weakref.ref(product), weakref.ref(step.get_concrete_function().graph)

    left = train()
    gc.collect()
    assert [each() for each in left] == [None, None]


@pytest.mark.parametrize("kind", PRODUCTS)
def test_gradients_of_given_inputs_are_left_out(kind, monkeypatch):
    make, compute = PRODUCTS[kind]
    product, called = make(), []
    computed = type(product)._of_inputs
    monkeypatch.setattr(
        type(product), "_of_inputs", lambda *given, **more: called.append(1) or computed(*given, **more)
    )
    kept = keras.Variable(VALUES)

    @tf.function(autograph=False)
    def step(inputs):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(compute(product, inputs, kept.value))
        return tape.gradient(loss, kept.value)

    step(tf.constant([[1.0, 2.0], [4.0, 3.0]]))
    assert called == []


@pytest.mark.parametrize("kind", PRODUCTS)
def test_a_compiled_function_outlives_its_model(kind):
    make, compute = PRODUCTS[kind]

    def compiled():
        product = make()

        def repeated(inputs):
            return tf.while_loop(
                lambda step, _: step < 2,
                lambda step, x: (step + 1, tf.reshape(compute(product, x, VALUES), (2, 2))),
                (0, inputs),
            )

        return tf.function(repeated, autograph=False).get_concrete_function(tf.TensorSpec((2, 2)))

    function = compiled()
    gc.collect()
    assert function(tf.eye(2))[1].shape == (2, 2)
