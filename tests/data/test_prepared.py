"""Data sets of one-shot pruning: normalisation, enlarging, Tiny ImageNet's folder."""

import numpy as np
import pytest
from PIL import Image

from tfprune.data.prepared import load_prepared
from tfprune.data.tiny_imagenet import load_tiny_imagenet
from tfprune.errors import InputError


def _pixels(images):
    rows = np.concatenate([rows for rows, _ in images.train.chunks()])
    return rows.reshape(-1, *images.image_shape), ((rows - images.mean) * images.scale).reshape(-1, *images.image_shape)


def test_digits_are_normalised_by_their_own_statistics():
    images = load_prepared("digits")
    assert (images.train.size, images.validation.size, images.image_shape) == (1437, 360, (1, 8, 8))
    _, normalised = _pixels(images)
    assert abs(normalised.mean()) < 1e-4 and abs(normalised.std() - 1) < 1e-4


def test_small_images_are_enlarged_by_whole_factors():
    small, _ = _pixels(load_prepared("digits"))
    large, _ = _pixels(load_prepared("digits", least_side=20))
    assert large.shape[1:] == (1, 24, 24)
    np.testing.assert_array_equal(large[:, :, ::3, ::3], small)
    np.testing.assert_array_equal(large[:, :, 2::3, 2::3], small)


def test_mnist_has_the_published_constants(tfds_dir):
    images = load_prepared("mnist", tfds_dir)
    assert (images.train.size, images.validation.size) == (60_000, 10_000)
    np.testing.assert_allclose(images.mean, 255 * 0.1307, rtol=1e-6)
    np.testing.assert_allclose(images.scale, 1 / (255 * 0.3081), rtol=1e-6)


@pytest.fixture
def tiny(tmp_path):
    root = tmp_path / "tiny-imagenet-200"
    rng = np.random.default_rng(0)
    lines = []
    (root / "val" / "images").mkdir(parents=True)
    for number, name in enumerate(("n02", "n01", "n03")):
        (root / "train" / name / "images").mkdir(parents=True)
        for index in range(4):
            mode = "L" if index == 1 else "RGB"
            shape = (64, 64) if mode == "L" else (64, 64, 3)
            image = Image.fromarray(np.full(shape, 40 * number + index, np.uint8), mode)
            image.save(root / "train" / name / "images" / f"{name}_{index}.JPEG")
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)).save(root / "val" / "images" / f"v{number}.JPEG")
        lines.append(f"v{number}.JPEG\t{name}\t0\t0\t62\t62")
    (root / "val" / "val_annotations.txt").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_tiny_imagenet(tiny):
    source = load_tiny_imagenet(tiny)
    assert (source.image_shape, source.classes) == ((3, 64, 64), 3)
    assert source.train.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4  # classes in order of their names
    assert source.validation.labels.tolist() == [1, 0, 2]
    np.testing.assert_allclose(source.train.parts[0][0], 40, atol=1)  # n01 was written second
    with Image.open(tiny / "tiny-imagenet-200" / "val" / "images" / "v1.JPEG") as image:
        pixels = np.asarray(image).transpose(2, 0, 1).ravel()
    np.testing.assert_allclose(source.validation.parts[0][1].astype(int), pixels.astype(int), atol=1)
    assert load_tiny_imagenet(tiny / "tiny-imagenet-200").train.size == 12
    images = load_prepared("tinyimagenet", tiny)
    np.testing.assert_allclose(images.mean[[0, 4096, 8192]], 255 * np.array([0.4802, 0.4481, 0.3975]), rtol=1e-6)


def test_tiny_imagenet_in_one_folder_per_class(tiny):
    original = load_tiny_imagenet(tiny)
    root = tiny / "tiny-imagenet-200"
    for name in ("n01", "n02", "n03"):
        for path in list((root / "train" / name / "images").iterdir()):
            path.rename(root / "train" / name / path.name)
        (root / "train" / name / "images").rmdir()
        (root / "val" / name).mkdir()
    for line in (root / "val" / "val_annotations.txt").read_text().splitlines():
        image, name = line.split()[:2]
        (root / "val" / "images" / image).rename(root / "val" / name / image)
    (root / "val" / "val_annotations.txt").unlink()
    moved = load_tiny_imagenet(tiny)
    np.testing.assert_array_equal(moved.train.parts[0], original.train.parts[0])
    assert moved.validation.labels.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(moved.validation.parts[0], original.validation.parts[0][[1, 0, 2]])
    assert load_prepared("tinyimagenet2", tiny).mean[0] == pytest.approx(255 * 0.4802)


def test_tiny_imagenet_refuses(tiny):
    with pytest.raises(InputError, match="needs --path_to_data"):
        load_tiny_imagenet(None)
    with pytest.raises(InputError, match="holds no tiny-imagenet-200/train"):
        load_tiny_imagenet(tiny / "nowhere")
    root = tiny / "tiny-imagenet-200"
    annotations = root / "val" / "val_annotations.txt"
    annotations.write_text(annotations.read_text() + "v0.JPEG\tn99\n")
    with pytest.raises(InputError, match="line 4 names no image and class"):
        load_tiny_imagenet(tiny)
    broken = root / "train" / "n02" / "images" / "n02_2.JPEG"
    broken.write_bytes(broken.read_bytes()[:100])
    with pytest.raises(InputError, match=r"cannot read .*n02_2\.JPEG"):
        load_tiny_imagenet(tiny)
    Image.new("RGB", (32, 64)).save(broken)
    with pytest.raises(InputError, match="64x64 pixels is needed"):
        load_tiny_imagenet(tiny)
