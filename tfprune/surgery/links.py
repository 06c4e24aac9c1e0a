"""What operations do to channels: the kinds of links between signals.

`forward` finds constant channels, in the graph's order; `backward` finds needed ones, against it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tfprune.surgery.channels import Signal

Weights = dict[str, np.ndarray]


class Opaque:
    """An operation of which nothing is known: every output depends on every input."""

    def __init__(self, inputs: Sequence[Signal], outputs: Sequence[Signal]):
        self._inputs, self._outputs = inputs, outputs

    def forward(self) -> None:
        for output in self._outputs:
            output.constant[:] = np.nan

    def backward(self) -> None:
        for given in self._inputs:
            given.needed[:] = True


class Condition:
    """What an operation reads besides its inputs, a mask for example: every channel of the outputs depends on it."""

    def __init__(self, given: Signal, outputs: Sequence[Signal]):
        self._given, self._outputs = given, outputs

    def forward(self) -> None:
        """Says nothing: what is constant is so under every condition."""

    def backward(self) -> None:
        self._given.needed |= any(output.is_needed for output in self._outputs)


class Slotwise:
    """Each output channel is a function of one channel of every input, the same at all positions.

    Args:
        inputs: (signal, index): output channel k comes from the signal's channel index[k].
        output: the signal that comes out.
        function: constants of the inputs, one array each, NaN where there is none -> constants of the output.
        uses: the same constants -> one array of bools per input, False where the output does not depend on it; None if
            it always does.
    """

    def __init__(self, inputs: Sequence[tuple[Signal, np.ndarray]], output: Signal, function: Callable, uses=None):
        self._inputs, self._output, self._function, self._uses = inputs, output, function, uses

    def forward(self) -> None:
        with np.errstate(all="ignore"):
            value = self._function(*self._constants())
        self._output.constant[:] = np.where(np.isfinite(value), value, np.nan)

    def backward(self) -> None:
        uses = [True] * len(self._inputs) if self._uses is None else self._uses(*self._constants())
        for (given, index), used in zip(self._inputs, uses, strict=True):
            given.needed[index[self._output.needed & used]] = True

    def _constants(self) -> list[np.ndarray]:
        return [given.constant[index] for given, index in self._inputs]


class Join:
    """Parts of several signals side by side, as `Concatenate` puts them."""

    def __init__(self, inputs: Sequence[Signal], output: Signal):
        self._inputs, self._output = inputs, output

    def forward(self) -> None:
        self._output.constant[:] = np.concatenate([given.constant for given in self._inputs])

    def backward(self) -> None:
        ends = np.cumsum([len(given.channels) for given in self._inputs])[:-1]
        for given, needed in zip(self._inputs, np.split(self._output.needed, ends), strict=True):
            given.needed |= needed


class Product:
    """A kernel between all input and all output channels: one object per layer, one link per use of it.

    Args:
        weights: path -> array; kernel and bias are changed in it.
        kernel, bias: their paths; a bias that the model has not is made when it is needed.
        in_axis, out_axis: the kernel's axes of input and output channels.
    """

    def __init__(self, weights: Weights, kernel: str, bias: str, in_axis: int, out_axis: int):
        self._weights, self._path, self._bias, self._axes = weights, kernel, bias, (in_axis, out_axis)
        self._had_bias = bias in weights
        self._uses: list[_ProductUse] = []

    def use(self, given: Signal, output: Signal, uniform: bool) -> _ProductUse:
        """A link; `uniform` says that a constant input adds the same at every position: no padding takes part."""
        self._uses.append(_ProductUse(self, given, output, uniform))
        return self._uses[-1]

    def fold(self) -> None:
        """Moves constant inputs into the bias where that is exact, else all of them onto one channel.

        Among zeros of padding, channels that are constant have one form and differ by a factor: c₁·K₁ + c₂·K₂ =
        c₁·(K₁ + c₂/c₁·K₂).
        """
        constant = self._common_constant()
        known = ~np.isnan(constant) & self.connected.any(1)
        uniform = all(use.uniform for use in self._uses)
        absorbed = known & (uniform | (constant == 0))
        self._absorb(absorbed, constant)
        varied = np.flatnonzero(known & ~absorbed)
        if len(self._uses) == 1 and len(varied) > 1:
            carrier = varied[np.argmax(np.abs(constant[varied]))]
            factors = constant[varied] / constant[carrier]
            kernel = self.kernel
            total = np.einsum("...io,i->...o", kernel[..., varied, :].astype(float), factors)
            kernel[..., varied, :] = 0
            kernel[..., carrier, :] = total

    def cut(self) -> None:
        """Sets to 0 what leads to channels that nothing needs."""
        needed = np.any([use.output.needed for use in self._uses], axis=0)
        self.kernel[..., ~needed] = 0
        if not self._had_bias and self._bias in self._weights:
            self._weights[self._bias][~needed] = 0

    @property
    def kernel(self) -> np.ndarray:
        """View (..., inputs, outputs)."""
        return np.moveaxis(self._weights[self._path], self._axes, (-2, -1))

    @property
    def filters(self) -> np.ndarray:
        """(positions, inputs, outputs)"""
        kernel = self.kernel
        return kernel.reshape(-1, *kernel.shape[-2:])

    @property
    def made(self) -> np.ndarray:
        """Channels that the filters make, one each; (outputs,)."""
        return self._uses[0].output.channels

    @property
    def connected(self) -> np.ndarray:
        """(inputs, outputs): whether any weight connects them."""
        kernel = self.kernel
        return (kernel != 0).any(axis=tuple(range(kernel.ndim - 2)))

    @property
    def bias(self) -> np.ndarray:
        """(outputs,)"""
        return self._weights.get(self._bias, np.zeros(self.kernel.shape[-1], self.kernel.dtype))

    def sums(self, inputs: np.ndarray) -> np.ndarray:
        """(inputs, outputs) float64: sum over the kernel's positions, for some inputs."""
        kernel = self.kernel[..., inputs, :]
        return kernel.sum(axis=tuple(range(kernel.ndim - 2)), dtype=float)

    def _common_constant(self) -> np.ndarray:
        first, *others = (use.given.constant for use in self._uses)
        return np.where(np.all([first == other for other in (first, *others)], axis=0), first, np.nan)

    def _absorb(self, inputs: np.ndarray, constant: np.ndarray) -> None:
        shift = constant[inputs] @ self.sums(inputs)
        if shift.any():
            self._weights[self._bias] = (self.bias + shift).astype(self.bias.dtype)
        self.kernel[..., inputs, :] = 0


class _ProductUse:
    def __init__(self, product: Product, given: Signal, output: Signal, uniform: bool):
        self.product, self.given, self.output, self.uniform = product, given, output, uniform

    def forward(self) -> None:
        constant = self.given.constant
        known = np.isfinite(constant) & (self.uniform | (constant == 0))
        varies = self.product.connected[~known].any(0)
        nonzero = np.flatnonzero(known & (constant != 0))
        value = self.product.bias + constant[nonzero] @ self.product.sums(nonzero)
        self.output.constant[:] = np.where(varies, np.nan, value)

    def backward(self) -> None:
        self.given.needed |= self.product.connected[:, self.output.needed].any(1)


class Filters:
    """A kernel that filters each input channel on its own: output channel c·m + i is input c through filter i of m.

    Args:
        weights: path -> array.
        kernel: path of the kernel (..., inputs, m), which is changed.
        bias: path of the bias, which may be missing in `weights`.
    """

    def __init__(self, weights: Weights, kernel: str, bias: str | None):
        self._weights, self._path, self._bias = weights, kernel, bias
        self._uses: list[_FiltersUse] = []

    def use(self, given: Signal, output: Signal, uniform: bool) -> _FiltersUse:
        """A link; `uniform` as for `Product`."""
        self._uses.append(_FiltersUse(self, given, output, uniform))
        return self._uses[-1]

    def cut(self) -> None:
        """Sets to 0 what leads to channels that nothing needs."""
        needed = np.any([use.output.needed for use in self._uses], axis=0)
        kernel = self.kernel
        kernel[..., ~needed.reshape(kernel.shape[-2:])] = 0

    @property
    def kernel(self) -> np.ndarray:
        """(..., inputs, m)"""
        return self._weights[self._path]

    @property
    def filters(self) -> np.ndarray:
        """(positions, 1, outputs): each filter reads one channel."""
        return self.flat[:, None]

    @property
    def made(self) -> np.ndarray:
        """Channels that the filters make, one each; (outputs,)."""
        return self._uses[0].output.channels

    @property
    def flat(self) -> np.ndarray:
        """(positions, outputs)"""
        kernel = self.kernel
        return kernel.reshape(-1, kernel.shape[-2] * kernel.shape[-1])

    @property
    def bias(self) -> np.ndarray:
        """(outputs,)"""
        return self._weights.get(self._bias, np.zeros(self.flat.shape[-1], self.kernel.dtype))


class _FiltersUse:
    def __init__(self, filters: Filters, given: Signal, output: Signal, uniform: bool):
        self.filters, self.given, self.output, self.uniform = filters, given, output, uniform

    def forward(self) -> None:
        constant = np.repeat(self.given.constant, self.filters.kernel.shape[-1])
        product = constant * self.filters.flat.sum(0, dtype=float)
        value = np.where(constant == 0, 0, product if self.uniform else np.nan)
        self.output.constant[:] = np.where(self._connected, value, 0) + self.filters.bias

    def backward(self) -> None:
        needed = (self.output.needed & self._connected).reshape(self.filters.kernel.shape[-2:])
        self.given.needed |= needed.any(-1)

    @property
    def _connected(self) -> np.ndarray:
        return (self.filters.flat != 0).any(0)
