"""Flags of `python -m tfprune.lth`, made from the groups of settings that hold them.

Every function takes the `FlagValues` to work on; nothing is defined when this module is imported.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from absl import flags

from tfprune.cli import flags as setting_flags
from tfprune.cli.app import Command
from tfprune.cli.flags import define_flag, parser_of, read
from tfprune.cli.run import RunSettings, tell
from tfprune.errors import InputError
from tfprune.experiments.lottery import original_flags
from tfprune.experiments.lottery.branches import BRANCHES, RetrainSettings
from tfprune.experiments.lottery.defaults import default_settings
from tfprune.experiments.lottery.names import LotterySettings, PlainSettings
from tfprune.experiments.lottery.settings import (
    DISTRIBUTIONS,
    AblationSettings,
    DataSettings,
    ModelSettings,
    OneshotSettings,
    PlaceSettings,
    PruningSettings,
    RewindingSettings,
    TicketSettings,
    TrainingSettings,
)
from tfprune.experiments.lottery.steps import is_zero
from tfprune.experiments.lottery.studies import BranchStudy, OneshotStudy, TicketStudy, TrainStudy
from tfprune.experiments.lottery.study import LotteryStudy
from tfprune.records.settings import is_required, settings_of

_GROUPS = {"model": ModelSettings, "dataset": DataSettings, "training": TrainingSettings, "pruning": PruningSettings}
_PLAIN = ("model", "dataset", "training")
_BORROWED = ("dataset", "training")  # groups that pretraining and retraining have of their own
_RUN = PlaceSettings.title


class _Kind(NamedTuple):
    """One of the commands: defines its flags and gives the titles of their groups; makes the study of their values."""

    summary: str
    define: Callable[[flags.FlagValues], list[str]]
    study: Callable[[flags.FlagValues], LotteryStudy]


def commands() -> tuple[Command, ...]:
    """All commands of the entry point."""
    return tuple(
        Command(words, kind.summary, functools.partial(_define_all, kind), functools.partial(_main, kind), _fill)
        for words, kind in _kinds().items()
    )


def asked(words: Sequence[str], given: Mapping[str, Any]) -> LotteryStudy:
    """The study that a call from Python means.

    Args:
        words: of the command, for example `("branch", "train", "oneshot")`.
        given: flags by name; the levels of a branch also as a number or a tuple.

    Raises:
        InputError: there is no such command or flag, or a value is not allowed.
    """
    kinds = _kinds()
    if tuple(words) not in kinds:
        known = "; ".join(map(" ".join, kinds))
        raise InputError(f"a command of lth must be one of {known}. Received: {' '.join(words) or 'nothing'}")
    kind, values = kinds[tuple(words)], flags.FlagValues()
    kind.define(values)
    setting_flags.give(values, dict(given))
    _fill(values)
    original_flags.translate(values)
    return kind.study(values)


def _kinds() -> dict[tuple[str, ...], _Kind]:
    ablations = {
        ("lottery_branch", name): _Kind(
            branch.summary,
            functools.partial(_define_branch, name),
            functools.partial(_branch, name),
        )
        for name, branch in BRANCHES.items()
    }
    return {
        ("train",): _Kind("train a network", _define_train, _train),
        ("lottery",): _Kind("train, prune, rewind, train again", _define_lottery, _lottery),
        **ablations,
        ("branch", "train", "oneshot"): _Kind("prune a trained run once and train it", _define_oneshot, _oneshot),
    }


def _define_all(kind: _Kind, values: flags.FlagValues) -> list[str]:
    titles = kind.define(values)
    setting_flags.define(values, RunSettings)
    text = "Print the folder of the run and stop."
    define_flag(values, flags.BooleanParser(), "display_output_location", False, text, _RUN)
    return titles


def _main(kind: _Kind, values: flags.FlagValues, _: Sequence[str] = ()) -> None:
    original_flags.translate(values)
    study, how = kind.study(values), read(values, RunSettings)
    if values.display_output_location:
        print(study.folder)
    else:
        tell(study, how)


def _define_train(values: flags.FlagValues) -> list[str]:
    _define_strategy_of_distribution(values)
    return _define_run(values, _PLAIN)


def _train(values: flags.FlagValues) -> LotteryStudy:
    return TrainStudy(PlainSettings(**_groups(values, _PLAIN)), _place_with_alias(values))


def _define_lottery(values: flags.FlagValues) -> list[str]:
    setting_flags.define(values, TicketSettings)
    _define_strategy_of_distribution(values)
    return _define_run(values, tuple(_GROUPS))


def _lottery(values: flags.FlagValues) -> LotteryStudy:
    place, settings = _place_with_alias(values), _lottery_settings(values)
    return TicketStudy(settings, place, read(values, TicketSettings).levels)


def _define_branch(branch: str, values: flags.FlagValues) -> list[str]:
    setting_flags.define(values, AblationSettings)
    own = BRANCHES[branch].settings
    if own is RetrainSettings:
        _define_borrowed(values, "retrain", own.title)
        return [own.title, *_define_run(values, tuple(_GROUPS), ("retrain_",))]
    return [setting_flags.define(values, own), *_define_run(values, tuple(_GROUPS))]


def _branch(branch: str, values: flags.FlagValues) -> LotteryStudy:
    place, settings, own = read(values, PlaceSettings), _lottery_settings(values), BRANCHES[branch].settings
    if values.levels is not None and not isinstance(values.levels, str):  # from Python
        numbers = values.levels if isinstance(values.levels, Iterable) else [values.levels]
        values["levels"].value = ",".join(map(str, numbers))
    levels = read(values, AblationSettings).numbers
    if own is RetrainSettings:
        given = RetrainSettings(*(_borrowed(values, "retrain", name) for name in _BORROWED))
    else:
        given = read(values, own)
    return BranchStudy(settings, place, given, branch, levels)


def _define_oneshot(values: flags.FlagValues) -> list[str]:
    return [setting_flags.define(values, OneshotSettings), *_define_run(values, _PLAIN)]


def _oneshot(values: flags.FlagValues) -> LotteryStudy:
    place, settings = read(values, PlaceSettings), PlainSettings(**_groups(values, _PLAIN))
    # Written out, so that `last` and the step it means are one run.
    last = settings.training.training_steps
    meant = {name: last for name in ("prune_step", "state_step") if values[name].value == "last"}
    return OneshotStudy(settings, place, read(values, OneshotSettings, **meant))


def _define_run(values: flags.FlagValues, groups: Sequence[str], borrowed: Sequence[str] = ()) -> list[str]:
    """The flags that all commands have, and those of the groups; gives all titles.

    Args:
        values: where.
        groups: keys of `_GROUPS`.
        borrowed: prefixes of flags that the command has defined like those of data and training.
    """
    text = "Network whose published settings fill in all that is not given; with --help they are shown."
    define_flag(values, flags.ArgumentParser(), "default_hparams", None, text, _RUN)
    titles = [setting_flags.define(values, group) for group in (PlaceSettings, *map(_GROUPS.get, groups))]
    if "pruning" in groups:
        titles.append(setting_flags.define(values, RewindingSettings))
        _define_borrowed(values, "pretrain", RewindingSettings.title)
        borrowed = (*borrowed, "pretrain_")
    original_flags.define(values, borrowed)
    return [*titles, original_flags.TITLE]


def _define_borrowed(values: flags.FlagValues, prefix: str, title: str) -> None:
    for name in _BORROWED:
        for field in settings_of(_GROUPS[name]):
            text = f"As --{field.name} (default: the same)."
            if (prefix, field.name) == ("pretrain", "training_steps"):
                text = "The rewinding point; --pretrain needs it."
            define_flag(values, parser_of(field), f"{prefix}_{field.name}", None, text, title)


def _define_strategy_of_distribution(values: flags.FlagValues) -> None:
    parser = flags.EnumParser(DISTRIBUTIONS)
    define_flag(values, parser, "strategy", None, "Another name of --distribute.", _RUN)


def _fill(values: flags.FlagValues) -> None:
    """Puts the published settings where nothing was given."""
    if values.default_hparams is None:
        return
    try:
        published = default_settings(str(values.default_hparams))
    except InputError as error:
        raise InputError(str(error).replace("--model_name", "--default_hparams", 1)) from None
    for name in _GROUPS:
        group = getattr(published, name)
        for field in settings_of(group):
            if field.name in values:
                values.set_default(field.name, getattr(group, field.name))


def _place_with_alias(values: flags.FlagValues) -> PlaceSettings:
    """Of a command that has --strategy for --distribute; on pruning commands it is the way to prune."""
    given, named = values.strategy, values["distribute"]
    if given is None:
        return read(values, PlaceSettings)
    if named.present and named.value != given:
        raise InputError(f"--strategy={given} and --distribute={named.value} contradict each other")
    return read(values, PlaceSettings, distribute=given)


def _groups(values: flags.FlagValues, names: Sequence[str]) -> dict[str, Any]:
    missing = [
        f"--{field.name}"
        for name in names
        for field in settings_of(_GROUPS[name])
        if is_required(field) and values[field.name].value is None
    ]
    if missing:
        raise InputError(f"{', '.join(missing)} must be given, or --default_hparams=NAME to fill in published settings")
    return {name: read(values, _GROUPS[name]) for name in names}


def _lottery_settings(values: flags.FlagValues) -> LotterySettings:
    settings, rewinding = LotterySettings(**_groups(values, tuple(_GROUPS))), read(values, RewindingSettings)
    own = [name for name in values if name.startswith("pretrain_") and values[name].present]
    if not rewinding.pretrain:
        if own:
            raise InputError(f"--{sorted(own)[0]} goes with --pretrain")
        return settings.rewinding_to(rewinding.rewinding_steps)
    if rewinding.rewinding_steps is not None:
        raise InputError("--rewinding_steps and --pretrain exclude each other")
    if values.pretrain_training_steps is None:
        raise InputError("--pretrain needs --pretrain_training_steps, for example 500it")
    dataset, training = (_borrowed(values, "pretrain", name) for name in _BORROWED)
    if is_zero(training.training_steps):
        return settings
    return LotterySettings(**_groups(values, tuple(_GROUPS)), pretrain_dataset=dataset, pretrain_training=training)


def _borrowed(values: flags.FlagValues, prefix: str, name: str) -> Any:
    """A group of its own: what has the prefix, else what the run has."""
    given = {field.name: values[f"{prefix}_{field.name}"] for field in settings_of(_GROUPS[name])}
    changed = {key: flag.value for key, flag in given.items() if flag.present}
    try:
        return read(values, _GROUPS[name], **changed)
    except InputError as error:
        raise InputError(f"flags with --{prefix}_ before their names: {error}") from None
