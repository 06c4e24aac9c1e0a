"""Results of runs without result files: those of the original scripts, and earlier versions' of ours."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tfprune.errors import InputError
from tfprune.experiments.filters.results import LAYOUT, METRICS, UNPRUNED, read_metrics
from tfprune.records.listing import Listing
from tfprune.records.reading import MissingInputError, read_json
from tfprune.records.result import ORIGINAL, OURS, Result, result_path, tolerated
from tfprune.records.run_folder import read_record
from tfprune.records.settings import digest

_ORIGINAL = re.compile(r"(?:(?P<vgg>vgg)_(?P<scoring>.+)_(?P<data>CIFAR|MNIST)|resnet_(?P<its>.+))_metrics\.json")
_DATA = {"CIFAR": "cifar10", "MNIST": "mnist"}


def find(listing: Listing) -> Iterator[tuple[str, Result, str]]:
    """Whose code trained the networks in a folder, their results, and whence, where they left no result file.

    Of our networks there is one in a folder; the original scripts write one file for all versions of a scoring. Their
    losses, and ours of `--loss=published`, come from a softmax of probabilities, so `loss` is None there.
    """
    folder, names = listing.folder, listing.names
    if METRICS in names and result_path("").name not in names:
        with tolerated(folder / METRICS):
            yield from _ours(folder)
    for name in sorted(names):
        if match := _ORIGINAL.fullmatch(name):
            with tolerated(folder / name):
                yield from ((ORIGINAL, result, name) for result in _originals(folder / name, match))


def _ours(folder: Path) -> Iterator[tuple[str, Result, str]]:
    record, metrics = _recorded(folder), read_metrics(folder)
    if record is None:
        return
    if folder.name == UNPRUNED:
        first, whole, settings, names = record, metrics, record, {"label": UNPRUNED}
    else:
        top = folder.parents[2] / UNPRUNED
        first, whole = _recorded(top) or {}, {}
        with contextlib.suppress(MissingInputError):
            whole = read_metrics(top)
        settings, names = {**record, UNPRUNED: first}, {name: metrics.get(name) for name in ("scoring", "version")}
        names = {"label": " ".join(map(str, names.values())), "method": names["scoring"], "version": names["version"]}
    common = {name: value for name, value in settings.items() if name not in ("scoring", "version", "p")}
    facts = {
        "parameters": whole.get("parameters"),
        "parameters_masked": metrics.get("parameters"),
        "flops": whole.get("flops"),
        "flops_masked": metrics.get("flops"),
        "accuracy": metrics.get("test_accuracy"),
        "loss": metrics.get("test_loss") if first.get("loss") == "standard" else None,
        "seconds": metrics.get("finetuning_seconds"),
    }
    study = {"settings": settings, "digest": digest(common, 8), "seed": first.get("seed")}
    yield OURS, Result("filters", **names, **study, **facts), METRICS


def _recorded(folder: Path) -> dict[str, Any] | None:
    """The settings of a finished network, None where there is none."""
    try:
        record = read_record(folder, LAYOUT)
    except MissingInputError:
        return None
    return record["input"] if record["finished"] else None


def _originals(path: Path, match: re.Match) -> Iterator[Result]:
    content = read_json(path, "the metrics of all versions")
    scoring = (match["scoring"] or match["its"]).lower()
    settings = {"model": "vgg16" if match["vgg"] else "resnet50", "data": _DATA[match["data"] or "CIFAR"]}
    whole = content.get("v0")  # it loses no filter
    for version, metrics in content.items():
        if not isinstance(metrics, dict) or type(metrics.get("test_acc")) not in (int, float):
            raise InputError(f"cannot read {path}: {version} must have a number test_acc, in per cent")
        yield Result(
            family="filters",
            label=f"{scoring} {version}",
            settings=settings,
            version=version,
            method=scoring,
            parameters=whole.get("nb_params") if isinstance(whole, dict) else None,
            parameters_masked=metrics.get("nb_params"),
            accuracy=metrics["test_acc"] / 100,
            seconds=metrics.get("finetuning_runtime"),
        )
