"""What accelerating a model brings: bytes, and milliseconds measured layer by layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import keras
import numpy as np
import tensorflow as tf
from keras import tree

from tfprune.errors import InputError
from tfprune.layers.convert import masked, strip
from tfprune.layers.flowing import flows_of
from tfprune.layers.kept_layers import has_kept
from tfprune.layers.kinds import is_kept
from tfprune.layers.subclassed import as_graph
from tfprune.layers.topology import flat_inputs, is_nested, named_layers, run
from tfprune.records.extras import extra
from tfprune.records.text_table import text_table
from tfprune.surgery.accelerate import Choice, check_arguments, choose, pruned, with_kept
from tfprune.surgery.examples import random_examples, read_examples, repeated
from tfprune.surgery.signatures import model_runner
from tfprune.surgery.timing import latencies

if TYPE_CHECKING:
    import pandas as pd

_SLOTS = 2  # of Adam, each as large as what it trains


@dataclass(frozen=True, repr=False)
class Cost:
    """What the kernels of a layer, or of a model, cost dense and as kept weights alone; prints as a sentence.

    Attributes:
        weights, kept: number of weights, and of those that are kept.
        bytes_dense: of the kernels.
        bytes: of what stands for them in the accelerated model: values and their places where they are kept weights
            alone.
        adam_dense, adam: the same bytes with Adam's slots.
        ms_dense: median milliseconds of a call in plain Keras, inference, with zeros.
        ms_sparse: of kept weights alone; None where a layer cannot hold these.
        is_sparse: whether the accelerated model holds kept weights alone.
        reason: why it does not; empty where it does.
    """

    weights: int
    kept: int
    bytes_dense: int
    bytes: int
    adam_dense: int
    adam: int
    ms_dense: float
    ms_sparse: float | None
    is_sparse: bool
    reason: str = ""

    @property
    def density(self) -> float:
        """Fraction of weights kept."""
        return self.kept / self.weights if self.weights else 1.0

    @property
    def speedup(self) -> float | None:
        """How many times faster than dense kept weights alone are."""
        return None if self.ms_sparse is None else self.ms_dense / self.ms_sparse

    def __repr__(self) -> str:
        sparse = "" if self.ms_sparse is None else f", {self.ms_sparse:.3g} ms of kept weights alone"
        return f"{self.kept:,} of {self.weights:,} kept, {self.bytes:,} bytes, {self.ms_dense:.3g} ms dense{sparse}"


@dataclass(frozen=True, repr=False)
class AccelerationReport:
    """Costs of the layers with kernels; prints as a table.

    Attributes:
        batch_size: that was measured with.
        costs: path of a layer -> `Cost`.
        total: `Cost` of the whole model; its milliseconds are those of whole models, `is_sparse` says whether any layer
            is.
        at_once: names of layers that the accelerated model computes at once in inference, so that the whole of it takes
            less time than its layers; several lists where there are others between them.
    """

    batch_size: int
    costs: dict[str, Cost]
    total: Cost
    at_once: list[list[str]]

    @property
    def table(self) -> pd.DataFrame:
        """One row per layer with kernels and a last one, `total`."""
        return extra("pandas", "the table of a report").DataFrame.from_dict(
            {path: _row(cost) for path, cost in self._all.items()}, orient="index"
        )

    def __repr__(self) -> str:
        rows = {
            path: {name: _shown(name, value) for name, value in _row(cost).items()} for path, cost in self._all.items()
        }
        told = [f"milliseconds: medians of inference with a batch of {self.batch_size}"]
        told += [f"computed at once: {len(names)} layers, {names[0]} to {names[-1]}" for names in self.at_once]
        return "\n".join([text_table(rows), *told])

    @property
    def _all(self) -> dict[str, Cost]:
        return {**self.costs, "total": self.total}


def acceleration_report(
    model: keras.Model,
    masks: Mapping[str, np.ndarray] | None = None,
    *,
    batch_size: int = 32,
    engine: str = "auto",
    compact: bool = True,
    examples=None,
    repeats: int = 20,
) -> AccelerationReport:
    """Measures what `tfprune.accelerate` makes of a model against the same network in plain Keras, layer by layer.

    Each layer with pruned weights is called alone, on what the network gives it, in turn with its kernel and, where it
    can be, with its kept weights alone, whether the accelerated model holds these or not.

    Args:
        model: an accelerated model, or one to accelerate with these arguments; stays as it is.
        masks, batch_size, engine, compact: as for `tfprune.accelerate`; to an accelerated model masks and `compact` do
            nothing, and its layers are what they are.
        examples: inputs, in the forms of `representative` of `tfprune.export`; over and over where there are fewer than
            a batch. None for noise.
        repeats: number of timed calls of each, ≥ 1.

    Raises:
        InputError: what `tfprune.accelerate` raises, an argument out of range, examples that do not fit, or none where
            noise is no input of the model.
    """
    check_arguments(batch_size, engine)
    if isinstance(repeats, bool) or not isinstance(repeats, int) or repeats < 1:
        raise InputError(f"repeats must be at least 1. Received: {repeats!r}")
    given = has_kept(model)
    sparse = masked(*pruned(model, masks, compact and not given), verify=False)
    choices = choose(sparse, batch_size, engine)
    fast = model if given else with_kept(sparse, choices)
    plain = strip(sparse, compiled=False, verify=False)
    graph = as_graph(plain)
    shown = random_examples(graph) if examples is None else read_examples(graph, examples, "examples")
    shown = repeated(shown, graph.inputs[0].shape[0] or batch_size)
    every = with_kept(sparse, choose(sparse, batch_size, "sparse"))
    of_every, of_fast = (dict(named_layers(as_graph(one))) for one in (every, fast))
    ms = _by_layer(graph, {path: of_every[path] for path in choices}, shown, repeats)
    whole = latencies({one: (model_runner(one), shown) for one in (plain, fast)}, repeats)
    costs = {path: _cost(choice, is_kept(of_fast[path]), *ms[path]) for path, choice in choices.items()}
    total = _total(costs.values(), whole[plain], whole[fast])
    return AccelerationReport(len(shown[0]), costs, total, flows_of(fast))


def _by_layer(plain: keras.Model, others: Mapping[str, keras.layers.Layer], inputs, repeats: int) -> dict[str, tuple]:
    """Path of a layer -> milliseconds of a call of it, and of the other one where that holds kept weights alone.

    Args:
        plain: is run on the inputs, and its layers in between.
        others: path of a layer that is timed -> the one in its place.
    """
    paths = {id(layer): path for path, layer in named_layers(plain)}
    found: dict[str, tuple] = {}

    def call(operation: keras.Operation, *args, **kwargs):
        if is_nested(operation):
            (given,) = args or (kwargs["inputs"],)
            outputs = run(operation, flat_inputs(operation, given), call)
            single = isinstance(operation, keras.Sequential)
            return outputs[0] if single else tree.pack_sequence_as(operation.output, outputs)
        path = paths.get(id(operation))
        if path in others and path not in found:
            layers = {"dense": operation} | ({"sparse": others[path]} if is_kept(others[path]) else {})
            calls = {name: (_compiled(layer, args, kwargs), None) for name, layer in layers.items()}
            ms = latencies(calls, repeats)
            found[path] = ms["dense"], ms.get("sparse")
        return operation(*args, **kwargs)

    run(plain, [tf.constant(array) for array in inputs], call)
    return found


def _compiled(layer: keras.layers.Layer, args, kwargs):
    call = tf.function(lambda: layer(*args, **kwargs))
    return lambda _: call()


def _cost(choice: Choice, sparse: bool, ms_dense: float, ms_sparse: float | None) -> Cost:
    weights = sum(mask.size for _, mask in choice.kernels)
    kept = sum(int(np.count_nonzero(mask)) for _, mask in choice.kernels)
    dense = sum(mask.size * tf.as_dtype(kernel.dtype).size for kernel, mask in choice.kernels)
    own, trained = dense, dense
    if sparse:
        trained = kept * 4
        own = trained + kept * (4 if weights < 1 << 31 else 8)
    reason = "" if sparse else choice.reason or "it was accelerated otherwise"
    slots = _SLOTS * dense, _SLOTS * trained
    return Cost(weights, kept, dense, own, dense + slots[0], own + slots[1], ms_dense, ms_sparse, sparse, reason)


def _total(costs: Iterable[Cost], ms_dense: float, ms_sparse: float) -> Cost:
    costs = list(costs)
    names = "weights", "kept", "bytes_dense", "bytes", "adam_dense", "adam"
    sums = [sum(getattr(cost, name) for cost in costs) for name in names]
    return Cost(*sums, ms_dense, ms_sparse, any(cost.is_sparse for cost in costs))


def _row(cost: Cost) -> dict:
    return {
        "holds": "kept weights" if cost.is_sparse else "kernel",
        "weights": cost.weights,
        "kept": cost.kept,
        "density": cost.density,
        "bytes dense": cost.bytes_dense,
        "bytes": cost.bytes,
        "with Adam dense": cost.adam_dense,
        "with Adam": cost.adam,
        "ms dense": cost.ms_dense,
        "ms sparse": cost.ms_sparse,
        "speedup": cost.speedup,
        "stays dense because": cost.reason,
    }


def _shown(name: str, value) -> str | int:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4f}" if name == "density" else f"{value:.3g}"
    return value
