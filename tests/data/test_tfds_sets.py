import hashlib
import shutil

import numpy as np
import pytest

from tfprune.data.tfds_sets import load_tfds
from tfprune.errors import InputError


def test_cifar10_is_what_the_original_run_saw(tfds_dir):
    source = load_tfds("cifar10", tfds_dir, data_ratio=0.08, val_size=500)
    (train,), (validation,) = source.train.parts, source.validation.parts
    assert train.shape == (4000, 3072) and train.dtype == np.uint8
    assert hashlib.sha256(train).hexdigest() == "321d82120a72d58f28bb13025cc10701748adcd2d8f3dcf22e5c3b1c15f641a1"
    assert hashlib.sha256(validation).hexdigest() == "034c2391b3e59af741b2079096a207f0df2b182884442b95a545bf1e6c1ce635"
    np.testing.assert_array_equal(source.mean, train.mean(axis=0, dtype=np.float64).astype(np.float32))
    assert (source.image_shape, source.classes, source.scale) == ((3, 32, 32), 10, 1 / 255)
    assert source.train.labels.dtype == np.int32 and set(source.train.labels) == set(range(10))


def test_mnist_has_one_channel(tfds_dir):
    source = load_tfds("mnist", tfds_dir, data_ratio=0.01, val_size=100)
    assert source.train.parts[0].shape == (600, 784)
    assert source.validation.size == 100
    assert source.image_shape == (1, 28, 28)


@pytest.mark.parametrize(
    ("name", "near"), [("mnits", "mnist"), ("CIFAR10", "cifar10"), ("imagenet32", "ImageNet32"), ("digit", "digits")]
)
def test_unknown_name_suggests_the_nearest(tmp_path, name, near):
    with pytest.raises(InputError, match=f"dataset = {name}: no such data set, did you mean {near}") as caught:
        load_tfds(name, tmp_path, 1.0, 10, also_known=["ImageNet32", "ImageNet64", "digits"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "../x", "huggingface:mnist", "a b"])
def test_what_is_no_name(tmp_path, name):
    with pytest.raises(InputError, match="not the name of a data set"):
        load_tfds(name, tmp_path, 1.0, 10)


def test_missing_set_says_where_it_looked_and_downloads_nothing(tmp_path):
    with pytest.raises(InputError) as caught:
        load_tfds("fashion_mnist", tmp_path, 1.0, 10)
    message = str(caught.value)
    assert f"not in {tmp_path}/fashion_mnist/" in message
    assert message.endswith(f"get it with: python -m tfprune.data fashion_mnist --data_dir={tmp_path}")
    assert list(tmp_path.iterdir()) == []


def test_sets_of_other_kinds_are_refused(tmp_path, tfds_dir, monkeypatch):
    import tensorflow_datasets as tfds

    builder = tfds.builder("mnist", data_dir=tfds_dir)
    monkeypatch.setattr(builder.info.features["image"], "_shape", (None, None, 1))
    monkeypatch.setattr(tfds, "builder", lambda *_, **__: builder)
    with pytest.raises(InputError, match=r"uint8 images of one shape are needed, came \(None, None, 1\)"):
        load_tfds("mnist", tfds_dir, 1.0, 10)


def test_limits(tfds_dir):
    with pytest.raises(InputError, match="val_size = 10001: allowed are 1 to 10000, the validation images of mnist"):
        load_tfds("mnist", tfds_dir, 1.0, 10001)
    with pytest.raises(InputError, match="leaves none of 60000"):
        load_tfds("mnist", tfds_dir, 1e-9, 10)


@pytest.mark.parametrize("file", ["mnist-test.tfrecord-00000-of-00001", "dataset_info.json"])
def test_damaged_files(tmp_path, tfds_dir, file):
    folder = tmp_path / "mnist" / "3.0.1"
    folder.mkdir(parents=True)
    for path in (tfds_dir / "mnist" / "3.0.1").iterdir():
        if path.name != "mnist-train.tfrecord-00000-of-00001":
            shutil.copyfile(path, folder / path.name)
    (folder / "mnist-train.tfrecord-00000-of-00001").symlink_to(
        tfds_dir / "mnist" / "3.0.1" / "mnist-train.tfrecord-00000-of-00001"
    )
    size = (folder / file).stat().st_size
    with open(folder / file, "r+b") as stream:
        stream.truncate(size // 2)
    with pytest.raises(InputError) as caught:
        load_tfds("mnist", tmp_path, 0.001, 10_000)
    message = str(caught.value)
    assert message.startswith("cannot read mnist") and str(tmp_path) in message and "\n" not in message
    assert len(message) < 450
