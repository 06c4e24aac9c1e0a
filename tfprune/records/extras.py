"""Packages that only a part of tfprune needs: imported where they are used, and named with a command where absent."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from tfprune.errors import InputError

# Package -> what brings it, where its own name does not.
_BROUGHT_BY = {
    "ai_edge_litert": "tfprune[export]",
    "bokeh": "tfprune[report]",
    "numba": "tfprune[sparse]",
    "onnx": "tfprune[onnx]",
    "onnxruntime": "tfprune[onnx]",
    "pyarrow": "tfprune[report]",
    "ray": "tfprune[ray]",
    "safetensors": "tfprune[weights]",
    "sklearn": "scikit-learn",
    "tensorboard": "tfprune[tensorboard]",
    "tf2onnx": "tfprune[onnx]",
}


def extra(module: str, what: str) -> ModuleType:
    """A module of a package that need not be installed.

    Args:
        module: its name.
        what: needs it, in a word or two, for the error.

    Raises:
        InputError: the package is not installed, and the command that does it; or it says itself that it cannot be
            loaded, as Numba does beside a NumPy that it does not know.
    """
    package = module.partition(".")[0]
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != package:  # the package is there, and what it needs is not
            raise
        brought_by = _BROUGHT_BY.get(package, package)
        raise InputError(f"{what}: the package {package} is missing; pip install '{brought_by}' brings it") from None
    except ImportError as error:
        raise InputError(f"{what}: the package {package} cannot be loaded: {error}") from error
