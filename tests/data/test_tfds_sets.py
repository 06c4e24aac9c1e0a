import hashlib
import shutil

import numpy as np
import pytest
from PIL import Image

from tfprune.data.facts import named_set, prepared_facts
from tfprune.data.fitting import fitted
from tfprune.data.limits import Facts
from tfprune.data.prepared import load_prepared
from tfprune.data.tfds_sets import load_tfds, tfds_facts
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


def test_images_of_several_sizes_are_fitted(tmp_path):
    images, labels = _write_flowers(tmp_path)
    for look in (load_tfds, lambda *given: tfds_facts(*given[:2])):
        with pytest.raises(InputError, match=r"uint8 images of one shape are needed, came \(None, None, 3\)"):
            look("oxford_flowers102", tmp_path, 1.0, None)
    assert tfds_facts("oxford_flowers102", tmp_path, common_side=6) == Facts((3, 6, 6), 102, 12, 3)
    source = load_tfds("oxford_flowers102", tmp_path, 1.0, None, common_side=6)
    assert (source.image_shape, source.classes) == ((3, 6, 6), 102)
    for split, rows in (("train", source.train), ("test", source.validation)):
        found = dict(zip(rows.labels.tolist(), rows.parts[0], strict=True))
        assert sorted(found) == sorted(labels[split])
        for image, label in zip(images[split], labels[split], strict=True):
            expected = fitted(image, 6).numpy().transpose(2, 0, 1).ravel()
            assert np.abs(found[label].astype(int) - expected).max() <= 2  # decoders differ by rounding
    assert prepared_facts("oxford_flowers102", tmp_path, common_side=6).image_shape == (3, 6, 6)
    again = load_prepared(*named_set("flowers", tmp_path), common_side=6)
    np.testing.assert_array_equal(next(again.train.chunks())[0], source.train.parts[0])


def test_a_set_of_one_size_keeps_it(tfds_dir):
    source = load_tfds("mnist", tfds_dir, data_ratio=0.001, val_size=10, common_side=32)
    plain = load_tfds("mnist", tfds_dir, data_ratio=0.001, val_size=10)
    assert source.image_shape == (1, 28, 28)
    np.testing.assert_array_equal(source.train.parts[0], plain.train.parts[0])


def _write_flowers(folder):
    """A few smooth JPEG images of several sizes as Oxford's flowers; gives images as read and labels by split."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core import registered

    rng, images, labels = np.random.default_rng(0), {}, {}
    for start, (split, count) in enumerate({"train": 12, "validation": 2, "test": 3}.items()):
        images[split], labels[split] = [], list(range(20 * start, 20 * start + count))
        for label in labels[split]:
            y, x = np.mgrid[: rng.integers(8, 40), : rng.integers(8, 40)]
            level = rng.integers(0, 128) + 1.5 * y + 1.5 * x
            file = folder / f"{label}.jpg"
            Image.fromarray(np.repeat(level[..., None], 3, -1).astype(np.uint8)).save(file)
            with Image.open(file) as image:
                images[split].append(np.asarray(image))

    def generate(self, split):
        for label in labels[split]:
            yield label, {"image": str(folder / f"{label}.jpg"), "label": label, "file_name": f"{label}.jpg"}

    original = type(tfds.builder("oxford_flowers102", data_dir=folder))
    members = {
        "name": original.name,
        "__module__": original.__module__,
        "_split_generators": lambda self, _: {split: generate(self, split) for split in labels},
    }
    with registered.skip_registration():
        builder = type("Builder", (original,), members)(data_dir=folder)
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(compute_stats=tfds.download.ComputeStatsMode.SKIP)
    )
    return images, labels


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
