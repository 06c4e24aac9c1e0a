"""Masked models of an own class that builds its graph itself: the class says in a file how they are made.

Their layers are masked where they are, so that whatever the class's methods do with them meets the masks; the layers
are never asked for a configuration.
"""

from __future__ import annotations

from collections.abc import Iterator

import keras

from tfprune.layers.kernel_masks import MaskedKernels
from tfprune.layers.masked_any import AsPlain, become_masked, plain_form, register, with_masks
from tfprune.layers.own_models import takes_graph
from tfprune.layers.prunable import has_kernels
from tfprune.layers.topology import graph_class, is_nested, layers_of, named_layers


@register
class MaskedModel(AsPlain):
    """Mixin in front of a model's class, made by `with_masked_layers`.

    A file has the model's plain form, and the names of its layers, which a constructor may number anew.
    """

    def get_config(self) -> dict:
        return {"model": own_form(self), "names": [one.name for one in _parts(self)]}

    @classmethod
    def from_config(cls, config: dict) -> keras.Model:
        model = keras.saving.deserialize_keras_object(config["model"])
        for part, name in zip(_parts(model), config["names"], strict=True):
            part.name = name
        return with_masked_layers(model)


def with_masked_layers(model: keras.Model) -> keras.Model:
    """The model itself, all of whose layers with kernels are masked from now on.

    Args:
        model: Functional or Sequential, of an own class that is made of no graph, and not masked.
    """
    for _, layer in named_layers(model):
        if has_kernels(layer) and not isinstance(layer, MaskedKernels):
            with_masks(layer)
    for part in model._flatten_layers():  # a backbone in a model of another class may be taken out of it
        if is_nested(part) and not takes_graph(type(part), graph_class(part)):
            become_masked(part, MaskedModel, _nothing)
    return model


def own_form(model: keras.Model) -> dict:
    """What Keras makes a model of that has no masks anywhere, by the model's own class."""
    return _unmasked(keras.saving.serialize_keras_object(plain_form(model)))


def _unmasked(form):
    """A serialised object in which whatever was masked by its class is plain."""
    if isinstance(form, (list, tuple)):
        return type(form)(map(_unmasked, form))
    if not isinstance(form, dict):
        return form
    for mixin, key in (("MaskedLayer", "layer"), ("MaskedModel", "model")):
        if form.get("registered_name") == f"tfprune>{mixin}":
            return _unmasked(form["config"][key])
    return {key: _unmasked(part) for key, part in form.items()}


def _parts(model: keras.Model) -> Iterator[keras.layers.Layer]:
    yield model
    for layer in layers_of(model):
        yield from _parts(layer) if is_nested(layer) else [layer]


def _nothing(plain: type) -> dict:
    return {}
