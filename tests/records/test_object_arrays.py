"""Lists of arrays that NumPy pickled: read without running anything."""

import os

import numpy as np
import pytest

from tfprune.errors import InputError
from tfprune.records.object_arrays import read_object_array


def _saved(path, *items):
    array = np.empty(len(items), object)
    array[:] = list(items)
    np.save(path, array)
    return path


def test_arrays_of_different_shapes(tmp_path):
    arrays = [np.arange(6, dtype="f4").reshape(2, 3), np.arange(4.0), np.zeros((3, 3, 1, 2), "f4")]
    came = read_object_array(_saved(tmp_path / "a.npy", *arrays))
    assert len(came) == 3
    for one, other in zip(came, arrays, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype


def test_an_ordinary_array_gives_its_rows(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(6).reshape(2, 3))
    assert [row.tolist() for row in read_object_array(tmp_path / "a.npy")] == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("item", [os.getcwd, "text", [np.ones(2)], None], ids=str)
def test_other_contents_are_refused(tmp_path, item):
    path = _saved(tmp_path / "a.npy", np.ones(2), item)
    with pytest.raises(InputError, match=r"a\.npy: not a \.npy file of a list of number arrays"):
        read_object_array(path)


def test_damaged_and_missing_files(tmp_path):
    path = _saved(tmp_path / "a.npy", np.ones((2, 2)), np.ones(3))
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InputError, match=r"a\.npy"):
        read_object_array(path)
    path.write_bytes(b"<html>")
    with pytest.raises(InputError, match=r"a\.npy"):
        read_object_array(path)
    with pytest.raises(InputError, match="No such file"):
        read_object_array(tmp_path / "none.npy")
