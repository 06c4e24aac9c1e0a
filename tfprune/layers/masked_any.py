"""Masks for the kernels of any layer: recurrent and attention layers, embeddings, own and composite ones, models.

Such a layer becomes masked as it is, by its class: the new class runs the layer's own `call`, in which each kernel,
also one of a layer within, reads as kernel · mask. So what `call` does need not be known. What the kernels are says
`tfprune.layers.prunable`; masks arise once the layer has its weights, with its first call at the latest.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import keras

from tfprune.layers.kernel_masks import MaskedKernels, add_mask, refuse_to_quantize
from tfprune.layers.kinds import configured_class
from tfprune.layers.prunable import inner_kernels
from tfprune.layers.reading import called_with
from tfprune.layers.stored_beside import load_beside, save_beside


def register(mixin: type) -> type:
    """A mixin that files of masked layers or models name; it finds the class by the file."""
    keras.saving.get_custom_objects()[f"tfprune>{mixin.__name__}"] = mixin
    return mixin


class AsPlain:
    """What is masked by its class alone: a file has its plain form, of which `from_config` makes a masked one.

    Attributes:
        configured_as: the plain class, whose configuration it has.
    """

    configured_as: type[keras.layers.Layer]


@register
class MaskedLayer(AsPlain, MaskedKernels):
    """Mixin in front of a layer's class, made by `with_masks`; a file has the layer's masks beside its plain form."""

    def __call__(self, *args, **kwargs):
        outputs = super().__call__(*args, **kwargs)
        self._add_masks()
        return outputs

    def build_from_config(self, config: dict) -> None:
        super().build_from_config(config)
        self._add_masks()

    def get_config(self) -> dict:
        return {"layer": plain_form(self), "name": self.name}

    @classmethod
    def from_config(cls, config: dict) -> keras.layers.Layer:
        layer = with_masks(keras.saving.deserialize_keras_object(config["layer"]))
        layer.name = config.get("name", layer.name)  # some constructors add to the name that they are given
        return layer

    def save_own_variables(self, store) -> None:
        save_beside(self, store, super().save_own_variables)

    def load_own_variables(self, store) -> None:
        load_beside(self, store, super().load_own_variables)

    def _add_masks(self) -> None:
        """Of kernels that have none yet: some layers get some weights with `build` and others with their first call."""
        known = self.kernels_and_masks()
        if len(self.variables) == vars(self).get("_variables_seen"):
            return
        for inner in self._flatten_layers(include_self=False):  # which Keras's `quantize` goes to one by one
            vars(inner)["quantize"] = functools.partial(refuse_to_quantize, self.name)
        new = {name: kernel for name, kernel in inner_kernels(self).items() if name not in known}
        if new:
            locked = self._tracker.locked
            self._tracker.unlock()  # as Keras does for weights that come late
            for name, kernel in new.items():
                add_mask(self, name, kernel)
            if locked:
                self._tracker.lock()
        vars(self)["_variables_seen"] = len(self.variables)


def with_masks(layer: keras.layers.Layer) -> keras.layers.Layer:
    """The layer itself, which is masked from now on; without effect on what it computes.

    Args:
        layer: of any class that is not masked, built or not.
    """
    become_masked(layer, MaskedLayer, _layer_members)
    layer._add_masks()
    return layer


def config_of(layer: keras.layers.Layer) -> dict:
    """The configuration of a layer or model, of a masked one that of the plain one."""
    if not isinstance(layer, AsPlain):
        return layer.get_config()
    # Keras writes the constructor's arguments by itself where a class has no `get_config`: as this one has one, a plain
    # object with the same attributes is asked.
    plain = object.__new__(layer.configured_as)
    vars(plain).update(vars(layer))
    return plain.get_config()


def plain_form(layer: keras.layers.Layer) -> dict:
    """What Keras makes the plain layer or model of."""
    plain = configured_class(layer)
    return {
        "module": plain.__module__,
        "class_name": plain.__name__,
        "config": config_of(layer),
        "registered_name": keras.saving.get_registered_name(plain),
    }


def become_masked(layer: keras.layers.Layer, mixin: type, members: Callable[[type], dict]) -> None:
    """Changes the class of a plain layer or model.

    Args:
        layer: that changes.
        mixin: has `AsPlain`; what stands in front of the layer's class.
        members: from the plain class to what the new one has beyond.
    """
    object.__setattr__(layer, "__class__", _masked_class(mixin, type(layer), members))


@functools.cache
def _masked_class(mixin: type, plain: type, members: Callable[[type], dict]) -> type:
    # Under the plain class's own name: Keras writes a layer's weights under the name of its class.
    body = {"plain_class": plain, "configured_as": plain, "__module__": mixin.__module__, **members(plain)}
    kind = type(plain.__name__, (mixin, plain), {**body, "__doc__": f"`{plain.__name__}` with masked kernels."})
    keras.saving.register_keras_serializable("tfprune", mixin.__name__)(kind)
    register(mixin)
    return kind


def _layer_members(plain: type) -> dict:
    return {"call": _call_of(plain)}


def _call_of(plain: type) -> Callable:
    @functools.wraps(plain.call)  # Keras reads the arguments' names
    def call(self, *args, **kwargs):
        return called_with(self, self.kept_values(), functools.partial(plain.call, self), args, kwargs)

    return call
