import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tfprune.data.images import MappedImages, ResidentImages
from tfprune.data.load import load_images
from tfprune.errors import InputError


def test_digits():
    images = load_images("digits", val_size=100)
    assert isinstance(images.train, ResidentImages)
    assert (images.train.size, images.validation.size, images.classes) == (1437, 100, 10)
    rows, labels = images.train.fetch(tf.constant([4, 2]))
    assert rows.shape == (2, 64) and int(tf.reduce_max(rows)) == 16
    np.testing.assert_array_equal(labels, images.train.labels[[4, 2]])
    seen = (tf.cast(rows, tf.float32) - images.mean) * images.scale
    assert float(tf.reduce_max(tf.abs(seen))) <= 1


@pytest.mark.parametrize(("preload", "kind"), [(True, ResidentImages), (False, MappedImages)])
def test_imagenet_with_merged_classes(imagenet_folder, tmp_path, preload, kind):
    folder, rows, labels, _, val_labels = imagenet_folder(sizes=(400,) * 10)
    images = load_images("ImageNet32", folder, preload=preload, reclass="m,10", val_size=60)
    assert isinstance(images.train, kind) and isinstance(images.validation, kind)
    assert images.classes == 10
    np.testing.assert_array_equal(images.train.labels, (labels - 1) % 10)
    np.testing.assert_array_equal(images.validation.labels, (val_labels - 1) % 10)
    indices = np.array([3999, 0, 1, 400, 399])
    fetched, fetched_labels = images.train.fetch(tf.constant(indices))
    np.testing.assert_array_equal(fetched, rows[indices])
    np.testing.assert_array_equal(fetched_labels, (labels[indices] - 1) % 10)

    mapping = np.random.default_rng(3).integers(0, 7, 1000)
    (tmp_path / "map.txt").write_text(",".join(map(str, mapping)))
    images = load_images("ImageNet32", folder, preload, reclass="f,7,map.txt", val_size=60, search_folder=tmp_path)
    assert images.classes == 7
    np.testing.assert_array_equal(images.train.labels, mapping[labels - 1])


def test_wrong_reclass_is_told_before_the_files_are_read(tmp_path):
    with pytest.raises(InputError, match=r"\[Data\] reclass = m,x"):
        load_images("ImageNet32", tmp_path / "none", reclass="m,x")


def test_reclass_counts_the_classes_of_the_set(tmp_path):
    (tmp_path / "map.txt").write_text(",".join(["0"] * 1000))
    with pytest.raises(InputError, match="has 1000 entries, 10 are needed"):
        load_images("digits", reclass="f,2,map.txt", val_size=10, search_folder=tmp_path)


def test_errors_come_before_tensorflow_is_imported(tmp_path):
    program = (
        "import sys\nfrom tfprune.data.load import load_images\n"
        f"try: load_images('ImageNet32', {str(tmp_path)!r})\nexcept ValueError as error: print(error)\n"
        "assert not any(name.startswith(('tensorflow', 'keras')) for name in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "val_data: No such file" in result.stdout
