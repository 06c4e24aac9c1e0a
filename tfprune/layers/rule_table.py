"""Rules for what the operations of a graph do, found by the operation's type."""

from __future__ import annotations

from collections.abc import Callable

import keras

from tfprune.errors import InputError
from tfprune.layers.barriers import meet
from tfprune.layers.kinds import plain_type

Rule = Callable


class NoRule(InputError):
    """Nothing says what an operation does, as it is made; a barrier may stand for it."""


class RuleTable:
    """Rules by layer class, which stands for its subclasses too unless they override `call`, or by operation name.

    Args:
        unknown: what nobody says of an unknown operation, for the error; `{what}` stands for the operation.
        decorator: how to teach it.
    """

    def __init__(self, unknown: str, decorator: str):
        self._unknown = unknown
        self._decorator = decorator
        self._layers: dict[type, Rule] = {}
        self._operations: dict[str, Rule] = {}

    def register(self, *operations: type | str) -> Callable[[Rule], Rule]:
        """A decorator for the rule of these layer classes and operations.

        Args:
            *operations: layer classes; names of Keras operations (`"Add"`: `keras.ops.add`); or names of layer classes
                of packages that need not be installed, with the package's (`"keras_hub.PositionEmbedding"`).
        """

        def register(rule: Rule) -> Rule:
            for operation in operations:
                (self._operations if isinstance(operation, str) else self._layers)[operation] = rule
            return rule

        return register

    def find(self, operation: keras.Operation, barrier: Rule, default: Rule | None = None) -> Rule:
        """The rule of an operation.

        Args:
            operation: of a graph.
            barrier: what is right of every operation, for those without a rule where `tfprune.layers.barriers` says so.
            default: where it does not, for operations of Keras that are no layers and have none.

        Raises:
            NoRule: there is none; names the operation and says how to teach it.
        """
        rule = self._known(operation)
        if rule is not None:
            return rule
        if meet(operation):
            return barrier
        if default is not None and _is_of_keras(operation):
            return default
        is_layer, name = isinstance(operation, keras.layers.Layer), plain_type(operation).__name__
        what, key = (f"the layer type {name}", name) if is_layer else (f"the operation {name}", f'"{name}"')
        unknown = self._unknown.format(what=what)
        raise NoRule(f"{operation.name!r}: {unknown}; teach it with @{self._decorator}({key})")

    @property
    def rules(self) -> tuple[tuple[type | str, Rule], ...]:
        """What is registered."""
        return (*self._layers.items(), *self._operations.items())

    def knows(self, operation: keras.Operation) -> bool:
        """Whether an operation has a rule."""
        return self._known(operation) is not None

    def _known(self, operation: keras.Operation) -> Rule | None:
        if _is_of_keras(operation):
            return self._operations.get(type(operation).__name__)
        if not isinstance(operation, keras.layers.Layer):
            return None
        kind = plain_type(operation)  # that a masked layer overrides `call` says nothing
        for base in kind.__mro__:
            rule = self._layers.get(base) or self._operations.get(f"{base.__module__.split('.')[0]}.{base.__name__}")
            if rule is not None:
                return rule if kind.call is base.call else None
        return None


def _is_of_keras(operation: keras.Operation) -> bool:
    """Whether it is one of `keras.ops`."""
    return not isinstance(operation, keras.layers.Layer) and type(operation).__module__.startswith("keras.")
