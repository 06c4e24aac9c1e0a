"""Layers made of layers that no rule knows: the graph that runs inside takes their place.

Their parts lose channels like the layers of the model. Where none inside has lost any, the layer itself is in the copy;
else a nested Functional model of the smaller parts, which does what the layer does in inference.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import keras
import numpy as np
from keras import tree

from tfprune.layers.inside import graph_inside
from tfprune.layers.kernel_masks import masks_of_layer
from tfprune.surgery.channels import Signal


@dataclass
class Opened:
    """A layer and its inside.

    Attributes:
        layer: of the graph, or within another one.
        call: shapes and further arguments that it is called with; another call runs another graph.
        graph: Functional model of its parts.
        signals: those that were made inside.
    """

    layer: keras.Operation
    call: str
    graph: keras.Model
    signals: list[Signal] = field(default_factory=list)

    @classmethod
    def of(cls, layer: keras.Operation, args, kwargs) -> Opened | None:
        """Looks inside; None where there is no graph, or none that could stand for the layer.

        Args:
            layer: no rule knows it.
            args, kwargs: of a call, with KerasTensors.
        """
        inside = graph_inside(layer, args, kwargs)
        if inside is None or not _has_all_of(inside.model, layer):
            return None
        return cls(layer, call_of(args, kwargs), inside.model)

    def shrinks(self, stays: np.ndarray) -> bool:
        """Whether a part, or what the layer is given, loses a channel; `stays` for every channel of the trace."""
        return any(not stays[signal.channels].all() for signal in self.signals)


def call_of(args, kwargs) -> str:
    """A text that is another one where a call with KerasTensors may run another graph."""
    leaves = tree.flatten((args, kwargs))
    return repr([(x.shape, x.dtype) if isinstance(x, keras.KerasTensor) else x for x in leaves])


def _has_all_of(graph: keras.Model, layer: keras.Operation) -> bool:
    """Whether a graph has all weights of a layer within layers: those that stand alone would not be copied with it."""
    masks = {id(mask) for mask in masks_of_layer(layer).values()}
    own = {id(weight) for weight in layer.weights} - masks
    return own == {id(weight) for weight in graph.weights}
