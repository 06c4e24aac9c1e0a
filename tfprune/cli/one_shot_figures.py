"""`python -m tfprune.visualization` from its flags to its figure."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from tfprune.errors import InputError
from tfprune.experiments.one_shot_spec import DENSE, PRUNERS
from tfprune.plots.compressions import draw_accuracies, draw_compressions
from tfprune.plots.style import save_png
from tfprune.records.one_shot_results import OneShotRun, read_dense_accuracies, read_runs

_RESULT = "*_sparsities_direct.npy"
_MOST_TOLD = 8
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
    """Draws one figure and saves it.

    Args:
        out_path: folder of all runs.
        architecture: whose runs.
        pruners: which; empty for all that have runs.
        num_samples: samples 0 to num_samples − 1 are read.
        pruning_type: `direct` or `effective`.
        effective_type: `custom` or `synflow`.
        plot_type: `accuracies` or `compressions`.

    Raises:
        InputError: an unknown pruner, or no usable runs.
    """
    for pruner in pruners:
        if pruner not in PRUNERS or pruner == DENSE:
            known = ", ".join(name for name in PRUNERS if name != DENSE)
            raise InputError(f"--pruners_to_display must be among {known}. Received: {pruner!r}")
    root = Path(out_path, architecture)
    chosen = pruners or [name for name in PRUNERS if any((root / name / pruning_type).glob(_RESULT))]
    missing = [name for name in chosen if not any((root / name / pruning_type).glob(_RESULT))]
    if missing or not chosen:
        which = f" of {missing[0]}" if missing else ""
        raise InputError(f"{root}: holds no runs{which} with --pruning_type={pruning_type}; {_there(Path(out_path))}")
    runs = {name: read_runs(out_path, architecture, name, pruning_type, effective_type, num_samples) for name in chosen}
    if plot_type == "accuracies":
        tables = {name: _table(found, accuracies=True) for name, found in runs.items()}
        for name, table in tables.items():
            if table.empty:
                raise InputError(f"{root / name / pruning_type}: holds no accuracies; these runs were not trained")
        figure = draw_accuracies(
            tables, read_dense_accuracies(out_path, architecture, num_samples), TITLES[architecture]
        )
    else:
        tables = {name: _table(found, accuracies=False) for name, found in runs.items()}
        figure = draw_compressions(tables, TITLES[architecture], pruning_type)
    folder = root / "figures"
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make {folder}: {error.strerror}") from None
    return save_png(figure, folder / f"{plot_type}.png")


def _there(out_path: Path) -> str:
    """Which runs there are below a folder, in words."""
    found = sorted({path.parent for path in out_path.glob(f"*/**/{_RESULT}")})
    if not found:
        return f"{out_path} holds none at all, python -m tfprune.main makes them"
    shown = ", ".join(str(path.relative_to(out_path)) for path in found[:_MOST_TOLD])
    return f"there are {shown}{', ...' if len(found) > _MOST_TOLD else ''} (architecture/pruner/pruning type)"


def _table(runs: list[OneShotRun], accuracies: bool) -> pd.DataFrame:
    rows = [
        {
            "target": run.target,
            "direct": run.direct_compression,
            "effective": run.effective_compression,
            **({"accuracy": run.accuracies[-1]} if accuracies else {}),
        }
        for run in runs
        if not accuracies or run.accuracies is not None
    ]
    return pd.DataFrame(rows)
