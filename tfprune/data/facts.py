"""What can be known of a data set, and wrong with its settings, before its images are read and TensorFlow is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tfprune.data.class_folders import class_files, class_names
from tfprune.data.digits import FACTS as DIGITS
from tfprune.data.imagenet_batches import check_files
from tfprune.data.limits import Facts, check_val_size, train_count
from tfprune.data.own_sets import own_facts
from tfprune.data.reclass import label_map
from tfprune.data.tiny_imagenet import find_classes
from tfprune.errors import InputError
from tfprune.records.own_parts import is_written

IMAGENET_SIDES = {"ImageNet32": 32, "ImageNet64": 64}
PREPARED_ALIASES = ("digits", "tinyimagenet")
# Short names of sets of TFDS.
SHORT_NAMES = {"fashion": "fashion_mnist", "kuzushiji": "kmnist", "flowers": "oxford_flowers102"}
FOLDER = "folder"  # in place of a set's name: images in one folder per class
PNG_PARTS = ("train", "test")
# Sets of grey characters and clothes, which are not the same mirrored.
CHARACTERS = ("mnist", "fashion_mnist", "kmnist", "digits")
AUGMENTATIONS = ("flip", "crop", "rotate", "cutout")  # that `tfprune.data.augment.composed` makes, in their order


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
    elif is_written(dataset):
        facts = own_facts(dataset)
    else:
        from tfprune.data.tfds_sets import tfds_facts

        facts = tfds_facts(dataset, dataloc, also_known=[*IMAGENET_SIDES, "digits"])
    label_map(reclass, facts.classes, search_folder)
    if facts.train is not None:
        check_val_size(val_size, facts.validation, dataset)
        train_count(data_ratio, facts.train)
    return facts


def named_set(name: str, folder: str | Path | None = None) -> tuple[str, str | Path | None]:
    """The `dataset` and `folder` of `prepared_facts` and `load_prepared` that a name stands for.

    Args:
        name: one of `SHORT_NAMES`, a folder of images, or what `load_prepared` knows. A folder that has the name of one
            of the usual sets needs a `./` before it.
        folder: TFDS's data_dir.
    """
    usual = {"", *SHORT_NAMES, *SHORT_NAMES.values(), *PREPARED_ALIASES, "mnist", "cifar10", "cifar100"}
    if name not in usual and (Path(name).is_dir() or name.startswith((".", "/", "~"))):
        return FOLDER, Path(name).expanduser()
    return SHORT_NAMES.get(name, name), folder


def prepared_facts(dataset: str, folder: str | Path | None = None, common_side: int | None = None) -> Facts:
    """Facts of a set that `tfprune.data.prepared.load_prepared` would read, or of ImageNet's folders.

    Args:
        dataset: as there.
        folder: as there.
        common_side: as there.

    Raises:
        InputError: as there, but for damage in the images' files.
    """
    if dataset == "digits":
        return DIGITS
    if is_written(dataset):
        return own_facts(dataset)
    if dataset in ("tinyimagenet", "tinyimagenet2"):
        _, classes = find_classes(folder)
        return Facts((3, 64, 64), len(classes))
    if dataset == "imagenet":
        return Facts((3, 224, 224), len(find_image_folders(folder)))
    if dataset == FOLDER and common_side is not None:
        names = find_png_folders(folder)
        for part in PNG_PARTS:
            class_files(Path(folder, part), names, each=True)
        return Facts((3, common_side, common_side), len(names))
    from tfprune.data.tfds_sets import tfds_facts

    try:
        return tfds_facts(dataset, folder, also_known=PREPARED_ALIASES, common_side=common_side)
    except InputError as error:
        raise prepared_words(error) from None


def prepared_words(error: InputError) -> InputError:
    """The error in the words of a command line: the loaders speak of an input file's key, which is a flag there."""
    return InputError(str(error).replace("[Data] dataset = ", "--data="))


@contextmanager
def data_flag(name: str) -> Iterator[None]:
    """Errors of the data room that come out of it speak of the flag that a command has for the data set.

    Args:
        name: of the flag.
    """
    try:
        yield
    except InputError as error:
        raise InputError(str(error).replace("--data=", f"--{name}=")) from None


def find_image_folders(folder: str | Path | None) -> list[str]:
    """Names of the classes of ImageNet's folders `train` and `val`.

    Raises:
        InputError: no folder is given, it lacks one of them, or they hold different classes.
    """
    if folder is None:
        raise InputError("--dataset_name=imagenet needs --path_to_data, the folder that holds train and val")
    return class_names(folder, ("train", "val"), "*.JPEG")


def find_png_folders(folder: str | Path | None) -> list[str]:
    """Names of the classes of a folder's parts `train` and `test`.

    Raises:
        InputError: no folder is given, it lacks one of them, or they hold different classes.
    """
    if folder is None:
        raise InputError(f"--data={FOLDER} needs --path_to_data, the folder that holds train and test")
    return class_names(folder, PNG_PARTS, "*.png")
