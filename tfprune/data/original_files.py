"""MNIST, its relatives and CIFAR in the files that they are published as, read and checked.

mnist, fashion_mnist, kmnist: train-images-idx3-ubyte, train-labels-idx1-ubyte, and the like with t10k, gz or not
cifar10: data_batch_1 .. data_batch_5, test_batch, batches.meta (the "python version")
cifar100: train, test, meta (the "python version")
"""

from __future__ import annotations

import gzip
import math
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfprune.errors import InputError
from tfprune.records.atomic import temporary_folder
from tfprune.records.pickles import load_pickle

SPLITS = ("train", "test")
_IDX = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
_IDX_SETS = ("mnist", "fashion_mnist", "kmnist")
_SIDE = 28
_MOST = 60_000  # images in a file of any of these sets
_CIFAR_SIDE = 32
_UNPACKED = 1 << 29  # bytes of an archive; CIFAR's have 178 MB


@dataclass(frozen=True)
class Part:
    """A split.

    Attributes:
        images: uint8 (N, height, width, channels), in the order of the files.
        labels: name of a feature -> int64 (N,), from 0.
    """

    images: np.ndarray
    labels: dict[str, np.ndarray]


@dataclass(frozen=True)
class _Cifar:
    folder: str
    batches: dict[str, tuple[str, ...]]
    meta: str
    labels: dict[str, tuple[str, str, int]]  # TFDS's feature -> entry of a batch, entry of `meta`, number of classes


_CIFAR = {
    "cifar10": _Cifar(
        "cifar-10-batches-py",
        {"train": tuple(f"data_batch_{number}" for number in range(1, 6)), "test": ("test_batch",)},
        "batches.meta",
        {"label": ("labels", "label_names", 10)},
    ),
    "cifar100": _Cifar(
        "cifar-100-python",
        {"train": ("train",), "test": ("test",)},
        "meta",
        {
            "label": ("fine_labels", "fine_label_names", 100),
            "coarse_label": ("coarse_labels", "coarse_label_names", 20),
        },
    ),
}
READABLE = (*_IDX_SETS, *_CIFAR)


def published_counts(dataset: str) -> dict[str, int]:
    """Number of images of the splits of a set of `READABLE`, as published."""
    return {"train": 50_000 if dataset in _CIFAR else 60_000, "test": 10_000}


def read_original(dataset: str, source: str | Path) -> tuple[dict[str, Part], dict[str, list[str]]]:
    """Reads the splits of a set.

    Args:
        dataset: one of `READABLE`.
        source: the folder with its files; for CIFAR also the `.tar.gz` that they come in.

    Returns:
        The parts, `train` and `test`; and the names of classes by feature, where the files tell them.

    Raises:
        InputError: a set of another name; a missing, damaged or hostile file, or one with other content; names it.
    """
    source = Path(source)
    if dataset not in READABLE:
        raise InputError(f"--from is for {', '.join(READABLE)}. Received: {dataset}")
    if not source.exists():
        raise InputError(f"--from={source}: no such file or folder")
    if dataset in _CIFAR:
        with _cifar_folder(_CIFAR[dataset], source) as (folder, named):
            return _read_cifar(_CIFAR[dataset], folder, named)
    if not source.is_dir():
        raise InputError(f"--from={source}: a folder is needed, that holds {_IDX['train'][0]} and its like, gz or not")
    return {split: _read_idx_pair(source, *_IDX[split]) for split in SPLITS}, {}


def _read_idx_pair(folder: Path, images: str, labels: str) -> Part:
    image_file, label_file = _found(folder, images), _found(folder, labels)
    pixels, numbers = _read_idx(image_file, 3), _read_idx(label_file, 1).astype(np.int64)
    if pixels.shape[1:] != (_SIDE, _SIDE):
        raise InputError(f"{image_file}: images of 28x28 are needed, came {pixels.shape[1]}x{pixels.shape[2]}")
    if len(pixels) != len(numbers):
        raise InputError(f"{label_file}: has {len(numbers)} labels for the {len(pixels)} images of {image_file.name}")
    return Part(pixels[..., None], {"label": _checked(numbers, 10, label_file)})


def _found(folder: Path, name: str) -> Path:
    dotted = name.replace("-idx", ".idx")  # as they are called after some unpackers
    paths = [folder / f"{stem}{ending}" for stem in (name, dotted) for ending in ("", ".gz")]
    found = next((path for path in paths if path.is_file()), None)
    if found is None:
        raise InputError(f"--from={folder}: holds no {name} or {name}.gz")
    return found


def _read_idx(path: Path, dimensions: int) -> np.ndarray:
    """The array of an idx file of bytes; no more is read than it should have, whatever it unpacks to."""
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            head = np.frombuffer(file.read(4 * (dimensions + 1)), ">u4")
            if len(head) != dimensions + 1 or head[0] != 0x0800 + dimensions:
                raise InputError(f"{path}: not an idx file of bytes in {dimensions} dimension(s)")
            shape = tuple(int(size) for size in head[1:])
            size = math.prod(shape)
            if not 1 <= shape[0] <= _MOST or size > _MOST * _SIDE**2:
                raise InputError(f"{path}: 1 to {_MOST} images of 28x28 or their labels are needed, came {shape}")
            content = file.read(size + 1)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read {path}: {reason}") from None
    if len(content) != size:
        came = "more" if len(content) > size else f"{len(content)} bytes"
        raise InputError(f"{path}: {size} bytes are needed for {shape}, came {came}")
    return np.frombuffer(content, np.uint8).reshape(shape)


@contextmanager
def _cifar_folder(kind: _Cifar, source: Path) -> Iterator[tuple[Path, Path]]:
    """The folder that holds the batches, unpacked for the time where it is an archive; and what to call it."""
    archive = next((path for path in sorted(source.glob("*.tar.gz")) if _is_of(kind, path)), source)
    if any((source / name).is_file() for name in (kind.meta, *kind.batches["test"])):
        yield source, source
    elif (source / kind.folder).is_dir():
        yield source / kind.folder, source / kind.folder
    elif archive.is_file():
        with temporary_folder() as folder:
            _unpack(kind, archive, folder)
            yield folder, archive
    else:
        raise InputError(f"--from={source}: holds no {kind.folder}, nor {kind.batches['test'][0]} and its like")


def _is_of(kind: _Cifar, path: Path) -> bool:
    return path.name.startswith(kind.folder.removesuffix("-batches-py").removesuffix("-python"))


def _unpack(kind: _Cifar, archive: Path, folder: Path) -> None:
    """Copies the wanted files out of an archive, under their own names: no path of the archive is followed."""
    wanted = {kind.meta, *(name for names in kind.batches.values() for name in names)}
    try:
        with gzip.open(archive) as unpacked, tarfile.open(fileobj=_Bounded(unpacked), mode="r|") as members:
            for member in members:
                name = Path(member.name).name
                if name in wanted and member.isreg() and (content := members.extractfile(member)) is not None:
                    (folder / name).write_bytes(content.read())
    except InputError as error:
        raise InputError(f"{archive}: {error}") from None
    except (OSError, EOFError, zlib.error, tarfile.TarError, ValueError, OverflowError) as error:
        raise InputError(f"cannot read {archive}: {error or type(error).__name__}") from None


class _Bounded:
    """Reads of a stream that end in an error where it has more bytes than any of these sets."""

    def __init__(self, stream):
        self._stream, self._left = stream, _UNPACKED

    def read(self, size: int) -> bytes:
        content = self._stream.read(min(size, self._left + 1))
        self._left -= len(content)
        if self._left < 0:
            raise InputError(f"unpacks to more than {_UNPACKED} bytes, far more than the set has")
        return content


def _read_cifar(kind: _Cifar, folder: Path, named: Path) -> tuple[dict[str, Part], dict[str, list[str]]]:
    try:
        parts = {split: _read_batches(kind, folder, files) for split, files in kind.batches.items()}
        return parts, _class_names(kind, folder / kind.meta)
    except InputError as error:  # an archive lies unpacked in a folder that the user never saw
        raise InputError(str(error).replace(str(folder), str(named))) from None


def _read_batches(kind: _Cifar, folder: Path, files: tuple[str, ...]) -> Part:
    batches = [_read_batch(kind, folder / name) for name in files]
    images = np.concatenate([batch.images for batch in batches])
    return Part(images, {name: np.concatenate([batch.labels[name] for batch in batches]) for name in kind.labels})


def _read_batch(kind: _Cifar, path: Path) -> Part:
    content = _dict_of(path)
    rows, width = content.get("data"), 3 * _CIFAR_SIDE**2
    good = isinstance(rows, np.ndarray) and rows.dtype == np.uint8 and rows.ndim == 2 and rows.shape[1] == width
    if not good or not 1 <= len(rows) <= _MOST:
        came = f"{rows.dtype} {rows.shape}" if isinstance(rows, np.ndarray) else type(rows).__name__
        raise InputError(f"{path}: 'data' must be uint8 (N, {width}) with N from 1 to {_MOST}, came {came}")
    labels = {}
    for feature, (entry, _, classes) in kind.labels.items():
        given = content.get(entry)
        whole = isinstance(given, list | np.ndarray) and all(map(_is_small, given))
        if not whole or len(given) != len(rows):
            raise InputError(f"{path}: {entry!r} must be a list of {len(rows)} whole numbers")
        labels[feature] = _checked(given, classes, path)
    return Part(rows.reshape(-1, 3, _CIFAR_SIDE, _CIFAR_SIDE).transpose(0, 2, 3, 1), labels)


def _class_names(kind: _Cifar, path: Path) -> dict[str, list[str]]:
    if not path.exists():
        return {}  # classes have numbers only then
    content, names = _dict_of(path), {}
    for feature, (_, entry, classes) in kind.labels.items():
        given = content.get(entry)
        texts = [_text(name) for name in given] if isinstance(given, list) else []
        if len(texts) != classes or not all(isinstance(name, str) and name.isprintable() for name in texts):
            raise InputError(f"{path}: {entry!r} must be a list of {classes} names")
        names[feature] = texts
    return names


def _dict_of(path: Path) -> dict:
    content = load_pickle(path, encoding="bytes")
    if not isinstance(content, dict):
        raise InputError(f"{path}: a dict is needed, not a {type(content).__name__}")
    return {_text(key): value for key, value in content.items()}


def _is_small(label: object) -> bool:
    return isinstance(label, int | np.integer) and abs(int(label)) < 2**31  # longer ones can't even be told


def _text(value: object) -> object:
    return value.decode("latin1") if isinstance(value, bytes) else value


def _checked(labels, classes: int, path: Path) -> np.ndarray:
    wrong = next((label for label in labels if not 0 <= label < classes), None)
    if wrong is not None:
        raise InputError(f"{path}: a label is {wrong}, allowed are 0 to {classes - 1}")
    return np.asarray(labels, np.int64)
