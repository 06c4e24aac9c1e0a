"""Small folders in the format of the downsampled ImageNet files."""

import pickle

import numpy as np
import pytest


def write_batch(path, rows, labels, mean=None, protocol=4):
    content = {"data": rows, "labels": [int(label) for label in labels]}
    if mean is not None:
        content["mean"] = mean
    path.write_bytes(pickle.dumps(content, protocol))


@pytest.fixture
def batch_writer():
    return write_batch


@pytest.fixture
def imagenet_folder(tmp_path):
    """Makes ten training files of 32x32 images and a validation file; gives the folder and all rows and labels."""

    def make(sizes=(400,) * 10, protocol=4, side=32, validation=60):
        folder = tmp_path / f"imagenet_{protocol}"
        folder.mkdir()
        rng = np.random.default_rng(0)
        rows = rng.integers(0, 256, (sum(sizes), 3 * side * side), dtype=np.uint8)
        labels = rng.integers(1, 1001, sum(sizes))
        labels[:2] = 1, 1000
        at = 0
        for number, size in enumerate(sizes, start=1):
            mean = rng.random(rows.shape[1]) * 255
            part = slice(at, at + size)
            write_batch(folder / f"train_data_batch_{number}", rows[part], labels[part], mean, protocol)
            at += size
        val = rng.integers(0, 256, (validation, rows.shape[1]), dtype=np.uint8)
        val_labels = rng.integers(1, 1001, validation)
        write_batch(folder / "val_data", val, val_labels, None, protocol)
        return folder, rows, labels, val, val_labels

    return make
