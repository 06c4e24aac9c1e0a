"""Weights that were trained elsewhere, put into ResNet-50."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np

from tfprune.errors import InputError
from tfprune.layers.topology import named_layers

_NAMES = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
    "kernel": "weight",
}
ENDINGS = (".safetensors", ".npz")
_HEAD = ("hidden", "logits")


def load_pretrained(model: keras.Model, path: str | Path) -> None:
    """Gives a ResNet-50 the weights of one that was trained on ImageNet; its last two layers keep their own.

    Args:
        model: from `tfprune.models.filter_networks.resnet50`, of width 1.
        path: `.safetensors`, or `.npz` with an array for each tensor; the tensors named and laid out as in torchvision:
            `conv1.weight` (64, 3, 7, 7), `layer1.0.bn1.running_mean`, ... Others (`fc.weight`) are not looked at.

    Raises:
        InputError: the file cannot be read, or lacks a tensor, or has one of another shape; names it. The model is
            unchanged then.
    """
    tensors = _read(Path(path))
    values = []
    for name, layer in named_layers(model):
        if name in _HEAD:
            continue
        for variable in layer.variables:
            if variable.name in _NAMES:
                values.append((variable, _tensor(tensors, f"{name}.{_NAMES[variable.name]}", variable, path)))
    for variable, value in values:
        variable.assign(value)


def _tensor(tensors: Mapping[str, np.ndarray], name: str, variable: keras.Variable, path) -> np.ndarray:
    if name not in tensors:
        raise InputError(f"--weights={path}: has no tensor {name!r}, which this network needs")
    value = np.asarray(tensors[name], np.float32)
    if value.ndim == 4:
        value = value.transpose(2, 3, 1, 0)  # (out, in, height, width) to Keras's order
    if value.shape != tuple(variable.shape):
        raise InputError(f"--weights={path}: {name!r} has shape {value.shape}, the network {tuple(variable.shape)}")
    return value


def _read(path: Path) -> dict[str, np.ndarray]:
    if path.suffix not in ENDINGS:
        raise InputError(f"--weights must be a file that ends in {' or '.join(ENDINGS)}. Received: {path}")
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                return dict(arrays)
        try:
            from safetensors.numpy import load
        except ImportError:
            raise InputError(f"--weights={path}: needs the package safetensors (pip install safetensors)") from None
        return load(path.read_bytes())
    except OSError as error:
        raise InputError(f"--weights: cannot read {path}: {error.strerror or error}") from None
    except InputError:
        raise
    except Exception as error:  # damaged bytes make zipfile and safetensors raise almost anything
        raise InputError(f"--weights: {path} is damaged or of another kind: {str(error).splitlines()[0]}") from None
