"""A scope in which some variables read as other numbers, and everything else goes on as outside of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras


def called_with(layer: keras.layers.Layer, values: Sequence[tuple], call: Callable, args, kwargs):
    """`call(*args, **kwargs)`, in which some variables read as other tensors.

    What it assigns to variables is assigned, and what it adds to losses is added to those of `layer`.

    Args:
        layer: that calls.
        values: (variable, tensor in its place).
    """
    with _Reading(values) as scope:
        outputs = call(*args, **kwargs)
    for variable, value in scope.assigned.values():
        variable.assign(value)
    for loss in scope.losses:
        layer.add_loss(loss)
    return outputs


class _Reading(keras.StatelessScope):
    """Keras's own scope hides what a scope around it says of variables; this one asks it.

    Attributes:
        assigned: id of a variable -> (variable, its new value).
    """

    def __init__(self, values: Sequence[tuple]):
        super().__init__(values, collect_losses=True)
        self.assigned: dict[int, tuple] = {}

    def add_update(self, update: tuple) -> None:
        super().add_update(update)
        self.assigned[id(update[0])] = update

    def get_current_value(self, variable: keras.Variable):
        value = super().get_current_value(variable)
        if value is None and self.original_scope is not None:
            value = self.original_scope.get_current_value(variable)
        return value
