"""Folders of PNG images: bytes of one size, damaged files counted, classes that differ named."""

import subprocess
import sys
import warnings

import numpy as np
import pytest
from PIL import Image

from tfprune.data.facts import FOLDER, named_set, prepared_facts
from tfprune.data.fitting import fitted
from tfprune.data.folder_bytes import load_folder
from tfprune.data.prepared import load_prepared
from tfprune.errors import InputError

SIDE = 6
CLASSES = ("ant", "Bee", "cat")


@pytest.fixture
def folder(tmp_path):
    """Seven training images of three classes and four of test, of random pixels, all of one size."""
    rng = np.random.default_rng(0)
    for part, counts in (("train", (3, 2, 2)), ("test", (1, 1, 2))):
        for name, count in zip(CLASSES, counts, strict=True):
            (tmp_path / part / name).mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
                Image.fromarray(pixels).save(tmp_path / part / name / f"{index}.png")
    (tmp_path / "train" / "ant" / "notes.txt").write_text("no image")
    return tmp_path


def _pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


def _image(rows, number):
    return rows.parts[0][number].reshape(3, SIDE, SIDE).transpose(1, 2, 0)


def test_images_of_the_right_size_are_as_they_are(folder):
    source = load_folder(folder, SIDE)
    assert (source.image_shape, source.classes) == ((3, SIDE, SIDE), 3)
    assert source.train.labels.tolist() == [0, 0, 1, 1, 1, 2, 2]  # Bee, ant, cat
    assert source.validation.labels.tolist() == [0, 1, 2, 2] and source.validation.labels.dtype == np.int32
    for number, name in enumerate(("Bee/0", "Bee/1", "ant/0", "ant/1", "ant/2", "cat/0", "cat/1")):
        np.testing.assert_array_equal(_image(source.train, number), _pixels(folder / "train" / f"{name}.png"))
    np.testing.assert_array_equal(_image(source.validation, 3), _pixels(folder / "test" / "cat" / "1.png"))
    np.testing.assert_allclose(source.mean, source.train.parts[0].mean(0), rtol=1e-6)


def test_grey_images_have_three_channels_and_other_sizes_are_fitted(folder):
    wide = np.zeros((2 * SIDE, 4 * SIDE), np.uint8)
    wide[:, SIDE : 2 * SIDE], wide[:, 2 * SIDE : 3 * SIDE] = 100, 200  # the middle square
    Image.fromarray(wide).save(folder / "train" / "Bee" / "0.png")
    image = _image(load_folder(folder, SIDE).train, 0)
    assert image.shape == (SIDE, SIDE, 3) and (image == image[..., :1]).all()
    assert (image[:, :2, 0] == 100).all() and (image[:, 4:, 0] == 200).all()
    # The two columns at the edge between them see each a little of the other side: a tent of twice a pixel's width.
    assert 100 < image[0, 2, 0] < 150 < image[0, 3, 0] < 200


@pytest.mark.parametrize("shape", [(3, 40, 1), (1, 500, 3), (50, 31, 3), (4, 5, 1)])
def test_fitting_is_what_pillow_makes_of_the_middle_square(shape):
    pixels = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    least = min(shape[:2])
    top, left = ((size - least) // 2 for size in shape[:2])
    square = pixels[top : top + least, left : left + least]
    expected = [
        np.asarray(Image.fromarray(square[..., channel]).resize((SIDE, SIDE), Image.Resampling.BILINEAR))
        for channel in range(shape[2])
    ]
    came = fitted(pixels, SIDE).numpy()
    assert came.dtype == np.uint8
    assert np.abs(came.astype(int) - np.stack(expected, -1)).max() <= 1


def test_the_same_bytes_in_any_order_of_threads(folder):
    one, other = load_folder(folder, 4), load_folder(folder, 4)
    np.testing.assert_array_equal(one.train.parts[0], other.train.parts[0])


def test_damaged_images_are_counted_in_one_line_and_left_out(folder):
    whole = load_folder(folder, SIDE)
    broken = folder / "train" / "ant" / "1.png"
    broken.write_bytes(broken.read_bytes()[:60])
    (folder / "train" / "cat" / "0.png").write_bytes(b"")
    (folder / "test" / "cat" / "0.png").write_text("no image")
    with pytest.warns(UserWarning) as told:
        source = load_folder(folder, SIDE)
    assert [str(warning.message) for warning in told] == [
        f"3 of 11 images of {folder} could not be read, the first: {broken}"
    ]
    np.testing.assert_array_equal(source.train.parts[0], whole.train.parts[0][[0, 1, 2, 4, 6]])
    assert source.train.labels.tolist() == [0, 0, 1, 1, 2]
    np.testing.assert_array_equal(source.validation.parts[0], whole.validation.parts[0][[0, 1, 3]])


def test_a_class_without_an_image_that_can_be_read(folder):
    for index in (0, 1):
        (folder / "train" / "cat" / f"{index}.png").write_bytes(b"no image")
    with pytest.raises(
        InputError, match=r"train/cat: none of its images can be read, 2 in all, the first: .*cat/0\.png"
    ):
        load_folder(folder, SIDE)
    for index in (0, 1):
        (folder / "train" / "cat" / f"{index}.png").unlink()
    for look in (lambda: load_folder(folder, SIDE), lambda: prepared_facts(FOLDER, folder, SIDE)):
        with pytest.raises(InputError, match=r"train/cat: holds no images \(\.jpeg, \.jpg, \.png\)"):
            look()


def test_classes_that_differ_are_named(folder):
    (folder / "train" / "dog").mkdir()
    (folder / "test" / "ant").rename(folder / "test" / "emu")
    wanted = "must hold the same classes; only train has 'ant', 'dog', only test has 'emu'"
    for look in (lambda: load_folder(folder, SIDE), lambda: prepared_facts(FOLDER, folder, SIDE)):
        with pytest.raises(InputError, match=wanted):
            look()
    for number in range(20):
        (folder / "train" / f"x{number:02}").mkdir()
    with pytest.raises(InputError, match="only train has 'ant', 'dog', 'x00', 'x01', 'x02' and 17 more, only test"):
        prepared_facts(FOLDER, folder, SIDE)


def test_what_is_no_such_folder(folder, tmp_path):
    with pytest.raises(InputError, match=r"gone/train: no such folder; train/<class>/\*\.png and test/<class>/\*\.png"):
        load_folder(tmp_path / "gone", SIDE)
    with pytest.raises(InputError, match="--data=folder needs --path_to_data"):
        prepared_facts(FOLDER, None, SIDE)


def test_as_a_set_of_the_prepared(folder):
    facts = prepared_facts(FOLDER, folder, SIDE)
    assert (facts.image_shape, facts.classes, facts.train) == ((3, SIDE, SIDE), 3, None)
    images = load_prepared(*named_set(str(folder)), common_side=SIDE, statistics="imagenet", held_out=0.1)
    assert (images.train.size, images.held_out.size, images.validation.size) == (6, 1, 4)
    np.testing.assert_allclose(images.mean[[0, 36, 72]], 255 * np.array([0.485, 0.456, 0.406]), rtol=1e-6)
    with pytest.raises(InputError, match="--data=folder: no such data set"):
        load_prepared(FOLDER, folder)  # of images of one size alone


def test_what_names_stand_for(folder, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "flowers").mkdir()
    (folder / "mnist").mkdir()
    assert named_set("flowers", "sets") == ("oxford_flowers102", "sets")
    assert named_set("fashion") == ("fashion_mnist", None) and named_set("kuzushiji") == ("kmnist", None)
    assert named_set("mnist", "sets") == ("mnist", "sets") and named_set("digits") == ("digits", None)
    assert named_set("", "sets") == ("", "sets")
    for name in ("train", "./mnist", "/gone", str(folder)):
        kind, place = named_set(name, "sets")
        assert kind == FOLDER and str(place) == name.removeprefix("./")
    assert named_set("~/images")[1].is_absolute()


def test_the_facts_need_no_tensorflow(folder, light):
    code = f"from tfprune.data.facts import prepared_facts; print(prepared_facts('folder', {str(folder)!r}, 32))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=light)
    assert done.stdout == "Facts(image_shape=(3, 32, 32), classes=3, train=None, validation=None)\n", done.stderr


def test_nothing_is_told_of_good_images(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_folder(folder, SIDE)
