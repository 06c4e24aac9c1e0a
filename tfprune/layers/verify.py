"""The check that a copy of a model computes what the model does, by running both once."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
from keras import ops, tree

from tfprune.errors import InputError
from tfprune.layers.made_up import made_up_inputs
from tfprune.layers.subclassed import as_graph
from tfprune.layers.topology import run
from tfprune.records.reading import cause_line

Values = Sequence[tuple[keras.Variable, object]]

_EPSILONS = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
_CLOSE = 4  # epsilons of an output's scale, which need no explanation
_ROUNDINGS = 8  # times what changing every number by one epsilon does to the outputs


def check_copy(copy: keras.Model, model: keras.Model, values: Values = ()) -> None:
    """Runs a model and its copy on a small made-up input, in inference, and compares the outputs.

    Neither changes by it. What differs by more than a few roundings is compared with what the model's outputs do when
    each weight and input changes by one rounding. Where no input can be made that the model takes, nothing is checked.

    Args:
        copy: takes the same inputs as `model`.
        model: built Sequential or Functional model.
        values: (variable of `model`, array in its place) that it computes with.

    Raises:
        InputError: the copy cannot be run, or computes something else.
    """
    if not tf.executing_eagerly() or tf.distribute.has_strategy():
        return
    copy, model = as_graph(copy), as_graph(model)
    inputs, expected = _first_run(model, values)
    if expected is None:
        return
    try:
        found = _run(copy, inputs)
    except Exception as error:  # whatever a layer raises
        told = f"the copy of model {model.name!r} cannot be run where the model can: {cause_line(error)}"
        raise InputError(told) from error
    epsilon = max(_epsilon(copy), _epsilon(model))
    difference = _difference(expected, found)
    if difference <= _CLOSE * epsilon:
        return
    allowed = _ROUNDINGS * _difference(expected, _shaken(model, inputs, values, epsilon))
    if not difference <= allowed:
        where = "" if values else _first_different(copy, model, inputs, max(allowed, _CLOSE * epsilon))
        raise InputError(
            f"the copy of model {model.name!r} does not compute what the model does: on a made-up input outputs differ "
            f"by {difference:.2g} of their scale, rounding explains {allowed:.1g}{where}. An own layer may compute "
            "what its configuration does not say; verify=False leaves this check out"
        )


def _first_run(model: keras.Model, values: Values) -> tuple:
    """The first inputs with finite outputs, else the first that the model takes; (None, None) without any."""
    taken = None, None
    for inputs in made_up_inputs(model):
        try:
            outputs = _run(model, inputs, values)
        except Exception:  # not an input of this model
            continue
        if all(_is_finite(output) for output in outputs):
            return inputs, outputs
        taken = taken if taken[1] is not None else (inputs, outputs)
    return taken


def _run(model: keras.Model, inputs, values: Values = ()) -> list[np.ndarray]:
    with keras.StatelessScope([(variable, ops.convert_to_tensor(value)) for variable, value in values]):
        outputs = model(inputs, training=False)
    return [_array(output) for output in tree.flatten(outputs)]


def _first_different(copy: keras.Model, model: keras.Model, inputs, allowed: float) -> str:
    """Says at which operation of two graphs of the same form the difference begins."""
    steps = [_steps(one, inputs) for one in (model, copy)]
    for (name, expected), (_, found) in zip(*steps, strict=False):
        if _difference(expected, found) > allowed:
            return f", from {name!r} on"
    return ""


def _steps(model: keras.Model, inputs) -> list[tuple[str, list[np.ndarray]]]:
    """(name, outputs) of each layer, nested model or operation of a graph, in its order."""
    found = []

    def call(operation: keras.Operation, *args, **kwargs):
        outputs = operation(*args, **kwargs)
        found.append((operation.name, [_array(output) for output in tree.flatten(outputs)]))
        return outputs

    with keras.StatelessScope():
        run(model, tree.flatten(inputs), call)
    return found


def _array(tensor) -> np.ndarray:
    if isinstance(tensor, tf.RaggedTensor):
        tensor = tensor.to_tensor()
    array = ops.convert_to_numpy(tensor)
    return array if array.dtype == object or np.iscomplexobj(array) else array.astype(np.float64)


def _is_finite(output: np.ndarray) -> bool:
    return output.dtype == object or (output.size > 0 and bool(np.isfinite(output).all()))


def _difference(expected: list[np.ndarray], found: list[np.ndarray]) -> float:
    """Largest difference of an output, divided by its largest value; infinite where they cannot be compared."""
    if len(expected) != len(found):
        return np.inf
    return max((_of_output(one, other) for one, other in zip(expected, found, strict=True)), default=0.0)


def _of_output(expected: np.ndarray, found: np.ndarray) -> float:
    if expected.shape != found.shape or expected.dtype != found.dtype:
        return np.inf
    if expected.dtype == object:
        return 0.0 if np.array_equal(expected, found) else np.inf
    known = np.isfinite(expected)
    if not np.array_equal(expected[~known], found[~known], equal_nan=True) or not np.isfinite(found[known]).all():
        return np.inf
    if not known.any():
        return 0.0
    scale = float(np.abs(expected[known]).max()) or 1.0
    return float(np.abs(expected[known] - found[known]).max()) / scale


def _shaken(model: keras.Model, inputs, values: Values, epsilon: float) -> list[np.ndarray]:
    """Outputs when each weight and each input is changed by one epsilon."""
    rng = np.random.default_rng(1)
    given = {id(variable): value for variable, value in values}

    def shaken(array) -> np.ndarray:
        array = np.asarray(array)
        return (array * (1 + epsilon * rng.choice([-1.0, 1.0], array.shape))).astype(array.dtype)

    changed = []
    for variable in model.variables:
        if "float" in variable.dtype:
            value = given.get(id(variable))
            changed.append((variable, shaken(variable.numpy() if value is None else value)))

    def shaken_input(tensor):
        floating = isinstance(tensor, tf.Tensor) and tensor.dtype.is_floating
        return tf.constant(shaken(tensor.numpy())) if floating else tensor

    return _run(model, tree.map_structure(shaken_input, inputs), changed)


def _epsilon(model: keras.Model) -> float:
    """Of the coarsest type that a layer computes in."""
    inner = [layer for layer in model._flatten_layers(include_self=False, recursive=True) if layer.compute_dtype]
    types = {layer.compute_dtype for layer in inner} | {getattr(layer, "product_dtype", None) for layer in inner}
    found = [_EPSILONS[name] for name in types if name in _EPSILONS]
    if "float32" in types and tf.config.list_physical_devices("GPU"):
        found += [_EPSILONS["float16"]] * tf.config.experimental.tensor_float_32_execution_enabled()
    return max(found, default=_EPSILONS["float32"])
