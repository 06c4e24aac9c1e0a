"""What a pruner is: a score, who competes with whom, and in how many rounds. The registry of named ones."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tfprune.errors import InputError, did_you_mean
from tfprune.pruning.quotas import get_quota
from tfprune.pruning.schedules import ITERATIVE_SNIP, ONE_SHOT, SYNFLOW, Schedule
from tfprune.pruning.scores import get_score

SCOPES = ("global", "layerwise", "per_output")


@dataclass(frozen=True)
class Pruner:
    """One way to prune.

    Args:
        score: name of a registered score.
        quota: name of the quota that gives each layer its density; None lets all layers compete.
        like: name of another pruner whose number of kept weights per layer is taken; in place of a quota.
        schedule: rounds of scoring and pruning.
        per_output: whether weights compete with those of the same output alone, see
            `tfprune.pruning.within_outputs`; how many a layer keeps is said as without.

    Raises:
        InputError: unknown names (listing the known), or both `quota` and `like`.
    """

    score: str
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
            raise InputError(f"schedule must be a tfprune.pruning.schedules.Schedule; received {schedule!r}")
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


def get_pruner(pruner: str | Pruner) -> Pruner:
    """The pruner of that name, or the value itself.

    Raises:
        InputError: there is none of that name; lists the known ones.
    """
    if isinstance(pruner, Pruner):
        return pruner
    if not isinstance(pruner, str) or pruner not in PRUNERS:
        near = did_you_mean(pruner, PRUNERS)
        raise InputError(f"pruner must be one of {', '.join(PRUNERS)}; received {pruner!r}{near}")
    return PRUNERS[pruner]
