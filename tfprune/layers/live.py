"""Copies of single Keras objects (layers, optimizers, metrics) that keep the very functions of the original.

Keras copies an object through its configuration, in which a function is a name. Whoever looks that name up may find
another function (an own `leaky_relu` becomes Keras's) or none (a lambda, a partial, what nobody registered). Here the
configuration is taken of a stand-in, in which each such callable is wrapped into what Keras writes and reads back as
the same object. Neither the original nor Keras is changed on the way.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import MethodType

import keras

from tfprune.layers.kinds import configured_class
from tfprune.layers.subclassed import GRAPH

_OBJECTS = (keras.Operation, keras.optimizers.Optimizer, keras.metrics.Metric, keras.losses.Loss)
RECORDED = "_auto_config"
"""Where Keras keeps a constructor's arguments; there is no public way to them but a class without `get_config`."""
# What every layer has for itself is no part of a configuration, except for the regulariser.
INTERNAL = set(vars(keras.layers.Layer())) - {"activity_regularizer"}


class _Reference(str):
    """A string, which Keras hands on as it is, that leads to an object."""

    def __new__(cls, target):
        self = super().__new__(cls, "held")
        self.target = target
        return self

    def __deepcopy__(self, memo):
        return self


@keras.saving.register_keras_serializable("tfprune")
class _Held:
    """A callable, or a nested model, on its way through a configuration.

    Args:
        held: what it acts as.
        read: what is read back from the configuration; None for this object, which `_release` takes away again.
    """

    def __init__(self, held, read=None):
        self.held = held
        self._read = read

    def get_config(self) -> dict:
        return {"held": _Reference(self if self._read is None else self._read)}

    @classmethod
    def from_config(cls, config: dict):
        return config["held"].target

    def get_build_config(self) -> None:
        return None

    def get_compile_config(self) -> None:
        return None

    def __call__(self, *args, **kwargs):
        return self.held(*args, **kwargs)

    def __getattr__(self, name: str):
        if name == "held":  # not yet there
            raise AttributeError(name)
        return getattr(self.held, name)

    @property
    def __signature__(self):
        return inspect.signature(self.held)

    def __eq__(self, other) -> bool:
        return self.held == (other.held if isinstance(other, _Held) else other)

    def __hash__(self) -> int:
        return hash(self.held)


def live_copy(
    original,
    target: type | None = None,
    change: Callable[[dict], dict] = lambda config: config,
    copy_part: Callable[[keras.layers.Layer], keras.layers.Layer | None] | None = None,
):
    """A new object with the configuration of another one, without its variables' values.

    Args:
        original: a layer, optimizer or metric; stays as it is.
        target: class of the copy; None for that of `original`.
        change: from the configuration to that of the copy; `held` tells what stands for a callable in it.
        copy_part: gives the copy of a layer that the object holds, such as a model in `TimeDistributed`; or None where
            it can give none, and then Keras's way is taken.

    Raises:
        Exception: whatever `get_config` and `from_config` of the object raise.
    """
    target = target or configured_class(original)
    stand_ins = _StandIns(copy_part)
    try:
        config = change(stand_ins.of(original).get_config())
        with keras.saving.custom_object_scope(stand_ins.classes):
            copy = _constructed(target, config)
    except Exception:  # a class that Keras cannot copy either
        arguments = stand_ins.arguments(original)
        if arguments is None:
            raise
        copy = target(**change(arguments))
        copy.trainable = original.trainable
        copy.dtype_policy = original.dtype_policy
    _release(copy, set())
    return copy


def _constructed(target: type, config: dict):
    try:
        return target.from_config(dict(config))
    except Exception:
        # Some classes write a callable down as it is, and read it from a configuration.
        raw = {name: value for name, value in config.items() if isinstance(value, _Held)}
        if not raw:
            raise
        return target.from_config({**config, **keras.saving.serialize_keras_object(raw)})


def held(value):
    """The callable that a value of a configuration stands for; None if it stands for none."""
    if isinstance(value, dict) and isinstance(value.get("config"), dict):
        reference = value["config"].get("held")
        if isinstance(reference, _Reference):
            return reference.target.held if isinstance(reference.target, _Held) else reference.target
    return None


class _StandIns:
    """Objects of the same class and attributes, with callables held.

    Attributes:
        classes: registered name -> class of all nested objects that are not Keras's own.
    """

    def __init__(self, copy_part: Callable | None):
        self._copy_part = copy_part
        self._made: dict[int, object] = {}
        self.classes: dict[str, type] = {}

    def of(self, original):
        if id(original) not in self._made:
            kind = configured_class(original)
            # Not through the class: that would make a new object, with new variables.
            stand_in = self._made[id(original)] = object.__new__(kind)
            internal = INTERNAL if isinstance(original, keras.layers.Layer) else ()
            for name, value in vars(original).items():
                if name != GRAPH:
                    vars(stand_in)[name] = value if name in internal else self._value(value)
            vars(stand_in)["get_build_config"] = _no_config  # the copy is built where the original was: by its owner
            if not _is_of_keras(kind):
                self.classes[keras.saving.get_registered_name(kind)] = kind
        return self._made[id(original)]

    def _value(self, value):
        if isinstance(value, keras.layers.Layer) and id(value) not in self._made and self._copy_part is not None:
            copy = self._copy_part(value)
            if copy is not None:
                self._made[id(value)] = _Held(value, read=copy)
        if isinstance(value, _OBJECTS) and id(value) not in self._made:
            try:
                self.of(value).get_config()
            except NotImplementedError:
                self._made[id(value)] = _Held(value, read=live_copy(value, copy_part=self._copy_part))
        if isinstance(value, _OBJECTS):
            return self._made[id(value)]
        if isinstance(value, dict):
            return {key: self._value(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._value(item) for item in value]
        if type(value) is tuple:
            return tuple(self._value(item) for item in value)
        return _Held(value) if _is_foreign(value) else value

    def arguments(self, original) -> dict | None:
        """The arguments of a layer's constructor: as Keras recorded them, where all are numbers and words, else the
        layer's attributes, where it has one of the name of each."""
        if not isinstance(original, keras.layers.Layer):
            return None
        recorded = vars(original).get(RECORDED)
        if recorded is not None:
            return dict(recorded.config)
        config, attributes = {}, vars(original)
        for name, parameter in list(inspect.signature(type(original).__init__).parameters.items())[1:]:
            if parameter.kind is parameter.VAR_KEYWORD:  # those of every layer
                continue
            attribute = next((key for key in (name, f"_{name}") if key in attributes), None)
            if attribute is None or parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL):
                return None
            config[name] = self._argument(attributes[attribute])
        return config

    def _argument(self, value):
        if not isinstance(value, _OBJECTS):
            return value
        layer = isinstance(value, keras.layers.Layer) and self._copy_part is not None
        copy = self._copy_part(value) if layer else None
        return live_copy(value, copy_part=self._copy_part) if copy is None else copy


def _no_config() -> None:
    return None


def _is_foreign(value) -> bool:
    """Whether it is a callable that Keras's own names do not lead back to."""
    if not callable(value) or isinstance(value, type):
        return False
    if isinstance(value, MethodType) and isinstance(value.__self__, _OBJECTS):
        return False  # bound to what is copied: the copy makes its own
    name = getattr(value, "__name__", None)
    if isinstance(name, str):
        try:
            return keras.activations.get(name) is not value
        except ValueError:
            return True
    return not _is_of_keras(type(value))


def _is_of_keras(kind: type) -> bool:
    return kind.__module__.split(".")[0] == "keras"


def _release(value, seen: set[int]):
    """Puts what is held into its own place, in all attributes of a new object; gives back what to put there."""
    if isinstance(value, _Held):
        return value.held
    if held(value) is not None:  # a class that keeps a part of its configuration as it is
        return held(value)
    if id(value) in seen:
        return value
    seen.add(id(value))
    if isinstance(value, (*_OBJECTS, keras.Variable)):
        _release_items(vars(value), seen)
    elif isinstance(value, dict):
        _release_items(value, seen)
    elif isinstance(value, list):
        _release_items(value, seen, enumerate(list(value)))
    elif type(value) is tuple:
        released = tuple(_release(item, seen) for item in value)
        return value if all(new is old for new, old in zip(released, value, strict=True)) else released
    return value


def _release_items(container, seen: set[int], items=None) -> None:
    for key, item in list(container.items()) if items is None else items:
        released = _release(item, seen)
        if released is not item:
            container[key] = released
