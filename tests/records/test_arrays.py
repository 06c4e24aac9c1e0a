"""Arrays in files: what is declared is checked before anything is allocated."""

import os
import tracemalloc
import zipfile

import damage
import numpy as np
import pytest

from tfprune.errors import InputError
from tfprune.records.arrays import check_archive, read_npy, read_npz, write_npy, write_npz
from tfprune.records.mask_file import read_masks
from tfprune.records.reading import MissingInputError

ARRAYS = {
    "layer/kernel": np.arange(6, dtype=np.float32).reshape(2, 3),
    "turned": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "step": np.array(3),
    "big endian": np.arange(3, dtype=">i4"),
    "flags": np.array([True, False]),
    "none": np.zeros((0, 5), np.uint8),
    "complex": np.array([1 + 2j], np.complex64),
}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed, write_npz], ids=["plain", "compressed", "own"])
def test_npz(tmp_path, save):
    path = tmp_path / "a.npz"
    save(path, ARRAYS) if save is write_npz else save(path, **ARRAYS)
    found = read_npz(path)
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array, strict=True)
        assert found[name].flags.writeable
    assert list(read_npz(path, ["step"])) == ["step"]


@pytest.mark.parametrize("name", ARRAYS)
def test_npy(tmp_path, name):
    write_npy(tmp_path / "a.npy", ARRAYS[name])
    np.testing.assert_array_equal(read_npy(tmp_path / "a.npy"), ARRAYS[name], strict=True)


def test_headers_are_seen_before_anything_is_allocated(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, a=np.zeros(8 << 20, np.uint8))
    seen = {}

    def check(headers):
        seen.update(headers)
        raise InputError("not what is expected")

    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="not what is expected"):
            read_npz(path, check=check)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert seen["a"].shape == (8 << 20,) and seen["a"].dtype == np.uint8


def test_what_unpacks_to_more_than_it_is_must_be_expected(tmp_path, monkeypatch):
    monkeypatch.setattr("tfprune.records.arrays._ALWAYS_READ", 1000)
    path = tmp_path / "a.npz"
    np.savez_compressed(path, a=np.zeros(5000, np.float32))
    with pytest.raises(InputError, match=r"would unpack to 20128 bytes, more than 1000"):
        read_npz(path)
    with pytest.raises(InputError, match=r"would unpack to 20128 bytes, more than 1000"):
        check_archive(path)
    assert read_npz(path, most=30_000)["a"].shape == (5000,)
    np.savez(path, a=np.zeros(5000, np.float32))  # nothing is packed
    assert read_npz(path)["a"].shape == (5000,)


def test_a_small_mask_file_of_gigabytes(tmp_path):
    path = tmp_path / "masks.npz"
    path.write_bytes(next(damage.bombs("bits")))
    assert path.stat().st_size < 4 << 20
    with zipfile.ZipFile(path) as archive:
        assert archive.infolist()[0].file_size > 3 << 30
    with pytest.raises(InputError, match=r"masks\.npz: not a mask file, or a damaged one"):
        read_masks(path)
    with pytest.raises(InputError, match=r"would unpack to 32212255\d\d bytes, more than 67108864"):
        read_npz(path)


@pytest.mark.parametrize(
    ("flags", "method", "told"),
    [(1, 0, "encrypted"), (0, 99, "compressed in an unknown way"), (0, 12, "compressed in an unknown way")],
)
def test_archives_that_cannot_be_unpacked(tmp_path, flags, method, told):
    content = damage.npy("(1,)", content=b"1234")
    path = tmp_path / "a.npz"
    path.write_bytes(damage.raw_zip("a.npy", content, len(content), 0, method, flags))
    with pytest.raises(InputError, match=told):
        read_npz(path)


def test_a_sum_that_does_not_fit(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, a=np.arange(100))
    data = bytearray(path.read_bytes())
    data[data.index(np.arange(100).tobytes()) + 300] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match="Bad CRC-32"):
        read_npz(path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (damage.npy("(10**15,)"), "damaged one"),
        (damage.npy("(1000000000000000,)", content=bytes(8)), "an array of 4000000000000000 bytes in 8"),
        (damage.npy("(2,)", content=bytes(9)), "an array of 8 bytes in 9"),
        (damage.npy("(-2,)", content=bytes(8)), "no tuple of sizes"),
        (damage.npy("(2,)", "|b1", content=b"\1\2"), "neither 0 nor 1"),
        (damage.npy("(1,)", "|O", content=bytes(8)), "an array of type object"),
        (damage.npy("(1,)", "<U2", content=bytes(8)), "an array of type <U2"),
        (b"\x93NUMPY\2\0" + b"\xff" * 4, "its header is too long"),
        (b"\x93NUMPY\4\0", "does not begin as an array"),
        (b"", "does not begin as an array"),
    ],
)
def test_npy_files_that_are_not(tmp_path, content, told):
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(InputError, match=told) as caught:
        read_npy(tmp_path / "a.npy")
    assert "a.npy: not a .npy file of numbers" in str(caught.value)


def test_other_things_than_files(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name, told in (("pipe", "no ordinary file"), (".", "a directory"), ("a\0b", "null (byte|character)")):
        with pytest.raises(InputError, match=told):
            read_npy(f"{tmp_path}/{name}")
    with pytest.raises(MissingInputError, match="No such file"):
        read_npy(tmp_path / "none")
