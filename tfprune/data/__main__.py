"""Brings a data set of TensorFlow Datasets into its folder, from where the other commands and tfds.load read it.

    python -m tfprune.data mnist                                        downloads it
    python -m tfprune.data mnist --from=path/to/folder                  reads the four idx files, gz or not
    python -m tfprune.data cifar10 --from=cifar-10-python.tar.gz        or the folder that was in it
    python -m tfprune.data fashion_mnist --data_dir=path/to/tfds

--from is for mnist, fashion_mnist, kmnist, cifar10 and cifar100. A set that is there is left as it is; one whose
preparation was interrupted is not there.
"""

from __future__ import annotations

import sys

from absl import flags

from tfprune.cli import app
from tfprune.errors import InputError

_FROM = flags.DEFINE_string(
    "from", None, "Original files: a folder, for CIFAR also the tar.gz; without it they are downloaded."
)
_DATA_DIR = flags.DEFINE_string(
    "data_dir", None, "Where to: the data_dir of TFDS (default: TFDS_DATA_DIR, or ~/tensorflow_datasets)."
)


def main(arguments: list[str]) -> None:
    if len(arguments) != 1:
        received = " ".join(arguments) or "nothing"
        raise InputError(f"give the name of one data set, for example mnist. Received: {received}")
    from tfprune.cli.data_run import run

    run(arguments[0], _FROM.value, _DATA_DIR.value)


if __name__ == "__main__":
    app.run(main, sys.modules[__name__].__doc__)
