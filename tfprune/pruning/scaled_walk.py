"""The linear network of a model in numbers with an exponent of their own: no depth and no weights overflow or vanish.

Every tensor of the graph is held as `value · 2^exponent` with its largest value in [1, 2) and a whole exponent. Where
branches meet they are brought to the larger exponent, and where they are multiplied exponents add. Powers of two cost
no rounding: within float32's range the result is that of a plain evaluation. The exponents count as constants in the
gradient, so gradients are the plain ones over one common power of two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import keras
import tensorflow as tf
from keras import layers, tree

from tfprune.connectivity.graph import Walk, ones_input
from tfprune.layers.topology import is_nested

# Of these the output is linear in each argument; of every other operation it is linear in all of them together.
_PRODUCT_LAYERS = (layers.Multiply, layers.Dot, layers.Attention, layers.AdditiveAttention)
_PRODUCT_OPERATIONS = frozenset(
    {
        *("Multiply", "Divide", "TrueDivide", "DivideNoNan", "Power", "FloorDivide", "Mod"),
        *("Matmul", "Dot", "Tensordot", "Einsum", "Inner", "Outer"),
        *("LogicalAnd", "DotProductAttention"),
    }
)


@dataclass(frozen=True)
class Scaled:
    """`value · 2^exponent`: a float32 tensor and an int32 scalar."""

    value: tf.Tensor
    exponent: tf.Tensor

    def at(self, exponent: tf.Tensor) -> tf.Tensor:
        """The value for a larger exponent; what is more than 2¹²⁶ times smaller becomes 0.

        Only a tensor of zeros may have the larger exponent. It must not be scaled up: its gradient would be, too.
        """
        return self.value * power_of_two(tf.minimum(self.exponent - exponent, 0))


def power_of_two(exponent: tf.Tensor) -> tf.Tensor:
    """2^exponent exactly, float32; 0 below 2⁻¹²⁶, at most 2¹²⁷. The bits of the number are put together."""
    bits = tf.bitwise.left_shift(tf.clip_by_value(exponent, -127, 127) + 127, 23)
    return tf.bitcast(bits, tf.float32)


def exponent_of(largest: tf.Tensor) -> tf.Tensor:
    """int32 scalar e with `largest` ≥ 0 in [2^e, 2^(e+1)); 0 for 0."""
    exponent = tf.bitwise.right_shift(tf.bitcast(largest, tf.int32), 23) - 127
    return tf.where(largest > 0, tf.clip_by_value(exponent, -126, 126), 0)


def scaled(x: tf.Tensor, exponent: tf.Tensor | int = 0) -> Scaled:
    """`x · 2^exponent` with the largest |value| in [1, 2)."""
    own = exponent_of(tf.stop_gradient(tf.reduce_max(tf.abs(x))))
    return Scaled(x * power_of_two(-own), exponent + own)


def total_output(model: keras.Model, kernels: Mapping[str, tf.Tensor], input_shape=None) -> Scaled:
    """Sum of all outputs of the linear network of `model` for one example of ones.

    Args:
        model: Sequential or Functional.
        kernels: path -> float32 tensor, for every path of `prunable(model)`. One layer's kernels must not leave
            float32's range by themselves: |w| · fan-in < 10³⁸, or < 10¹⁹ where a layer multiplies two kernels.
        input_shape: see `ones_input`.

    Returns:
        A scalar with an exponent, differentiable in the kernels.

    Raises:
        InputError: as for `tfprune.connectivity.graph.evaluate`.
    """
    inputs = [Scaled(x, tf.constant(0)) for x in ones_input(model, input_shape)]
    outputs = _ScaledWalk(model, kernels).run(model, inputs)
    exponent = _largest(outputs)
    return Scaled(tf.add_n([tf.reduce_sum(output.at(exponent)) for output in outputs]), exponent)


class _ScaledWalk(Walk):
    """The walk's rules work on plain tensors; this takes the exponents off before and puts them back after."""

    def _call(self, operation: keras.Operation, *args, **kwargs):
        args, kwargs = tree.map_structure(self._constant, (args, kwargs))
        if is_nested(operation) or self._inside(operation, args, kwargs) is not None:
            return super()._call(operation, *args, **kwargs)
        given = [leaf for leaf in tree.flatten((args, kwargs)) if isinstance(leaf, Scaled)]
        if not given or len(given) == 1 or _multiplies(operation):
            exponent = tf.add_n([leaf.exponent for leaf in given])
            args, kwargs = tree.map_structure(_value, (args, kwargs))
        else:
            exponent = _largest(given)
            args, kwargs = tree.map_structure(lambda leaf: _value_at(leaf, exponent), (args, kwargs))
        outputs = super()._call(operation, *args, **kwargs)
        if any(outputs is argument for argument in args):  # passed on as it was
            return Scaled(outputs, exponent)
        return tree.map_structure(lambda output: scaled(output, exponent), outputs)

    def _tensor(self, leaf):
        return _value(leaf)


def _multiplies(operation: keras.Operation) -> bool:
    return isinstance(operation, _PRODUCT_LAYERS) or (
        not isinstance(operation, keras.Layer) and type(operation).__name__ in _PRODUCT_OPERATIONS
    )


def _largest(given: list[Scaled]) -> tf.Tensor:
    # A branch of zeros has no scale: its exponent must not push the others' values to 0.
    lowest = tf.constant(-(2**30))
    exponents = [tf.where(tf.reduce_any(leaf.value != 0), leaf.exponent, lowest) for leaf in given]
    exponent = tf.reduce_max(tf.stack(exponents))
    return tf.where(exponent == lowest, 0, exponent)


def _value(leaf):
    return leaf.value if isinstance(leaf, Scaled) else leaf


def _value_at(leaf, exponent: tf.Tensor):
    return leaf.at(exponent) if isinstance(leaf, Scaled) else leaf
