"""Data sets for one-shot pruning and lottery tickets: in memory, normalised by channel, large enough."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from tfprune.data.facts import FOLDER, PREPARED_ALIASES, prepared_words
from tfprune.data.images import ImageSet, ResidentImages
from tfprune.data.own_sets import load_own
from tfprune.data.rows import Rows, Source, empty_rows
from tfprune.data.variants import resized, set_aside, subsampled, with_channels, with_random_labels
from tfprune.errors import InputError
from tfprune.records.own_parts import is_written

# Published means and standard deviations of images in [0, 1], per channel.
STATISTICS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "mnist": ((0.1307,), (0.3081,)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "tinyimagenet": ((0.4802, 0.4481, 0.3975), (0.2770, 0.2691, 0.2821)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "unit": ((0.0,), (1.0,)),  # of no set: leaves images in [0, 1]
}


def load_prepared(
    dataset: str,
    folder: str | Path | None = None,
    least_side: int = 1,
    subsample_fraction: float | None = None,
    random_labels_fraction: float | None = None,
    seed: int = 0,
    statistics: str | None = None,
    side: int | None = None,
    channels: int | None = None,
    common_side: int | None = None,
    held_out: float | None = None,
) -> ImageSet:
    """Loads all images of a data set.

    Bytes are normalised to `(x/255 − mean) / deviation` with the published constants of `STATISTICS`; sets that are
    not listed there (digits among them) use those of their own training images. Images whose shorter side is below
    `least_side` are enlarged by a whole factor, each pixel repeated.

    Args:
        dataset: `digits`, `tinyimagenet` (`tinyimagenet2` is the same images), the name of a TFDS set, `module:name` of
            one's own (see `own_sets`) or, with `common_side`, `folder`: images in one folder per class (see
            `folder_bytes`).
        folder: of tinyimagenet's or the classes' files, or TFDS's data_dir; `digits` needs none.
        least_side: the smallest image that the network takes.
        subsample_fraction: share of the training images that is used, drawn by `seed`; None takes all.
        random_labels_fraction: share of the training images that get random labels, drawn by `seed` before any are
            left out; None for none.
        seed: of all draws.
        statistics: whose constants of `STATISTICS` to use instead of the data set's own; OpenLTH uses `imagenet` for
            cifar10.
        side: smaller images are made this high and wide, bilinearly; None leaves them to `least_side`.
        channels: how many the images shall have; grey ones are repeated. None takes what there are.
        common_side: height and width of the images of a set that has several sizes (see `fitting`); None takes no such
            set.
        held_out: share of the training images left by then that is set aside, drawn by `seed`; None sets none aside.

    Raises:
        InputError: an unknown or unusable data set, images that cannot have so many channels, or a fraction out of its
            range.
    """
    source = _source(dataset, folder, common_side)
    if random_labels_fraction is not None:
        source = with_random_labels(source, random_labels_fraction, seed)
    if subsample_fraction is not None:
        source = subsampled(source, subsample_fraction, seed)
    source = _enlarged(source, least_side) if side is None else resized(source, side)
    if channels is not None:
        source = with_channels(source, channels)
    aside = None
    if held_out is not None:
        source, aside = set_aside(source, held_out, seed)
    mean, scale = _normalisation(statistics or dataset, source)
    return ImageSet(
        train=_resident(source.train),
        validation=_resident(source.validation),
        held_out=None if aside is None else _resident(aside),
        mean=mean,
        scale=scale,
        image_shape=source.image_shape,
        classes=source.classes,
    )


def _resident(rows: Rows) -> ResidentImages:
    return ResidentImages(rows.parts[0], rows.labels)


def _source(dataset: str, folder: str | Path | None, common_side: int | None) -> Source:
    # Each source is imported when asked for: scikit-learn and TFDS take seconds to import.
    if dataset == "digits":
        from tfprune.data.digits import load_digits

        return load_digits(val_size=None)
    if dataset in ("tinyimagenet", "tinyimagenet2"):
        from tfprune.data.tiny_imagenet import load_tiny_imagenet

        return load_tiny_imagenet(folder)
    if is_written(dataset):
        return load_own(dataset)
    if dataset == FOLDER and common_side is not None:
        from tfprune.data.folder_bytes import load_folder

        return load_folder(folder, common_side)
    from tfprune.data.tfds_sets import load_tfds

    try:
        return load_tfds(dataset, folder, 1.0, None, also_known=PREPARED_ALIASES, common_side=common_side)
    except InputError as error:
        raise prepared_words(error) from None


def _normalisation(dataset: str, source: Source) -> tuple[np.ndarray, np.ndarray]:
    """Mean and factor per component of a row, in units of the bytes: the network sees (x − mean) · factor."""
    channels, height, width = source.image_shape
    constants = STATISTICS.get(dataset.removesuffix("2"))
    if constants is not None:
        # Grey images may have been given more channels: all alike.
        mean, deviation = (255 * np.resize(values, channels) for values in constants)
    else:
        pixels = source.train.parts[0].reshape(-1, channels, height * width)
        mean, deviation = pixels.mean(axis=(0, 2)), np.maximum(pixels.std(axis=(0, 2)), 1e-3)
    return tuple(np.repeat(values, height * width).astype(np.float32) for values in (mean, 1 / deviation))


def _enlarged(source: Source, least_side: int) -> Source:
    channels, height, width = source.image_shape
    factor = -(-least_side // min(height, width))
    if factor <= 1:
        return source

    def rows(given: Rows) -> Rows:
        images = given.parts[0].reshape(-1, channels, height, width)
        large = empty_rows(len(images), channels * height * width * factor**2)
        large.reshape(-1, channels, height, factor, width, factor)[:] = images[:, :, :, None, :, None]
        return Rows([large], given.labels)

    shape = (channels, height * factor, width * factor)
    return replace(source, train=rows(source.train), validation=rows(source.validation), image_shape=shape)
