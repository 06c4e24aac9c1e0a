"""What a layer is, said once: its kernels, which of their axes are channels, what says its size; families of layers.

Masks, connectivity, surgery and pruning read these tables. A new type of layer with kernels is an entry in `KINDS`;
where it multiplies as no other does, `tfprune.connectivity.rules_kernels` needs a rule for that, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import keras
from keras import layers


@dataclass(frozen=True)
class Kernel:
    """One kernel and its axes, counted from the end.

    Attributes:
        name: of the layer's attribute and of the variable.
        inputs: axis of the channels that it reads; None where only the layer itself can say.
        outputs: axes that together number the channels that it makes, in C order. A depthwise kernel has two, channel
            and multiplier; none where only the layer itself can say.
    """

    name: str = "kernel"
    inputs: int | None = -2
    outputs: tuple[int, ...] = (-1,)

    @property
    def is_depthwise(self) -> bool:
        """Whether each channel that it makes comes of a single one."""
        return self.inputs in self.outputs


@dataclass(frozen=True)
class Kind:
    """What the layers of a type have in common.

    Attributes:
        kernels: in the order in which the inputs go through them; the bias has an entry for each channel that the last
            one makes.
        size: key of the configuration that is the number of output channels, or ends with it; None where the inputs
            say that number.
        between_channels: (layer, kernels) -> the kernels if, in this layer, they lie between all channels of its inputs
            and all of its outputs (a depthwise one between each and its own), with their axes; () if they do not.
    """

    kernels: tuple[Kernel, ...] = (Kernel(),)
    size: str | None = None
    between_channels: Callable = lambda layer, kernels: kernels


def _ungrouped(layer, kernels: tuple[Kernel, ...]) -> tuple[Kernel, ...]:
    return kernels if layer.groups == 1 else ()


def _along_last_axis(layer, kernels: tuple[Kernel, ...]) -> tuple[Kernel, ...]:
    """For equations of a dense layer along the last axis, whatever the order of the kernel's two."""
    left, output = layer.equation.replace(" ", "").split("->")
    given, kernel = left.split(",")
    label_in, label_out = given[-1], output[-1]
    dense = (
        sorted(kernel) == sorted({label_in, label_out})
        and label_in not in output
        and label_out not in given
        and given[:-1] == output[:-1]
        and layer.bias_axes in (None, "", label_out)
    )
    inputs, outputs = (-1, -2) if kernel[0] == label_out else (-2, -1)
    return (replace(kernels[0], inputs=inputs, outputs=(outputs,)),) if dense else ()


CONVOLUTIONS = layers.Conv1D, layers.Conv2D, layers.Conv3D
TRANSPOSED = layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose
DEPTHWISE = layers.DepthwiseConv1D, layers.DepthwiseConv2D
SEPARABLE = layers.SeparableConv1D, layers.SeparableConv2D

_PER_CHANNEL = (-2, -1)
KINDS: dict[type, Kind] = {
    layers.Dense: Kind(size="units"),
    layers.EinsumDense: Kind((Kernel(inputs=None, outputs=()),), "output_shape", _along_last_axis),
    **dict.fromkeys(CONVOLUTIONS, Kind(size="filters", between_channels=_ungrouped)),
    **dict.fromkeys(TRANSPOSED, Kind((Kernel(inputs=-1, outputs=(-2,)),), "filters")),
    **dict.fromkeys(DEPTHWISE, Kind((Kernel(outputs=_PER_CHANNEL),))),
    **dict.fromkeys(
        SEPARABLE, Kind((Kernel("depthwise_kernel", outputs=_PER_CHANNEL), Kernel("pointwise_kernel")), "filters")
    ),
}

# Layers whose weights only scale and shift single channels -> these weights; their last axis is the channels.
CHANNEL_WISE: dict[type, tuple[str, ...]] = {
    layers.BatchNormalization: ("gamma", "beta", "moving_mean", "moving_variance"),
    layers.LayerNormalization: ("gamma", "beta"),
    layers.GroupNormalization: ("gamma", "beta"),
    layers.RMSNormalization: ("scale",),
    layers.Normalization: ("mean", "variance"),
    layers.PReLU: ("alpha",),
}

# Families of layers without weights. The first two are random in training and pass their inputs on in inference.
NOISE = (
    *(layers.Dropout, layers.AlphaDropout, layers.GaussianDropout, layers.GaussianNoise),
    *(layers.SpatialDropout1D, layers.SpatialDropout2D, layers.SpatialDropout3D),
)
AUGMENTATIONS = (
    *(layers.RandomBrightness, layers.RandomContrast, layers.RandomFlip, layers.RandomRotation),
    *(layers.RandomTranslation, layers.RandomZoom, layers.RandomShear, layers.RandomHue),
    *(layers.RandomSaturation, layers.RandomColorJitter, layers.RandomGaussianBlur, layers.RandomErasing),
)
POOLS = (
    *(layers.MaxPooling1D, layers.MaxPooling2D, layers.MaxPooling3D),
    *(layers.AveragePooling1D, layers.AveragePooling2D, layers.AveragePooling3D),
)
GLOBAL_POOLS = (
    *(layers.GlobalMaxPooling1D, layers.GlobalMaxPooling2D, layers.GlobalMaxPooling3D),
    *(layers.GlobalAveragePooling1D, layers.GlobalAveragePooling2D, layers.GlobalAveragePooling3D),
)
ADAPTIVE_POOLS = (
    *(layers.AdaptiveMaxPooling1D, layers.AdaptiveMaxPooling2D, layers.AdaptiveMaxPooling3D),
    *(layers.AdaptiveAveragePooling1D, layers.AdaptiveAveragePooling2D, layers.AdaptiveAveragePooling3D),
)
ZERO_PADDINGS = layers.ZeroPadding1D, layers.ZeroPadding2D, layers.ZeroPadding3D
CROPPINGS = layers.Cropping1D, layers.Cropping2D, layers.Cropping3D


def plain_type(layer: keras.Operation) -> type:
    """The type that says what a layer computes: masked layers are subclasses of it."""
    return getattr(layer, "plain_class", type(layer))


def is_kept(layer: keras.Operation) -> bool:
    """Whether it is a layer that holds the kept weights of its kernel only, see `tfprune.layers.kept_layers`."""
    return hasattr(layer, "dense_class")


def configured_class(thing) -> type:
    """The class whose configuration tells of a Keras object: of one that was masked as it is, the plain class."""
    return getattr(type(thing), "configured_as", type(thing))


def kind_of(layer: keras.Operation) -> Kind | None:
    """What `layer` is, None if `KINDS` does not say.

    Subclasses are nothing here: they may compute something else. Nor are quantized layers, whose kernels are not the
    variables that they multiply with.
    """
    return None if getattr(layer, "quantization_mode", None) else KINDS.get(plain_type(layer))


def channel_kernels(layer: keras.Operation) -> tuple[Kernel, ...]:
    """The kernels between the channels of a layer's inputs and outputs, with their axes; () if there are none such."""
    kind = kind_of(layer)
    return () if kind is None else kind.between_channels(layer, kind.kernels)


def channel_axis(layer: keras.Operation) -> int:
    """The axis that a layer takes for that of the channels."""
    return 1 if getattr(layer, "data_format", None) == "channels_first" else -1


def spatial(layer: keras.Operation, axes: Sequence) -> Sequence:
    """What a list of one item for each axis of an image (batch, ..., channels) has for the positions."""
    return axes[1:-1] if channel_axis(layer) == -1 else axes[2:]


def resize(layer: keras.Operation, config: dict, outputs: int, biased: bool) -> None:
    """Puts a number of output channels, and whether there is a bias, into the configuration of a layer of `KINDS`."""
    key = KINDS[plain_type(layer)].size
    if key is not None:
        config[key] = outputs if isinstance(config[key], int) else (*config[key][:-1], outputs)
    if "bias_axes" in config:
        config["bias_axes"] = layer.equation.strip()[-1] if biased else None
    else:
        config["use_bias"] = biased
