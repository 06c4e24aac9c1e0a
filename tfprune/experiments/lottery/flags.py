"""Flags of `python -m tfprune.lth`, made from the dataclasses that hold them.

Every function takes the `FlagValues` to work on; nothing is defined when this module is imported.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from absl import flags

from tfprune.cli.app import Command
from tfprune.cli.flag_types import OrNone
from tfprune.errors import InputError
from tfprune.experiments.lottery import original_flags as lottery_original
from tfprune.experiments.lottery.branches import BRANCHES, RetrainArguments
from tfprune.experiments.lottery.defaults import default_hparams
from tfprune.experiments.lottery.fields import is_required, settings_of
from tfprune.experiments.lottery.hparams import DatasetHparams, ModelHparams, PruningHparams, TrainingHparams
from tfprune.experiments.lottery.names import LotteryDescription, TrainingDescription
from tfprune.experiments.lottery.oneshot_arguments import OneshotArguments
from tfprune.experiments.lottery.requests import (
    DISTRIBUTIONS,
    BranchRequest,
    LotteryRequest,
    OneshotRequest,
    Request,
    RunOptions,
    TrainRequest,
)
from tfprune.experiments.lottery.run import run
from tfprune.experiments.lottery.steps import is_zero, level_ranges

_PARSERS = {str: flags.ArgumentParser, int: flags.IntegerParser, float: flags.FloatParser, bool: flags.BooleanParser}
_GROUPS = {"model": ModelHparams, "dataset": DatasetHparams, "training": TrainingHparams, "pruning": PruningHparams}
_PLAIN = ("model", "dataset", "training")
_BORROWED = ("dataset", "training")  # groups that pretraining and retraining have of their own
_RUN = RunOptions.title


def commands() -> tuple[Command, ...]:
    """All commands of the entry point."""
    ablations = [
        _command(("lottery_branch", name), branch.summary, _define_branch, _branch_request, branch=name)
        for name, branch in BRANCHES.items()
    ]
    return (
        _command(("train",), "train a network", _define_train, _train_request),
        _command(("lottery",), "train, prune, rewind, train again", _define_lottery, _lottery_request),
        *ablations,
        _command(
            ("branch", "train", "oneshot"), "prune a trained run once and train it", _define_oneshot, _oneshot_request
        ),
    )


def _command(words: tuple[str, ...], summary: str, define, request, **chosen) -> Command:
    return Command(
        words,
        summary,
        functools.partial(define, **chosen),
        lambda values, _: _main(values, functools.partial(request, **chosen)),
        _fill,
    )


def _main(values: flags.FlagValues, request) -> None:
    lottery_original.translate(values)
    run(request(values))


def _define_train(values: flags.FlagValues) -> Sequence[str]:
    _define_strategy_of_distribution(values)
    return _define_run(values, _PLAIN)


def _train_request(values: flags.FlagValues) -> Request:
    return TrainRequest(_options_with_alias(values), TrainingDescription(**_groups(values, _PLAIN)))


def _define_lottery(values: flags.FlagValues) -> Sequence[str]:
    _define(values, flags.IntegerParser(), "levels", None, "Number of prunings; 0 trains the dense network.", _RUN)
    _define_strategy_of_distribution(values)
    return _define_run(values, tuple(_GROUPS))


def _lottery_request(values: flags.FlagValues) -> Request:
    options, description = _options_with_alias(values), _lottery_description(values)
    if values.levels is None:
        raise InputError("--levels is missing: the number of prunings")
    return LotteryRequest(options, description, values.levels)


def _define_branch(values: flags.FlagValues, branch: str) -> Sequence[str]:
    _define(values, flags.ArgumentParser(), "levels", None, "Levels of the lottery run, for example 0-2,5.", _RUN)
    arguments = BRANCHES[branch].arguments
    if arguments is RetrainArguments:
        _define_borrowed(values, "retrain", arguments.title)
    else:
        _define_group(values, arguments)
    more = ("retrain_",) if arguments is RetrainArguments else ()
    return [arguments.title, *_define_run(values, tuple(_GROUPS), more)]


def _branch_request(values: flags.FlagValues, branch: str) -> Request:
    options, description = _read(values, RunOptions), _lottery_description(values)
    if values.levels is None:
        raise InputError("--levels is missing: the levels of the lottery run, for example 0-2,5")
    kind = BRANCHES[branch].arguments
    if kind is RetrainArguments:
        arguments = RetrainArguments(**{f"retrain_{name[0]}": _borrowed(values, "retrain", name) for name in _BORROWED})
    else:
        arguments = _read(values, kind)
    return BranchRequest(options, description, branch, arguments, tuple(level_ranges(values.levels)))


def _define_oneshot(values: flags.FlagValues) -> Sequence[str]:
    _define_group(values, OneshotArguments)
    return [OneshotArguments.title, *_define_run(values, _PLAIN)]


def _oneshot_request(values: flags.FlagValues) -> Request:
    options, description = _read(values, RunOptions), TrainingDescription(**_groups(values, _PLAIN))
    # Written out, so that `last` and the step it means are one run.
    last = description.training.training_steps
    meant = {name: last for name in ("prune_step", "state_step") if values[name].value == "last"}
    return OneshotRequest(options, description, _read(values, OneshotArguments, **meant))


def _define_run(values: flags.FlagValues, groups: Sequence[str], borrowed: Sequence[str] = ()) -> list[str]:
    """The flags that all commands have, and those of the groups; gives all titles.

    Args:
        values: where.
        groups: keys of `_GROUPS`.
        borrowed: prefixes of flags that the command has defined like those of data and training.
    """
    text = "Network whose published settings fill in all that is not given; with --help they are shown."
    _define(values, flags.ArgumentParser(), "default_hparams", None, text, _RUN)
    _define_group(values, RunOptions)
    titles = [_RUN]
    for name in groups:
        _define_group(values, _GROUPS[name])
        titles.append(_GROUPS[name].title)
    if "pruning" in groups:
        titles.append("Rewinding and pretraining")
        text = "Step to which weights are rewound; reached by the run's own training."
        _define(values, flags.ArgumentParser(), "rewinding_steps", None, text, titles[-1])
        text = "Train with settings of its own (--pretrain_...) up to the rewinding point."
        _define(values, flags.BooleanParser(), "pretrain", False, text, titles[-1])
        _define_borrowed(values, "pretrain", titles[-1])
        borrowed = (*borrowed, "pretrain_")
    lottery_original.define(values, borrowed)
    return [*titles, lottery_original.TITLE]


def _define_group(values: flags.FlagValues, group: type) -> None:
    for field in settings_of(group):
        kind = _PARSERS[field.metadata["kind"]]()
        required = is_required(field)
        parser = OrNone(kind) if not required and field.default is None else kind
        _define(values, parser, field.name, None if required else field.default, field.metadata["help"], group.title)


def _define_borrowed(values: flags.FlagValues, prefix: str, title: str) -> None:
    for name in _BORROWED:
        for field in settings_of(_GROUPS[name]):
            kind = _PARSERS[field.metadata["kind"]]()
            parser = OrNone(kind) if field.default is None else kind
            text = f"As --{field.name} (default: the same)."
            if (prefix, field.name) == ("pretrain", "training_steps"):
                text = "The rewinding point; --pretrain needs it."
            _define(values, parser, f"{prefix}_{field.name}", None, text, title)


def _define_strategy_of_distribution(values: flags.FlagValues) -> None:
    parser = flags.EnumParser(DISTRIBUTIONS)
    _define(values, parser, "strategy", None, "Another name of --distribute.", _RUN)


def _define(values: flags.FlagValues, parser, name: str, default: Any, text: str, title: str) -> None:
    if isinstance(parser, flags.BooleanParser):
        flags.DEFINE_boolean(name, default, text, flag_values=values, module_name=title)
    else:
        flags.DEFINE(parser, name, default, text, flag_values=values, module_name=title)


def _fill(values: flags.FlagValues) -> None:
    """Puts the published settings where nothing was given."""
    if values.default_hparams is None:
        return
    try:
        description = default_hparams(values.default_hparams)
    except InputError as error:
        raise InputError(str(error).replace("--model_name", "--default_hparams", 1)) from None
    for name in _GROUPS:
        group = getattr(description, name)
        for field in settings_of(group):
            if field.name in values:
                values.set_default(field.name, getattr(group, field.name))


def _options_with_alias(values: flags.FlagValues) -> RunOptions:
    """`RunOptions` of a command that has --strategy for --distribute; on pruning commands it is the way to prune."""
    given, named = values.strategy, values["distribute"]
    if given is None:
        return _read(values, RunOptions)
    if named.present and named.value != given:
        raise InputError(f"--strategy={given} and --distribute={named.value} contradict each other")
    return _read(values, RunOptions, distribute=given)


def _groups(values: flags.FlagValues, names: Sequence[str]) -> dict[str, Any]:
    missing = [
        f"--{field.name}"
        for name in names
        for field in settings_of(_GROUPS[name])
        if is_required(field) and values[field.name].value is None
    ]
    if missing:
        raise InputError(f"{', '.join(missing)} must be given, or --default_hparams=NAME to fill in published settings")
    return {name: _read(values, _GROUPS[name]) for name in names}


def _read(values: flags.FlagValues, group: type, **given: Any) -> Any:
    for field in settings_of(group):
        if is_required(field) and values[field.name].value is None:
            raise InputError(f"--{field.name} must be given: {field.metadata['help']}")
    return group(**{field.name: values[field.name].value for field in settings_of(group)} | given)


def _lottery_description(values: flags.FlagValues) -> LotteryDescription:
    description = LotteryDescription(**_groups(values, tuple(_GROUPS)))
    own = [name for name in values if name.startswith("pretrain_") and values[name].present]
    if not values.pretrain:
        if own:
            raise InputError(f"--{sorted(own)[0]} goes with --pretrain")
        return description.rewinding_to(values.rewinding_steps)
    if values.rewinding_steps is not None:
        raise InputError("--rewinding_steps and --pretrain exclude each other")
    steps = values.pretrain_training_steps
    if steps is None:
        raise InputError("--pretrain needs --pretrain_training_steps, for example 500it")
    dataset, training = (_borrowed(values, "pretrain", name) for name in _BORROWED)
    if is_zero(training.training_steps):
        return description
    return LotteryDescription(**_groups(values, tuple(_GROUPS)), pretrain_dataset=dataset, pretrain_training=training)


def _borrowed(values: flags.FlagValues, prefix: str, name: str) -> Any:
    """A group of its own: what has the prefix, else what the run has."""
    given = {field.name: values[f"{prefix}_{field.name}"] for field in settings_of(_GROUPS[name])}
    changed = {key: flag.value for key, flag in given.items() if flag.present}
    try:
        return _read(values, _GROUPS[name], **changed)
    except InputError as error:
        raise InputError(f"flags with --{prefix}_ before their names: {error}") from None
