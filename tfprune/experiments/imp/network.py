"""The network of iterative magnitude pruning as a Keras model, and its weights and masks by their paths."""

from __future__ import annotations

import keras
import numpy as np

from tfprune.experiments.imp.arch import LayerSpec, check_size, check_trainable, parse_arch, weight_path
from tfprune.experiments.imp.files.records import Weights
from tfprune.experiments.imp.normalized_dense import NormalizedMaskedDense
from tfprune.layers.masked import MaskedConv2D
from tfprune.layers.masks import Masks


class ImpNetwork:
    """A Keras model built from an architecture string, with its variables by path (see `weight_path`).

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
        self.model = keras.Model(inputs, outputs)
        self._weights = self._variables("kernel", "bias", "gamma", "beta")
        self._masks = self._variables("kernel_mask", "bias_mask")
        self._averages = self._variables("running_mean", "running_variance")

    def plain(self) -> keras.Model:
        """A model of plain Keras layers with the same outputs in inference; its pruned weights and biases are 0.

        The normalisation of a dense layer's input is a layer of its own in front of it, `<name>_norm`.
        """
        inputs = outputs = keras.Input(self.model.input_shape[1:], name="pixels")
        for layer in self.model.layers[1:]:
            if isinstance(layer, NormalizedMaskedDense):
                outputs = keras.layers.BatchNormalization(epsilon=layer.epsilon, name=f"{layer.name}_norm")(outputs)
            if layer.weights:
                kept = ("name", "units", "filters", "kernel_size", "strides", "padding", "activation", "use_bias")
                config = {name: value for name, value in layer.get_config().items() if name in kept}
                plain = layer.plain_class(**config)
            else:
                plain = type(layer).from_config(layer.get_config())
            outputs = plain(outputs)
        model = keras.Model(inputs, outputs)
        self.fill(model)
        return model

    def fill(self, plain: keras.Model) -> None:
        """Gives a model that `plain` made the weights, averages and masks of now."""
        masks, values = self.masks, self.weights | self.running_averages
        for layer in plain.layers:
            for variable in layer.weights:
                name = variable.name.replace("moving_", "running_")  # as BatchNormalization has it
                path = f"{layer.name.removesuffix('_norm')}/{name}"
                variable.assign(values[path] * masks.get(path, True))

    def _variables(self, *names: str) -> dict[str, keras.Variable]:
        """Path -> variable, of all layers that have such variables."""
        found = ((f"{layer.name}/{name}", getattr(layer, name, None)) for layer in self.model.layers for name in names)
        return {path.removesuffix("_mask"): variable for path, variable in found if variable is not None}

    @property
    def weights(self) -> Weights:
        """Path -> float32 copy of every kernel, bias, γ and β."""
        return _values(self._weights)

    @weights.setter
    def weights(self, values: Weights) -> None:
        _assign(self._weights, values)

    @property
    def masks(self) -> Masks:
        """Those of kernels and biases."""
        return Masks(_values(self._masks))

    @masks.setter
    def masks(self, values: Masks) -> None:
        _assign(self._masks, values)

    @property
    def running_averages(self) -> Weights:
        """Path -> float32 (in,) copy of the mean and of the variance of each normalised input."""
        return _values(self._averages)

    @running_averages.setter
    def running_averages(self, values: Weights) -> None:
        _assign(self._averages, values)
        for layer in self.model.layers:
            if isinstance(layer, NormalizedMaskedDense):
                layer.seen.assign(1.0)

    def reset_averages(self) -> None:
        """Running averages back to their start, as at the beginning of every iteration."""
        for layer in self.model.layers:
            if isinstance(layer, NormalizedMaskedDense):
                layer.reset_averages()


def initial_weights(layers: tuple[LayerSpec, ...], rng: np.random.Generator) -> Weights:
    """Fresh float32 weights for `ImpNetwork.weights`.

    Kernels are normal with σ = sqrt(2 / (fan_in + fan_out)), where a convolution counts K·K·C_in as fan_in and C_out as
    fan_out; biases 0, γ 1, β 0.
    """
    weights = {}
    for index, layer in enumerate(layers):
        for name, shape in layer.shapes.items():
            if name == "kernel":
                array = rng.normal(size=shape) * np.sqrt(2 / (int(np.prod(shape[:-1])) + shape[-1]))
            else:
                array = np.full(shape, 1.0 if name == "gamma" else 0.0)
            weights[weight_path(index, name)] = array.astype(np.float32)
    return weights


def _values(variables: dict[str, keras.Variable]) -> dict[str, np.ndarray]:
    return {path: np.array(variable.numpy()) for path, variable in variables.items()}


def _assign(variables: dict[str, keras.Variable], values) -> None:
    for path, variable in variables.items():
        variable.assign(np.asarray(values[path], variable.dtype))


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
