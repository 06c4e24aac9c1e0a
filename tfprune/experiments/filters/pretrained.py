"""Weights that were trained elsewhere, put into ResNet-50."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np

from tfprune.errors import InputError
from tfprune.layers.topology import named_layers
from tfprune.records.arrays import Header, read_npz
from tfprune.records.reading import open_file, readable

_NAMES = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
    "kernel": "weight",
}
ENDINGS = (".safetensors", ".npz")
_HEAD = ("hidden", "logits")
_WHAT = "a file of a ResNet-50's weights"


def load_pretrained(model: keras.Model, path: str | Path) -> None:
    """Gives a ResNet-50 the weights of one that was trained on ImageNet; its last two layers keep their own.

    Args:
        model: from `tfprune.experiments.filters.networks.resnet50`, of width 1.
        path: `.safetensors`, or `.npz` with an array for each tensor; the tensors named and laid out as in torchvision:
            `conv1.weight` (64, 3, 7, 7), `layer1.0.bn1.running_mean`, ... Others (`fc.weight`) are not looked at.

    Raises:
        InputError: the file cannot be read, or lacks a tensor, or has one of another shape; names it. The model is
            unchanged then.
    """
    wanted = {
        f"{name}.{_NAMES[variable.name]}": variable
        for name, layer in named_layers(model)
        if name not in _HEAD
        for variable in layer.variables
        if variable.name in _NAMES
    }
    tensors = _read(Path(path), {name: _shape(variable) for name, variable in wanted.items()})
    for name, variable in wanted.items():
        value = np.asarray(tensors[name], np.float32)
        variable.assign(value.transpose(2, 3, 1, 0) if value.ndim == 4 else value)


def _shape(variable: keras.Variable) -> tuple[int, ...]:
    """As torchvision has it: kernels (out, in, height, width)."""
    shape = tuple(variable.shape)
    return (shape[3], shape[2], *shape[:2]) if len(shape) == 4 else shape


def _read(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Mapping[str, np.ndarray]:
    if path.suffix not in ENDINGS:
        raise InputError(f"--weights must be a file that ends in {' or '.join(ENDINGS)}. Received: {path}")
    read = _read_npz if path.suffix == ".npz" else _read_safetensors
    try:
        return read(path, shapes)
    except InputError as error:
        raise InputError(f"--weights: {error}") from None


def _read_npz(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    def check(headers: Mapping[str, Header]) -> None:
        for name, header in headers.items():
            _check_shape(path, name, header.shape, shapes)

    most = 8 * sum(map(math.prod, shapes.values()))
    return read_npz(path, shapes, check, most, kinds="fiu", what=_WHAT)


def _read_safetensors(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    try:
        from safetensors import safe_open
    except ImportError:
        raise InputError(f"{path}: needs the package safetensors (pip install safetensors)") from None
    open_file(path).close()  # tells what is no file better
    with readable(path, _WHAT), safe_open(path, framework="numpy") as file:
        names = set(file.keys())
        for name in shapes:
            if name not in names:
                raise ValueError(f"it has no array {name!r}")
            _check_shape(path, name, tuple(file.get_slice(name).get_shape()), shapes)
        return {name: file.get_tensor(name) for name in shapes}


def _check_shape(path: Path, name: str, came: tuple[int, ...], shapes: Mapping[str, tuple[int, ...]]) -> None:
    if came != shapes[name]:
        raise InputError(f"{path}: {name!r} has shape {came}, this network needs {shapes[name]}")
