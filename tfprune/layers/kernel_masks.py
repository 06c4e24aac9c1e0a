"""The one mechanism of all masked layers: inside `call`, a kernel reads as kernel · mask.

A mask is a non-trainable bool variable, True is kept, saved and loaded with the model (`tfprune.layers.stored`). A
pruned weight takes no part in the output, its gradient is zero, also that of the layer's own regulariser, so optimisers
that follow gradients keep its value; so does the layer's own constraint, which sees kept weights and zeros. A low-rank
update is masked with its kernel, see `tfprune.layers.lora`. Decoupled weight decay (`weight_decay=` of an optimiser)
follows no gradient: it shrinks pruned weights too, and still they stay out of the output.

The mask is a factor, so what is no number stays none: a pruned weight that is infinite or NaN makes the output NaN.
"""

from __future__ import annotations

from collections.abc import Iterator

import keras
from keras import ops

from tfprune.errors import InputError
from tfprune.layers.kinds import KINDS
from tfprune.layers.lora import has_lora, kernel_variable, updates_of
from tfprune.layers.reading import called_with
from tfprune.layers.stored import load_masked, load_plain, save_masked
from tfprune.layers.topology import named_layers

_PAIRS = "_kernels_and_masks"


class MaskedKernels:
    """What has masks: `KernelMasks`, and any other layer by `tfprune.layers.masked_any`.

    Attributes:
        plain_class: the class that computes the same without masks.
    """

    plain_class: type[keras.layers.Layer]

    def kernels_and_masks(self) -> dict[str, tuple[keras.Variable, keras.Variable]]:
        """Name of a kernel -> (kernel, mask), of those that `add_mask` has given one."""
        return vars(self).get(_PAIRS, {})

    def kept_values(self) -> list[tuple]:
        """(variable, tensor in its place) of what makes the plain layer compute with kept weights only."""
        updates = {id(kernel): (total, b) for kernel, total, b in updates_of(self)}
        pairs = self.kernels_and_masks().values()
        values = [(kernel, ops.multiply(updates.get(id(kernel), (kernel,))[0], mask)) for kernel, mask in pairs]
        # An update is in its kernel by now.
        return [*values, *((b, ops.zeros_like(b)) for _, b in updates.values())]

    def quantize(self, mode=None, **_):
        """Raises InputError: a quantized kernel has no zeros for a mask to keep."""
        refuse_to_quantize(self.name)


def refuse_to_quantize(name: str, *_, **__):
    """Raises InputError for the masked layer of this name."""
    raise InputError(f"layer {name!r} has masks and cannot be quantized: quantize tfprune.strip(model)")


class KernelMasks(MaskedKernels):
    """Mixin in front of a Keras layer class that `tfprune.layers.kinds.KINDS` lists.

    Attributes:
        bias_mask: None; a subclass that also masks biases sets it.

    For each kernel attribute `<name>` there is a bool mask variable `<name>_mask`, all True at first.
    """

    bias_mask = None

    def build(self, input_shape):
        rank, alpha = (getattr(self, name, None) for name in ("lora_rank", "lora_alpha"))
        self.lora_rank = None
        super().build(input_shape)
        self.add_masks()
        if rank:  # last, as it lets no variables come after it; and Keras's dense layer would forget α
            self.enable_lora(rank, lora_alpha=alpha)

    def add_masks(self) -> None:
        """Of all kernels, which keep all."""
        for name in _names(self):
            setattr(self, f"{name}_mask", add_mask(self, name, kernel_variable(self, name)))

    def call(self, inputs):
        return called_with(self, self.kept_values(), super().call, (inputs,), {})

    def save_own_variables(self, store):
        # A class that only inherits its plain class computes something else, and a low-rank update is in no kernel.
        own = "plain_class" in vars(type(self)) and not has_lora(self)
        save_masked(self, store, self.kernels_and_masks(), self.plain_class if own else None)

    def load_own_variables(self, store):
        if store.keys():
            load_masked(self, store, self.kernels_and_masks())
        elif not load_plain(self, store, list(masks_of_layer(self).values()), self.plain_class):
            # Keras looks for the weights of a layer under the name of its class.
            raise InputError(
                f"the file has no weights of the masked layer {self.name!r}: if it is of the plain model, load it into "
                "that and then call tfprune.masked, or load it into a model from tfprune.masked or tfprune.load_model"
            )


def masks_of_layer(layer: keras.Operation) -> dict[str, keras.Variable]:
    """Name of a kernel -> mask variable; empty for layers without masks."""
    if not isinstance(layer, MaskedKernels):
        return {}
    return {name: mask for name, (_, mask) in layer.kernels_and_masks().items()}


def masks_within(layer: keras.layers.Layer) -> set[int]:
    """Ids of the masks of a layer and of all within it: one of these may be a layer of the graph, too."""
    return {id(mask) for one in layer._flatten_layers() for mask in masks_of_layer(one).values()}


def masked_kernels(model: keras.Model) -> Iterator[tuple[keras.Variable, keras.Variable]]:
    """(kernel, mask) of all layers of a model, in network order; a kernel that several layers have, once for each."""
    for _, layer in named_layers(model):
        if isinstance(layer, MaskedKernels):
            yield from layer.kernels_and_masks().values()


def add_mask(layer: keras.layers.Layer, name: str, kernel: keras.Variable) -> keras.Variable:
    """A new mask, all True, among a layer's weights; what regularises or constrains the kernel sees kept weights."""
    mask = layer.add_weight(name=f"{name}_mask", shape=kernel.shape, initializer="ones", dtype="bool", trainable=False)
    if kernel.regularizer is not None:
        kernel.regularizer = _OfKept(kernel.regularizer, mask)
    if kernel.constraint is not None:
        kernel.constraint = _OnKept(kernel.constraint, mask)
    # Not by `setattr`: what a dictionary holds would be tracked a second time.
    vars(layer)[_PAIRS] = {**vars(layer).get(_PAIRS, {}), name: (kernel, mask)}
    return mask


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
