"""Pruning while `fit` trains, or a loop of one's own."""

from __future__ import annotations

import inspect
import warnings
from bisect import bisect_right

import keras

from tfprune.engine.choice import AUTO, check_engine
from tfprune.errors import InputError, did_you_mean
from tfprune.layers.in_place import mask_in_place
from tfprune.pruning.layer_fractions import is_exactly, is_whole
from tfprune.pruning.own_schedule import OwnSchedule
from tfprune.pruning.patterns import as_pattern
from tfprune.pruning.pruner import PRUNING_TYPES, prune
from tfprune.pruning.selection import kept_count
from tfprune.pruning.specs import Pruner, get_pruner
from tfprune.pruning.targets import Sparsity, refuse_quota
from tfprune.pruning.training_schedules import ConstantSchedule
from tfprune.training.fit_engine import switched, switched_back
from tfprune.training.history import History, Renewal
from tfprune.training.regrowth import Regrowth
from tfprune.training.renewal import Renewals, needs_data
from tfprune.training.schedules import get_schedule

_OWN = {"model", "pruner", "sparsity", "pruning_type", "data", "masks", "schedule", "on_missed"}
_PASSED_ON = [name for name in inspect.signature(prune).parameters if name not in _OWN]


class Prune(keras.callbacks.Callback):
    """Prunes a model while it trains: `model.fit(..., callbacks=[Prune("magnitude", PolynomialSchedule(0.9))])`.

    A plain model gets masks in place as `fit` begins, and has them afterwards; `tfprune.strip` gives it without them. A
    model that is masked is used as it is. Pruned weights take part in nothing and get no gradients; momentum and weight
    decay may still move them.

    Steps are updates, counted from 1 as `fit` counts them: the first of epoch e is e · (steps per epoch) + 1. So
    `initial_epoch`, and `BackupAndRestore`, go on where they were, and a `fit` from epoch 0 starts the schedule anew;
    the masks that there are stay. A renewal that is due at a step is done before its update, with
    `steps_per_execution` at the first batch that begins at or after it; what is due within the last one, at its end.

    For a loop of one's own: `begin(model, steps)` before the first update, and before functions are traced; `step()`
    after each.

    Args:
        pruner: as for `tfprune.prune`. None: `"magnitude"`, or for masks that `RigL` and `SET` start from
            `"random/erk"`, where each layer has a sparsity of its own `"random"`.
        schedule: of `tfprune.PolynomialSchedule` and others, `RigL`, `SET`, a name of `tfprune.schedules()`, or a
            function step -> sparsity, which is asked every 100 steps. Sparsity is that of weights that compete. May be
            left out for patterns N:M, which say it: masks are chosen before the first step.
        sparsity: the final one, where the schedule is a name; as `final` of a schedule it may be name -> fraction that
            each kernel so named loses in the end, as for `tfprune.prune`. The schedule is then that of all of them
            together, and all have gone the same part of their way at each step.
        pruning_type: `"direct"`, or `"effective"`, by which schedules of sparsity are those of effective weights.
        data: for scores that need data, all of which each renewal reads, and the gradients of `RigL`: what `fit` takes,
            or a part of it.
        regrow: False: what is pruned stays pruned. True: at each renewal all weights compete, pruned ones with the
            values that they had, but for weight decay; where one comes back, it has that value.
        effective: whether the effective sparsity is told, too; None where `pruning_type` is `"effective"`.
        **options: further ones of `tfprune.prune`: `scope`, `quota`, `pattern`, `ignore`, `min_weights`, `loss`, `seed`
            and others.
        engine: what computes masked layers in `fit`. `"auto"`: those of which a fixed rule says so, by shape and
            density, are computed by their kept weights alone in batches that are large enough, as soon as so few are
            left (on a CPU, with the package Numba); `"dense"`: none; `"sparse"`: as `"auto"`, or an error where it
            cannot be. Sums differ in their last digits. In a loop of one's own it is dense.

    Attributes:
        history: a `tfprune.training.history.Renewal` for each renewal of the last training, in a list; its `table` has
            a row for each of their kernels.

    The logs of an epoch, in `fit`'s progress and history, get `sparsity`, `effective_sparsity` where asked for, and
    where weights can come back `grown`, how many did in the epoch.

    Raises:
        InputError: a word or argument that is not allowed, a score or schedule without the data that it needs, a
            schedule that a pattern does not go with, a quota beside a sparsity for each layer, a model that is not
            built, a pattern that does not fit it, a schedule that ends below its sparsity.

    References: Zhu & Gupta 2017, arXiv 1710.01878; the schedules'.
    """

    def __init__(
        self,
        pruner: str | Pruner | None = None,
        schedule=None,
        *,
        sparsity: Sparsity | None = None,
        pruning_type: str = "direct",
        data=None,
        regrow: bool = False,
        effective: bool | None = None,
        engine: str = AUTO,
        **options,
    ):
        super().__init__()
        check_engine(engine, "engine")
        self._engine, self._switches = engine, None
        pattern = options.get("pattern")
        exact = None if pattern is None else as_pattern(pattern).sparsity
        if schedule is None and exact is not None:
            schedule, sparsity = ConstantSchedule(exact if sparsity is None else sparsity), None
        self.schedule = get_schedule(schedule, sparsity)
        if pattern is not None:
            _check_pattern(pattern, exact, self.schedule)
        self._grows = isinstance(self.schedule, Regrowth)
        random = "random" if self.schedule.layers is not None else "random/erk"
        self.pruner = pruner if pruner is not None else random if self._grows else "magnitude"
        _check_pruner(self.pruner, options.get("scope"), options.get("quota"), self.schedule)
        for name in options:
            if name not in _PASSED_ON:
                raise InputError(
                    f"Prune has no argument {name!r}; those that it hands on to prune are {', '.join(_PASSED_ON)}"
                    f"{did_you_mean(name, _PASSED_ON)}"
                )
        if pruning_type not in PRUNING_TYPES:
            near = did_you_mean(pruning_type, PRUNING_TYPES)
            raise InputError(f"pruning_type must be one of {', '.join(PRUNING_TYPES)}; received {pruning_type!r}{near}")
        by_gradients = self._grows and self.schedule.needs_data
        if data is None and (by_gradients or needs_data(self.pruner)):
            needs = type(self.schedule).__name__ if by_gradients else f"pruner {self.pruner}"
            raise InputError(f"{needs} needs data=: what fit is given, or a part of it")
        if regrow and self._grows:
            raise InputError(f"regrow=True goes with a schedule of sparsity; {type(self.schedule).__name__} regrows")
        self._data, self._type, self._regrow, self._options = data, pruning_type, bool(regrow), options
        self._effective = pruning_type == "effective" if effective is None else bool(effective)
        self._began = False
        self._due = float("inf")
        self.history = History()

    def begin(self, model: keras.Model, steps: int | None = None, done: int = 0) -> None:
        """Starts in a loop of one's own.

        Args:
            model: built; plain, or masked.
            steps: number of updates of the whole training; None where the schedule is in steps.
            done: number of updates that have been made, where an earlier training is gone on with.

        Raises:
            InputError: as for the class, and a number of updates that is none.
        """
        for name, value, least in (("steps", steps, 1), ("done", done, 0)):
            if not (value is None and name == "steps") and not (is_whole(value) and value >= least):
                raise InputError(f"{name} must be a whole number of updates, at least {least}. Received: {value!r}")
        self.set_model(model)
        self._prepare(steps)
        self._start(done)

    def step(self) -> None:
        """Says that an update has been made, and renews the masks if that is due before the next."""
        if not self._began:
            raise InputError("call begin(model, steps) before step()")
        self._reach(self._done + 1)

    # What follows is called by Keras.

    def set_model(self, model: keras.Model) -> None:
        if isinstance(model, keras.distillation.Distiller):
            # Masks would be the Distiller's own, of teacher and student, and the student would stay dense without it.
            raise InputError(
                "Prune cannot prune through a Distiller: prune the student before, by tfprune.masked or in a fit of "
                "its own; its masks hold while it is distilled"
            )
        # Before any callback's `on_train_begin`, so that one that reads weights finds the masks.
        super().set_model(model)
        mask_in_place(model)

    def on_train_begin(self, logs=None) -> None:
        known = self.params or {}
        epochs, self._per_epoch = known.get("epochs"), known.get("steps")
        if not self._per_epoch and getattr(self.model, "steps_per_execution", 1) > 1:
            # The last execution may be a part of one, and Keras does not say of how many steps.
            raise InputError("Prune cannot count the steps of executions of several: give fit steps_per_epoch")
        self._prepare(epochs * self._per_epoch if epochs and self._per_epoch else None)
        self._switches = switched(self.model, self._engine)
        self._last_epoch, self._epoch_start, self._batches = (epochs or 0) - 1, 0, 0

    def on_epoch_begin(self, epoch: int, logs=None) -> None:
        if self._per_epoch:
            self._epoch_start = epoch * self._per_epoch
        elif not self._began and epoch:
            raise InputError("Prune cannot count the steps of earlier epochs: give fit steps_per_epoch")
        else:
            self._epoch_start += self._batches
        self._batches = self._grown = 0
        if not self._began:
            self._start(self._epoch_start)

    def on_train_batch_begin(self, batch: int, logs=None) -> None:
        # In an epoch of unknown length Keras says so of a batch that does not come, too: it counts only once another
        # one has begun.
        self._batches = batch
        done = self._epoch_start + batch
        if done + 1 >= self._due:
            self._reach(done)

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        if epoch == self._last_epoch and self._per_epoch:
            self._reach(self._epoch_start + self._per_epoch - 1)
        if logs is not None:
            last = self._state
            logs["sparsity"] = last.sparsity
            if last.effective_sparsity is not None:
                logs["effective_sparsity"] = last.effective_sparsity
            if self._grows or self._regrow:
                logs["grown"] = self._grown

    def on_train_end(self, logs=None) -> None:
        if self._switches is not None:
            switched_back(self.model)
        if not self._began or self._told_late:
            return
        due = self._steps[self._place :]
        last = due[-1] if due and not isinstance(self.schedule, OwnSchedule) else None
        if last is not None and not self._grows:
            self._tell(
                f"training has ended before the schedule, whose last renewal is due at step {last}: sparsity is "
                f"{self._state.sparsity:.6g}, not {self._plan.at(last):.6g}"
            )

    def _prepare(self, steps: int | None) -> None:
        layers = self.schedule.layers
        self._renewals = Renewals(
            self.model, self.pruner, self._data, self._type, self._regrow, self._effective, self._options, layers
        )
        self._plan = self.schedule.fixed(steps)
        if layers is not None:
            self._plan = self._plan.of_total(self._renewals.total)
        self._steps = self._plan.renewals
        self._began, self._place, self._told_late = False, 0, False
        self.history, self._grown = History(), 0
        self._renewals.require((self._plan.sparsity if self._grows else self._plan.final) or 0.0)
        if steps is None:
            return
        own = isinstance(self._plan, OwnSchedule)
        if not own and not self._grows and self._steps[-1] > steps:
            at = bisect_right(self._steps, steps)
            reached = self._plan.at(self._steps[at - 1]) if at else 0.0
            self._told_late = True
            self._tell(
                f"the schedule ends at step {self._steps[-1]}, the training at step {steps}: sparsity {reached:.6g} is "
                f"reached, not {self._plan.at(self._steps[-1]):.6g}; train for longer, or give a lower end_step"
            )
        elif not self._steps or self._steps[0] > steps:
            self._tell(f"the schedule renews no masks within the {steps} steps of the training; lower its frequency")

    def _start(self, done: int) -> None:
        """With the masks that there are, once the number of updates so far is known."""
        self._began, self._done = True, done
        self._state = self._renewals.now(done)
        self._switch()
        self._place = bisect_right(self._steps, done)
        if self._grows:
            self._choose_start()
        else:
            self._check_start(done)
        self._next()
        self._reach(done)

    def _choose_start(self) -> None:
        sparsity, size, name = self._plan.sparsity, self._renewals.size, type(self._plan).__name__
        if sparsity is None:
            if self._renewals.kept == size:
                raise InputError(f"{name} needs sparsity=, or a model with masks: this one has all its weights")
            return
        if short := self._renewals.short(sparsity):
            raise InputError(f"{name} has {short}: leave its sparsity out, and the model's own is taken")
        if not self._renewals.near(sparsity):
            self._record(self._renewals.gradual(0, sparsity))

    def _check_start(self, done: int) -> None:
        size, kept = self._renewals.size, self._renewals.kept
        final = self._plan.final
        if final is not None and not self._regrow and (short := self._renewals.short(final)):
            raise InputError(f"the schedule ends at {short}: nothing that is pruned comes back without regrow=True")
        first = self._plan.at(self._steps[0]) if self._steps else 0.0
        if not done and kept < kept_count(size, 1 - first) and (final is None or kept > kept_count(size, 1 - final)):
            now = f"the schedule begins at sparsity {first:.6g}, the model has {1 - kept / size:.6g} already"
            self._tell(f"{now}: {'weights come back' if self._regrow else 'masks stay until it is above that'}")
        if done and self._place and kept == size:
            # Of an earlier training that did not prune: what was due is made up for.
            self._record(self._renewals.gradual(done, self._plan.at(self._steps[self._place - 1])))

    def _reach(self, done: int) -> None:
        """Renews what is due before update `done + 1`: of several renewals the last one alone."""
        self._done = done
        if done + 1 < self._due:
            return
        self._place = bisect_right(self._steps, done + 1)
        number = self._place - 1
        step = self._steps[number]
        if self._grows:
            self._record(self._renewals.regrowth(step, number, self._plan))
        else:
            self._record(self._renewals.gradual(step, self._plan.at(step)))
        self._next()

    def _next(self) -> None:
        self._due = self._steps[self._place] if self._place < len(self._steps) else float("inf")

    def _record(self, renewal: Renewal | None) -> None:
        if renewal is not None:
            self._state = renewal
            self._grown += renewal.grown
            self.history.append(renewal)
            self._switch()

    def _switch(self) -> None:
        if self._switches is not None:
            self._switches.choose()

    def _tell(self, line: str) -> None:
        warnings.warn(line, stacklevel=3)


def _check_pruner(pruner: str | Pruner, scope: str | None, quota: str | None, schedule) -> None:
    """Before the training, not at its first renewal."""
    chosen = get_pruner(pruner).changed(scope, quota, None)
    if schedule.layers is not None:
        if scope == "global":
            raise InputError("sparsity= says what each kernel keeps, which scope='global' excludes")
        refuse_quota(chosen, "sparsity= says what each kernel keeps")


def _check_pattern(pattern: str, exact: float | None, schedule) -> None:
    """Before the training, not at a renewal in the midst of it."""
    name = type(schedule).__name__
    if isinstance(schedule, Regrowth):
        raise InputError(f"{name} grows single weights, and pattern {pattern} would be lost: leave one of them out")
    if exact is None or isinstance(schedule, OwnSchedule):
        return
    if not isinstance(schedule, ConstantSchedule) or not is_exactly(schedule.final, exact):
        final = schedule.final if schedule.layers is not None else f"{schedule.final:g}"
        raise InputError(
            f"pattern {pattern} makes kernels {exact:g} sparse at once: leave the schedule out, or give "
            f"ConstantSchedule({exact:g}). Received: {name}({final})"
        )
