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


def _run(before="", **environment):
    done = subprocess.run(
        [sys.executable, "-c", ALL.format(before=before)],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    digest, threads = done.stdout.split()
    return digest, int(threads)


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


@pytest.mark.parametrize("said, used", [("3", 3), ("", 0), ("many", 0)])
def test_threads_are_those_of_tensorflow_s_variable(said, used, monkeypatch):
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", said)
    assert _threads.__wrapped__() == used
