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
from tfprune.layers.prunable import inner_kernels
from tfprune.layers.reading import called_with
from tfprune.layers.stored_beside import load_beside, save_beside

_REGISTERED = "MaskedLayer"


class MaskedLayer(MaskedKernels):
    """Mixin in front of a layer's class, made by `with_masks`.

    A file has the layer's plain form and its masks beside it: `from_config` makes a masked layer of that.

    Attributes:
        configured_as: the plain class, whose configuration the layer has.
    """

    configured_as: type[keras.layers.Layer]

    def __call__(self, *args, **kwargs):
        outputs = super().__call__(*args, **kwargs)
        self._add_masks()
        return outputs

    def build_from_config(self, config: dict) -> None:
        super().build_from_config(config)
        self._add_masks()

    def get_config(self) -> dict:
        plain = self.plain_class
        return {
            "layer": {
                "module": plain.__module__,
                "class_name": plain.__name__,
                "config": config_of(self),
                "registered_name": keras.saving.get_registered_name(plain),
            }
        }

    @classmethod
    def from_config(cls, config: dict) -> keras.layers.Layer:
        return with_masks(keras.saving.deserialize_keras_object(config["layer"]))

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
    object.__setattr__(layer, "__class__", _masked_class(type(layer)))
    layer._add_masks()
    return layer


def config_of(layer: keras.layers.Layer) -> dict:
    """The configuration of a layer, of a `MaskedLayer` that of the plain one."""
    if not isinstance(layer, MaskedLayer):
        return layer.get_config()
    # Keras writes the constructor's arguments by itself where a class has no `get_config`: as this one has one, a plain
    # object with the same attributes is asked.
    plain = object.__new__(layer.plain_class)
    vars(plain).update(vars(layer))
    return plain.get_config()


@functools.cache
def _masked_class(plain: type) -> type:
    # Under the plain class's own name: Keras writes a layer's weights under the name of its class.
    body = {"plain_class": plain, "configured_as": plain, "call": _call_of(plain), "__module__": __name__}
    kind = type(plain.__name__, (MaskedLayer, plain), {**body, "__doc__": f"`{plain.__name__}` with masked kernels."})
    keras.saving.register_keras_serializable("tfprune", _REGISTERED)(kind)
    keras.saving.get_custom_objects()[f"tfprune>{_REGISTERED}"] = MaskedLayer  # which finds the class by the file
    return kind


def _call_of(plain: type) -> Callable:
    @functools.wraps(plain.call)  # Keras reads the arguments' names
    def call(self, *args, **kwargs):
        return called_with(self, self.kept_values(), functools.partial(plain.call, self), args, kwargs)

    return call


keras.saving.get_custom_objects()[f"tfprune>{_REGISTERED}"] = MaskedLayer
