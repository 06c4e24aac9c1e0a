"""The architecture strings of iterative magnitude pruning, such as `f1024:f1024:f1024:x` or `c3,16,2:p2,2:f64:x`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from tfprune.errors import InputError

_MOST_UNITS = 2**31 - 1  # entries of a kernel are counted in 32 bits
_FORMS = {"f": ("fN", 1, 1), "x": ("x", 0, 0), "c": ("cK,C or cK,C,S", 2, 3), "p": ("pK,S", 2, 2)}


class LayerSpec(NamedTuple):
    """One layer of an architecture string, as the files hold it.

    Attributes:
        kind: `f` dense + ReLU, `x` final dense, `c` convolution + ReLU, `p` max-pool.
        params: `f`, `x`: (inputs, units); `c`: (K, K, C_in, C_out, stride); `p`: (K, stride).
        prunable: whether the layer is pruned.
    """

    kind: str
    params: tuple[int, ...]
    prunable: bool

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of its weights, in the order of the files."""
        if self.kind == "p":
            return {}
        if self.kind == "c":
            return {"kernel": self.params[:4]}
        inputs, units = self.params
        return {"kernel": (inputs, units), "bias": (units,), "gamma": (inputs,), "beta": (inputs,)}

    @property
    def masked(self) -> list[str]:
        """Names of the weights that have masks: γ and β have none."""
        return [name for name in self.shapes if name in ("kernel", "bias")]


def weight_path(index: int, name: str = "kernel") -> str:
    """How the weight `name` of layer `index` is called in the model, in masks and in mappings of weights."""
    return f"layer_{index}/{name}"


def pruned_paths(layers: tuple[LayerSpec, ...]) -> Iterator[list[str]]:
    """For each layer that is pruned, the paths of what has masks in it."""
    for index, layer in enumerate(layers):
        if layer.prunable:
            yield [weight_path(index, name) for name in layer.masked]


def parse_arch(arch: str, prune: str, image_shape: tuple[int, int, int], classes: int) -> tuple[LayerSpec, ...]:
    """Turns an architecture string and a prune string into layers with their shapes.

    Args:
        arch: colon-separated layers: `fN` dense, `x` final, `cK,C[,S]` convolution, `pK,S` max-pool (both VALID).
        prune: colon-separated; exactly `T` prunes. Empty: all layers. Shorter than `arch`: padded with false, as the
            published code did (its documentation says true); longer: cut. Max-pool layers are never pruned.
        image_shape: (channels, height, width) of the input.
        classes: number of outputs of an `x` layer.

    Raises:
        InputError: a layer is not of these forms, or an image becomes smaller than a window; names the position.
    """
    tokens = arch.split(":")
    flags = [flag == "T" for flag in prune.split(":")] if prune else [True] * len(tokens)
    flags += [False] * (len(tokens) - len(flags))
    channels, height, width = image_shape
    inputs = channels * height * width
    layers = []
    for position, (token, flag) in enumerate(zip(tokens, flags, strict=False), start=1):
        kind, numbers = _token(arch, token, position)
        if kind in "fx":
            units = numbers[0] if kind == "f" else classes
            layers.append(LayerSpec(kind, (inputs, units), flag))
            inputs = units
            continue
        window, stride = numbers[0], numbers[-1] if kind == "p" or len(numbers) == 3 else 1
        if window > min(height, width):
            raise _error(arch, position, f"{token!r}: a window of {window} does not fit an image of {height}x{width}")
        if kind == "c":
            layers.append(LayerSpec("c", (window, window, channels, numbers[1], stride), flag))
            channels = numbers[1]
        else:
            layers.append(LayerSpec("p", (window, stride), False))
        height, width = (-(-(size - window + 1) // stride) for size in (height, width))
        inputs = channels * height * width
    return tuple(layers)


def check_trainable(arch: str, layers: tuple[LayerSpec, ...]) -> None:
    """Refuses architectures that parse but cannot be trained, naming the position.

    Raises:
        InputError: `x` is not the last layer and only there, an image layer follows a dense one, or nothing is pruned.
    """
    for position, layer in enumerate(layers, start=1):
        last = position == len(layers)
        if (layer.kind == "x") != last:
            raise _error(arch, position, "the last layer, and no other, must be x")
        if layer.kind in "cp" and position > 1 and layers[position - 2].kind in "fx":
            raise _error(arch, position, "a convolution or max-pool cannot follow a dense layer")
    if not any(layer.prunable for layer in layers):
        raise InputError("[IMP] prune must prune at least one layer with T")


def check_size(arch: str, layers: tuple[LayerSpec, ...]) -> None:
    """Refuses layers with more weights than can be counted, once the images and so all shapes are known.

    Raises:
        InputError: names the position.
    """
    for position, layer in enumerate(layers, start=1):
        shape = layer.params[:4] if layer.kind == "c" else layer.params
        if math.prod(shape) > _MOST_UNITS:
            told = "x".join(map(str, shape))
            raise _error(arch, position, f"{told} weights, at most {_MOST_UNITS} are allowed in a layer")


def _token(arch: str, token: str, position: int) -> tuple[str, list[int]]:
    kind = token[:1]
    if kind not in _FORMS or not kind:
        raise _error(arch, position, f"a layer is fN, cK,C[,S], pK,S or x. Received: {token[:80]!r}")
    form, least, most = _FORMS[kind]
    try:
        numbers = [int(number) for number in token[1:].split(",")] if token[1:] else []
    except ValueError:
        numbers = []
        least = 1  # whatever the layer, what came is wrong
    if not least <= len(numbers) <= most or any(number < 1 for number in numbers):
        raise _error(arch, position, f"must be {form} with whole numbers above 0. Received: {token[:80]!r}")
    if max(numbers, default=0) > _MOST_UNITS:
        raise _error(arch, position, f"numbers up to {_MOST_UNITS} are allowed. Received: {token[:80]!r}")
    return kind, numbers


def _error(arch: str, position: int, problem: str) -> InputError:
    arch = arch if len(arch) <= 200 else f"{arch[:200]}..."
    return InputError(f"[Network] arch = {arch}: layer {position}: {problem}")
