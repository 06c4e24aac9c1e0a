"""Calibration: what layers are called with when a model sees data, one layer after the other.

The model runs in inference, eagerly, so that nothing is traced anew for each layer, and no further than the layer that
is looked at. It may be of any form: calls are caught where they happen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress

import keras
import tensorflow as tf

from tfprune.errors import InputError
from tfprune.layers.catching import Around, Enough, catching, first_argument
from tfprune.pruning.batches import as_batches, inputs_of_batch, with_labels
from tfprune.pruning.fitted import blamed, fitted_inputs


class Inputs:
    """Batches of a model's inputs, as often as they are asked for.

    Args:
        graph: Sequential or Functional model, see `tfprune.layers.subclassed.as_graph`.
        data: what `tfprune.prune` takes, labels and sample weights of which are not looked at; or inputs without
            labels: an array, a dict of arrays, or a data set of them.
        batch_size, steps: as for `tfprune.prune`.

    Raises:
        InputError: no data, or such as do not fit the model; says what is wrong.
    """

    def __init__(self, graph: keras.Model, data, batch_size: int = 128, steps: int | None = None):
        if data is None:
            raise InputError("calibration needs data=: inputs, or a data set or pair of (inputs, labels)")
        self._graph = graph
        self._batches = as_batches(with_labels(data), batch_size, steps, len(graph.inputs))

    def __iter__(self) -> Iterator:
        found = False
        for batch in self._batches:
            found = True
            yield fitted_inputs(self._graph, inputs_of_batch(batch))
        if not found:
            raise InputError("data holds no batches, and calibration needs at least one")


def run(graph: keras.Model, inputs, layers: Iterable[keras.layers.Layer], around: Around) -> None:
    """Calls a model in inference, with `around` its layers' calls, up to an `Enough` or to its end."""
    with blamed("calibration"), catching(layers, around), suppress(Enough):
        graph(inputs, training=False)


def is_eager(tensor) -> bool:
    """Whether a layer was called with numbers: one whose calls are traced by the layer around it was not."""
    return isinstance(tensor, tf.Tensor) and not tf.is_symbolic_tensor(tensor)


def calls_in_order(graph: keras.Model, inputs, layers: Sequence[keras.layers.Layer]) -> list[tuple]:
    """(layer, number of its calls, whether it reads the very tensor that the layer before it in this list does).

    In the order of first calls, which are what the last part speaks of. Layers that are not called, or not with
    numbers, are left out.
    """
    calls: dict[int, list] = {}
    blind: set[int] = set()
    last = None

    def around(layer, call, args, kwargs):
        nonlocal last
        given = first_argument(args, kwargs)
        before, last = last, None
        if not is_eager(given):
            blind.add(id(layer))
        elif id(layer) in calls:
            calls[id(layer)][1] += 1
        else:
            calls[id(layer)] = [layer, 1, given is before]
            last = given
        return call(*args, **kwargs)

    run(graph, inputs, layers, around)
    return [tuple(found) for key, found in calls.items() if key not in blind]


def told_calls(
    graph: keras.Model, batches: Iterable, layer: keras.layers.Layer, calls: int, tell: Callable[[tuple, dict], None]
) -> None:
    """Runs all batches and tells what the layer is called with, `tell(args, kwargs)`.

    Args:
        graph: Sequential or Functional model.
        batches: of its inputs.
        layer: one of its, or of its layers'.
        calls: how many the model makes of it; after a single one it runs no further.
        tell: is told before the layer is called.
    """

    def around(_, call, args, kwargs):
        tell(args, kwargs)
        if calls == 1:
            raise Enough
        return call(*args, **kwargs)

    for inputs in batches:
        run(graph, inputs, [layer], around)
