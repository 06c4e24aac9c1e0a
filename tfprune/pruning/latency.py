"""How long one call of a model takes on this machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable

import keras
import numpy as np
import tensorflow as tf
from keras import tree

from tfprune.errors import InputError, did_you_mean
from tfprune.layers.made_up import made_up_inputs
from tfprune.layers.subclassed import as_graph
from tfprune.quiet import quiet_conversion
from tfprune.records.atomic import temporary_folder
from tfprune.surgery.export import export
from tfprune.surgery.formats import format_of, model_runner
from tfprune.surgery.litert import LiteRun, write_litert

ENGINES = ("litert", "keras")
WARM, REPEATS, THREADS = 3, 30, 2


class Timer:
    """Milliseconds of a call on one example: the median of 30, after three that do not count.

    Args:
        engine: `"litert"`, LiteRT's interpreter with two threads in float32; `"keras"`, a compiled function of
            TensorFlow; or a function of a model that gives its milliseconds.
        batches: whose first example is used; None for one that is made up.
        batch: examples in a call, where the model leaves it open; the first is taken so many times.

    Raises:
        InputError: another engine.
    """

    def __init__(
        self, engine: str | Callable[[keras.Model], float], batches: Iterable[tuple] | None = None, batch: int = 1
    ):
        if not callable(engine) and engine not in ENGINES:
            near = did_you_mean(engine, ENGINES)
            raise InputError(f"engine must be {', '.join(ENGINES)} or a function of a model; received {engine!r}{near}")
        self._engine, self._batches, self._batch = engine, batches, batch

    def __call__(self, model: keras.Model) -> float:
        """Of a model.

        Raises:
            InputError: no example fits, LiteRT cannot hold the model, or a function gives no positive number.
        """
        if callable(self._engine):
            found = self._engine(model)
            if not isinstance(found, (int, float, np.integer, np.floating)) or not 0 < found < float("inf"):
                raise InputError(f"engine must give milliseconds, a number above 0; received {found!r}")
            return float(found)
        model = as_graph(model)
        example = self._example(model)
        if self._engine == "keras":
            return median_milliseconds(model_runner(model), example)
        names = [tensor.name for tensor in model.inputs]
        with temporary_folder() as folder:
            path = folder / "model.tflite"
            export(model, path, examples=dict(zip(names, example, strict=True)), tolerance=np.inf)
            with quiet_conversion():
                return median_milliseconds(format_of(path).load(path, model, THREADS), example)

    def _example(self, model: keras.Model) -> list[np.ndarray]:
        if self._batches is not None:
            first = next(iter(self._batches))[0]
            arrays = [np.asarray(array) for array in tree.flatten(first)]
        elif any(None in tensor.shape[1:] for tensor in model.inputs):
            raise InputError(f"latency: model {model.name!r} leaves sizes of its inputs open: give data=")
        else:
            made = next(made_up_inputs(model), None)
            if made is None:
                raise InputError(f"latency: no input of model {model.name!r} can be made up: give data=")
            arrays = [np.asarray(array) for array in tree.flatten(made)]
        fixed = model.inputs[0].shape[0]
        if fixed is None:
            arrays = [np.repeat(array[:1], self._batch, 0) for array in arrays]
        return [array[:fixed].astype(tensor.dtype) for array, tensor in zip(arrays, model.inputs, strict=True)]


def layer_milliseconds(model: keras.Model, engine: str) -> float:
    """The median of calls of a model of one layer on noise, without putting its input in and taking its output out,
    which in a whole model nobody does between layers.

    Args:
        model: has one input of fixed shape.
        engine: of `ENGINES`.

    Raises:
        InputError: LiteRT cannot hold it.
    """
    (given,) = model.inputs
    example = np.random.default_rng(0).normal(size=given.shape).astype(given.dtype)
    if engine == "keras":
        call, tensor = tf.function(lambda x: model(x, training=False)), tf.constant(example)
        return median_milliseconds(call, tensor)
    with temporary_folder() as folder, quiet_conversion():
        path = folder / "layer.tflite"
        write_litert(model, path, "float32", None)
        run = LiteRun(path, model, THREADS)
        run([example])
        return median_milliseconds(lambda _: run.again(), None)


def median_milliseconds(run: Callable, inputs, clock: Callable[[], float] = time.perf_counter) -> float:
    """The median of the calls that count.

    Args:
        run: is called with `inputs`.
        clock: gives seconds.
    """
    seconds = []
    for repeat in range(-WARM, REPEATS):
        start = clock()
        run(inputs)
        if repeat >= 0:
            seconds.append(clock() - start)
    return 1e3 * statistics.median(seconds)
