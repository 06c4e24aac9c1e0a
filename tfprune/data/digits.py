"""The 1,797 handwritten digits of 8×8 pixels that come with scikit-learn: small, and there without a network.

Reference: Alpaydin & Kaynak 1998, UCI "Optical Recognition of Handwritten Digits" (its test part).
"""

from __future__ import annotations

import numpy as np

from tfprune.data.limits import Facts, check_val_size, train_count
from tfprune.data.rows import Rows, Source, aligned, pixel_mean

FACTS = Facts((1, 8, 8), 10, train=1437, validation=360)
_SPLIT_SEED = 0


def load_digits(data_ratio: float = 1.0, val_size: int | None = 360) -> Source:
    """Loads the digits, split into 1,437 training and 360 validation images.

    scikit-learn has no split of its own: the images are shuffled with a fixed seed, so that both parts hold all
    writers, and the split is the same in every run. Bytes go from 0 to 16, the scale is 1/16.

    Raises:
        InputError: `val_size` above 360, or a `data_ratio` that leaves no image.
    """
    from sklearn.datasets import load_digits as load

    images, labels = load(return_X_y=True)
    val_size = check_val_size(val_size, FACTS.validation, "digits")
    count = train_count(data_ratio, FACTS.train)
    order = np.random.default_rng(_SPLIT_SEED).permutation(len(labels))
    train, validation = order[:count], order[FACTS.train : FACTS.train + val_size]

    def rows(chosen: np.ndarray) -> Rows:
        return Rows([aligned(images[chosen].astype(np.uint8))], labels[chosen].astype(np.int32))

    parts = rows(train), rows(validation)
    mean = pixel_mean(parts[0].parts[0])
    return Source(*parts, mean=mean, scale=1 / 16, image_shape=FACTS.image_shape, classes=FACTS.classes)
