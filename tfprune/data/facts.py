"""What can be known of a data set, and wrong with its settings, before its images are read and TensorFlow is loaded."""

from __future__ import annotations

from pathlib import Path

from tfprune.data.digits import FACTS as DIGITS
from tfprune.data.imagenet_batches import check_files
from tfprune.data.limits import Facts, check_val_size, train_count
from tfprune.data.reclass import label_map
from tfprune.data.tiny_imagenet import find_classes
from tfprune.errors import InputError

IMAGENET_SIDES = {"ImageNet32": 32, "ImageNet64": 64}
PREPARED_ALIASES = ("digits", "tinyimagenet")


def image_facts(
    dataset: str,
    dataloc: str | Path | None = None,
    data_ratio: float = 1.0,
    reclass: str = "n",
    val_size: int = 1000,
    search_folder: str | Path | None = None,
) -> Facts:
    """Facts of a set that `tfprune.data.load.load_images` would read; arguments as there.

    Raises:
        InputError: as there, but for damage in the images' files.
    """
    if dataset in IMAGENET_SIDES:
        side = IMAGENET_SIDES[dataset]
        facts = Facts((3, side, side), 1000)
        check_files(dataloc or ".")
    elif dataset == "digits":
        facts = DIGITS
    else:
        from tfprune.data.tfds_sets import tfds_facts

        facts = tfds_facts(dataset, dataloc, also_known=[*IMAGENET_SIDES, "digits"])
    label_map(reclass, facts.classes, search_folder)
    if facts.train is not None:
        check_val_size(val_size, facts.validation, dataset)
        train_count(data_ratio, facts.train)
    return facts


def prepared_facts(dataset: str, folder: str | Path | None = None) -> Facts:
    """Facts of a set that `tfprune.data.prepared.load_prepared` would read, or of ImageNet's folders.

    Raises:
        InputError: as there, but for damage in the images' files.
    """
    if dataset == "digits":
        return DIGITS
    if dataset in ("tinyimagenet", "tinyimagenet2"):
        _, classes = find_classes(folder)
        return Facts((3, 64, 64), len(classes))
    if dataset == "imagenet":
        return Facts((3, 224, 224), len(find_image_folders(folder)))
    from tfprune.data.tfds_sets import tfds_facts

    try:
        return tfds_facts(dataset, folder, also_known=PREPARED_ALIASES)
    except InputError as error:
        raise prepared_words(error) from None


def prepared_words(error: InputError) -> InputError:
    """The error in the words of a command line: the loaders speak of an input file's key, which is a flag there."""
    return InputError(str(error).replace("[Data] dataset = ", "--data="))


def find_image_folders(folder: str | Path | None) -> list[str]:
    """Names of the classes of ImageNet's folders `train` and `val`.

    Raises:
        InputError: no folder is given, it lacks one of them, or they hold different classes.
    """
    if folder is None:
        raise InputError("--dataset_name=imagenet needs --path_to_data, the folder that holds train and val")
    names, others = (_class_folders(Path(folder, part)) for part in ("train", "val"))
    if names != others:
        odd = sorted(set(names) ^ set(others))[0]
        raise InputError(f"{folder}: train and val must hold the same classes; {odd!r} is in one of them only")
    return names


def _class_folders(part: Path) -> list[str]:
    if not part.is_dir():
        raise InputError(f"{part}: no such folder; train/<class>/*.JPEG and val/<class>/*.JPEG are needed")
    names = sorted(path.name for path in part.iterdir() if path.is_dir())
    if not names:
        raise InputError(f"{part}: holds no folders of classes")
    return names
