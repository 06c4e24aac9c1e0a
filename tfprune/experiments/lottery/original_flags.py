"""Flags of OpenLTH that mean something else here, or nothing, so that its command lines can be used as they are."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from absl import flags

from tfprune.errors import InputError

TITLE = "Flags of OpenLTH"
_HALF = "mixed_float16"
_WITHOUT_EFFECT = {
    "num_workers": (flags.IntegerParser(), "TensorFlow chooses the threads that read data"),
    "platform": (flags.ArgumentParser(), "--root and --path_to_data say where files lie, --device where to train"),
}
_REFUSED = {
    "subset_start": "subsets of the training images are drawn by --subsample_fraction",
    "subset_end": "subsets of the training images are drawn by --subsample_fraction",
    "subset_stride": "subsets of the training images are drawn by --subsample_fraction",
    "blur_factor": "blurred images are not made",
    "unsupervised_labels": "labels are those of the data set, or random (--random_labels_fraction)",
}


def define(values: flags.FlagValues, prefixes: Sequence[str]) -> None:
    """Defines them.

    Args:
        values: where.
        prefixes: of flags of data and training that the command has beside its own: `pretrain_` or `retrain_`.
    """
    for name, (parser, reason) in _WITHOUT_EFFECT.items():
        _add(values, parser, name, f"No effect: {reason}.")
    for prefix in ("", *prefixes):
        text = f"As --{prefix}precision={_HALF}."
        flags.DEFINE_boolean(f"{prefix}apex_fp16", False, text, flag_values=values, module_name=TITLE)
        for name, reason in _REFUSED.items():
            _add(values, flags.ArgumentParser(), f"{prefix}{name}", f"Refused: {reason}.")


def translate(values: flags.FlagValues) -> None:
    """Says what becomes of those that were given, and puts `--precision` where `--apex_fp16` means it.

    Raises:
        InputError: one that would change the results in a way that is not rebuilt here, or a contradiction.
    """
    for name, (_, reason) in _WITHOUT_EFFECT.items():
        if values[name].present:
            print(f"note: --{name} has no effect: {reason}", file=sys.stderr)
    for name in [name for name in values if name.endswith("apex_fp16") and values[name].value]:
        target = name.replace("apex_fp16", "precision")
        if values[target].present and values[target].value != _HALF:
            raise InputError(f"--{name} and --{target}={values[target].value} contradict each other")
        print(f"note: --{name} is read as --{target}={_HALF}", file=sys.stderr)
        values[target].parse(_HALF)
    for name, reason in _REFUSED.items():
        given = [each for each in values if each.endswith(name) and values[each].present]
        if given:
            raise InputError(f"--{given[0]} of OpenLTH is not available: {reason}")


def _add(values: flags.FlagValues, parser: flags.ArgumentParser, name: str, text: str) -> None:
    flags.DEFINE(parser, name, None, text, flag_values=values, module_name=TITLE)
