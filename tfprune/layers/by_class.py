"""Another model of an own class that builds its graph itself, as KerasHub's backbones do: made as a file would make it.

The class is asked how it was made, not its layers, which need not be able to tell. It is believed where the other model
is like the first one in all that can be compared.
"""

from __future__ import annotations

import functools
import json

import keras

from tfprune.layers.kernel_masks import MaskedKernels, masked_kernels
from tfprune.layers.kinds import configured_class
from tfprune.layers.live import INTERNAL, RECORDED
from tfprune.layers.masked_models import own_form, with_masked_layers
from tfprune.layers.own_models import DATA, carried, takes_graph
from tfprune.layers.state import copy_state, copy_vocabularies, take_over
from tfprune.layers.topology import graph_class, is_nested, named_layers
from tfprune.layers.verify import check_copy


def plain_by_class(model: keras.Model) -> keras.Model | None:
    """Another model of the own class of a Functional or Sequential one, without masks, with its weights, not compiled.

    None where the class is made of a graph, is not registered with Keras, or makes another model of its configuration:
    with other layers, weights, numbers or functions of a layer, or other outputs.
    """
    if takes_graph(configured_class(model), graph_class(model)):
        return None
    try:
        copy = keras.saving.deserialize_keras_object(json.loads(json.dumps(own_form(model))))
        if not _takes_after(copy, model):
            return None
        check_copy(copy, model)
    except Exception:  # code of the class's author, or outputs that differ
        return None
    return copy


def masked_by_class(model: keras.Model) -> keras.Model | None:
    """As `plain_by_class`, with masks that keep all weights."""
    copy = plain_by_class(model)
    return None if copy is None else with_masked_layers(copy)


def like_by_class(model: keras.Model) -> keras.Model | None:
    """As `masked_by_class` where the model has masks, else as `plain_by_class`."""
    return masked_by_class(model) if any(masked_kernels(model)) else plain_by_class(model)


def _takes_after(copy: keras.Model, model: keras.Model) -> bool:
    """Gives a copy the names and the state of a model; False where the two are not alike."""
    pairs = list(zip(model._flatten_layers(), copy._flatten_layers(), strict=True))
    if not all(_are_alike(old, new) for old, new in pairs):
        return False
    for old, new in pairs:
        new.name, new.supports_masking = old.name, old.supports_masking
        if (recorded := vars(old).get(RECORDED)) is not None:  # else a function among its arguments may have undone it
            vars(new)[RECORDED] = recorded
        if new.trainable != old.trainable:
            new.trainable = old.trainable
    for old, new in zip(model.inputs, copy.inputs, strict=True):
        new.name = old.name
    layers = list(named_layers(copy))
    seen = {id(variable) for _, layer in layers for variable in layer.variables}
    if any(id(variable) not in seen for variable in copy.variables):  # beside the graph
        return False
    copy_vocabularies(model, copy)
    for (path, layer), (new_path, new) in zip(named_layers(model), layers, strict=True):
        if path != new_path:
            return False
        copy_state(path, layer, new)
    take_over(model, copy)
    return True


def _are_alike(old: keras.layers.Layer, new: keras.layers.Layer) -> bool:
    if type(new) is not configured_class(old) or isinstance(new, MaskedKernels):
        return False
    if is_nested(old):
        return carried(old, new, by_class=True)
    told, found = _told(old), _told(new)
    return old.dtype_policy == new.dtype_policy and all(told[key] == found[key] for key in told.keys() & found.keys())


def _told(layer: keras.layers.Layer) -> dict:
    """What a layer's attributes hold: numbers, words, functions by their code; names, layers and variables aside."""
    return {
        name: _plain(value)
        for name, value in vars(layer).items()
        if name not in INTERNAL and not name.startswith(("_self_", "lora_"))
    }


def _plain(value):
    if isinstance(value, DATA):
        return value
    if isinstance(value, (list, tuple)):
        return list(map(_plain, value))
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if key != "name"}
    if isinstance(value, functools.partial):
        return _plain([value.func, value.args, value.keywords])
    if hasattr(value, "__code__"):
        return value.__code__
    tells = hasattr(value, "get_config") and not isinstance(value, (type, keras.Operation))
    return [configured_class(value), _plain(value.get_config()) if tells else None]
