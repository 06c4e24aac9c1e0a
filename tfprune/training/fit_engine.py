"""The sparse engine in `fit`, whose masks change: a model's layers switch to their kept weights once that pays."""

from __future__ import annotations

import keras

from tfprune.engine.choice import SPARSE
from tfprune.engine.compiling import kernels
from tfprune.errors import InputError
from tfprune.layers.switched import Switches, switchable
from tfprune.training.engine import engine_of


def switched(model: keras.Model, asked: str) -> Switches | None:
    """Puts switches into a masked, compiled model, before `fit` takes its first step.

    Args:
        model: what Keras has compiled of it is forgotten where it gets switches.
        asked: see `tfprune.training.engine.engine_of`.

    Returns:
        None for dense, and where no layer can ever be computed by its kept weights.

    Raises:
        InputError: `sparse` on a GPU, on several devices, by XLA or without Numba.
    """
    reason = "by XLA" if model.jit_compile else None
    if model.distribute_strategy.num_replicas_in_sync > 1:
        reason = "on several devices"
    if reason is not None:
        if asked == SPARSE:
            raise InputError(f"engine='sparse' computes on one CPU, and fit computes {reason}: use 'auto' or 'dense'")
        return None
    layers = switchable(model)
    if not layers or engine_of(asked, None) is None:
        return None
    kernels()  # compiled now, not in the middle of the training
    switches = Switches(layers)
    _forget(model)
    model.make_train_function()
    return switches


def switched_back(model: keras.Model, switches: Switches) -> None:
    """Takes the switches out of a model again, which is exported and compiled by XLA as before."""
    switches.remove()
    _forget(model)


def _forget(model: keras.Model) -> None:
    model.train_function = model.test_function = model.predict_function = None
