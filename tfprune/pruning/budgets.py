"""Budgets: how much a model may cost, and the widest one within them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from os import PathLike

import keras
import numpy as np

from tfprune.errors import InputError
from tfprune.pruning.channel_choice import Choice
from tfprune.pruning.channel_costs import CostModel, Costs, costs_of
from tfprune.pruning.channel_network import ChannelNetwork
from tfprune.pruning.channel_order import Order, check_normalize, leaving_order
from tfprune.pruning.channel_scores import Scorer
from tfprune.pruning.filter_fractions import Fractions
from tfprune.pruning.latency import Timer
from tfprune.pruning.latency_table import LatencyTable, as_table
from tfprune.pruning.progress import Progress

Finetune = Callable[[keras.Model, int], keras.Model | None]
CORRECTIONS = 2  # of what a table chose, where the chosen model takes longer
FINEST = 128  # measured times tell no finer steps apart than so many between the dense and the smallest model

_UNITS = {"flops": "FLOPs", "parameters": "parameters", "bytes": "bytes", "latency": "ms"}


@dataclass(frozen=True)
class Budget:
    """What a model may cost, and how it gets there; arguments as for `tfprune.prune_channels`.

    Attributes:
        fractions: 0.5 where neither they nor a limit was given.
        limits: of `"flops"`, `"parameters"`, `"bytes"` and `"latency"` those that were given.
    """

    flops: float | None = None
    parameters: float | None = None
    bytes: float | None = None
    latency: float | None = None
    normalize: str | None = "mean"
    round_to: int = 1
    steps: int = 1
    finetune: Finetune | None = None
    engine: str | Callable[[keras.Model], float] = "litert"
    input_shape: object = None
    fractions: Fractions | None = None
    table: LatencyTable | str | PathLike | None = None
    limits: dict[str, float] = field(init=False)

    def __post_init__(self):
        given = {name: getattr(self, name) for name in _UNITS}
        object.__setattr__(self, "limits", {name: value for name, value in given.items() if value is not None})
        for name, value in self.limits.items():
            number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
            if not number or not 0 < value < math.inf:
                what = "milliseconds" if name == "latency" else "a fraction in (0, 1] of the dense model, or a count"
                raise InputError(f"{name} must be {what} above 0; received {value!r}")
        if self.fractions is not None and self.limits:
            raise InputError(f"fractions and {' and '.join(self.limits)} both say how much leaves: give one of them")
        if self.fractions is None:
            object.__setattr__(self, "fractions", 0.5)
        check_normalize(self.normalize)
        if self.table is not None and self.latency is None:
            raise InputError("table= tells milliseconds: give latency=")
        object.__setattr__(self, "table", as_table(self.table))
        for name, value in (("round_to", self.round_to), ("steps", self.steps)):
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
                raise InputError(f"{name} must be a whole number of at least 1; received {value!r}")
        if self.steps > 1 and not self.limits:
            raise InputError(f"steps={self.steps} go towards a budget: give {', '.join(_UNITS)}")
        if self.finetune is not None and (self.steps == 1 or not callable(self.finetune)):
            wrong = f"received {self.finetune!r}" if not callable(self.finetune) else "steps=1 has no between"
            raise InputError(f"finetune must be a function (model, step), which is called between steps; {wrong}")

    def limits_at(self, step: int, dense: Mapping[str, float]) -> dict[str, float]:
        """Costs that are allowed after a step: the last one's are those asked for, the way there is straight.

        Args:
            step: from 1 to `steps`.
            dense: costs of the model.
        """
        found = {}
        for name, value in self.limits.items():
            last = value * dense[name] if value <= 1 and name != "latency" else value
            found[name] = dense[name] - (dense[name] - last) * step / self.steps if step < self.steps else last
        return found


@dataclass(frozen=True)
class Making:
    """How a model is read and made smaller: arguments of `tfprune.prune_channels`."""

    renormalize: bool = False
    verify: bool = True
    unknown: str = "barrier"


def within_budget(
    network: ChannelNetwork,
    choose: Callable[[ChannelNetwork], Choice],
    scorer: Scorer,
    budget: Budget,
    making: Making,
) -> keras.Model:
    """The model without the lowest channels, so few that it just keeps to a budget.

    Args:
        network: of the model.
        choose: of a network, the layers that may lose channels.
        scorer: of its channels.
        budget: with at least one limit.
        making: as above.

    Raises:
        InputError: as for `tfprune.prune_channels`.
    """
    dense, finetune = None, budget.finetune
    with Progress(what="pruning to a budget") as progress:
        table = budget.table
        engine = budget.engine if table is None or callable(budget.engine) else table.runtime
        timer = Timer(engine, scorer.batches, 1 if table is None else table.batch) if budget.latency else None
        for step in range(1, budget.steps + 1):
            scores = scorer.classes(network, choose(network).makers.values(), relative=budget.normalize is not None)
            order = leaving_order(network, choose(network), scores, budget.normalize, budget.round_to)
            search = _Search(network, order, budget, making, timer if table is None else None, progress, step)
            if dense is None:
                if search.uncounted is not None:
                    warnings.warn(search.uncounted, stacklevel=3)
                dense = search.dense()
                search.check_reachable(budget.limits_at(budget.steps, dense), dense)
            small = search.widest(budget.limits_at(step, dense))
            if step < budget.steps:
                tuned = finetune(small, step) if finetune is not None else None
                if tuned is not None and not isinstance(tuned, keras.Model):
                    raise InputError(f"finetune must return a model or None; received {type(tuned).__name__}")
                network = ChannelNetwork(small if tuned is None else tuned, making.unknown, making.renormalize)
        if table is not None:
            return _as_measured(search, small, timer, budget, progress, dense)
    if timer is not None and (again := timer(small)) > budget.limits["latency"]:
        told = f"latency={budget.limits['latency']:g} was met when the model was chosen, but a second measurement"
        warnings.warn(f"{told} gives {_told(again)} ms: times vary on this machine, or it is busy", stacklevel=3)
    return small


def _as_measured(
    search: _Search, small: keras.Model, timer: Timer, budget: Budget, progress: Progress, dense: Costs
) -> keras.Model:
    """What a table chose, measured; chosen again, at most twice, to a limit that is lower by as much as it was wrong.

    Tells what was predicted and what was measured.
    """
    limits, limit = budget.limits_at(budget.steps, dense), budget.limits["latency"]
    for left in reversed(range(CORRECTIONS + 1)):
        predicted, measured = search.predicted, timer(small)
        told = f"latency predicted {_told(predicted)} ms, measured {_told(measured)} ms"
        if measured <= limit:
            break
        limits = {**limits, "latency": min(limits["latency"], predicted) * limit / measured}
        if not left or not search.reaches(limits):
            warnings.warn(f"latency={limit:g} is not met: {told.removeprefix('latency ')}", stacklevel=4)
            break
        small = search.widest(limits)
    progress.say(told)
    return small


class _Search:
    """The first so many blocks of an order leave a network: how many have to, for its costs to keep to limits."""

    def __init__(
        self,
        network: ChannelNetwork,
        order: Order,
        budget: Budget,
        making: Making,
        timer: Timer | None,
        progress: Progress,
        step: int,
    ):
        self._network, self._order, self._budget, self._making, self._timer = network, order, budget, making, timer
        self._counted = [name for name in budget.limits if name != "latency"]
        table = budget.table if "latency" in budget.limits else None
        self._model = CostModel(network, self._counted, budget.input_shape, making.unknown, table)
        self._progress, self._step = progress, step
        self._built: dict[int, Costs] = {}
        self._exact = timer is None
        self.predicted = math.nan  # milliseconds that a table says of the last model that was chosen

    @property
    def uncounted(self) -> str | None:
        """What to warn of: operations without a rule, which no floating-point operations are counted of."""
        return self._model.uncounted

    def dense(self) -> Costs:
        """Costs of the model with all channels."""
        return self._costs(0)

    def check_reachable(self, limits: Mapping[str, float], dense: Costs) -> None:
        """Refuses limits that the smallest model exceeds; says the least."""
        least = self._costs(len(self._order.blocks))
        for name, limit in limits.items():
            if least[name] > limit:
                given, unit = self._budget.limits[name], _UNITS[name]
                stays = f"{self._budget.round_to} channels" if self._budget.round_to > 1 else "one channel"
                needs = f"with {stays} left in each of {self._order.sets} groups the model needs {_told(least[name])}"
                if given <= 1 and name != "latency":
                    smallest = math.ceil(1e4 * least[name] / dense[name]) / 1e4
                    raise InputError(
                        f"{name}={given:g} allows {_told(limit)} {unit}; {needs}, at least {name}={smallest:g}"
                    )
                raise InputError(f"{name}={given:g} is too little: {needs} {unit}")

    def widest(self, limits: Mapping[str, float]) -> keras.Model:
        """The model without the fewest blocks such that it keeps to limits.

        Where costs were told in advance the built model is measured; if it is another, those of built ones decide.
        """
        count = self._fewest(limits)
        small = self._smaller(count, self._making.verify)
        if self._exact:
            told = self._model.without(self._order.blocks[:count])
            built = costs_of(small, self._counted, self._budget.input_shape, self._making.unknown)
            if any(built[name] != told[name] for name in self._counted):
                self._exact = False
                count = self._fewest(limits)
                small = self._smaller(count, self._making.verify)
        self.predicted = self._costs(count).get("latency", math.nan)
        return small

    def reaches(self, limits: Mapping[str, float]) -> bool:
        """Whether the smallest model keeps to limits."""
        return self._keeps(len(self._order.blocks), limits)

    def _fewest(self, limits: Mapping[str, float]) -> int:
        low, high = self._order.forced, len(self._order.blocks)
        if self._keeps(low, limits):
            return low
        if not self._keeps(high, limits):
            raise InputError(f"step {self._step}: the smallest model exceeds {_listed(limits)}")
        finest = 1 if self._timer is None else max(1, high // FINEST)
        while high - low > finest:  # low exceeds the limits, high keeps to them
            middle = (low + high) // 2
            if self._keeps(middle, limits):
                high = middle
            else:
                low = middle
        return high

    def _keeps(self, count: int, limits: Mapping[str, float]) -> bool:
        costs = self._costs(count)
        return all(costs[name] <= limit for name, limit in limits.items())

    def _costs(self, count: int) -> Costs:
        if self._exact:
            return self._model.without(self._order.blocks[:count])
        if count not in self._built:
            self._progress.at(f"step {self._step}", len(self._built), note=f"{count} blocks of channels gone")
            small = self._smaller(count, verify=False)
            costs = costs_of(small, self._counted, self._budget.input_shape, self._making.unknown)
            if self._timer is not None:
                costs["latency"] = self._timer(small)
            elif "latency" in self._budget.limits:
                costs["latency"] = self._model.without(self._order.blocks[:count])["latency"]
            self._built[count] = costs
        return self._built[count]

    def _smaller(self, count: int, verify: bool) -> keras.Model:
        return self._network.smaller(self._order.blocks[:count], verify)


def _told(cost: float) -> str:
    return f"{cost:,.3g}" if isinstance(cost, float) and cost < 1000 else f"{cost:,.0f}"


def _listed(limits: Mapping[str, float]) -> str:
    return ", ".join(f"{_told(limit)} {_UNITS[name]}" for name, limit in limits.items())
