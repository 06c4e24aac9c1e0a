"""Arrays in `.npy` and `.npz` files: the one place that reads and writes them.

Nothing is allocated on the word of a header. Its declared size must be that of the bytes behind it, and an archive may
not unpack to more than it is large itself, or than the caller expects.
"""

from __future__ import annotations

import io
import math
import os
import zipfile
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from tfprune.records.atomic import atomic_write
from tfprune.records.reading import open_file, readable

NUMBERS = "biufc"
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ALWAYS_READ = 64 << 20  # bytes that an archive may unpack to, however small it is
_LONGEST_HEADER = 1 << 16
_MOST_DIMENSIONS = 32
_CHUNK = 1 << 20


class Header(NamedTuple):
    """What an array declares of itself.

    Attributes:
        shape: sizes of its dimensions.
        dtype: of its entries.
        order: `C` or `F`.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    order: str

    @property
    def size(self) -> int:
        """Bytes of its data."""
        return math.prod(self.shape) * self.dtype.itemsize


def write_npz(path: str | Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays to an uncompressed `.npz` file, atomically; the same arrays give the same bytes.

    Raises:
        InputError: the file cannot be written.
    """
    atomic_write(path, lambda file: np.savez(file, **arrays))


def write_npy(path: str | Path, array: np.ndarray) -> None:
    """Writes an array of numbers to a `.npy` file, atomically.

    Raises:
        InputError: the file cannot be written.
    """
    atomic_write(path, lambda file: np.save(file, array, allow_pickle=False))


def read_npz(
    path: str | Path,
    names: Collection[str] | None = None,
    check: Callable[[Mapping[str, Header]], object] | None = None,
    most: int = 0,
    kinds: str = NUMBERS,
    what: str = "an .npz file of arrays",
    optional: Collection[str] = (),
) -> dict[str, np.ndarray]:
    """Reads arrays of an `.npz` file, compressed or not.

    Args:
        path: the file.
        names: the arrays that are needed, others are left unread; None reads all.
        check: is called with what they declare before anything is allocated; refuses by raising.
        most: bytes that the caller expects; less may be there. Without it the arrays may take up to the size of the
            file, or 64 MiB if that is more.
        kinds: of dtypes that are allowed, as in `dtype.kind`.
        what: what the file should be, with its article, for messages.
        optional: those of `names` that may be missing.

    Returns:
        Name -> array, in the order of the file.

    Raises:
        MissingInputError: there is no such file.
        InputError: it is damaged or foreign, lacks an array or declares a wrong one.
    """
    with open_file(path) as file, readable(path, what), zipfile.ZipFile(file) as archive:
        members = _members(archive, names, optional)
        _check_total(file, members.values(), most)
        headers = {}
        for name, member in members.items():
            with archive.open(member) as content:
                headers[name] = _header(content, kinds, member.file_size)
        if check is not None:
            check(headers)
        arrays = {}
        for name, member in members.items():
            with archive.open(member) as content:
                arrays[name] = _data(content, _header(content, kinds, member.file_size))
        return arrays


def read_npy(path: str | Path, kinds: str = NUMBERS, what: str = "a .npy file of numbers") -> np.ndarray:
    """Reads a `.npy` file.

    Args:
        path: the file.
        kinds: of dtypes that are allowed, as in `dtype.kind`.
        what: what the file should be, with its article, for messages.

    Raises:
        MissingInputError: there is no such file.
        InputError: it is damaged or foreign.
    """
    with open_file(path) as file, readable(path, what):
        return _data(file, _header(file, kinds, os.fstat(file.fileno()).st_size))


def check_archive(path: str | Path) -> None:
    """Refuses a zip archive that would unpack to much more than it is large; another file or a folder passes.

    Raises:
        InputError: it would.
    """
    if not Path(path).is_file() or not zipfile.is_zipfile(path):
        return
    with open_file(path) as file, readable(path, "an archive"), zipfile.ZipFile(file) as archive:
        _check_total(file, archive.infolist())


def read_header(file: BinaryIO) -> Header:
    """What the array declares whose `.npy` file is open at its start; leaves it at the first byte of the data.

    Raises:
        Exception: of nearly any type, where the header is damaged.
    """
    start = file.read(8)
    if start[:6] != b"\x93NUMPY" or start[6:] not in (b"\1\0", b"\2\0", b"\3\0"):
        raise ValueError("it does not begin as an array")
    width = 2 if start[6] == 1 else 4
    length = file.read(width)
    if int.from_bytes(length, "little") > _LONGEST_HEADER:
        raise ValueError("its header is too long")
    text = io.BytesIO(length + file.read(int.from_bytes(length, "little")))
    read = np.lib.format.read_array_header_1_0 if width == 2 else np.lib.format.read_array_header_2_0
    shape, is_fortran, dtype = read(text, max_header_size=_LONGEST_HEADER)
    if len(shape) > _MOST_DIMENSIONS or not all(type(n) is int and 0 <= n < 2**62 for n in shape):
        raise ValueError("its shape is no tuple of sizes")
    return Header(shape, dtype, "F" if is_fortran else "C")


def check_bools(array: np.ndarray) -> None:
    """Refuses bytes other than 0 and 1 as truth values: NumPy calculates with them as they are."""
    if array.dtype == bool and array.size and array.view(np.uint8).max() > 1:
        raise ValueError("a truth value that is neither 0 nor 1")


def _members(
    archive: zipfile.ZipFile, names: Collection[str] | None, optional: Collection[str]
) -> dict[str, zipfile.ZipInfo]:
    found: dict[str, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        name = member.filename.removesuffix(".npy")
        if names is not None and name not in names:
            continue
        if name == member.filename or name in found:
            raise ValueError(f"{member.filename[:80]!r} is no array, or there twice")
        if member.compress_type not in _METHODS:
            raise ValueError(f"{name[:80]!r} is compressed in an unknown way")
        found[name] = member
    if missing := [name for name in names or () if name not in found and name not in optional]:
        raise ValueError(f"it has no array {missing[0]!r}")
    return found


def _check_total(file: BinaryIO, members: Iterable[zipfile.ZipInfo], most: int = 0) -> None:
    limit = max(os.fstat(file.fileno()).st_size, most, _ALWAYS_READ)
    total = sum(member.file_size for member in members)
    if total > limit:
        raise ValueError(f"it would unpack to {total} bytes, more than {limit}")


def _header(file: BinaryIO, kinds: str, size: int) -> Header:
    """The header, once it is certain that an array of these kinds fills the rest of `size` bytes."""
    header = read_header(file)
    if header.dtype.kind not in kinds:
        raise ValueError(f"an array of type {str(header.dtype)[:40]}")
    if header.size != size - file.tell():
        raise ValueError(f"an array of {header.size} bytes in {size - file.tell()}")
    return header


def _data(file: BinaryIO, header: Header) -> np.ndarray:
    array = np.empty(math.prod(header.shape), header.dtype)
    if header.size:
        view, filled = memoryview(array.view(np.uint8)), 0
        while filled < header.size:
            count = file.readinto(view[filled : filled + _CHUNK])
            if not count:
                raise ValueError("it is cut short")
            filled += count
    check_bools(array)
    return array.reshape(header.shape, order=header.order)
