"""`python -m tfprune.visualization` from its flags to its figure."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from absl import flags

from tfprune.cli import flags as setting_flags
from tfprune.cli.app import Command
from tfprune.errors import InputError
from tfprune.experiments.one_shot.compressions import draw_accuracies, draw_compressions
from tfprune.experiments.one_shot.files import METHODS
from tfprune.experiments.one_shot.names import DEFAULT, variant_text
from tfprune.experiments.one_shot.results import OneShotRun, RunName, find_runs, read_dense_accuracies, read_run
from tfprune.experiments.one_shot.settings import DENSE, PRUNERS
from tfprune.plots.style import save_png
from tfprune.records.own_parts import OWN_WORDS, folder_name, is_own, is_written
from tfprune.records.settings import Settings, setting, settings_of

TITLES = {
    "lenet300100": "LeNet-300-100",
    "lenet5": "LeNet-5",
    "vgg16": "VGG-16",
    "vgg19": "VGG-19",
    "resnet18": "ResNet-18",
}


@dataclass(frozen=True)
class FigureSettings(Settings):
    """Which runs are drawn, and how."""

    title = "Figure"

    architecture: str = setting(
        str, "Network type.", "lenet300100", choices=tuple(TITLES), also=(OWN_WORDS, is_written)
    )
    num_samples: int = setting(int, "Samples 0 to num_samples - 1 are read.", 3, at_least=1, at_most=1000)
    pruners_to_display: tuple[str, ...] = setting(
        str,
        "Pruners, separated by blanks or commas; all that have runs if none is given.",
        (),
        many=True,
        choices=tuple(name for name in PRUNERS if name != DENSE),
        also=(OWN_WORDS, lambda value: is_own(value, "score")),
    )
    out_path: str = setting(str, "Folder of all runs.", "EffectiveSparsity")
    pruning_type: str = setting(str, "Which runs are read.", "effective", choices=("direct", "effective"))
    effective_type: str = setting(
        str, "Which file of effective sparsities is read; ours are equal.", "synflow", choices=METHODS
    )
    plot_type: str = setting(str, "Which figure is drawn.", "accuracies", choices=("accuracies", "compressions"))
    variant: tuple[str, ...] = setting(
        str,
        "Whose runs are drawn where several settings were tried: default (the published ones), or the 8 digits that "
        "end their names; one or more, separated by commas.",
        (),
        many=True,
    )


def command() -> Command:
    """The command of `python -m tfprune.visualization`."""
    pruners = next(field for field in settings_of(FigureSettings) if field.name == "pruners_to_display")

    def define(values: flags.FlagValues) -> list[str]:
        setting_flags.define(values, FigureSettings, without=[pruners.name])
        about = {"flag_values": values, "module_name": FigureSettings.title}
        flags.DEFINE_multi_string(pruners.name, [], setting_flags.help_of(pruners), **about)
        return [FigureSettings.title]

    def main(values: flags.FlagValues, words: Sequence[str]) -> None:
        # Names after the first one, separated by blanks, are what absl leaves over.
        given = [word for text in (*values[pruners.name].value, *words) for word in text.split(",") if word]
        print(f"figure: {draw(setting_flags.read(values, FigureSettings, pruners_to_display=given))}")

    return Command((), "", define, main, takes_words=True)


def draw(settings: FigureSettings) -> Path:
    """Draws one figure of the runs that are there and saves it; warns of those that are missing.

    Of each pruner one variant is shown: of those that are named, else the published settings where there are such runs,
    else the only one.

    Raises:
        InputError: no run that can be drawn (says which runs are there), several variants of which none was chosen, or
            a damaged file.
    """
    pruning_type, accuracies = settings.pruning_type, settings.plot_type == "accuracies"
    root = Path(settings.out_path, folder_name(settings.architecture))
    dense, variants = root / DENSE, settings.variant
    samples = [str(sample) for sample in range(settings.num_samples)]
    there = find_runs(root)
    of_kind = {
        pruner: [name for name in found if name.sample in samples]
        for (pruner, kind), found in there.items()
        if kind == pruning_type
    }
    given = map(folder_name, settings.pruners_to_display)
    chosen = list(dict.fromkeys(given)) or [name for name in dict.fromkeys((*PRUNERS, *of_kind)) if of_kind.get(name)]
    _check_variants(variants, [name for found in of_kind.values() for name in found])
    names = {pruner: _one_variant(root / pruner, of_kind.get(pruner, []), variants) for pruner in chosen}
    names = {pruner: found for pruner, found in names.items() if found}
    runs = {
        pruner: [read_run(name, dense, settings.effective_type) for name in found] for pruner, found in names.items()
    }
    tables = {name: table for name, found in runs.items() if not (table := _table(found, accuracies)).empty}
    if not tables:
        untrained = f"{', '.join(runs)} were not trained, --plot_type=compressions can be drawn"
        why = untrained if runs else _overview(root, there)
        wanted = f"{', '.join(chosen) or 'any pruner'} with --pruning_type={pruning_type}, samples {_few(samples)}"
        wanted += f", --variant={','.join(variants)}" if variants else ""
        raise InputError(f"{root}: no {'accuracies' if accuracies else 'runs'} of {wanted}; {why}")
    shown = {pruner: names[pruner][0] for pruner in tables}
    for lack in (*_lacks(chosen, tables, samples, accuracies), *_mixed(shown)):
        warnings.warn(f"{root}, --pruning_type={pruning_type}: {lack}", stacklevel=2)
    told = {_text(name) for name in shown.values()}
    title = ", ".join(
        [TITLES.get(settings.architecture, settings.architecture), *(told - {DEFAULT} if len(told) == 1 else ())]
    )
    if accuracies:
        figure = draw_accuracies(tables, _dense_accuracies(dense, samples, shown.values()), title)
    else:
        figure = draw_compressions(tables, title, pruning_type)
    folder = root / "figures"
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make {folder}: {error.strerror}") from None
    return save_png(figure, folder / f"{settings.plot_type}.png")


def _check_variants(wanted: Iterable[str], names: Iterable[RunName]) -> None:
    known = {name.variant or DEFAULT: _text(name) for name in names}
    for variant in wanted if known else ():
        if variant not in known:
            raise InputError(f"--variant must be among {'; '.join(known.values())}. Received: {variant!r}")


def _one_variant(folder: Path, names: Sequence[RunName], wanted: Sequence[str]) -> list[RunName]:
    """Those of one variant: runs of different settings have no mean."""
    texts = {name.variant: _text(name) for name in names}
    if wanted:
        texts = {variant: text for variant, text in texts.items() if (variant or DEFAULT) in wanted}
    elif "" in texts:
        texts = {"": DEFAULT}
    if len(texts) > 1:
        raise InputError(
            f"{folder} holds runs with different settings, choose with --variant: {'; '.join(texts.values())}"
        )
    return [name for name in names if name.variant in texts]


def _text(name: RunName) -> str:
    return variant_text(name.variant, name.changed)


def _mixed(shown: Mapping[str, RunName]) -> Iterable[str]:
    """Whether pruners of different settings are in one figure."""
    pruners: dict[str, list[str]] = {}
    for pruner, name in shown.items():
        pruners.setdefault(_text(name), []).append(pruner)
    if len(pruners) > 1:
        parts = (f"{', '.join(found)} {text}" for text, found in pruners.items())
        yield f"the pruners' settings differ: {'; '.join(parts)}"


def _dense_accuracies(dense: Path, samples: Sequence[str], shown: Iterable[RunName]) -> np.ndarray:
    """Of the dense runs that were trained as the runs of the figure were; of none where those differ."""
    first, *others = (name.training for name in shown)
    if first is None or any(other != first for other in others):
        return np.array([])
    return read_dense_accuracies(dense, samples, first)


def _overview(root: Path, there: Mapping[tuple[str, str], Sequence[RunName]]) -> str:
    """The runs that there are, in words."""
    if not there:
        others = [f"--architecture={name}" for name in TITLES if find_runs(root.with_name(name))]
        way = f"there are some of {', '.join(others)}" if others else "python -m tfprune.main makes them"
        return f"it holds no runs; {way}"
    texts = []
    for (pruner, kind), found in there.items():
        targets = list(dict.fromkeys(f"{name.target:.6g}" for name in found))
        variants = list(dict.fromkeys(map(_text, found)))
        told = "" if variants == [DEFAULT] else f"; variants {_few(variants)}"
        samples = sorted({name.sample for name in found})
        texts.append(f"{pruner} {kind} (samples {_few(samples)}; compressions {_few(targets)}{told})")
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
