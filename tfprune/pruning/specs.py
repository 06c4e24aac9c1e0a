"""What a pruner is: a score, who competes with whom, and in how many rounds. The registry of named ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tfprune.errors import InputError, did_you_mean
from tfprune.pruning.quotas import get_quota
from tfprune.pruning.schedules import ITERATIVE_SNIP, ONE_SHOT, SYNFLOW, Schedule
from tfprune.pruning.scores import OPTIONS, SCORES, Score, get_score
from tfprune.records.own_parts import imported
from tfprune.records.registry import Parts, first_line

SCOPES = ("global", "layerwise", "per_output")
OTHER_PRUNERS = ("dense", "tfmot/polynomial")  # of `python -m tfprune.main`, which prune otherwise


@dataclass(frozen=True)
class Pruner:
    """One way to prune.

    Args:
        score: name of a registered score, or a function as `tfprune.register_score` takes it.
        quota: name of a registered quota, which gives each layer its density; None lets all compete.
        like: name of another pruner whose number of kept weights per layer is taken; in place of a quota.
        schedule: rounds of scoring and pruning.
        per_output: whether weights compete with those of the same output alone, see
            `tfprune.pruning.within_outputs`; how many a layer keeps is said as without.

    Raises:
        InputError: unknown names (listing the known), or both `quota` and `like`.
    """

    score: str | Callable | Score
    quota: str | None = None
    like: str | None = None
    schedule: Schedule = ONE_SHOT
    per_output: bool = False

    def __post_init__(self):
        get_score(self.score)
        if self.quota is not None:
            get_quota(self.quota)
        if self.quota is not None and self.like is not None:
            raise InputError(f"a pruner takes quota or like, not both; received {self.quota!r} and {self.like!r}")

    def changed(self, scope: str | None, quota: str | None, schedule: Schedule | None) -> Pruner:
        """This pruner with what is not None replaced; scope `"layerwise"` without a quota is the uniform one.

        Scope `"per_output"` lets all layers compete for how much they keep where there is no quota, which comes to the
        same part of each output.

        Raises:
            InputError: an unknown scope, or a quota with scope `"global"`.
        """
        if scope not in (None, *SCOPES):
            near = did_you_mean(scope, SCOPES)
            raise InputError(f"scope must be one of {', '.join(SCOPES)}; received {scope!r}{near}")
        if scope == "global" and quota is not None:
            raise InputError(f"a quota divides layer by layer, which scope='global' excludes; received quota={quota!r}")
        if schedule is not None and not isinstance(schedule, Schedule):
            raise InputError(f"schedule must be a tfprune.Schedule; received {schedule!r}")
        new = self if schedule is None else replace(self, schedule=schedule)
        if scope is not None:
            new = replace(new, per_output=scope == "per_output")
        if scope == "global":
            return replace(new, quota=None, like=None)
        if scope == "layerwise" and quota is None and new.quota is None and new.like is None:
            quota = "uniform"
        return new if quota is None else replace(new, quota=quota, like=None)


PRUNERS: dict[str, Pruner] = {
    "random": Pruner("random"),
    "random/uniform": Pruner("random", "uniform"),
    "random/uniform_plus": Pruner("random", "uniform_plus"),
    "random/erk": Pruner("random", "erk"),
    "random/igq": Pruner("random", "igq"),
    "random/snip": Pruner("random", like="snip"),
    "random/synflow": Pruner("random", like="synflow"),
    "magnitude": Pruner("magnitude"),
    "magnitude/global": Pruner("magnitude"),
    "magnitude/uniform": Pruner("magnitude", "uniform"),
    "magnitude/uniform_plus": Pruner("magnitude", "uniform_plus"),
    "magnitude/erk": Pruner("magnitude", "erk"),
    "magnitude/igq": Pruner("magnitude", "igq"),
    "lamp": Pruner("lamp"),
    "snip": Pruner("snip"),
    "snip/iterative": Pruner("snip", schedule=ITERATIVE_SNIP),
    "grasp": Pruner("grasp"),
    "graspabs": Pruner("graspabs"),
    "synflow": Pruner("synflow", schedule=SYNFLOW),
    "wanda": Pruner("wanda", per_output=True),
}


def get_pruner(pruner: str | Pruner | Callable) -> Pruner:
    """The pruner of that name; of a score's name or of a function that scores, the one that prunes by it in one go.

    Args:
        pruner: a name of `PRUNERS` or of a score; `module:name`, see `tfprune.records.own_parts`; a `Pruner`, which is
            given back; a function as `tfprune.register_score` takes it.

    Raises:
        InputError: it is none of these; lists the known names.
    """
    if isinstance(pruner, Pruner):
        return pruner
    if isinstance(pruner, Score) or (callable(pruner) and not isinstance(pruner, type)):
        return Pruner(pruner)
    if isinstance(pruner, str):
        if pruner in PRUNERS:
            return PRUNERS[pruner]
        if pruner in SCORES:
            return Pruner(pruner)
        if ":" in pruner:
            return _imported(pruner)
    known = [*PRUNERS, *(name for name in SCORES if name not in PRUNERS)]
    raise InputError(f"pruner must be one of {', '.join(known)}; received {pruner!r}{did_you_mean(pruner, known)}")


def _imported(name: str) -> Pruner:
    found = imported(name, "pruner", {**SCORES, **PRUNERS})
    if isinstance(found, str) and ":" not in found:
        return get_pruner(found)
    if isinstance(found, type) or not (isinstance(found, Pruner) or callable(found)):
        raise InputError(f"pruner {name} must be a tfprune.Pruner or a function that scores; it is {found!r:.80}")
    return get_pruner(found)


def pruners() -> Parts:
    """The pruners that there are, scores of one's own among them: name -> what it is. Prints as a table."""
    return Parts({name: _told(get_pruner(name)) for name in {**PRUNERS, **SCORES}})


def _told(pruner: Pruner) -> str:
    shared = f"quota {pruner.quota}" if pruner.quota else f"as many per layer as {pruner.like}" if pruner.like else ""
    rounds = f"{pruner.schedule.rounds} rounds" if pruner.schedule.rounds > 1 else ""
    return "; ".join(part for part in (first_line(get_score(pruner.score)), shared, rounds) if part)


def register_score(name: str, *, needs_data: bool = False, options: Sequence[str] = ()) -> Callable:
    """A decorator that gives a score of one's own a name, for `prune`, `Pruner` and `--pruner`.

        @tfprune.register_score("smallest_fan")
        def smallest_fan(model, batches, masks, rng):
            kernels = tfprune.prunable(model)
            return {path: abs(kernel.numpy()) / kernel.shape[-1] for path, kernel in kernels.items()}

    Args:
        name: not taken, also by no pruner. It also names one: all layers compete, in one go.
        needs_data: whether `batches` may not be None.
        options: of `"loss"` and `"input_shape"` those that the function takes as keyword arguments: the shape that
            `prune` got; its loss, or that of the compiled model, as `tfprune.pruning.gradients.mean_gradients` takes
            it.

    Returns:
        The decorator; the function stays what it is. It is called as `(model, batches, masks, rng, **options)`:
        batches: re-iterable of (inputs, labels) or with sample weights third, None without data; masks: path -> bool
        array for every path of `prunable(model)`, where pruned weights count as absent; rng: `np.random.Generator`, the
        only source of randomness. It returns path -> array of the kernel's shape, higher means keep, and leaves the
        model as it is.

    Raises:
        InputError: the name is taken or is none, an option that there is not, no function.
    """
    SCORES.check_name(name)
    options = (options,) if isinstance(options, str) else tuple(options)
    if wrong := [option for option in options if option not in OPTIONS]:
        raise InputError(f"options of a score are of {', '.join(OPTIONS)}; received {wrong[0]!r}")

    def register(function: Callable) -> Callable:
        SCORES.register(name, function, Score(function, needs_data, options), taken=(*PRUNERS, *OTHER_PRUNERS))
        return function

    return register
