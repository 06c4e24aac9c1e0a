"""Weights that were trained elsewhere, in files with names and layouts of PyTorch."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from keras import layers

from tfprune.errors import InputError
from tfprune.layers.kinds import NOISE
from tfprune.layers.topology import named_layers
from tfprune.records.arrays import Header, read_npz
from tfprune.records.extras import extra
from tfprune.records.reading import open_file, readable

_NAMES = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
    "kernel": "weight",
    "bias": "bias",
}
ENDINGS = (".safetensors", ".npz")
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class _Wanted:
    """A variable and how PyTorch has it.

    Attributes:
        layer: path of its layer.
        variable: of the layer.
        image: (height, width, channels) that a kernel of a dense layer sees flattened; None if it sees none.
    """

    layer: str
    variable: keras.Variable
    image: tuple[int, int, int] | None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the tensor: kernels are (out, in, height, width) or (out, in)."""
        shape = tuple(self.variable.shape)
        return (*shape[:-3:-1], *shape[:-2])

    def turned(self, tensor: np.ndarray) -> np.ndarray:
        """The tensor as Keras has it. PyTorch flattens images channel by channel, Keras position by position."""
        if self.image is not None:
            height, width, channels = self.image
            tensor = tensor.reshape(-1, channels, height, width)
        axes = (2, 3, 1, 0) if tensor.ndim == 4 else None
        return tensor.transpose(axes).reshape(self.variable.shape).astype(np.float32)


def load_torch_weights(
    model: keras.Model,
    path: str | Path,
    heads: Collection[str] = (),
    loose: Collection[str] = (),
    flag: str = "--weights",
    what: str = "a file of a network's weights",
) -> tuple[str, ...]:
    """Gives a network the weights of one of the same architecture that was trained in PyTorch.

    Args:
        model: built Functional model of dense layers, 2-D convolutions and batch normalisation, each layer named as the
            tensors begin: `conv1`, `layer1.0.bn1`, `features.0`, ...
        path: `.safetensors`, or `.npz` with an array for each tensor, named and laid out as in PyTorch:
            `conv1.weight` (64, 3, 7, 7), `layer1.0.bn1.running_mean`, ... Others are not looked at.
        heads: names of layers that keep their own weights.
        loose: names of layers that keep their own where the file lacks a tensor of theirs or has one of another shape.
        flag: that the file was given by, for messages.
        what: what the file should be, with its article, for messages.

    Returns:
        Those of `loose` that kept their own weights.

    Raises:
        InputError: the file cannot be read, or lacks a tensor, or has one of another shape; names it. The model is
            unchanged then.
    """
    wanted = {
        f"{name}.{_NAMES[variable.name]}": _Wanted(name, variable, _flattened(layer, variable))
        for name, layer in named_layers(model)
        if name not in heads
        for variable in layer.variables
        if variable.name in _NAMES
    }
    may_differ = {name for name, each in wanted.items() if each.layer in loose}
    shapes = {name: each.shape for name, each in wanted.items()}
    path = Path(path)
    if path.suffix not in ENDINGS:
        raise InputError(f"{flag} must be a file that ends in {' or '.join(ENDINGS)}. Received: {path}")
    read = _read_npz if path.suffix == ".npz" else _read_safetensors
    try:
        tensors = read(path, shapes, may_differ, what)
    except InputError as error:
        raise InputError(f"{flag}: {error}") from None
    kept = {wanted[name].layer for name in may_differ if name not in tensors or tensors[name].shape != shapes[name]}
    for name, each in wanted.items():
        if each.layer not in kept:
            each.variable.assign(each.turned(tensors[name]))
    return tuple(name for name in loose if name in kept)


def _flattened(layer, variable: keras.Variable) -> tuple[int, ...] | None:
    """Shape of the image that a dense layer sees flattened, through layers that leave entries where they are."""
    if not isinstance(layer, layers.Dense) or variable.name != "kernel":
        return None
    before = layer
    while before is layer or isinstance(before, (layers.Activation, *NOISE)):
        before = before.input._keras_history.operation
    shape = tuple(before.input.shape[1:]) if isinstance(before, layers.Flatten) else ()
    return shape if len(shape) == 3 else None


def _read_npz(path: Path, shapes: Shapes, may_differ: Collection[str], what: str) -> dict[str, np.ndarray]:
    def check(headers: Mapping[str, Header]) -> None:
        for name in headers.keys() - may_differ:
            _check_shape(path, name, headers[name].shape, shapes)

    most = 8 * sum(map(math.prod, shapes.values()))
    return read_npz(path, shapes, check, most, kinds="fiu", what=what, optional=may_differ)


def _read_safetensors(path: Path, shapes: Shapes, may_differ: Collection[str], what: str) -> dict[str, np.ndarray]:
    safe_open = extra("safetensors", str(path)).safe_open
    open_file(path).close()  # tells what is no file better
    with readable(path, what), safe_open(path, framework="numpy") as file:
        names = set(file.keys())
        for name in shapes:
            if name in may_differ:
                continue
            if name not in names:
                raise ValueError(f"it has no array {name!r}")
            _check_shape(path, name, tuple(file.get_slice(name).get_shape()), shapes)
        return {name: file.get_tensor(name) for name in shapes if name in names}


def _check_shape(path: Path, name: str, came: tuple[int, ...], shapes: Shapes) -> None:
    if came != shapes[name]:
        raise InputError(f"{path}: {name!r} has shape {came}, this network needs {shapes[name]}")
