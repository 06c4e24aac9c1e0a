"""`python -m tfprune.visualization` from its flags to its figure."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from tfprune.errors import InputError, did_you_mean
from tfprune.experiments.one_shot.compressions import draw_accuracies, draw_compressions
from tfprune.experiments.one_shot.results import OneShotRun, find_runs, read_dense_accuracies, read_runs
from tfprune.experiments.one_shot.settings import DENSE, PRUNERS
from tfprune.plots.style import save_png

TITLES = {
    "lenet300100": "LeNet-300-100",
    "lenet5": "LeNet-5",
    "vgg16": "VGG-16",
    "vgg19": "VGG-19",
    "resnet18": "ResNet-18",
}


def draw(
    out_path: str,
    architecture: str,
    pruners: list[str],
    num_samples: int,
    pruning_type: str,
    effective_type: str,
    plot_type: str,
) -> Path:
    """Draws one figure of the runs that are there and saves it; warns of those that are missing.

    Args:
        out_path: folder of all runs.
        architecture: whose runs.
        pruners: which; empty for all that have runs.
        num_samples: samples 0 to num_samples − 1 are read.
        pruning_type: `direct` or `effective`.
        effective_type: `custom` or `synflow`.
        plot_type: `accuracies` or `compressions`.

    Raises:
        InputError: an unknown pruner, no run that can be drawn (says which runs are there), or a damaged file.
    """
    _check_names(pruners)
    root = Path(out_path, architecture)
    samples = [str(sample) for sample in range(num_samples)]
    there = find_runs(root)
    keys = {
        pruner: [key for key in found if key[1] in samples]
        for (pruner, kind), found in there.items()
        if kind == pruning_type
    }
    chosen = list(dict.fromkeys(pruners)) or [name for name in PRUNERS if keys.get(name)]
    runs = {name: read_runs(root, name, pruning_type, effective_type, keys[name]) for name in chosen if keys.get(name)}
    accuracies = plot_type == "accuracies"
    tables = {name: table for name, found in runs.items() if not (table := _table(found, accuracies)).empty}
    if not tables:
        why = (
            f"{', '.join(runs)} were not trained, --plot_type=compressions can be drawn"
            if runs
            else _overview(root, there)
        )
        wanted = f"{', '.join(chosen) or 'any pruner'} with --pruning_type={pruning_type}, samples {_few(samples)}"
        raise InputError(f"{root}: no {'accuracies' if accuracies else 'runs'} of {wanted}; {why}")
    for lack in _lacks(chosen, tables, samples, accuracies):
        warnings.warn(f"{root}, --pruning_type={pruning_type}: {lack}", stacklevel=2)
    if accuracies:
        figure = draw_accuracies(
            tables, read_dense_accuracies(out_path, architecture, num_samples), TITLES[architecture]
        )
    else:
        figure = draw_compressions(tables, TITLES[architecture], pruning_type)
    folder = root / "figures"
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make {folder}: {error.strerror}") from None
    return save_png(figure, folder / f"{plot_type}.png")


def _check_names(pruners: Iterable[str]) -> None:
    known = [name for name in PRUNERS if name != DENSE]
    for pruner in pruners:
        if pruner not in known:
            hint = did_you_mean(pruner, known)
            raise InputError(f"--pruners_to_display must be among {', '.join(known)}. Received: {pruner!r}{hint}")


def _overview(root: Path, there: Mapping[tuple[str, str], Sequence[tuple[int, str]]]) -> str:
    """The runs that there are, in words."""
    if not there:
        others = [f"--architecture={name}" for name in TITLES if find_runs(root.with_name(name))]
        way = f"there are some of {', '.join(others)}" if others else "python -m tfprune.main makes them"
        return f"it holds no runs; {way}"
    texts = []
    for (pruner, kind), found in there.items():
        targets, samples = (list(dict.fromkeys(map(str, column))) for column in zip(*found, strict=True))
        texts.append(f"{pruner} {kind} (samples {_few(sorted(samples))}; compressions {_few(targets)})")
    return f"there are {'; '.join(texts)}"


def _few(words: Sequence[str]) -> str:
    return ", ".join([*words[:5], *(["..."] if len(words) > 5 else [])])


def _lacks(
    chosen: Sequence[str], tables: Mapping[str, pd.DataFrame], samples: Sequence[str], accuracies: bool
) -> Iterable[str]:
    """What was asked for and is not in the figure, a line for pruners and one for samples."""
    absent = [name for name in chosen if name not in tables]
    if absent:
        what = "runs that were trained" if accuracies else "runs"
        yield f"no {what} of {', '.join(absent)}; the figure shows {', '.join(tables)}"
    texts = []
    for name, table in tables.items():
        missing = [sample for sample in samples if sample not in set(table["sample"])]
        texts += [f"{_few(missing)} of {name}"] if missing else []
    if texts:
        yield f"no samples {'; '.join(texts)}: means and bands are over those that are there"


def _table(runs: list[OneShotRun], accuracies: bool) -> pd.DataFrame:
    rows = [
        {
            "sample": run.sample,
            "target": run.target,
            "direct": run.direct_compression,
            "effective": run.effective_compression,
            **({"accuracy": run.accuracies[-1]} if accuracies else {}),
        }
        for run in runs
        if not accuracies or run.accuracies is not None
    ]
    return pd.DataFrame(rows)
