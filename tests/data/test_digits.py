import numpy as np
import pytest
from sklearn.datasets import load_digits as sklearn_digits

from tfprune.data.digits import load_digits
from tfprune.errors import InputError


def test_split_is_whole_disjoint_and_fixed():
    source = load_digits()
    (train,), (validation,) = source.train.parts, source.validation.parts
    assert train.shape == (1437, 64) and validation.shape == (360, 64)
    assert train.dtype == np.uint8 and source.train.labels.dtype == np.int32
    images, labels = sklearn_digits(return_X_y=True)
    everything = np.column_stack(
        [np.concatenate([train, validation]), [*source.train.labels, *source.validation.labels]]
    )
    expected = np.column_stack([images, labels]).astype(int)
    assert sorted(map(tuple, everything.tolist())) == sorted(map(tuple, expected.tolist()))
    assert source.train.labels[:10].tolist() == load_digits(val_size=1).train.labels[:10].tolist()
    assert np.bincount(source.validation.labels).min() >= 25  # all classes are in both parts
    np.testing.assert_allclose(source.mean, train.mean(axis=0), rtol=1e-6)
    assert (source.scale, source.image_shape, source.classes) == (1 / 16, (1, 8, 8), 10)


def test_part_of_the_images():
    whole, part = load_digits(), load_digits(data_ratio=0.1, val_size=7)
    assert part.train.size == 143 and part.validation.size == 7
    np.testing.assert_array_equal(part.train.parts[0], whole.train.parts[0][:143])
    np.testing.assert_array_equal(part.validation.parts[0], whole.validation.parts[0][:7])
    np.testing.assert_allclose(part.mean, part.train.parts[0].mean(axis=0), rtol=1e-6)


def test_limits():
    with pytest.raises(InputError, match=r"val_size = 361: allowed are 1 to 360, the validation images of digits"):
        load_digits(val_size=361)
    with pytest.raises(InputError, match="val_size = 0"):
        load_digits(val_size=0)
    with pytest.raises(InputError, match=r"data_ratio = 0\.0: leaves none of 1437"):
        load_digits(data_ratio=0.0)
