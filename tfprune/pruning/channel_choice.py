"""Which layers of a model channels may leave, by name, class or predicate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import keras

from tfprune.errors import InputError, did_you_mean
from tfprune.pruning.channel_network import Maker
from tfprune.surgery.filter_sets import FilterSet

Selector = str | type[keras.layers.Layer] | Callable[[keras.layers.Layer], bool]
Layers = None | Selector | Iterable[Selector]


class Choice:
    """Makers of channels, found by name.

    A name is a path or its end. Where it stands for a layer that holds several makers, as one of attention does, it
    means those whose channels no other layer has, the heads, if there are such. A nested model stands for all in it.

    Args:
        makers: path -> `Maker`.
        kind, what: how messages call them and what they make.
        named: the makers of each name that has chosen them.

    Attributes:
        makers, kind, what, named: as given.
    """

    def __init__(
        self,
        makers: Mapping[str, Maker],
        kind: str = "layer of the model",
        what: str = "channels",
        named: Iterable[list[Maker]] = (),
    ):
        self.makers, self.kind, self.what, self.named = dict(makers), kind, what, list(named)
        self._scopes: dict[str, list[Maker]] = {}
        for maker in self.makers.values():
            for scope in _scopes(maker):
                self._scopes.setdefault(scope, []).append(maker)

    def of(self, one: FilterSet) -> list[str]:
        """Paths of the makers of a set's channels."""
        return [path for path, maker in self.makers.items() if maker.makes(one)]

    def find(self, name: str, argument: str) -> list[Maker]:
        """What a name stands for.

        Raises:
            InputError: nothing, or several; starts with the name of the argument.
        """
        scope = self._scope(name, argument)
        return _own(scope, self._scopes[scope])

    def one(self, name: str, argument: str) -> Maker:
        """What a name stands for, where that is one.

        Raises:
            InputError: as for `find`, or there are channels of several kinds.
        """
        scope = self._scope(name, argument)
        first, *others = found = _own(scope, self._scopes[scope])
        if not others:
            return first
        for maker in found:
            if maker.path == scope:
                return maker
        kinds = ", ".join(f"{maker.path!r} ({len(maker.channels)})" for maker in found)
        raise InputError(f"{argument}: {name!r} makes channels of several kinds, name one of {kinds}")

    def _scope(self, name: str, argument: str) -> str:
        found = [path for path in self._scopes if path == name] or [
            path for path in self._scopes if path.endswith(f"/{name}")
        ]
        if len(found) != 1:
            problem = f"could be any of {', '.join(found)}" if found else f"is none of {', '.join(self.makers)}"
            near = "" if found else did_you_mean(name, self._scopes)
            layers = self.kind.split()[0]
            raise InputError(f"{argument}: {name!r} {problem}, the paths of {layers}s with {self.what}{near}")
        return found[0]


def convolutions(makers: Mapping[str, Maker]) -> Choice:
    """Plain, transposed and separable convolutions."""
    own = {path: maker for path, maker in makers.items() if maker.is_convolution}
    return Choice(own, "convolution of the model", "filters")


def chosen(makers: Mapping[str, Maker], layers: Layers) -> Choice:
    """What `layers` means.

    Args:
        makers: path -> `Maker`, all of a model.
        layers: as for `tfprune.prune_channels`.

    Raises:
        InputError: it fits no layer that makes channels, or is something else.
    """
    everything = Choice(makers)
    if layers is None:
        return Choice({path: maker for path, maker in makers.items() if maker.first})
    several = isinstance(layers, (list, tuple, set, frozenset))
    if several and not layers:
        raise InputError("layers must choose at least one layer; received none")
    picked: dict[str, Maker] = {}
    named = []
    for one in layers if several else [layers]:
        found = _selected(everything, one)
        picked.update((maker.path, maker) for maker in found)
        if isinstance(one, str):
            named.append(found)
    in_order = {path: maker for path, maker in makers.items() if path in picked}
    return Choice(in_order, "layer chosen by layers", named=named)


def _selected(everything: Choice, selector: Selector) -> list[Maker]:
    if isinstance(selector, str):
        return everything.find(selector, "layers")
    if isinstance(selector, type) and issubclass(selector, keras.layers.Layer):
        wanted, what = lambda layer: isinstance(layer, selector), f"is a {selector.__name__}"
    elif callable(selector) and not isinstance(selector, (type, keras.layers.Layer)):
        wanted, what = selector, f"fits {getattr(selector, '__name__', selector)!r}"
    else:
        raise InputError(
            "layers must be names or paths of layers, classes of layers, functions of a layer, or a list of these; "
            f"received {selector!r}"
        )
    fitting: dict[str, list[Maker]] = {}
    for maker in everything.makers.values():
        if maker.first and any(map(wanted, maker.layers)):
            fitting.setdefault(maker.parent, []).append(maker)
    if not fitting:
        raise InputError(f"layers: no layer that makes channels {what}; they are {', '.join(everything.makers)}")
    return [maker for parent, makers in fitting.items() for maker in _own(parent, makers)]


def _own(scope: str, makers: list[Maker]) -> list[Maker]:
    """Of the makers within a layer those whose channels stay within, if there are such; all of a nested model."""
    if len(makers) == 1 or len(scope) < len(makers[0].parent):
        return makers
    return [maker for maker in makers if maker.inner] or makers


def _scopes(maker: Maker) -> list[str]:
    """Paths that a maker is found by: its own, and those of what it is part of if that is known for its channels."""
    if not maker.first:
        return [maker.path]
    models = maker.parent.split("/")
    inner = maker.path[len(maker.parent) + 1 :].split(".") if maker.path != maker.parent else []
    above = ["/".join(models[: end + 1]) for end in range(len(models))]
    return above + [f"{maker.parent}/{'.'.join(inner[: end + 1])}" for end in range(len(inner))]
