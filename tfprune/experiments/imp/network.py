"""The network of iterative magnitude pruning as a Keras model, and its weights and masks in the order of the files."""

from __future__ import annotations

import keras
import numpy as np

from tfprune.experiments.imp.arch import check_size, check_trainable, parse_arch
from tfprune.experiments.imp.files import LayerSpec
from tfprune.experiments.imp.normalized_dense import NormalizedMaskedDense
from tfprune.layers.masked import MaskedConv2D

Weights = list[list[np.ndarray]]


class ImpNetwork:
    """A Keras model built from an architecture string, with access to its variables layer by layer.

    Args:
        arch: architecture string, see `parse_arch`.
        prune: which layers are pruned, see `parse_arch`.
        image_shape: (channels, height, width).
        classes: number of classes.
        momentum: decay of the running averages of the input normalisation, in [0, 1].
        epsilon: added to the variance in the input normalisation.
        product_dtype: precision of the products' operands, None for float32.

    Attributes:
        layers: the `LayerSpec`s.
        model: `keras.Model` from float32 (batch, channels·height·width), flattened channel by channel, to logits
            (batch, classes).

    Raises:
        InputError: the architecture cannot be parsed or trained.
    """

    def __init__(self, arch, prune, image_shape, classes, momentum=0.99, epsilon=1e-10, product_dtype=None):
        self.layers = parse_arch(arch, prune, image_shape, classes)
        check_trainable(arch, self.layers)
        check_size(arch, self.layers)
        inputs = outputs = keras.Input((int(np.prod(image_shape)),), name="pixels")
        self._masked: list[keras.layers.Layer | None] = []
        is_image = False
        for index, layer in enumerate(self.layers):
            wants_image = layer.kind in "cp"
            if wants_image and not is_image:
                outputs = keras.layers.Reshape(image_shape)(outputs)
                outputs = keras.layers.Permute((2, 3, 1))(outputs)
            elif is_image and not wants_image:
                # The files' row order of a dense kernel after an image is channel, row, column.
                outputs = keras.layers.Permute((3, 1, 2))(outputs)
                outputs = keras.layers.Flatten()(outputs)
            is_image = wants_image
            name = f"layer_{index}"
            if layer.kind == "p":
                keras_layer = _pooling(layer, name)
            elif layer.kind == "c":
                keras_layer = _convolution(layer, name, product_dtype)
            else:
                keras_layer = _dense(layer, name, momentum, epsilon, product_dtype)
            outputs = keras_layer(outputs)
            self._masked.append(keras_layer if layer.kind != "p" else None)
        self.model = keras.Model(inputs, outputs)

    def _variables(self) -> list[list[keras.Variable]]:
        return [_variables_of(layer) for layer in self._masked]

    @property
    def weights(self) -> Weights:
        """Per layer: dense [W, b, γ, β], convolution [K], max-pool []; float32 copies."""
        return [[np.array(variable.numpy()) for variable in variables] for variables in self._variables()]

    @weights.setter
    def weights(self, values: Weights) -> None:
        for variables, arrays in zip(self._variables(), values, strict=True):
            for variable, array in zip(variables, arrays, strict=True):
                variable.assign(array)

    @property
    def masks(self) -> Weights:
        """Per layer: dense [mW, mb], convolution [mK], max-pool []; bool."""
        return [[mask.numpy() != 0 for mask in _masks_of(layer)] for layer in self._masked]

    @masks.setter
    def masks(self, values: Weights) -> None:
        for layer, arrays in zip(self._masked, values, strict=True):
            for variable, array in zip(_masks_of(layer), arrays, strict=True):
                variable.assign(array.astype(np.float32))

    @property
    def running_averages(self) -> list[np.ndarray]:
        """Per layer: float32 (2, in), mean and variance of its input; (2, 0) where nothing is normalised."""
        return [
            np.stack([layer.running_mean.numpy(), layer.running_variance.numpy()])
            if isinstance(layer, NormalizedMaskedDense)
            else np.zeros((2, 0), np.float32)
            for layer in self._masked
        ]

    @running_averages.setter
    def running_averages(self, values: list[np.ndarray]) -> None:
        for layer, (mean, variance) in zip(self._masked, values, strict=True):
            if isinstance(layer, NormalizedMaskedDense):
                layer.running_mean.assign(mean)
                layer.running_variance.assign(variance)
                layer.seen.assign(1.0)

    def reset_averages(self) -> None:
        """Running averages back to their start, as at the beginning of every iteration."""
        for layer in self._masked:
            if isinstance(layer, NormalizedMaskedDense):
                layer.reset_averages()


def initial_weights(layers: tuple[LayerSpec, ...], rng: np.random.Generator) -> Weights:
    """Fresh float32 weights in the order of `ImpNetwork.weights`.

    Kernels are normal with σ = sqrt(2 / (fan_in + fan_out)), where a convolution counts K·K·C_in as fan_in and C_out as
    fan_out; biases 0, γ 1, β 0.
    """
    weights = []
    for kind, params, _ in layers:
        if kind == "p":
            weights.append([])
            continue
        shape = params[:4] if kind == "c" else params
        fan_in, fan_out = int(np.prod(shape[:-1])), shape[-1]
        kernel = (rng.normal(size=shape) * np.sqrt(2 / (fan_in + fan_out))).astype(np.float32)
        rest = [np.zeros(fan_out), np.ones(fan_in), np.zeros(fan_in)] if kind in "fx" else []
        weights.append([kernel, *(array.astype(np.float32) for array in rest)])
    return weights


# Kernels start at zero here because `initial_weights` or a file gives them their values.


def _pooling(layer: LayerSpec, name: str) -> keras.layers.Layer:
    window, stride = layer.params
    return keras.layers.MaxPooling2D(window, stride, padding="valid", name=name)


def _convolution(layer: LayerSpec, name: str, product_dtype: str | None) -> MaskedConv2D:
    window, _, _, filters, stride = layer.params
    return MaskedConv2D(
        filters,
        window,
        strides=stride,
        padding="valid",
        activation="relu",
        use_bias=False,
        kernel_initializer="zeros",
        product_dtype=product_dtype,
        name=name,
    )


def _dense(
    layer: LayerSpec, name: str, momentum: float, epsilon: float, product_dtype: str | None
) -> NormalizedMaskedDense:
    return NormalizedMaskedDense(
        layer.params[1],
        momentum=momentum,
        epsilon=epsilon,
        activation="relu" if layer.kind == "f" else None,
        kernel_initializer="zeros",
        product_dtype=product_dtype,
        name=name,
    )


def _variables_of(layer: keras.layers.Layer | None) -> list[keras.Variable]:
    if layer is None:
        return []
    return [layer.kernel] if isinstance(layer, MaskedConv2D) else [layer.kernel, layer.bias, layer.gamma, layer.beta]


def _masks_of(layer: keras.layers.Layer | None) -> list[keras.Variable]:
    if layer is None:
        return []
    return [mask for mask in (layer.kernel_mask, layer.bias_mask) if mask is not None]
