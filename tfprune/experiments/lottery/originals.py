"""Results of runs without result files: OpenLTH's, and earlier versions' of ours."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tfprune.experiments.lottery.files import HPARAMS, LAYOUT, LOGGER, read_report
from tfprune.experiments.lottery.names import MAIN
from tfprune.records.listing import Listing
from tfprune.records.metric_log import MetricLog
from tfprune.records.reading import MissingInputError, read_text
from tfprune.records.result import ORIGINAL, OURS, Result, result_path, tolerated
from tfprune.records.run_folder import read_record

_PLACE = re.compile(
    r"(?P<kind>train|lottery)_(?P<digest>[0-9a-f]+)/replicate_(?P<replicate>[0-9]{1,9})"
    r"(?:/level_(?P<level>[0-9]{1,9}))?/(?P<branch>main|(?:lottery_)?branch_(?P<method>.+)_[0-9a-f]+)"
)
_SETTING = re.compile(r"(?: +\* )?(?P<name>\w+) =>? (?P<value>.*)")
_WORDS = {"None": None, "True": True, "False": False}


def find(listing: Listing) -> Iterator[tuple[str, Result, str]]:
    """Whose code trained the network in a folder, its result, and whence, unless there is none or it left a result.

    OpenLTH writes a log when a training has ended, so that the file says that it has; it keeps settings in the folder
    of level 0 alone.
    """
    folder, names = listing.folder, listing.names
    if LOGGER not in names or result_path("").name in names:
        return
    place = _PLACE.fullmatch("/".join(folder.parts[-4:])) or _PLACE.fullmatch("/".join(folder.parts[-3:]))
    if place:
        with tolerated(folder):
            yield from _of_training(folder, place)


def _of_training(folder: Path, place: re.Match) -> Iterator[tuple[str, Result, str]]:
    try:
        record = read_record(folder, LAYOUT)
        source, words = OURS, record["input"].get("label")
        if not record["finished"]:
            return
    except MissingInputError:
        source, words = ORIGINAL, None
    log = MetricLog.parse(read_text(folder / LOGGER), str(folder / LOGGER))
    if not (tested := log.get("test_accuracy")):
        return
    report, level = read_report(folder), None if place["method"] == "oneshot" else int(place["level"] or 0)
    facts = {"level": level, "accuracy": tested[-1][1], "loss": log.last("test_loss")}
    if report is not None:
        facts |= {"weights": report.total, "kept": report.unpruned}
    if len(tested) > 1:  # a single one is at the end, which does not tell where the training began
        facts["steps"] = tested[-1][0] - tested[0][0]
    study = {"settings": _settings(folder), "digest": place["digest"], "seed": int(place["replicate"])}
    method = str(words or place["method"] or MAIN)
    label = _label(place, method)
    yield source, Result("lottery", label, method=method, **study, **facts), LOGGER


def _label(place: re.Match, method: str) -> str:
    """As a run tells it: `training`, `level 2`, `randomly_prune seed=7, level 2`."""
    level = None if place["level"] is None else f"level {place['level']}"
    if not place["method"]:
        return level or "training"
    return f"{method}, {level}" if level else method


def _settings(folder: Path) -> dict[str, dict[str, Any]]:
    """Group -> name -> value, from the `hparams.log` of either code; OpenLTH leaves out what is at its default."""
    for place in (folder, folder.parent.parent / "level_0" / MAIN):
        try:
            text = read_text(place / HPARAMS)
            break
        except MissingInputError:
            continue
    else:
        return {}
    groups: dict[str, dict[str, Any]] = {}
    group = ""
    for line in filter(str.strip, text.splitlines()):
        if match := _SETTING.fullmatch(line):
            groups.setdefault(group, {})[match["name"]] = _value(match["value"])
        else:
            group = _group(line)
    return groups


def _group(line: str) -> str:
    """`[model]`, `Pretraining Dataset Hyperparameters` and `Hyperparameters for Sparse Global Pruning` in a word."""
    words = line.lower().strip("[] ").split() or [""]
    if words[0] == "pretraining" and len(words) > 1:
        return f"pretrain_{words[1]}"
    return words[-1] if words[0] == "hyperparameters" else words[0]


def _value(text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
