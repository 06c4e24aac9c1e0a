"""Prune a network in one go, directly or effectively, and train what is left (Vysogorets & Kempe 2021).

    python -m tfprune.main --pruner=snip --pruning_type=effective --com_exp=2          LeNet-300-100 on MNIST
    python -m tfprune.main --pruner=synflow --data=digits --iterations=2000            needs no download
    python -m tfprune.main --flagfile=flags/vgg16.flags --flagfile=flags/synflow.flags
    python -m tfprune.main --pruner=tfmot/polynomial --target_sparsity=0.9             prunes while it trains

A run that was killed continues with the same command; a finished one does nothing.
"""

from __future__ import annotations

import sys

from absl import flags

from tfprune.cli import app
from tfprune.cli.flag_types import YesNo
from tfprune.errors import InputError
from tfprune.experiments.one_shot.settings import PRUNERS, SETTINGS, OneShotSpec

_SPEC = {
    "sample": flags.DEFINE_string("sample", "0", "Seed code; begins the names of the run's files."),
    "path_to_data": flags.DEFINE_string(
        "path_to_data", None, "Folder that holds tiny-imagenet-200, or TFDS's data_dir (default: TFDS_DATA_DIR)."
    ),
    "architecture": flags.DEFINE_string("architecture", "lenet300100", f"One of {', '.join(SETTINGS)}."),
    "pruner": flags.DEFINE_string("pruner", "snip", f"One of {', '.join(PRUNERS)}."),
    "com_exp": flags.DEFINE_float("com_exp", None, "Target compression 10**com_exp, in place of --target_sparsity."),
    "target_sparsity": flags.DEFINE_float("target_sparsity", 0.9, "Target sparsity, in [0, 1)."),
    "pruning_type": flags.DEFINE_string("pruning_type", "direct", "What the target is for: direct or effective."),
    "out_path": flags.DEFINE_string("out_path", "EffectiveSparsity", "Folder of all runs."),
    "data": flags.DEFINE_string(
        "data",
        None,
        "Data set: digits, tinyimagenet or one of TFDS; by default the architecture's own. The network is built for "
        "its images; images too small for an architecture are enlarged by repeating pixels.",
    ),
    "iterations": flags.DEFINE_integer(
        "iterations", None, "Training steps (default: as published). Learning-rate drops move in proportion."
    ),
    "snip_loss": flags.DEFINE_string(
        "snip_loss", "standard", "Loss of SNIP: standard (cross-entropy) or published (its arguments swapped)."
    ),
    "eval_batchnorm": flags.DEFINE_string(
        "eval_batchnorm", "moving", "Statistics of batch norm at test time: moving averages or, as published, batch."
    ),
    "quota_rule": flags.DEFINE_string(
        "quota_rule", "valid", "Quotas of layers: valid (capped at density 1 and rescaled) or published."
    ),
    "min_weights": flags.DEFINE_integer(
        "min_weights",
        0,
        "Weights that every kernel keeps, on a path to the output: leads over the cliff where a target of effective "
        "sparsity is missed because a kernel runs empty (published: 0).",
    ),
    "begin_step": flags.DEFINE_integer(
        "begin_step", None, "tfmot/polynomial: the step from which the sparsity grows (default: 0)."
    ),
    "end_step": flags.DEFINE_integer(
        "end_step", None, "tfmot/polynomial: the step at which the target is reached (default: half of all steps)."
    ),
    "frequency": flags.DEFINE_integer(
        "frequency", None, "tfmot/polynomial: steps from one renewal of the masks to the next (default: 100, or fewer)."
    ),
    "checkpoint_step": flags.DEFINE_integer("checkpoint_step", 1000, "Steps between checkpoints."),
    "train": flags.DEFINE(YesNo(), "train", True, "Whether to train the pruned network."),
}
_SAVE = flags.DEFINE(YesNo(), "save", True, "Whether to write files.")
_TRAIN_DENSE = flags.DEFINE_bool(
    "train_dense", False, "Train the dense network first where a pruner needs its weights and they are missing."
)
_DEVICE = flags.DEFINE_enum("device", "auto", ["auto", "cpu", "gpu"], "Where to train.")
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Delete this run's files and start anew.")


def main(arguments: list[str]) -> None:
    if arguments:
        raise InputError(f"flags only, for example --pruner=snip. Received: {' '.join(arguments)}")
    spec = OneShotSpec(**{name: holder.value for name, holder in _SPEC.items()})
    # TensorFlow is imported behind this line: a wrong flag should be told at once.
    from tfprune.experiments.one_shot.run import run

    run(spec, save=_SAVE.value, train_dense=_TRAIN_DENSE.value, device=_DEVICE.value, overwrite=_OVERWRITE.value)


if __name__ == "__main__":
    app.run(main, sys.modules[__name__].__doc__)
