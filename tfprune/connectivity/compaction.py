"""What compacting a model brought: parameters, floating-point operations and bytes, before and after."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import keras
import numpy as np
import tensorflow as tf

from tfprune.connectivity.graph import Walk, ones_input
from tfprune.errors import InputError
from tfprune.layers.barriers import FLOPS, Barriers, barriers
from tfprune.layers.kept import with_masks
from tfprune.layers.prunable import prunable
from tfprune.layers.subclassed import as_graph
from tfprune.layers.topology import is_graph, named_layers
from tfprune.layers.weights import weight_variables
from tfprune.records.extras import extra
from tfprune.records.text_table import text_table

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, repr=False)
class Size:
    """What a layer or a model costs; prints as a sentence.

    Attributes:
        parameters: number of weights, biases and normalisation included, masks not.
        flops: floating-point operations for one example, two (multiply, add) for each weight of a prunable kernel and
            position, positions in padding and weights that are 0 included.
        bytes: of the parameters in memory.
    """

    parameters: int
    flops: int
    bytes: int

    def __repr__(self) -> str:
        return f"{self.parameters:,} parameters, {self.flops:,} FLOPs, {self.bytes:,} bytes"


@dataclass(frozen=True, repr=False)
class CompactionReport:
    """Sizes before and after; prints as a table.

    Attributes:
        before, after: `Size` of the whole models.
        before_of, after_of: path of a layer -> `Size`, for layers with weights.
    """

    before: Size
    after: Size
    before_of: dict[str, Size]
    after_of: dict[str, Size]

    @property
    def table(self) -> pd.DataFrame:
        """One row per layer with weights and a last one, `total`."""
        return extra("pandas", "the table of a report").DataFrame.from_dict(self._rows, orient="index")

    def __repr__(self) -> str:
        ratios = ", ".join(f"{name} / {_ratio(self.before, self.after, name):.4g}" for name in ("parameters", "flops"))
        return f"{text_table(self._rows)}\n{ratios}"

    @property
    def _rows(self) -> dict[str, dict]:
        rows = {path: _row(self.before_of[path], self.after_of[path]) for path in self.before_of}
        return {**rows, "total": _row(self.before, self.after)}


def compaction_report(
    before: keras.Model, after: keras.Model, input_shape=None, *, unknown: str = "barrier"
) -> CompactionReport:
    """Compares a model with what `tfprune.compact` made of it, layer by layer.

    Args:
        before: the model that was compacted.
        after: its compact copy, or any other with the same layers.
        input_shape: shape of an input without the batch axis, where the models leave sizes open.
        unknown: `"barrier"`: of operations that no rule knows, parameters count, but no floating-point operations;
            `"refuse"`.

    Warns:
        UserWarning: once, in a line: the operations of `before` that no rule knows.

    Raises:
        InputError: the models have different layers, sizes are open, or an operation that no rule knows and that is to
            be refused; names it.
    """
    before_of, met = _counted(before, input_shape, unknown)
    after_of, _ = _counted(after, input_shape, unknown)
    met.tell(FLOPS)
    after_of = _by_layer(after_of, before_of) if is_graph(before) else {before.name: _total(after_of)}
    names = {path for path, _ in named_layers(after)}
    if set(before_of) <= names:  # a normalisation that became part of another layer has no weights left
        after_of = {path: after_of.pop(path, Size(0, 0, 0)) for path in before_of} | after_of
    if list(before_of) != list(after_of):
        other = sorted(set(before_of) ^ set(after_of))
        raise InputError(f"models {before.name!r} and {after.name!r} have different layers: {', '.join(other[:3])}")
    return CompactionReport(_total(before_of), _total(after_of), before_of, after_of)


def _by_layer(sizes: dict[str, Size], layers: Iterable[str]) -> dict[str, Size]:
    """Sizes of the parts of a layer as one, where a nested model of smaller parts has taken its place."""
    found: dict[str, Size] = {}
    for path, size in sizes.items():
        whole = next((layer for layer in layers if path.startswith(f"{layer}/")), path)
        found[whole] = _total({"": found.get(whole, Size(0, 0, 0)), path: size})
    return found


def size_of(model: keras.Model, input_shape=None, *, unknown: str = "barrier") -> Size:
    """What a whole model costs; arguments, warnings and errors as for `compaction_report`."""
    sizes, met = _counted(model, input_shape, unknown)
    met.tell(FLOPS)
    return _total(sizes)


def _counted(model: keras.Model, input_shape, unknown: str) -> tuple[dict[str, Size], Barriers]:
    model = as_graph(with_masks(model))
    with barriers(model, unknown) as met:
        return _sizes(model, input_shape), met


def _sizes(model: keras.Model, input_shape) -> dict[str, Size]:
    flops: dict[str, int] = {}
    kernels = prunable(model)
    for path, uses in uses_of(model, kernels, input_shape).items():
        layer = path.rpartition("/")[0]
        flops[layer] = flops.get(layer, 0) + 2 * uses * int(np.prod(kernels[path].shape))
    sizes: dict[str, Size] = {}
    for path, variable in weight_variables(model).items():
        layer = path.rpartition("/")[0]
        known = sizes.get(layer, Size(0, flops.get(layer, 0), 0))
        count = int(np.prod(variable.shape))
        width = tf.as_dtype(variable.dtype).size
        sizes[layer] = Size(known.parameters + count, known.flops, known.bytes + count * width)
    return sizes


def uses_of(model: keras.Model, kernels, input_shape) -> dict[str, int]:
    """Path of a kernel -> multiply-adds for one example in which each of its weights takes part.

    Args:
        model: a graph, within `tfprune.layers.barriers.barriers`.
        kernels: `prunable(model)`.
        input_shape: as for `compaction_report`.

    Raises:
        InputError: sizes are open, or an operation that no rule knows and that is to be refused.
    """
    signature = {path: tf.TensorSpec(variable.shape, tf.float32) for path, variable in kernels.items()}
    uses = {}

    def linear(given):
        walk = Walk(model, given)
        outputs = walk.run(model, ones_input(model, input_shape))
        uses.update(walk.uses)
        return outputs

    # Traced, never run: shapes are enough.
    tf.function(linear, autograph=False).get_concrete_function(signature)
    return uses


def _total(sizes: dict[str, Size]) -> Size:
    return Size(*(sum(getattr(size, name) for size in sizes.values()) for name in ("parameters", "flops", "bytes")))


def _ratio(before: Size, after: Size, name: str) -> float:
    return getattr(before, name) / getattr(after, name) if getattr(after, name) else np.inf


def _row(before: Size, after: Size) -> dict:
    return {
        "parameters before": before.parameters,
        "parameters after": after.parameters,
        "FLOPs before": before.flops,
        "FLOPs after": after.flops,
        "bytes before": before.bytes,
        "bytes after": after.bytes,
    }
