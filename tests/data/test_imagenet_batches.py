import pickle
import weakref

import numpy as np
import pytest

from tfprune.data import imagenet_batches
from tfprune.data.imagenet_batches import Batch, load_imagenet, read_batch
from tfprune.errors import InputError
from tfprune.records.pickles import is_mapped


def joined(rows):
    return np.concatenate([np.asarray(part) for part in rows.parts])


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("preload", [True, False])
def test_same_images_from_memory_and_from_files(imagenet_folder, protocol, preload):
    folder, rows, labels, val, val_labels = imagenet_folder(sizes=(400, 500, *(350,) * 8), protocol=protocol)
    source = load_imagenet(32, folder, preload, data_ratio=1.0, val_size=50)
    np.testing.assert_array_equal(joined(source.train), rows)
    np.testing.assert_array_equal(source.train.labels, labels - 1)
    np.testing.assert_array_equal(joined(source.validation), val[:50])
    np.testing.assert_array_equal(source.validation.labels, val_labels[:50] - 1)
    with open(folder / "train_data_batch_1", "rb") as file:
        np.testing.assert_array_equal(source.mean, pickle.load(file)["mean"].astype(np.float32))
    assert source.mapped is not preload
    assert (source.image_shape, source.classes, source.scale) == ((3, 32, 32), 1000, 1 / 255)
    if preload:
        assert len(source.train.parts) == 1
    elif protocol >= 3:
        assert len(source.train.parts) == 10 and all(is_mapped(part) for part in source.train.parts)
    else:
        assert all(isinstance(part, np.memmap) for part in source.train.parts)  # a temporary file


def test_imagenet64(imagenet_folder):
    folder, rows, *_ = imagenet_folder(sizes=(9,) * 10, side=64, validation=3)
    source = load_imagenet(64, folder, True, 1.0, 3)
    np.testing.assert_array_equal(joined(source.train), rows)
    assert source.image_shape == (3, 64, 64)
    with pytest.raises(InputError, match=r"'data' must be uint8 rows of 3072 numbers, came uint8 \(3, 12288\)"):
        load_imagenet(32, folder, True, 1.0, 3)


@pytest.mark.parametrize("preload", [True, False])
def test_ratio_takes_the_first_of_all_files(imagenet_folder, preload):
    folder, rows, labels, *_ = imagenet_folder(sizes=(50,) * 10)
    source = load_imagenet(32, folder, preload, 0.25, 10)
    np.testing.assert_array_equal(joined(source.train), rows[:125])
    np.testing.assert_array_equal(source.train.labels, labels[:125] - 1)
    assert [len(part) for part in source.train.parts] == ([125] if preload else [50, 50, 25])
    source = load_imagenet(32, folder, preload, 0.2, 10)
    assert source.train.size == 100


def test_first_files_of_the_complete_set(imagenet_folder):
    # int(0.0031222 * 1281167) = 4000, the images of the original run in tests/golden
    folder, rows, *_ = imagenet_folder(sizes=(3000, 1500))
    source = load_imagenet(32, folder, False, 0.0031222, 10)
    np.testing.assert_array_equal(joined(source.train), rows[:4000])
    with pytest.raises(InputError, match=r"batch_3: no such file; .* is 6405, the files before it hold 4500"):
        load_imagenet(32, folder, False, 0.005, 10)


def test_files_that_are_not_needed_may_be_missing_and_a_gap_is_named(imagenet_folder):
    folder, *_ = imagenet_folder(sizes=(50,) * 10)
    (folder / "train_data_batch_4").unlink()
    assert load_imagenet(32, folder, True, 100.5 / 1281167, 10).train.size == 100
    with pytest.raises(InputError, match="train_data_batch_4: no such file"):
        load_imagenet(32, folder, True, 1.0, 10)


def test_keys_as_bytes_and_labels_as_array(tmp_path):
    rows = np.arange(2 * 3072, dtype=np.uint8).reshape(2, 3072)
    content = {b"data": rows, b"labels": np.array([3, 1000]), b"mean": np.float64(7.5)}
    (tmp_path / "a").write_bytes(pickle.dumps(content, 3))
    batch = read_batch(tmp_path / "a", 3072)
    np.testing.assert_array_equal(batch.rows, rows)
    assert batch.labels.tolist() == [2, 999] and batch.labels.dtype == np.int32
    np.testing.assert_array_equal(batch.mean, np.full(3072, 7.5, np.float32))


GOOD = {"data": np.zeros((3, 3072), np.uint8), "labels": [1, 2, 3], "mean": np.zeros(3072)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": None}, "has no entry 'data'"),
        ({"labels": None}, "has no entry 'labels'"),
        ({"data": np.zeros((3, 3072))}, r"uint8 rows of 3072 numbers, came float64 \(3, 3072\)"),
        ({"data": np.zeros((3, 3071), np.uint8)}, r"came uint8 \(3, 3071\)"),
        ({"data": np.zeros((3, 3, 32, 32), np.uint8)}, "uint8 rows of 3072"),
        ({"data": [[0] * 3072]}, "came list"),
        ({"labels": [1, 2]}, "has 2 labels for 3 rows"),
        ({"labels": [1, 0, 3]}, "label 2 is 0, allowed are 1 to 1000"),
        ({"labels": [1, 2, 1001]}, "label 3 is 1001"),
        ({"labels": [1, 2, 2**70]}, "list of whole numbers"),
        ({"labels": [1, 2, [3]]}, "list of whole numbers"),
        ({"labels": [1.0, 2.0, 3.0]}, "list of whole numbers"),
        ({"labels": "123"}, "list of whole numbers"),
        ({"mean": np.zeros(3)}, "'mean' must be 3072 finite numbers"),
        ({"mean": np.full(3072, np.nan)}, "'mean' must be 3072 finite numbers"),
        ({"mean": "x"}, "'mean' must be 3072 finite numbers"),
    ],
)
def test_bad_content_names_the_file(tmp_path, change, message):
    content = {name: value for name, value in (GOOD | change).items() if value is not None}
    path = tmp_path / "train_data_batch_1"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(InputError, match=message) as caught:
        read_batch(path, 3072)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_bad_files(tmp_path, batch_writer, imagenet_folder):
    folder, *_ = imagenet_folder(sizes=(400,) * 10)
    path = folder / "train_data_batch_3"
    data = path.read_bytes()
    for preload in (True, False):
        path.write_bytes(data[: len(data) // 2])
        with pytest.raises(InputError, match=r"cannot read .*train_data_batch_3: .*cut short"):
            load_imagenet(32, folder, preload, 1.0, 10)
        path.write_bytes(pickle.dumps([1, 2]))
        with pytest.raises(InputError, match=r"train_data_batch_3: a dict with .* not a list"):
            load_imagenet(32, folder, preload, 1.0, 10)
    with pytest.raises(InputError, match=r"\[Data\] dataloc = .*none: no such folder"):
        load_imagenet(32, tmp_path / "none", True, 1.0, 10)
    with pytest.raises(InputError, match=r"cannot read .*val_data: No such file"):
        load_imagenet(32, tmp_path, True, 1.0, 10)
    rows = np.zeros((3, 3072), np.uint8)
    batch_writer(path, rows, [1, 2, 3])
    batch_writer(folder / "train_data_batch_1", rows, [1, 2, 3])
    with pytest.raises(InputError, match=r"train_data_batch_1: has no entry 'mean'"):
        load_imagenet(32, folder, True, 1.0, 10)


def test_too_few_images(imagenet_folder):
    folder, *_ = imagenet_folder(sizes=(5,) * 10)
    with pytest.raises(InputError, match=r"\[Network\] val_size = 61: allowed are 1 to 60, .*val_data"):
        load_imagenet(32, folder, True, 1.0, 61)
    with pytest.raises(InputError, match=r"\[Data\] data_ratio = 0\.01: leaves none of 50 images, at least 0\.02"):
        load_imagenet(32, folder, True, 0.01, 10)


def test_one_file_is_open_at_a_time():
    """Memory: reading all files before copying would double it."""
    alive = []

    def batches():
        for number in range(4):
            assert [reference() for reference in alive] == [None] * number
            rows = np.full((3, 5), number, np.uint8)
            alive.append(weakref.ref(rows))
            batch = Batch(rows, np.full(3, number, np.int32), None)
            del rows
            yield batch
            del batch

    rows = imagenet_batches._in_memory(batches(), [3, 3, 3, 1], 5)
    np.testing.assert_array_equal(rows.parts[0][:, 4], [0, 0, 0, 1, 1, 1, 2, 2, 2, 3])
    np.testing.assert_array_equal(rows.labels, rows.parts[0][:, 0])
