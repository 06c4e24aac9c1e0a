"""Which kernels a user means: by path, name, pattern, layer, type of layer, or a function of a layer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase

import keras

from tfprune.errors import InputError, did_you_mean
from tfprune.layers.inner import inner_layers, own_variables
from tfprune.layers.prunable import kernels_of, prunable
from tfprune.layers.topology import named_layers

Named = str | keras.layers.Layer | type[keras.layers.Layer] | Callable[[keras.layers.Layer], bool]
ALLOWED = "paths, names, patterns, layers, types of layers or functions of a layer"


class KernelNames:
    """The kernels of a model, as they can be named.

    Args:
        model: built Sequential or Functional model.
        argument: of a call, for messages, as `"ignore="`.
    """

    def __init__(self, model: keras.Model, argument: str):
        self._argument = argument
        paths = {id(variable): path for path, variable in prunable(model).items()}  # one, where layers share a kernel
        self._layers = [
            (path, layer, {paths[id(variable)]: variable for variable in kernels_of(layer).values()})
            for path, layer in named_layers(model)
        ]

    def all_of(self, named: Named | Iterable[Named]) -> list[str]:
        """Paths of the kernels that one or several names mean, in network order.

        Raises:
            InputError: as for `of`.
        """
        if isinstance(named, str) or callable(named):  # layers can be called, too
            named = (named,)
        if not isinstance(named, Iterable):
            raise self._refused(named)
        found = {path for one in named for path in self.of(one)}
        return [path for path in self._paths if path in found]

    @property
    def _paths(self) -> list[str]:
        return list(dict.fromkeys(path for _, _, own in self._layers for path in own))

    def of(self, one: Named) -> list[str]:
        """Paths of the kernels that one name means, in network order.

        Args:
            one: the path of a kernel, a layer, a layer within one or a nested model; the name of a layer that no other
                layer has; a pattern of these with `*`, `?` or `[...]`, which takes all that match (`*` also matches
                `/`); a layer or nested model; a type of layers, those within layers included; a function of a layer.

        Raises:
            InputError: something that is none of these, or means no prunable kernel (a function may); names it.
        """
        if isinstance(one, str):
            return self._named(one)
        if isinstance(one, keras.layers.Layer):
            inside = {id(layer) for _, layer in named_layers(one)} if isinstance(one, keras.Model) else {id(one)}
            paths = [path for _, layer, own in self._layers if id(layer) in inside for path in own]
            if not paths:
                raise InputError(
                    f"{self._argument} holds layer {one.name!r}, which has no prunable kernel in this model"
                )
            return paths
        if isinstance(one, type) and issubclass(one, keras.layers.Layer):
            paths = [path for _, layer, own in self._layers for path in _of_type(layer, own, one)]
            if not paths:
                raise InputError(
                    f"{self._argument} holds {one.__name__}, and no layer of that type has prunable kernels"
                )
            return paths
        if callable(one) and not isinstance(one, type):
            return [path for _, layer, own in self._layers if own and one(layer) for path in own]
        raise self._refused(one)

    def is_exact(self, one: Named) -> bool:
        """Whether it names its kernels themselves, or a layer that has them."""
        return isinstance(one, keras.layers.Layer) or (isinstance(one, str) and not self._is_pattern(one))

    def _is_pattern(self, name: str) -> bool:
        return any(sign in name for sign in "*?[") and not any(
            name in (path, layer.name, *own) for path, layer, own in self._layers
        )

    def _named(self, name: str) -> list[str]:
        if self._is_pattern(name):
            return self._matching(name)
        if name in self._paths:
            return [name]
        inside = [
            path for place, _, own in self._layers if place == name or place.startswith(f"{name}/") for path in own
        ]
        if inside:
            return inside
        within = [path for path in self._paths if path.startswith(f"{name}.")]
        if within:
            return within
        alike = [(place, own) for place, layer, own in self._layers if layer.name == name and own]
        if len(alike) > 1:
            places = ", ".join(place for place, _ in alike)
            raise InputError(f"{self._argument} holds {name!r}, a name of several layers: {places}")
        if not alike:
            raise self._unknown(name, "is no prunable kernel and no layer with one", name)
        return list(alike[0][1])

    def _matching(self, pattern: str) -> list[str]:
        found = []
        for place, layer, own in self._layers:
            parts = place.split("/")
            names = [layer.name, *("/".join(parts[:count]) for count in range(1, len(parts) + 1))]
            found += [path for path in own if any(fnmatchcase(name, pattern) for name in (*names, path))]
        if not found:
            raise self._unknown(pattern, "matches no prunable kernel and no layer with one", pattern.strip("*?"))
        return found

    def _unknown(self, name: str, why: str, word: str) -> InputError:
        near = did_you_mean(word, [*self._paths, *(place for place, _, own in self._layers if own)])
        return InputError(f"{self._argument} holds {name!r}, which {why}; there are {', '.join(self._paths)}{near}")

    def _refused(self, one: object) -> InputError:
        return InputError(f"{self._argument} takes {ALLOWED}; received {type(one).__name__}")


def _of_type(layer: keras.layers.Layer, own: dict[str, keras.Variable], kind: type) -> list[str]:
    if isinstance(layer, kind):
        return list(own)
    inner = [one for _, one in inner_layers(layer) if isinstance(one, kind)]
    found = {id(variable) for outer in inner for _, one in inner_layers(outer) for variable in own_variables(one)}
    return [path for path, variable in own.items() if id(variable) in found]
