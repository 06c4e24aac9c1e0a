"""Figures of runs of `python -m tfprune.main`, from their files, also from those that the published code wrote.

    python -m tfprune.visualization --pruners_to_display snip synflow random/igq --num_samples 3
    python -m tfprune.visualization --plot_type=compressions --pruning_type=direct --pruners_to_display=snip,synflow

Means over samples with bands from the worst to the best, to <out_path>/<architecture>/figures. Runs of different
settings are never taken together: those with the published ones are drawn, or the only others, or those of --variant.
"""

from __future__ import annotations

import sys

from absl import flags

from tfprune.cli import app
from tfprune.experiments.one_shot.settings import SETTINGS

_ARCHITECTURE = flags.DEFINE_enum("architecture", "lenet300100", list(SETTINGS), "Network type.")
_NUM_SAMPLES = flags.DEFINE_integer(
    "num_samples", 3, "Samples 0 to num_samples - 1 are read.", lower_bound=1, upper_bound=1000
)
_PRUNERS = flags.DEFINE_multi_string(
    "pruners_to_display", [], "One or more pruners, separated by blanks or commas; all that have runs if none is given."
)
_OUT_PATH = flags.DEFINE_string("out_path", "EffectiveSparsity", "Folder of all runs.")
_PRUNING_TYPE = flags.DEFINE_enum("pruning_type", "effective", ["direct", "effective"], "Which runs are read.")
_EFFECTIVE_TYPE = flags.DEFINE_enum(
    "effective_type", "synflow", ["custom", "synflow"], "Which file of effective sparsities is read; ours are equal."
)
_VARIANT = flags.DEFINE_list(
    "variant",
    [],
    "Whose runs are drawn where several settings were tried: default (the published ones), or the 8 digits that end "
    "their names; one or more, separated by commas.",
)
_PLOT_TYPE = flags.DEFINE_enum("plot_type", "accuracies", ["accuracies", "compressions"], "Which figure is drawn.")


def main(arguments: list[str]) -> None:
    from tfprune.experiments.one_shot.visualization import draw

    # Names after the first one, separated by blanks, are what absl leaves over.
    words = [word for given in (*_PRUNERS.value, *arguments) for word in given.split(",") if word]
    path = draw(
        _OUT_PATH.value,
        _ARCHITECTURE.value,
        words,
        _NUM_SAMPLES.value,
        _PRUNING_TYPE.value,
        _EFFECTIVE_TYPE.value,
        _PLOT_TYPE.value,
        _VARIANT.value,
    )
    print(f"figure: {path}")


if __name__ == "__main__":
    app.run(main, sys.modules[__name__].__doc__)
