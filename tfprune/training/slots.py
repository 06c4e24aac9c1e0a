"""What an optimizer remembers of single weights."""

from __future__ import annotations

import keras
import numpy as np


def clear_slots(optimizer: keras.optimizers.Optimizer | None, variable: keras.Variable, where: np.ndarray) -> None:
    """Sets momenta, averages and the like of some weights of a variable to 0.

    Args:
        optimizer: built or not; None changes nothing.
        variable: of the model.
        where: bool array of its shape.
    """
    while hasattr(optimizer, "inner_optimizer"):
        optimizer = optimizer.inner_optimizer
    if optimizer is None or not optimizer.built:
        return
    trained = optimizer._trainable_variables  # no public way to see which slot is of which variable
    places = [place for place, one in enumerate(trained) if one is variable]
    for slots in vars(optimizer).values():
        if slots is trained or not isinstance(slots, list) or len(slots) != len(trained):
            continue
        for place in places:
            slot = slots[place]
            if isinstance(slot, keras.Variable) and tuple(slot.shape) == where.shape:
                slot.assign(np.where(where, 0, slot.numpy()))
