"""The sparse engine in `fit`, whose masks change: a model's layers switch to their kept weights once that pays.

They have their switches while what Keras has compiled runs, and at no other time: a `fit` that an error or Ctrl-C has
ended says so to no callback, and its model is to be exported and trained on as any other.
"""

from __future__ import annotations

from collections.abc import Callable

import keras

from tfprune.engine.choice import SPARSE
from tfprune.engine.compiling import kernels
from tfprune.errors import InputError
from tfprune.layers.switched import Switches, switchable
from tfprune.training.engine import engine_of

_FUNCTIONS = ("train_function", "test_function", "predict_function")


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
    if isinstance(model.train_function, _Switched):  # of a training that did not come to its end
        switched_back(model)
        model.make_train_function()
    reason = "by XLA" if model.jit_compile else None
    if model.distribute_strategy.num_replicas_in_sync > 1:
        reason = "on several devices"
    if reason is not None:
        if asked == SPARSE:
            raise InputError(f"engine='sparse' computes on one CPU, and fit computes {reason}: use 'auto' or 'dense'")
        return None
    layers, engine = switchable(model), engine_of(asked, None)
    if not layers or engine is None or not engine.is_ready():
        return None
    kernels()  # compiled now, not in the middle of the training
    switches = Switches(layers)
    switched_back(model)
    for name in _FUNCTIONS:
        getattr(model, f"make_{name}")()
        setattr(model, name, _Switched(getattr(model, name), switches))
    return switches


def switched_back(model: keras.Model) -> None:
    """Makes a model forget what it has compiled with switches."""
    for name in _FUNCTIONS:
        setattr(model, name, None)


class _Switched:
    """A function of a model within which its layers have their switches."""

    def __init__(self, function: Callable, switches: Switches):
        self._function, self._switches = function, switches

    def __call__(self, *args, **kwargs):
        with self._switches.on():
            return self._function(*args, **kwargs)
