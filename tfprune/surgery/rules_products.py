"""Rules of products: of two tensors, and of tensors with a layer's own matrices."""

from __future__ import annotations

import string
from dataclasses import dataclass

import numpy as np

from tfprune.surgery.blocks import Scores, product_is_empty
from tfprune.surgery.channels import Signal
from tfprune.surgery.matrices import Matrix
from tfprune.surgery.own_layers import Weight
from tfprune.surgery.trace import Trace, register_on_weights, register_rule


@dataclass(frozen=True)
class _Product:
    """Two factors, and a letter for each of their axes and those of the product, as `einsum` has them."""

    factors: tuple
    letters: tuple[str, str]
    output: str


@register_rule("Matmul", "Einsum")
def _of_tensors(trace: Trace, operation, spec, *factors):
    product = _product(operation, factors)
    ranks = {len(x.spec.shape) for x in factors if isinstance(x, Signal)}
    if product is None or not all(isinstance(x, Signal) and x.axis for x in factors):
        return trace.keep(operation, spec, *factors)
    if type(operation).__name__ == "Matmul" and len(ranks) > 1:  # batches would not lie on each other
        return trace.keep(operation, spec, *factors)
    own = [letters[x.axis] for x, letters in zip(factors, product.letters, strict=True)]
    if own[0] == own[1] and own[0] not in product.output and len({len(x.channels) for x in factors}) == 1:
        trace.channels.couple(*(x.channels for x in factors))
        output = trace.fixed(spec)
        trace.links.append(Scores(factors, [output], product_is_empty))
        return output
    passing = [k for k in (0, 1) if own[k] in product.output and own[k] not in product.letters[1 - k]]
    if not passing:
        return trace.keep(operation, spec, *factors)
    carrier = max(passing, key=lambda k: product.output.index(own[k]))
    axis = product.output.index(own[carrier])
    output = trace.slotwise([factors[carrier]], spec, lambda x: np.where(x == 0, 0.0, np.nan), axis=axis)
    trace.depend([output], factors[1 - carrier])
    return output


@register_on_weights("Matmul", "Einsum", "Dot", "Tensordot")
def _with_matrix(trace: Trace, operation, spec, *factors):
    product = _product(operation, factors)
    if product is None or sum(isinstance(x, Weight) for x in factors) != 1:
        return None
    k = next(k for k, x in enumerate(factors) if isinstance(x, Weight))
    weight, x = factors[k], factors[1 - k]
    letters, others, output = product.letters[k], product.letters[1 - k], product.output
    if not isinstance(x, Signal):
        return None
    axes = {letter: axis for letter, axis in zip(letters, weight.axes, strict=True) if axis is not None}
    summed = [letter for letter in others if letter in axes and letter not in output]
    made = [letter for letter in output if letter in axes and letter not in others]
    if not summed or not made:
        return None
    read = others[x.axis] if x.axis and others[x.axis] in summed else summed[-1]
    x = trace.along(x, others.index(read))
    in_axis, out_axis = axes[read], axes[made[-1]]
    if len(x.channels) != weight.variable.shape[in_axis]:
        return None
    for axis in set(axes.values()) - {in_axis, out_axis}:
        trace.channels.fix(trace.outputs_of(weight.layer, weight.variable, axis))
    trace.bind(weight.layer, weight.variable, in_axis, x.channels)
    channels = trace.outputs_of(weight.layer, weight.variable, out_axis)
    signal = trace.signal(spec, output.index(made[-1]), channels)
    trace.links.append(_matrix(trace, weight, in_axis, out_axis).use(x, signal, uniform=len(axes) == 2))
    return signal


def _matrix(trace: Trace, weight: Weight, in_axis: int, out_axis: int) -> Matrix:
    path, variable = trace.path_of(weight.variable), weight.variable
    first = trace.kernels.get(path)
    directions = [] if first is None else first.directions
    same = [one for one in directions if one.axes == (in_axis, out_axis)]
    if same:
        return same[0]

    def make():
        return Matrix(trace.weights, path, in_axis, out_axis, directions)

    return trace.kernel(weight.layer, variable, make) if first is None else trace.second(variable, out_axis, make)


def _product(operation, factors) -> _Product | None:
    """None for what no two factors with a letter for each axis are."""
    if len(factors) != 2 or not all(isinstance(x, (Signal, Weight)) for x in factors):
        return None
    first, second = (len(x.spec.shape) for x in factors)
    name = type(operation).__name__
    if name == "Einsum":
        left, _, output = operation.subscripts.replace(" ", "").partition("->")
        letters = tuple(left.split(","))
    elif min(first, second) < 2 or (name != "Matmul" and second > 2) or getattr(operation, "axes", 1) != 1:
        return None
    else:
        batch = string.ascii_uppercase[: max(first, second) - 2]
        letters = f"{batch[len(batch) + 2 - first :]}mk", f"{batch[len(batch) + 2 - second :]}kn"
        output = f"{batch}mn"
    repeated = any(len(set(one)) < len(one) for one in (*letters, output))
    if not output or repeated or not "".join((*letters, output)).isalpha():
        return None
    if len(letters) != 2 or (len(letters[0]), len(letters[1])) != (first, second):
        return None
    return _Product(tuple(factors), letters, output)
