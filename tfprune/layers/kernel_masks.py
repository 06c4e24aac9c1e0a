"""The one mechanism of all masked layers: inside `call`, a kernel reads as kernel · mask.

A mask is a non-trainable bool variable, True is kept, saved and loaded with the model (`tfprune.layers.stored`). A
pruned weight takes no part in the output, its gradient is zero, also that of the layer's own regulariser, so optimisers
that follow gradients keep its value; so does the layer's own constraint, which sees kept weights and zeros. A low-rank
update is masked with its kernel, see `tfprune.layers.lora`. Decoupled weight decay (`weight_decay=` of an optimiser)
follows no gradient: it shrinks pruned weights too, and still they stay out of the output.

The mask is a factor, so what is no number stays none: a pruned weight that is infinite or NaN makes the output NaN.
"""

from __future__ import annotations

import keras
from keras import ops

from tfprune.errors import InputError
from tfprune.layers.kinds import KINDS
from tfprune.layers.lora import has_lora, kernel_variable
from tfprune.layers.stored import load_masked, load_plain, save_masked


class KernelMasks:
    """Mixin in front of a Keras layer class that `tfprune.layers.kinds.KINDS` lists.

    Attributes:
        plain_class: the Keras class that computes the same without masks.
        bias_mask: None; a subclass that also masks biases sets it.

    For each kernel attribute `<name>` there is a bool mask variable `<name>_mask`, all True at first.
    """

    plain_class: type[keras.layers.Layer]
    bias_mask = None

    def build(self, input_shape):
        rank, alpha = (getattr(self, name, None) for name in ("lora_rank", "lora_alpha"))
        self.lora_rank = None
        super().build(input_shape)
        for name in _names(self):
            kernel = kernel_variable(self, name)
            mask = self.add_weight(
                name=f"{name}_mask", shape=kernel.shape, initializer="ones", dtype="bool", trainable=False
            )
            setattr(self, f"{name}_mask", mask)
            if kernel.regularizer is not None:
                kernel.regularizer = _OfKept(kernel.regularizer, mask)
            if kernel.constraint is not None:
                kernel.constraint = _OnKept(kernel.constraint, mask)
        if rank:  # last, as it lets no variables come after it; and Keras's dense layer would forget α
            self.enable_lora(rank, lora_alpha=alpha)

    def call(self, inputs):
        # All variables must be in the mapping: an outer stateless scope is not looked into from an inner one.
        values = {id(variable): (variable, variable.value) for variable in self.variables}
        for name in _names(self):
            kernel = kernel_variable(self, name)
            values[id(kernel)] = (kernel, ops.multiply(getattr(self, name), getattr(self, f"{name}_mask")))
        if has_lora(self):  # its update is in the kernel by now
            values[id(self.lora_kernel_b)] = (self.lora_kernel_b, ops.zeros_like(self.lora_kernel_b))
        with keras.StatelessScope(list(values.values())):
            return super().call(inputs)

    def quantize(self, mode=None, **_):
        """Raises InputError: a quantized kernel has no zeros for a mask to keep."""
        raise InputError(f"layer {self.name!r} has masks and cannot be quantized: quantize tfprune.strip(model)")

    def save_own_variables(self, store):
        # A class that only inherits its plain class computes something else, and a low-rank update is in no kernel.
        own = "plain_class" in vars(type(self)) and not has_lora(self)
        save_masked(self, store, _pairs(self), self.plain_class if own else None)

    def load_own_variables(self, store):
        if store.keys():
            load_masked(self, store, _pairs(self))
        elif not load_plain(self, store, [mask for _, mask in _pairs(self).values()], self.plain_class):
            # Keras looks for the weights of a layer under the name of its class.
            raise InputError(
                f"the file has no weights of the masked layer {self.name!r}: if it is of the plain model, load it into "
                "that and then call tfprune.masked, or load it into a model from tfprune.masked or tfprune.load_model"
            )


def masks_of_layer(layer: keras.Operation) -> dict[str, keras.Variable]:
    """Kernel attribute name -> mask variable; empty for layers without masks."""
    if not isinstance(layer, KernelMasks):
        return {}
    return {name: getattr(layer, f"{name}_mask") for name in _names(layer)}


def _pairs(layer: KernelMasks) -> dict[str, tuple[keras.Variable, keras.Variable]]:
    """Kernel attribute name -> (kernel, mask)."""
    return {name: (kernel_variable(layer, name), mask) for name, mask in masks_of_layer(layer).items()}


def _names(layer: KernelMasks) -> list[str]:
    return [kernel.name for kernel in KINDS[layer.plain_class].kernels]


class _OfKept:
    """A regulariser of the kept weights only. Never saved: the layer's configuration holds the original."""

    def __init__(self, regularizer, mask: keras.Variable):
        self._regularizer = regularizer
        self._mask = mask

    def __call__(self, kernel):
        return self._regularizer(ops.multiply(kernel, ops.cast(self._mask, kernel.dtype)))


class _OnKept:
    """A constraint of the kept weights; pruned ones keep their values. Never saved, as above."""

    def __init__(self, constraint, mask: keras.Variable):
        self._constraint = constraint
        self._mask = mask

    def __call__(self, kernel):
        kernel = ops.convert_to_tensor(kernel)
        return ops.where(self._mask, self._constraint(ops.multiply(kernel, self._mask)), kernel)
