"""The number of threads changes no byte, and is TensorFlow's where that is set."""

import os
import subprocess
import sys

import pytest

from tfprune.engine.products import _threads

ALL = """
import hashlib, sys
import numpy as np, numba, tensorflow as tf
from tfprune.engine.geometry import Geometry
from tfprune.engine.products import KeptProduct
{before}
rng, found = np.random.default_rng(0), hashlib.sha256()
for geometry, batch in ((Geometry.dense(300, 200), 130), (Geometry.dense(90, 500), 3),
                        (Geometry.convolution((3, 3, 20, 40), (9, 9, 20), padding="same"), 37),
                        (Geometry.convolution((3, 3, 20, 40), (4, 4, 20), strides=(2, 2)), 1)):
    indices = tf.constant(np.sort(rng.permutation(geometry.size)[: geometry.size // 9]))
    values = tf.constant(rng.normal(size=len(indices)).astype(np.float32))
    inputs = rng.normal(size=(batch, geometry.height, geometry.width, geometry.channels)).astype(np.float32)
    inputs, product = tf.constant(inputs), KeptProduct(geometry)
    with tf.GradientTape() as tape:
        tape.watch([inputs, values])
        outputs = product(inputs, values, indices)
    for one in (outputs, *tape.gradient(outputs, [inputs, values], tf.sin(outputs))):
        found.update(one.numpy().tobytes())
print(found.hexdigest(), numba.get_num_threads())
"""

# Of a whole model: what it makes of some numbers of images, and after some steps of training its weights.
WHOLE = """
import hashlib
import keras, numba, numpy as np
from keras import layers as L
import tfprune
from tfprune.layers.flowing import flows_of

keras.utils.set_random_seed(0)
given = keras.Input((15, 17, 3))
x = L.ReLU()(L.BatchNormalization()(L.Conv2D(16, 3, padding="same", use_bias=False)(given)))
x = L.MaxPooling2D()(x)
y = L.DepthwiseConv2D(3, padding="same")(L.Conv2D(24, 3, padding="same", activation="relu")(x))
y = L.BatchNormalization()(L.Conv2D(16, 1, use_bias=False)(y))
x = L.Conv2D(32, 3, 2, activation="swish")(L.ReLU()(L.Add()([x, y])))
model = keras.Model(given, L.Dense(10)(L.Dense(48, "relu")(L.Flatten()(L.AveragePooling2D(2)(x)))))
rng = np.random.default_rng(0)
masks = {{path: rng.random(kernel.shape) < 0.3 for path, kernel in tfprune.prunable(model).items()}}
fast = tfprune.accelerate(model, masks, engine="sparse", compact=False)
assert list(map(len, flows_of(fast))) == [10, 4]
images, classes = rng.normal(size=(70, 15, 17, 3)).astype(np.float32), np.arange(70) % 10


def digest(arrays):
    return hashlib.sha256(b"".join(np.asarray(one).tobytes() for one in arrays)).hexdigest()


def made():
    return digest(fast.predict(images[:count], batch_size=32, verbose=0) for count in (12, 17, 31, 45, 70))


before = made()
fast.compile(keras.optimizers.Adam(), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
fast.fit(images, classes, batch_size=32, epochs=2, shuffle=False, verbose=0)
after = digest(fast.weights)
print(before, after, made(), numba.get_num_threads())
"""


def _run(before="", script=ALL, **environment):
    done = subprocess.run(
        [sys.executable, "-c", script.format(before=before)],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    *digests, threads = done.stdout.split()
    return *digests, int(threads)


@pytest.fixture(scope="module")
def one_thread():
    digest, threads = _run(NUMBA_NUM_THREADS="1")
    assert threads == 1
    return digest


@pytest.mark.slow_beyond(1)
@pytest.mark.parametrize("threads", [2, 3])
def test_same_bytes_with_more_threads(threads, one_thread):
    assert _run(NUMBA_NUM_THREADS=str(threads)) == (one_thread, threads)


@pytest.mark.slow_beyond(1)
@pytest.mark.parametrize("asked, used", [(2, 2), (1, 1), (9, 3)])
def test_threads_are_those_of_tensorflow(asked, used, one_thread):
    before = f"tf.config.threading.set_intra_op_parallelism_threads({asked})"
    assert _run(before, NUMBA_NUM_THREADS="3") == (one_thread, used)


@pytest.fixture(scope="module")
def whole_with_one_thread():
    *digests, threads = _run(script=WHOLE, NUMBA_NUM_THREADS="1")
    assert threads == 1
    return digests


@pytest.mark.slow
@pytest.mark.parametrize("threads", [2, 3])
def test_same_bytes_of_a_whole_model(threads, whole_with_one_thread):
    assert _run(script=WHOLE, NUMBA_NUM_THREADS=str(threads)) == (*whole_with_one_thread, threads)


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 3])
def test_same_inference_of_a_whole_model_with_tensorflow_s_threads(threads, whole_with_one_thread):
    # In training TensorFlow's own sums, as gradients of biases, follow its threads.
    environment = {"NUMBA_NUM_THREADS": "3", "TF_NUM_INTRAOP_THREADS": str(threads)}
    made, _, _, used = _run(script=WHOLE, **environment)
    assert (made, used) == (whole_with_one_thread[0], threads)


@pytest.mark.parametrize("said, used", [("3", 3), ("", 0), ("many", 0)])
def test_threads_are_those_of_tensorflow_s_variable(said, used, monkeypatch):
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", said)
    assert _threads.__wrapped__() == used
