"""All settings of a run as one value, and the folders that follow from it.

A run's name is a digest of the settings that differ from their defaults. Folders of one root:

    train_<digest>/replicate_1/main                                   a training run
    train_<digest>/replicate_1/branch_oneshot_<digest>                one-shot pruning of it
    lottery_<digest>/replicate_1/level_pretrain/main                  training up to the rewinding point
    lottery_<digest>/replicate_1/level_2/main                         after two prunings
    lottery_<digest>/replicate_1/level_2/lottery_branch_<b>_<digest>  an ablation of that level
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from tfprune.errors import InputError
from tfprune.experiments.lottery.settings import (
    DataSettings,
    ModelSettings,
    PlaceSettings,
    PruningSettings,
    TrainingSettings,
    check_fit,
)
from tfprune.experiments.lottery.steps import Step, is_zero
from tfprune.records.settings import Settings, canonical, digest, is_required

MAIN = "main"
PRETRAIN = "pretrain"


class _Composed(Settings):
    """What both kinds of runs have: groups of settings and a name made of them."""

    kind: ClassVar[str]

    def canonical(self) -> str:
        """The text that is digested: the groups in the order of their names, absent ones left out."""
        return ";".join(canonical(group) for _, group in sorted(self._groups(), key=lambda group: group[0]))

    @property
    def digest(self) -> str:
        """Tells runs apart, in hexadecimal; published runs have the same."""
        return digest(self.canonical())

    def name(self) -> str:
        """`<kind>_<digest>`."""
        return f"{self.kind}_{self.digest}"

    def replicate_folder(self, place: PlaceSettings) -> Path:
        """Folder of a replicate, below which all else lies."""
        return Path(place.root, self.name(), f"replicate_{place.replicate}")

    def record(self) -> dict[str, dict[str, Any]]:
        """All settings as JSON values, group by group."""
        return {name: dataclasses.asdict(group) for name, group in self._groups()}

    def _groups(self) -> list[tuple[str, Settings]]:
        groups = [(field.name, getattr(self, field.name)) for field in dataclasses.fields(self)]
        return [(name, group) for name, group in groups if group is not None]


@dataclass(frozen=True)
class PlainSettings(_Composed):
    """A network that is trained.

    Raises:
        InputError: groups that do not go together.
    """

    model: ModelSettings
    dataset: DataSettings
    training: TrainingSettings

    kind = "train"

    def check(self) -> None:
        check_fit(self.model, self.dataset, self.training)

    def folder(self, place: PlaceSettings, branch: str = MAIN) -> Path:
        """Folder of the run, or of a branch of it (`branch_name`)."""
        return self.replicate_folder(place) / branch


@dataclass(frozen=True)
class LotterySettings(_Composed):
    """A network that is trained, pruned, rewound and trained again, level after level.

    Args:
        pretrain_dataset: data of the training before the rewinding point; None where weights rewind to step 0.
        pretrain_training: its training; `training_steps` is the rewinding point.

    Raises:
        InputError: groups that do not go together.
    """

    model: ModelSettings
    dataset: DataSettings
    training: TrainingSettings
    pruning: PruningSettings
    pretrain_dataset: DataSettings | None = None
    pretrain_training: TrainingSettings | None = None

    kind = "lottery"

    def check(self) -> None:
        check_fit(self.model, self.dataset, self.training)
        if (self.pretrain_dataset is None) != (self.pretrain_training is None):
            raise InputError("pretraining needs settings for its data and for its training")
        if self.pretrain_dataset is not None:
            check_fit(self.model, self.pretrain_dataset, self.pretrain_training)

    def rewinding_to(self, steps: str | None) -> LotterySettings:
        """The same run with weights rewound to a step, which it reaches by its own data and training.

        Args:
            steps: as text; None and the start mean that there is nothing to do before level 0.

        Raises:
            InputError: the text is no step.
        """
        if steps is None or is_zero(steps):
            return replace(self, pretrain_dataset=None, pretrain_training=None)
        training = replace(self.training, training_steps=steps)
        return replace(self, pretrain_dataset=self.dataset, pretrain_training=training)

    def start_step(self, iterations_per_epoch: int) -> Step:
        """Where every level starts: the rewinding point in epochs of the run's own data."""
        steps = self.pretrain_training.training_steps if self.pretrain_training else "0it"
        return Step.parse(steps, iterations_per_epoch)

    def end_step(self, iterations_per_epoch: int) -> Step:
        """Where every level ends."""
        return Step.parse(self.training.training_steps, iterations_per_epoch)

    def plain(self) -> PlainSettings:
        """The plain training run with the same settings."""
        return PlainSettings(self.model, self.dataset, self.training)

    def folder(self, place: PlaceSettings, level: int | str, branch: str = MAIN) -> Path:
        """Folder of a level (a number, or `PRETRAIN`), or of a branch of it (`branch_name`)."""
        return self.replicate_folder(place) / f"level_{level}" / branch


def branch_name(branch: str, own: Settings) -> str:
    """Name and folder of a branch: of a training run for `oneshot`, else of a lottery run's levels.

    Only its own settings are digested; the run they belong to is in the folder above.

    Args:
        branch: as on the command line.
        own: its own settings.
    """
    kind = "branch" if branch == "oneshot" else "lottery_branch"
    return f"{kind}_{branch}_{digest(canonical(own))}"


def branch_label(branch: str, own: Settings, base: PlainSettings | LotterySettings) -> str:
    """A branch in words, for tables and legends: `randomly_prune seed=7`, `oneshot strategy=snip10`.

    What a figure shows as its axis, the share of pruned weights, is left out. Of groups of settings the words name what
    differs from the base run's.
    """
    words = [branch]
    for field in dataclasses.fields(own):
        value = getattr(own, field.name)
        if dataclasses.is_dataclass(value):
            words += _differences(value, base.dataset if isinstance(value, DataSettings) else base.training)
        elif field.name != "prune_fraction" and (is_required(field) or value != field.default):
            words.append(f"{field.name}={value}")
    return " ".join(words)


def _differences(group: Any, base: Any) -> list[str]:
    """`name=value` of every setting in which a group differs from another one of its kind."""
    pairs = ((field.name, getattr(group, field.name)) for field in dataclasses.fields(group))
    return [f"{name}={value}" for name, value in pairs if value != getattr(base, name)]
