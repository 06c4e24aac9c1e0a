"""Rules for what the operations of a graph do, found by the operation's type."""

from __future__ import annotations

from collections.abc import Callable

import keras

from tfprune.errors import InputError
from tfprune.layers.kinds import plain_type

Rule = Callable


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
        """A decorator for the rule of these layer classes and names of Keras operations (`"Add"`: `keras.ops.add`)."""

        def register(rule: Rule) -> Rule:
            for operation in operations:
                (self._operations if isinstance(operation, str) else self._layers)[operation] = rule
            return rule

        return register

    def find(self, operation: keras.Operation, default: Rule | None = None) -> Rule:
        """The rule of an operation; `default` for operations of Keras that are no layers and have none.

        Raises:
            InputError: there is none; names the operation and says how to teach it.
        """
        kind = type(operation)
        if not isinstance(operation, keras.layers.Layer):
            rule = self._operations.get(kind.__name__, default) if kind.__module__.startswith("keras.") else None
            if rule is None:
                raise self._error(operation, f"the operation {kind.__name__}", f'"{kind.__name__}"')
            return rule
        kind = plain_type(operation)  # that a masked layer overrides `call` says nothing
        base = next((base for base in kind.__mro__ if base in self._layers), None)
        if base is None or kind.call is not base.call:
            raise self._error(operation, f"the layer type {kind.__name__}", kind.__name__)
        return self._layers[base]

    def _error(self, operation: keras.Operation, what: str, key: str) -> InputError:
        unknown = self._unknown.format(what=what)
        return InputError(f"{operation.name!r}: {unknown}; teach it with @{self._decorator}({key})")
