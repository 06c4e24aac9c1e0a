"""Images of a folder read into memory as bytes of one size.

<folder>/train/<class>/*.png
<folder>/test/<class>/*.png
"""

from __future__ import annotations

import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from tfprune.data.class_folders import class_files
from tfprune.data.facts import PNG_PARTS, find_png_folders
from tfprune.data.rows import Rows, Source, empty_rows, pixel_mean
from tfprune.errors import InputError

_CHANNELS = 3


def load_folder(folder: str | Path, side: int) -> Source:
    """Loads the images of `train` and, for validation, of `test`; classes are numbered in order of their names.

    All images get three channels; those of other sizes are fitted (see `fitting`). Images that cannot be read are left
    out, with one warning that counts them and names the first.

    Args:
        folder: holds `train` and `test`.
        side: height and width of the images.

    Raises:
        InputError: no such folder, classes of `test` that differ from those of `train`, or a class without an image
            that can be read.
    """
    names, root = find_png_folders(folder), Path(folder)
    parts = {name: class_files(root / name, names, each=True) for name in PNG_PARTS}
    rows, damaged = [], []
    for part, (files, labels) in parts.items():
        images, good = _read(files, side)
        damaged += files[~good].tolist()
        lost = np.flatnonzero(np.bincount(labels[good], minlength=len(names)) == 0)
        if len(lost):
            number = lost[0]
            place, first = root / part / names[number], os.fsdecode(files[labels == number][0])
            count = np.count_nonzero(labels == number)
            raise InputError(f"{place}: none of its images can be read, {count} in all, the first: {first}")
        rows.append(Rows([images], labels[good]))
    if damaged:
        count = sum(len(files) for files, _ in parts.values())
        first = os.fsdecode(damaged[0])
        warnings.warn(
            f"{len(damaged)} of {count} images of {folder} could not be read, the first: {first}", stacklevel=2
        )
    mean = pixel_mean(rows[0].parts[0])
    return Source(*rows, mean=mean, scale=1 / 255, image_shape=(_CHANNELS, side, side), classes=len(names))


def _read(files: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """The images that can be read, flattened c, y, x, in the files' order; and bool (n,): which those are."""
    import tensorflow as tf

    from tfprune.data.fitting import fitted

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([], tf.string)])
    def decoded(file):
        with tf.device("CPU:0"):
            image = tf.io.decode_image(tf.io.read_file(file), channels=_CHANNELS, expand_animations=False)
            return tf.transpose(fitted(image, side), [2, 0, 1])

    rows = empty_rows(len(files), _CHANNELS * side * side)

    def read(index: int) -> bool:
        try:
            rows[index] = decoded(tf.constant(files[index])).numpy().ravel()
        except tf.errors.OpError:
            return False
        return True

    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        good = np.fromiter(pool.map(read, range(len(files))), bool, len(files))
    finally:
        pool.shutdown(cancel_futures=True)
    if good.all():
        return rows, good
    kept = empty_rows(np.count_nonzero(good), rows.shape[1])
    np.compress(good, rows, axis=0, out=kept)
    return kept, good
