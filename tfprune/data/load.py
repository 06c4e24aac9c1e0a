"""The one door to the data sets: from a name and a few settings to an `ImageSet`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tfprune.data.facts import IMAGENET_SIDES
from tfprune.data.own_sets import load_own
from tfprune.data.reclass import class_count, label_map
from tfprune.data.rows import Rows, Source
from tfprune.records.own_parts import is_written

if TYPE_CHECKING:
    from tfprune.data.images import Images, ImageSet


def load_images(
    dataset: str,
    dataloc: str | Path | None = None,
    preload: bool = True,
    data_ratio: float = 1.0,
    reclass: str = "n",
    val_size: int = 1000,
    search_folder: str | Path | None = None,
) -> ImageSet:
    """Loads a data set.

    Args:
        dataset: `ImageNet32`, `ImageNet64`, `digits`, the name of a TFDS set of images of one shape, or `module:name`
            of one's own (see `own_sets`).
        dataloc: the folder with the ImageNet files, or TFDS's data_dir; the others need none.
        preload: False leaves ImageNet in its files; the other sets are small and always loaded.
        data_ratio: share of the training images that is used, from the first; clipped to [0, 1].
        reclass: see `reclass.label_map`.
        val_size: number of validation images, from the first.
        search_folder: where a file named in `reclass` is looked for if it isn't in the current folder.

    Returns:
        The set; its labels start at 0 and are merged as `reclass` says.

    Raises:
        InputError: whatever is wrong with the settings or the files, in one line.
    """
    if dataset in IMAGENET_SIDES:
        label_map(reclass, 1000, search_folder)  # a wrong setting is told before gigabytes are read
    source = _source(dataset, dataloc, preload, data_ratio, val_size)
    super_classes = label_map(reclass, source.classes, search_folder)

    from tfprune.data.images import ImageSet

    return ImageSet(
        train=_images(source, source.train, super_classes),
        validation=_images(source, source.validation, super_classes),
        mean=source.mean,
        scale=source.scale,
        image_shape=source.image_shape,
        classes=class_count(reclass, source.classes),
    )


def _source(dataset: str, dataloc: str | Path | None, preload: bool, data_ratio: float, val_size: int) -> Source:
    # Each source is imported when asked for: scikit-learn and TFDS take seconds to import.
    if dataset in IMAGENET_SIDES:
        from tfprune.data.imagenet_batches import load_imagenet

        return load_imagenet(IMAGENET_SIDES[dataset], dataloc or ".", preload, data_ratio, val_size)
    if dataset == "digits":
        from tfprune.data.digits import load_digits

        return load_digits(data_ratio, val_size)
    if is_written(dataset):
        return load_own(dataset, data_ratio, val_size)
    from tfprune.data.tfds_sets import load_tfds

    return load_tfds(dataset, dataloc, data_ratio, val_size, also_known=[*IMAGENET_SIDES, "digits"])


def _images(source: Source, rows: Rows, super_classes: np.ndarray) -> Images:
    from tfprune.data.images import MappedImages, ResidentImages

    labels = super_classes[rows.labels]
    if source.mapped:
        return MappedImages(rows.parts, labels)
    (resident,) = rows.parts
    return ResidentImages(resident, labels)
