"""Times of a model's layers at a grid of widths, measured once: how long a narrower model would take."""

from __future__ import annotations

import json
import os
import platform
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import metadata
from itertools import pairwise
from os import PathLike

import keras
import numpy as np

from tfprune.errors import InputError, did_you_mean
from tfprune.layers.convert import strip
from tfprune.layers.subclassed import as_graph
from tfprune.pruning.latency import ENGINES, THREADS, Timer, layer_milliseconds
from tfprune.pruning.layer_calls import LayerCall, layer_calls
from tfprune.pruning.progress import Progress
from tfprune.records.atomic import atomic_write_text
from tfprune.records.reading import read_json

MARK, _FORMAT = "tfprune_latency_table", 1
SHARES = (0.125, 0.5, 1.0)
_PACKAGES = ("tfprune", "tensorflow", "keras", "numpy", "ai-edge-litert")


@dataclass(frozen=True)
class LayerTimes:
    """Of one kind of layer.

    Attributes:
        inputs: rising widths that it was measured at.
        outputs: the same of what it makes; one entry, 0, where its inputs say that.
        milliseconds: (inputs, outputs), none below 0. Where a wider layer was quicker, which is chance, it counts as
            slow as the narrower one.
    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    milliseconds: tuple[tuple[float, ...], ...]

    def __post_init__(self):
        rising = all(axis and all(low < high for low, high in pairwise(axis)) for axis in (self.inputs, self.outputs))
        times = self.milliseconds
        if not rising or len(times) != len(self.inputs) or {len(row) for row in times} != {len(self.outputs)}:
            raise InputError("widths must rise, with a time for each pair of them")
        if not all(np.isfinite(one) and one >= 0 for row in times for one in row):
            raise InputError("times must be milliseconds, numbers from 0 on")
        table = np.maximum.accumulate(np.maximum.accumulate(np.asarray(times, float), 0), 1)
        object.__setattr__(self, "milliseconds", tuple(map(tuple, table.tolist())))

    def at(self, inputs: int, outputs: int | None) -> float:
        """Milliseconds at other widths: linear in each between those measured, in proportion to the width beyond; what
        is narrower than the narrowest counts as that."""
        along = [_along(outputs or 0, self.outputs, row) for row in self.milliseconds]
        return _along(inputs, self.inputs, along)


@dataclass(frozen=True)
class LatencyTable:
    """What `latency_table` measured.

    A model takes `overhead + scale · Σ` of its layers' times. The scale makes that right for the model that the table
    was made of: it stands for what the layers cost more, or less, together than each alone, and for all between them.

    Attributes:
        runtime: `"litert"` or `"keras"`.
        batch: examples in a call.
        layers: kind of layer (`LayerCall.key`) -> its times.
        overhead: milliseconds of a call that computes nothing.
        scale: see above.
        measured: milliseconds of the whole model.
        machine: where: `system`, `processor`, `cores`, `threads`.
        versions: of packages.
    """

    runtime: str
    batch: int
    layers: dict[str, LayerTimes]
    overhead: float
    scale: float
    measured: float
    machine: dict[str, str]
    versions: dict[str, str]

    def predict(self, model: keras.Model) -> float:
        """Milliseconds of a call of a model, which may be narrower in any layer.

        Raises:
            InputError: it has a layer that the table was not made of; names it.
        """
        calls, _ = layer_calls(as_graph(model), self.batch)
        return self.total([(self.times(call), call.inputs, call.outputs) for call in calls])

    def total(self, widths: list[tuple[LayerTimes, int, int | None]]) -> float:
        """Milliseconds of a model with these layers of these widths."""
        return self.overhead + self.scale * sum(times.at(*widths) for times, *widths in widths)

    def times(self, call: LayerCall) -> LayerTimes:
        """Those of a layer; errors as for `predict`."""
        if call.key not in self.layers:
            raise InputError(
                f"table= has no times for layer {call.path!r} of its shapes: it was made of another model; make one of "
                "this model by tfprune.latency_table"
            )
        return self.layers[call.key]

    def save(self, path: str | PathLike) -> None:
        """Writes it as one JSON file."""
        atomic_write_text(path, json.dumps({MARK: _FORMAT, **asdict(self)}, indent=1) + "\n")

    @classmethod
    def load(cls, path: str | PathLike) -> LatencyTable:
        """Reads what `save` wrote; of a machine or versions other than here it warns.

        Raises:
            InputError: no such file, or no whole latency table in it.
        """
        content = read_json(path, "a latency table")
        try:
            table = _of_json(content)
        except (InputError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"cannot read {path}: not a latency table, or a damaged one ({error})") from None
        here = {"machine": _machine(), "versions": _versions()}
        other = [
            f"{name} {given[name]} there, {now.get(name)} here"
            for what, now in here.items()
            for given in [getattr(table, what)]
            for name in given
            if given[name] != now.get(name)
        ]
        if other:
            warnings.warn(f"latency table {path} was measured elsewhere: {', '.join(other)}", stacklevel=2)
        return table

    def __repr__(self) -> str:
        where = f"{self.machine.get('processor', '?')}, {self.machine.get('cores', '?')} cores"
        return (
            f"latency table of {len(self.layers)} kinds of layers in {self.runtime}, batch {self.batch}, on {where}: "
            f"{self.measured:.3g} ms the whole model"
        )


def latency_table(
    model: keras.Model,
    runtime: str = "litert",
    batch: int = 1,
    *,
    shares: tuple[float, ...] = SHARES,
    data=None,
    verbose: bool = True,
    clock: Callable[[keras.Model], float] | None = None,
) -> LatencyTable:
    """Measures how long each kind of layer of a model takes at a grid of widths, once for many budgets.

        table = tfprune.latency_table(model)
        small = tfprune.prune_filters(model, "l2", latency=2.5, table=table)

    Layers that differ in nothing but their names, and in their widths, are one kind. Each is run alone at all pairs of
    `shares` of its inputs and of its outputs (of the widest of its kind), each as the median of 30 calls. Dense layers,
    convolutions, also depthwise, transposed and separable ones, are measured; all others are taken to cost in
    proportion to these, see `LatencyTable`.

    Args:
        model: built, plain or masked, with sizes of inputs that are not open.
        runtime: `"litert"`, its interpreter with two threads in float32, or `"keras"`, a compiled function.
        batch: examples in a call.
        shares: of the widths, rising, in (0, 1], the last one 1.
        data: whose first example the whole model is run on; None for one that is made up.
        verbose: whether to show progress on stderr where it takes more than three seconds.
        clock: what to measure a model by in place of the runtime: a function that gives its milliseconds.

    Warns:
        UserWarning: layers with kernels that are no such layers; names them.

    Raises:
        InputError: another runtime, batch or shares; sizes that are open; no such layer.
    """
    _check(runtime, batch, shares)
    model = as_graph(strip(model))
    calls, others = layer_calls(model, batch)
    if any(None in call.shape[1:] for call in calls):
        raise InputError(
            f"latency_table: model {model.name!r} leaves sizes of its inputs open: fix them in keras.Input"
        )
    if not calls:
        raise InputError(f"latency_table: model {model.name!r} has no dense layer or convolution")
    if others:
        named = ", ".join(map(repr, others[:3])) + (f" and {len(others) - 3} more" if len(others) > 3 else "")
        warnings.warn(f"latency_table does not measure {named}: taken to cost in proportion to the rest", stacklevel=2)
    milliseconds = clock or (lambda one: layer_milliseconds(one, runtime))
    kinds: dict[str, list[LayerCall]] = {}
    for call in calls:
        kinds.setdefault(call.key, []).append(call)
    grids = {key: _grid(of_kind, shares) for key, of_kind in kinds.items()}
    total, done, layers = sum(len(a) * len(b) for a, b in grids.values()), 0, {}
    with Progress(verbose, what="latency table") as progress:
        overhead = milliseconds(_nothing(batch))
        for key, (inputs, outputs) in grids.items():
            rows, call = [], kinds[key][0]
            for wide in inputs:
                row = []
                for made in outputs:
                    progress.at("layers", done, total, note=f"{call.path}: {wide} to {made or wide} channels")
                    row.append(max(0.0, milliseconds(call.alone(wide, made or None, batch)) - overhead))
                    done += 1
                rows.append(tuple(row))
            layers[key] = LayerTimes(inputs, outputs, tuple(rows))
        progress.at("whole model", 0, 1)
        measured = Timer(clock or runtime, data, batch)(model)
    alone = sum(layers[call.key].at(call.inputs, call.outputs) for call in calls)
    scale = max(measured - overhead, 0.0) / alone if alone else 1.0
    return LatencyTable(runtime, batch, layers, overhead, scale, measured, _machine(), _versions())


def as_table(table: LatencyTable | str | PathLike | None) -> LatencyTable | None:
    """A table, or the one in a file.

    Raises:
        InputError: neither.
    """
    if table is None or isinstance(table, LatencyTable):
        return table
    if isinstance(table, (str, PathLike)):
        return LatencyTable.load(table)
    raise InputError(f"table must be what tfprune.latency_table gives, or a file of it; received {table!r}")


def _along(width: int, widths, values) -> float:
    found = float(np.interp(width, widths, values))
    return found * width / widths[-1] if width > widths[-1] > 0 else found


def _grid(calls: list[LayerCall], shares) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Widths of inputs and of outputs."""

    def widths(most: int) -> tuple[int, ...]:
        return tuple(sorted({max(1, round(share * most)) for share in shares}))

    inputs = widths(max(call.inputs for call in calls))
    made = [call.outputs for call in calls]
    return inputs, (0,) if None in made else widths(max(made))


def _nothing(batch: int) -> keras.Model:
    x = keras.Input(batch_shape=(batch, 4), name="x")
    return keras.Model(x, keras.layers.Rescaling(0.5)(x))


def _check(runtime: str, batch: int, shares) -> None:
    if runtime not in ENGINES:
        near = did_you_mean(runtime, ENGINES)
        raise InputError(f"runtime must be one of {', '.join(ENGINES)}; received {runtime!r}{near}")
    if isinstance(batch, bool) or not isinstance(batch, (int, np.integer)) or batch < 1:
        raise InputError(f"batch must be a whole number of at least 1; received {batch!r}")
    rising = list(shares) == sorted(set(shares)) and len(shares) and shares[-1] == 1 and shares[0] > 0
    if not rising:
        raise InputError(f"shares must rise in (0, 1] and end with 1; received {shares!r}")


def _of_json(content: dict) -> LatencyTable:
    if content.pop(MARK, None) != _FORMAT:
        raise InputError(f"it says no {MARK}: {_FORMAT}")
    layers = {
        str(key): LayerTimes(
            tuple(map(int, one["inputs"])),
            tuple(map(int, one["outputs"])),
            tuple(tuple(map(float, row)) for row in one["milliseconds"]),
        )
        for key, one in content.pop("layers").items()
    }
    numbers = {name: float(content.pop(name)) for name in ("overhead", "scale", "measured")}
    if not all(np.isfinite(number) and number >= 0 for number in numbers.values()):
        raise InputError("times must be milliseconds, numbers from 0 on")
    texts = {
        name: {str(key): str(value) for key, value in content.pop(name).items()} for name in ("machine", "versions")
    }
    runtime, batch = content.pop("runtime"), content.pop("batch")
    _check(runtime, batch, SHARES)
    if content:
        raise InputError(f"it holds {', '.join(map(repr, content))}, which no table has")
    return LatencyTable(runtime, batch, layers, **numbers, **texts)


def _machine() -> dict[str, str]:
    return {
        "system": platform.system(),
        "processor": platform.processor() or platform.machine(),
        "cores": str(os.cpu_count()),
        "threads": str(THREADS),
    }


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
