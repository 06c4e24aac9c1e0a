"""Barriers: what stands for operations that no rule knows, and the one line that names them.

What is always right of an unknown operation: each of its outputs depends on every input, and all channels on both sides
stay. Whether that is wanted is said once, around everything that a call walks; without that, an unknown operation is
refused.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import keras

from tfprune.errors import InputError, did_you_mean
from tfprune.layers.prunable import share_of_parameters
from tfprune.layers.topology import named_layers

UNKNOWN = ("barrier", "refuse")
EFFECTIVE = "of {these} every output counts as dependent on every input, so effective weights are an upper bound"
FLOPS = "what {these} do counts no floating-point operations"
CHANNELS = "around {these} all channels stay"

_now: ContextVar[Barriers | None] = ContextVar("barriers", default=None)


class Barriers:
    """The barriers of a model that the walks of one call have met.

    Attributes:
        refuse: whether unknown operations are refused.
        met: id of an operation -> the operation, in the order in which they were met.
        graphs: what walks have found inside layers, by the layer's id and the shapes that it is called with.
    """

    def __init__(self, model: keras.Model, refuse: bool, outer: Barriers | None):
        self.refuse = refuse
        self.met: dict[int, keras.Operation] = {}
        self.graphs: dict[tuple, keras.Model | None] = {}
        self._model, self._outer = model, outer

    def add(self, operation: keras.Operation) -> None:
        """Notes a barrier, here and for the call that this one is part of."""
        self.met[id(operation)] = operation
        if self._outer is not None:
            self._outer.add(operation)

    @property
    def names(self) -> tuple[str, ...]:
        """Paths of the layers, names of operations that are none."""
        paths = {id(layer): path for path, layer in named_layers(self._model)}
        return tuple(paths.get(key, operation.name) for key, operation in self.met.items())

    def tell(self, meaning: str) -> None:
        """Warns of them, see `line`, at what called the function that calls this."""
        line = self.line(meaning)
        if line is not None:
            warnings.warn(line, stacklevel=3)

    def line(self, meaning: str) -> str | None:
        """What to warn of: which they are, how many, their share of the parameters, and what that means.

        Args:
            meaning: `EFFECTIVE`, `FLOPS` or `CHANNELS`.

        Returns:
            None where there are none, or where this is part of another call, which tells.
        """
        if not self.met or self._outer is not None:
            return None
        shown = [f"{name!r} ({kind_name(one)})" for name, one in zip(self.names, self.met.values(), strict=True)]
        named = ", ".join(shown[:3]) + (", ..." if len(shown) > 3 else "")
        share = 100 * share_of_parameters(self._model, self.met.values())
        count, these = (f"{len(shown)} operations", "these") if len(shown) > 1 else ("1 operation", "it")
        return (
            f"no rule knows {count} with {share:.3g} % of the parameters: {named}; {meaning.format(these=these)}; "
            'unknown="refuse" stops there instead'
        )


@contextmanager
def barriers(model: keras.Model, unknown: str = "barrier") -> Iterator[Barriers]:
    """What is walked inside meets unknown operations as said by `unknown`.

    Args:
        model: what is walked; it is asked for names.
        unknown: `"barrier"` or `"refuse"`.

    Raises:
        InputError: `unknown` is something else.
    """
    if unknown not in UNKNOWN:
        near = did_you_mean(unknown, UNKNOWN)
        raise InputError(f"unknown must be one of {', '.join(UNKNOWN)}. Received: {unknown!r}{near}")
    here = Barriers(model, unknown == "refuse", _now.get())
    token = _now.set(here)
    try:
        yield here
    finally:
        _now.reset(token)


def refuses() -> bool:
    """Whether unknown operations are refused, in what is walked now."""
    now = _now.get()
    return now is None or now.refuse


def graphs() -> dict[tuple, keras.Model | None]:
    """See `Barriers.graphs`; of what is walked now."""
    return _now.get().graphs


def meet(operation: keras.Operation) -> bool:
    """Whether an unknown operation is a barrier, which is noted; False if it is to be refused."""
    now = _now.get()
    if now is None or now.refuse:
        return False
    now.add(operation)
    return True


def kind_name(operation: keras.Operation) -> str:
    """The type of an operation, as users know it."""
    return getattr(operation, "plain_class", type(operation)).__name__
