"""Passive filter pruning: smaller networks from the best filters of a trained one (Singh, Li & Plumbley 2022).

    python -m tfprune.filters --data=digits --width=0.25 --epochs=5 --finetune_epochs=2     needs no download
    python -m tfprune.filters --model=vgg16 --data=cifar10 --scoring=operator_norm,l1_norm,gm_norm --version=v3_50,v4_50
    python -m tfprune.filters --flagfile=flags/filters/resnet50-cifar10.flags --weights=resnet50.safetensors

A run that was killed continues with the same command; what is finished is not done again. Accuracies and losses by
epoch: tensorboard --logdir=FilterPruning
"""

from __future__ import annotations

import sys

from absl import flags

from tfprune.cli import app
from tfprune.errors import InputError
from tfprune.experiments.filters.settings import PUBLISHED_SCORINGS, SCORINGS, FilterSpec

_DEFAULT = FilterSpec()
_SPEC = {
    "model": flags.DEFINE_string("model", _DEFAULT.model, "vgg16 or resnet50."),
    "data": flags.DEFINE_string(
        "data",
        _DEFAULT.data,
        "Data set: cifar10, mnist or another of TFDS, digits or tinyimagenet; smaller images are made 32 pixels wide, "
        "grey ones get three channels.",
    ),
    "scoring": flags.DEFINE_list(
        "scoring",
        list(_DEFAULT.scoring),
        f"Any of {', '.join(SCORINGS)}; all stands for {', '.join(PUBLISHED_SCORINGS)}.",
    ),
    "version": flags.DEFINE_list(
        "version",
        list(_DEFAULT.version),
        "Published versions, for example v3_50, or all. VGG-16: v0 (none), v1 (convolutions 11-13), v2 (9-13), v3 "
        "(7-13), v4 (5-13), v5 (3-13), v6 (all); ResNet-50: v0, v1 (stages 3-5), v2 (2-5), v3 (all); each with _25, "
        "_50, _75 or _90 per cent.",
    ),
    "p": flags.DEFINE_list(
        "p",
        None,
        "The fraction of its filters that each convolution loses, in place of --version: 13 numbers for vgg16, 17 for "
        "resnet50.",
    ),
    "width": flags.DEFINE_float("width", _DEFAULT.width, "Factor for the numbers of filters of the whole network."),
    "epochs": flags.DEFINE_integer(
        "epochs", None, "Of the unpruned network (default as published: vgg16 200, resnet50 300)."
    ),
    "finetune_epochs": flags.DEFINE_integer("finetune_epochs", _DEFAULT.finetune_epochs, "Of every pruned network."),
    "batch_size": flags.DEFINE_integer("batch_size", _DEFAULT.batch_size, "Images per step."),
    "optimizer": flags.DEFINE_string(
        "optimizer",
        _DEFAULT.optimizer,
        "sgd (Nesterov's momentum 0.9), adam, or published: adam for the unpruned vgg16 on mnist, sgd for all else.",
    ),
    "learning_rate": flags.DEFINE_float("learning_rate", _DEFAULT.learning_rate, "At the start."),
    "finetune_learning_rate": flags.DEFINE_float(
        "finetune_learning_rate", None, "Of fine-tuning, where it differs from --learning_rate."
    ),
    "schedule": flags.DEFINE_string("schedule", _DEFAULT.schedule, "Of the learning rate: constant or cosine."),
    "weight_decay": flags.DEFINE_float("weight_decay", None, "Default as published: 1e-6 with sgd, 0 with adam."),
    "augment": flags.DEFINE_bool("augment", _DEFAULT.augment, "Mirror and shift training images; published is no."),
    "pruned_batchnorm": flags.DEFINE_string(
        "pruned_batchnorm",
        _DEFAULT.pruned_batchnorm,
        "Running statistics behind pruned convolutions: keep or, as published, restart at mean 0 and variance 1.",
    ),
    "test_dropout": flags.DEFINE_string(
        "test_dropout", _DEFAULT.test_dropout, "Dropout in tests: off or, as published, on."
    ),
    "loss": flags.DEFINE_string(
        "loss", _DEFAULT.loss, "standard, or published for VGG-16: cross-entropy of a softmax of probabilities."
    ),
    "weights": flags.DEFINE_string(
        "weights", None, "File that the unpruned resnet50 starts from: .safetensors or .npz, tensors as in torchvision."
    ),
    "seed": flags.DEFINE_integer("seed", _DEFAULT.seed, "Of weights, batches and random scores."),
    "out_path": flags.DEFINE_string("out_path", _DEFAULT.out_path, "Folder of all runs."),
    "path_to_data": flags.DEFINE_string(
        "path_to_data", None, "Folder that holds tiny-imagenet-200, or TFDS's data_dir (default: TFDS_DATA_DIR)."
    ),
}
_DEVICE = flags.DEFINE_enum("device", "auto", ["auto", "cpu", "gpu"], "Where to train.")
_OVERWRITE = flags.DEFINE_bool(
    "overwrite", False, "Delete the pruned networks that are asked for and make them anew; the unpruned one stays."
)


def main(arguments: list[str]) -> None:
    if arguments:
        raise InputError(f"flags only, for example --version=v3_50. Received: {' '.join(arguments)}")
    values = {name: holder.value for name, holder in _SPEC.items()}
    scoring = [name for given in values["scoring"] for name in (PUBLISHED_SCORINGS if given == "all" else (given,))]
    values |= {"scoring": tuple(dict.fromkeys(scoring)), "version": tuple(values["version"]), "p": _fractions()}
    spec = FilterSpec(**values)
    # TensorFlow is imported behind this line: a wrong flag should be told at once.
    from tfprune.experiments.filters.run import run

    run(spec, device=_DEVICE.value, overwrite=_OVERWRITE.value)


def _fractions() -> tuple[float, ...] | None:
    given = _SPEC["p"].value
    if given is None:
        return None
    if _SPEC["version"].present:
        raise InputError("give --version or --p, not both")
    try:
        return tuple(float(text) for text in given)
    except ValueError:
        raise InputError(
            f"--p must be numbers in [0, 1), with commas between them. Received: {','.join(given)}"
        ) from None


if __name__ == "__main__":
    app.run(main, sys.modules[__name__].__doc__)
