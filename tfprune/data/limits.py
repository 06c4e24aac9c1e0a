"""What a set holds and how many of its images a run uses, with the messages for counts that can't be had."""

from __future__ import annotations

from dataclasses import dataclass

from tfprune.errors import InputError


@dataclass(frozen=True)
class Facts:
    """What is known of a set before its images are read.

    Attributes:
        image_shape: (channels, height, width).
        classes: number of classes.
        train: number of training images; None where counting them takes long.
        validation: number of validation images; likewise.
    """

    image_shape: tuple[int, int, int]
    classes: int
    train: int | None = None
    validation: int | None = None


def train_count(data_ratio: float, total: int) -> int:
    """The number of training images: int(data_ratio · total), the ratio clipped to [0, 1].

    Raises:
        InputError: that is none.
    """
    count = int(min(max(data_ratio, 0.0), 1.0) * total)
    if count == 0:
        raise InputError(f"[Data] data_ratio = {data_ratio}: leaves none of {total} images, at least {1 / total:.2g}")
    return count


def check_val_size(val_size: int | None, available: int, dataset: str) -> int:
    """The number of validation images, None meaning all there are, once it is certain that so many are there.

    Raises:
        InputError: they aren't, or none is asked for.
    """
    if val_size is None:
        return available
    if not 1 <= val_size <= available:
        raise InputError(
            f"[Network] val_size = {val_size}: allowed are 1 to {available}, the validation images of {dataset}"
        )
    return val_size
