"""Streaming from folders of JPEG files: order, resuming, normalisation, refusals."""

import numpy as np
import pytest
from PIL import Image

from tfprune.data.image_folders import FolderImages
from tfprune.errors import InputError

MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


@pytest.fixture
def folder(tmp_path):
    """11 training images of three classes, each of one grey of its own, and 5 of validation."""
    for part, counts in (("train", (5, 4, 2)), ("val", (2, 2, 1))):
        grey = 0
        for name, count in zip(("n01", "n02", "n03"), counts, strict=True):
            (tmp_path / part / name).mkdir(parents=True)
            for index in range(count):
                grey += 20
                Image.new("RGB", (40 + index, 50), (grey,) * 3).save(tmp_path / part / name / f"{index}.JPEG")
    (tmp_path / "train" / "n01" / "notes.txt").write_text("no image")
    return tmp_path


def _read(batches):
    images, labels = zip(*[(images.numpy(), labels.numpy()) for images, labels in batches], strict=True)
    return np.concatenate(images), np.concatenate(labels), [len(part) for part in labels]


def _greys(images):
    return np.round(((images * DEVIATION + MEAN) * 255).mean((1, 2, 3)) / 20).astype(int)


def test_an_epoch_holds_every_image_once(folder):
    images = FolderImages(folder, side=16, resize=20)
    assert (images.size, images.validation_size, images.classes) == (11, 5, 3)
    seen, labels, sizes = _read(images.train_batches(0, 0, 4))
    assert seen.shape == (11, 16, 16, 3) and seen.dtype == np.float32 and labels.dtype == np.int32
    assert sizes == [4, 4, 3]
    greys = _greys(seen)
    assert sorted(greys) == list(range(1, 12))
    np.testing.assert_array_equal(labels, np.searchsorted([5, 9, 11], greys))
    assert not np.array_equal(greys, _greys(_read(images.train_batches(0, 1, 4))[0]))
    assert not np.array_equal(greys, _greys(_read(images.train_batches(1, 0, 4))[0]))


def _textured(folder):
    rng = np.random.default_rng(0)
    for path in folder.rglob("*.JPEG"):
        Image.fromarray(rng.integers(0, 256, (50, 40, 3), np.uint8)).save(path)


def test_the_same_images_again_and_from_any_batch(folder):
    _textured(folder)
    images = FolderImages(folder, side=16, resize=20)
    whole = _read(images.train_batches(3, 2, 4))
    np.testing.assert_array_equal(whole[0], _read(images.train_batches(3, 2, 4))[0])
    later = _read(images.train_batches(3, 2, 4, first=1))
    np.testing.assert_array_equal(later[0], whole[0][4:])
    np.testing.assert_array_equal(later[1], whole[1][4:])
    # Another seed of the crops: the same order, other crops; without augmentation no seed matters.
    other = _read(images.train_batches(3, 2, 4, augment_seed=9))
    np.testing.assert_array_equal(other[1], whole[1])
    assert all((one != two).any() for one, two in zip(other[0], whole[0], strict=True))
    plain = [_read(images.train_batches(3, 2, 4, augment=False, augment_seed=seed))[0] for seed in (1, 2)]
    np.testing.assert_array_equal(*plain)


def test_validation_shows_the_middle(folder):
    path = folder / "val" / "n01" / "0.JPEG"
    pixels = np.zeros((64, 96, 3), np.uint8)
    pixels[16:48, 32:64] = 255  # the middle 16x16 of the image at half its size
    Image.fromarray(pixels).save(path, quality=100, subsampling=0)
    images = FolderImages(folder, side=16, resize=32)
    seen, labels, sizes = _read(images.validation_batches(3))
    assert sizes == [3, 2] and labels.tolist() == [0, 0, 1, 1, 2]
    expected = np.broadcast_to((1 - MEAN) / DEVIATION, (12, 12, 3))
    np.testing.assert_allclose(seen[0, 2:-2, 2:-2], expected, atol=0.1)
    assert _greys(seen)[1:].tolist() == [2, 3, 4, 5]


def test_variants(folder):
    half = FolderImages(folder, side=16, resize=20, subsample_fraction=0.5, seed=1)
    assert half.size == 6 and half.validation_size == 5
    assert len(set(_greys(_read(half.train_batches(0, 0, 4))[0]))) == 6
    mixed = FolderImages(folder, side=16, resize=20, random_labels_fraction=1.0, seed=1)
    assert mixed.size == 11 and (mixed.labels != FolderImages(folder).labels).any()


def test_other_formats_than_jpeg(folder):
    path = folder / "train" / "n03" / "0.JPEG"
    Image.new("RGB", (40, 30), (180,) * 3).save(path, format="PNG")  # ImageNet holds such a file
    images = FolderImages(folder, side=16, resize=20)
    assert sorted(_greys(_read(images.train_batches(0, 0, 4))[0])) == [1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 11]


def test_a_damaged_file_is_named(folder):
    path = folder / "train" / "n02" / "1.JPEG"
    path.write_bytes(path.read_bytes()[:100])
    images = FolderImages(folder, side=16, resize=20)
    for augment in (True, False):
        with pytest.raises(InputError, match=r"cannot read .*n02/1\.JPEG: "):
            list(images.train_batches(0, 0, 4, augment=augment))


def test_refusals(folder, tmp_path_factory):
    with pytest.raises(InputError, match=r"nowhere/train: no such folder"):
        FolderImages(folder / "nowhere")
    empty = tmp_path_factory.mktemp("empty")
    (empty / "train").mkdir()
    with pytest.raises(InputError, match="holds no folders of classes"):
        FolderImages(empty)
    for part in ("train", "val"):
        (empty / part / "n01").mkdir(parents=True)
    with pytest.raises(InputError, match="holds no images"):
        FolderImages(empty)
    (folder / "val" / "n04").mkdir()
    with pytest.raises(InputError, match="train and val must hold the same classes; only val has 'n04'"):
        FolderImages(folder)
