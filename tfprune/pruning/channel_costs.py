"""What a model costs without some of its channels: told from shapes, without building it, or of the built one."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable

import keras
import numpy as np
import tensorflow as tf

from tfprune.connectivity.compaction import size_of, uses_of
from tfprune.layers.barriers import FLOPS, barriers
from tfprune.layers.prunable import prunable
from tfprune.layers.subclassed import as_graph
from tfprune.layers.weights import weight_variables
from tfprune.pruning.channel_network import ChannelNetwork
from tfprune.pruning.latency_table import LatencyTable
from tfprune.pruning.layer_calls import layer_calls
from tfprune.surgery.filter_sets import without

Costs = dict[str, float]


class CostModel:
    """Costs of a network without some channels, by the shapes of what is left of its weights.

    Exact where each weight takes part in as many multiply-adds as before. Our rules keep channels that are positions of
    another layer, as those of a transposed tensor; a rule of others may not.

    Attributes:
        uncounted: what to warn of, operations without a rule; None if there are none.

    Args:
        network: of the model.
        names: of `"parameters"`, `"flops"` and `"bytes"`, see `tfprune.connectivity.compaction.Size`.
        input_shape: as for `tfprune.compaction_report`.
        unknown: as for `tfprune.prune_channels`.
        table: what says of milliseconds, `"latency"`; None for no word of them.

    Raises:
        InputError: floating-point operations are asked for and sizes are open, or a table of another model.
    """

    def __init__(
        self,
        network: ChannelNetwork,
        names: Iterable[str],
        input_shape,
        unknown: str,
        table: LatencyTable | None = None,
    ):
        self._network, self._names = network, tuple(names)
        self.uncounted, uses = None, {}
        if "flops" in self._names:
            with barriers(network.model, unknown) as met:
                uses = uses_of(network.model, prunable(network.model), input_shape)
            self.uncounted = met.line(FLOPS)
        self._parts = []
        for path, variable in weight_variables(network.model).items():
            axes = network.trace.axes.get(path, {})
            rest = math.prod(size for axis, size in enumerate(variable.shape) if axis not in axes)
            factors = {
                "parameters": rest,
                "flops": 2 * uses.get(path, 0) * rest,
                "bytes": tf.as_dtype(variable.dtype).size * rest,
            }
            self._parts.append(([factors[name] for name in self._names], list(axes.values())))
        self._table, self._calls = table, []
        if table is not None:
            calls, _ = layer_calls(network.model, table.batch)
            self._calls = [(table.times(call), *map(self._channels, call.axes)) for call in calls]

    def without(self, gone: Iterable[np.ndarray]) -> Costs:
        """What it costs without some classes of channels."""
        stays = without(self._network.trace, gone)
        total = [0] * len(self._names)
        for factors, axes in self._parts:
            left = math.prod(int(np.count_nonzero(stays[channels])) for channels in axes)
            total = [own + factor * left for own, factor in zip(total, factors, strict=True)]
        costs = dict(zip(self._names, total, strict=True))
        if self._table is not None:
            widths = [(times, _left(inputs, stays), _left(outputs, stays)) for times, inputs, outputs in self._calls]
            costs["latency"] = self._table.total(widths)
        return costs

    def _channels(self, axis: tuple[str, int, int] | None) -> np.ndarray | int | None:
        """Channels of the trace along an axis of a kernel; their number where none can leave."""
        if axis is None:
            return None
        path, place, size = axis
        return self._network.trace.axes.get(path, {}).get(place, size)


def _left(channels: np.ndarray | int | None, stays: np.ndarray) -> int | None:
    return int(np.count_nonzero(stays[channels])) if isinstance(channels, np.ndarray) else channels


def costs_of(model: keras.Model, names: Iterable[str], input_shape, unknown: str) -> Costs:
    """The same costs of a model as it is; what `tfprune.compaction_report` says."""
    found = {}
    if "flops" in names:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # told of the model that it was
            size = size_of(model, input_shape, unknown=unknown)
        found = {"parameters": size.parameters, "flops": size.flops, "bytes": size.bytes}
    else:
        for variable in weight_variables(as_graph(model)).values():
            count = math.prod(variable.shape)
            found["parameters"] = found.get("parameters", 0) + count
            found["bytes"] = found.get("bytes", 0) + count * tf.as_dtype(variable.dtype).size
    return {name: found[name] for name in names}
