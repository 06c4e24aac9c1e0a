"""Which kernels compete: all but those that are ignored or, where that is asked for, frozen."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import keras

from tfprune.errors import InputError, did_you_mean
from tfprune.layers.masks import Masks
from tfprune.layers.prunable import frozen_kernels, kernels_of
from tfprune.layers.topology import named_layers

Ignored = str | keras.layers.Layer | Callable[[keras.layers.Layer], bool]


def competing(model: keras.Model, masks: Masks, ignore: Ignored | Iterable[Ignored], frozen: str | None) -> Masks:
    """The masks of the kernels that compete.

    Args:
        model: whose kernels they are.
        masks: of all prunable kernels.
        ignore, frozen: as for `tfprune.prune`.

    Raises:
        InputError: nothing is left, or `ignore` or `frozen` cannot be understood.
    """
    out = set(ignored_paths(model, ignore))
    if frozen == "keep":
        out |= set(frozen_kernels(model))
    left = {path: mask for path, mask in masks.items() if path not in out}
    if not left:
        which = "ignore=" if frozen != "keep" else 'frozen="keep"' + (" with ignore=" if ignore else "")
        raise InputError(f"{which} leaves no kernel to prune")
    return Masks(left) if out else masks


def ignored_paths(model: keras.Model, ignore: Ignored | Iterable[Ignored]) -> list[str]:
    """Paths of the kernels that `ignore` names, in network order.

    Args:
        model: has them.
        ignore: one or several of: the path of a kernel, a layer or a nested model; the name of a layer that no other
            layer has; a layer or nested model; a function of a layer that returns whether it is ignored.

    Raises:
        InputError: something that is none of these, or a layer without prunable kernels; names it.
    """
    if isinstance(ignore, str) or callable(ignore):  # layers can be called, too
        ignore = (ignore,)
    if not isinstance(ignore, Iterable):
        raise InputError(f"ignore= takes paths, layers or a function of a layer; received {type(ignore).__name__}")
    layers = [(path, layer, [f"{path}/{name}" for name in kernels_of(layer)]) for path, layer in named_layers(model)]
    found = {path for one in ignore for path in _paths(one, layers)}
    return [path for _, _, own in layers for path in own if path in found]


def _paths(one: Ignored, layers: list[tuple[str, keras.layers.Layer, list[str]]]) -> list[str]:
    if isinstance(one, str):
        return _named(one, layers)
    if isinstance(one, keras.layers.Layer):
        inside = {id(layer) for _, layer in named_layers(one)} if isinstance(one, keras.Model) else {id(one)}
        paths = [path for _, layer, own in layers if id(layer) in inside for path in own]
        if not paths:
            raise InputError(f"ignore= holds layer {one.name!r}, which has no prunable kernel in this model")
        return paths
    if callable(one):
        return [path for _, layer, own in layers if own and one(layer) for path in own]
    raise InputError(f"ignore= takes paths, layers or a function of a layer; received {type(one).__name__}")


def _named(name: str, layers: list[tuple[str, keras.layers.Layer, list[str]]]) -> list[str]:
    kernels = [path for _, _, own in layers for path in own]
    if name in kernels:
        return [name]
    inside = [path for place, _, own in layers if place == name or place.startswith(f"{name}/") for path in own]
    if inside:
        return inside
    alike = [(place, own) for place, layer, own in layers if layer.name == name and own]
    if len(alike) > 1:
        raise InputError(f"ignore= holds {name!r}, a name of several layers: {', '.join(place for place, _ in alike)}")
    if not alike:
        near = did_you_mean(name, [*kernels, *(place for place, _, own in layers if own)])
        raise InputError(
            f"ignore= holds {name!r}, which is no prunable kernel and no layer with one; there are "
            f"{', '.join(kernels)}{near}"
        )
    return alike[0][1]
