"""A copy of a model is compiled like the model: the same losses, a new optimizer, new metrics."""

from __future__ import annotations

import warnings

import keras

from tfprune.layers.live import live_copy

# Of variables without weight decay: given by a method, it is in no configuration.
_EXCLUDED = "_exclude_from_weight_decay_pattern"


def compile_alike(copy: keras.Model, model: keras.Model) -> None:
    """Compiles `copy` with the arguments of `model`, functions and losses themselves; warns where it cannot.

    The optimizer starts without state, and so do metrics.
    """
    try:
        if type(copy).compile is not keras.Model.compile:  # what it keeps, only the model's own class can say
            copy.compile_from_config(model.get_compile_config())
            return
        arguments = {name: _fresh(value) for name, value in model._compile_config.config.items()}
        copy.compile(**arguments)
        if copy.optimizer is not None:
            copy.optimizer.build(copy.trainable_variables)
    except Exception as error:  # code of the user's own classes; the model itself is fine
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        warnings.warn(f"the copy of {model.name!r} is not compiled, call compile yourself: {reason}", stacklevel=4)


def _fresh(value):
    if isinstance(value, keras.metrics.Metric):
        return live_copy(value)
    if isinstance(value, keras.optimizers.Optimizer):
        return fresh_optimizer(value)
    if isinstance(value, dict):
        return {key: _fresh(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_fresh(item) for item in value]
    return value


def fresh_optimizer(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """One that does the same, without state."""
    copy = live_copy(optimizer)
    pairs = [(optimizer, copy)]
    while hasattr(pairs[-1][0], "inner_optimizer"):
        pairs.append((pairs[-1][0].inner_optimizer, pairs[-1][1].inner_optimizer))
    for old, new in pairs:
        if hasattr(old, _EXCLUDED):
            setattr(new, _EXCLUDED, getattr(old, _EXCLUDED))
    return copy
