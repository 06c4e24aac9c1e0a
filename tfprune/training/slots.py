"""What an optimizer remembers of single weights."""

from __future__ import annotations

import keras
import numpy as np

_AVERAGES = "_model_variables_moving_average"  # of Keras's optimizers with `use_ema`


def clear_slots(
    optimizer: keras.optimizers.Optimizer | None, variable: keras.Variable, where: np.ndarray, averages: bool = True
) -> None:
    """Sets momenta, second moments and the like of some weights of a variable to 0.

    Args:
        optimizer: built or not; None changes nothing.
        variable: of the model.
        where: bool array of its shape.
        averages: whether running averages of the weights themselves become 0, too.
    """
    while hasattr(optimizer, "inner_optimizer"):
        optimizer = optimizer.inner_optimizer
    if optimizer is None or not optimizer.built:
        return
    trained = optimizer._trainable_variables  # no public way to see which slot is of which variable
    places = [place for place, one in enumerate(trained) if one is variable]
    for name, slots in vars(optimizer).items():
        if slots is trained or not isinstance(slots, list) or len(slots) != len(trained):
            continue
        if name == _AVERAGES and not averages:
            continue
        for place in places:
            slot = slots[place]
            if isinstance(slot, keras.Variable) and tuple(slot.shape) == where.shape:
                set_zero(slot, where)


def set_zero(variable: keras.Variable, where: np.ndarray) -> None:
    """Sets some entries of a variable to 0."""
    array = variable.numpy()
    variable.assign(np.where(where, np.zeros((), array.dtype), array))
