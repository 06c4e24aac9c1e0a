"""Functional and Sequential models of an own class: what becomes of the class when the model is copied.

A class is kept where Keras itself could make another model of it: its constructor takes a graph, and what it saves is a
graph. One that builds its graph itself, as KerasHub's backbones, is kept in copies with the same layers where
`tfprune.layers.by_class` can. Any other gives a plain model, of which the graph and the weights are the same, but not
what the class does beyond.
"""

from __future__ import annotations

import functools
import inspect
import warnings

import keras

from tfprune.layers.live import live_copy
from tfprune.layers.topology import graph_class

# What training, evaluation and prediction run through.
_STEPS = (
    *("fit", "evaluate", "predict", "train_on_batch", "test_on_batch", "predict_on_batch"),
    *("train_step", "test_step", "predict_step", "compute_loss", "compute_metrics"),
)
# What `compile`, `fit` and the like leave in a model.
_LEFT = {
    *("optimizer", "stop_training", "stop_evaluating", "stop_predicting", "history"),
    *("_compile_config", "_compiled_trainable_state", "_eval_epoch_iterator"),
    "load_weights",  # that of `tfprune.layers.files` is of one masked model
    "call",  # and that of `tfprune.layers.flowing`
}
DATA = (bool, int, float, str, bytes, type(None))


def model_like(model: keras.Model, *graph) -> keras.Model:
    """A model of another graph, of the class of `model` where that can be kept, else a plain one.

    Args:
        model: Sequential or Functional model.
        graph: list of layers, or inputs and outputs.
    """
    kind = type(model)
    plain = graph_class(model)
    copy = plain(*graph, name=model.name) if kind is plain else _own(model, plain, graph)
    if copy is None:
        copy = plain(*graph, name=model.name)
    copy.trainable = model.trainable
    return copy


def warn_of_lost_class(model: keras.Model, copy: keras.Model) -> None:
    """Warns once, in a line, where a model trains, evaluates or predicts in a way of its own and its copy does not.

    Nested models only compute: what else their classes do is never asked for.
    """
    kind, plain = type(model), type(copy)
    own = [step for step in _STEPS if getattr(kind, step) is not getattr(plain, step)]
    if own:
        warnings.warn(
            f"the copy of model {model.name!r} is a plain one, without its class {kind.__name__}, whose "
            f"{', '.join(own)} would do something else; a class is kept whose constructor takes inputs and outputs as "
            "keras.Model does, and that has no get_config of its own; in masked and plain copies also one that is "
            "registered with Keras and whose from_config(get_config()) makes the same layers",
            stacklevel=4,
        )


def _own(model: keras.Model, plain: type, graph: tuple) -> keras.Model | None:
    """A model of the own class; None where that cannot be one like `model`."""
    if not takes_graph(type(model), plain):
        return None
    try:
        copy = type(model)(*graph, name=model.name)
    except Exception:  # code of the class's author
        return None
    return copy if carried(model, copy) else None


def takes_graph(kind: type, plain: type) -> bool:
    """Whether Keras can make a model of this class from a graph, and save it as one."""
    own = inspect.getfullargspec(kind.__init__)
    takes = own.args == inspect.getfullargspec(plain.__init__).args or (own.varargs == "args" and own.varkw == "kwargs")
    # A class method is another object for each class; its function is not.
    reads = getattr(kind.from_config, "__func__", None) is plain.from_config.__func__
    return takes and reads and kind.get_config is plain.get_config


def carried(model: keras.Model, copy: keras.Model, by_class: bool = False) -> bool:
    """Gives a copy the attributes that a model has beyond its graph; False where one of them has weights.

    Args:
        model: Functional or Sequential model.
        copy: of the same class.
        by_class: whether the copy's class made the graph, and so attributes for its layers.
    """
    internal = _attributes(graph_class(model)) | _LEFT
    for name, value in vars(model).items():
        if name in internal or name.startswith("_self_"):  # TensorFlow's own
            continue
        if isinstance(value, keras.metrics.Metric):
            value = live_copy(value)
        elif by_class and _has_weights(value) and name in vars(copy):
            continue
        elif _has_weights(value):  # trained beside the graph, or a layer of the graph by another name
            return False
        if name not in vars(copy) or isinstance(value, DATA):
            setattr(copy, name, value)
    return True


@functools.cache
def _attributes(plain: type) -> set[str]:
    pixel = keras.Input((1,))
    return set(vars(keras.Sequential([pixel]) if plain is keras.Sequential else keras.Model(pixel, pixel)))


def _has_weights(value) -> bool:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple, set)):
        return any(map(_has_weights, value))
    return isinstance(value, (keras.Operation, keras.Variable))
