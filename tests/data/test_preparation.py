"""Sets prepared from small files in the formats of the originals, read again by TFDS itself."""

import gzip
import http.server
import io
import os
import pickle
import struct
import tarfile
import threading

import numpy as np
import pytest
import tensorflow_datasets as tfds

from tfprune.data.original_files import read_original
from tfprune.data.preparation import find_set, prepare_set
from tfprune.data.prepared import load_prepared
from tfprune.errors import InputError

COUNTS = {"train": 30, "test": 12}
IDX = {"train": "train", "test": "t10k"}


def _idx(array):
    return struct.pack(f">{array.ndim + 1}I", 0x0800 + array.ndim, *array.shape) + array.tobytes()


def _write_mnist(folder, gz=("train-images", "t10k-labels")):
    """Writes the four files, some of them compressed; gives images and labels by split."""
    rng, content = np.random.default_rng(0), {}
    for split, start in IDX.items():
        images = rng.integers(0, 256, (COUNTS[split], 28, 28), np.uint8)
        labels = rng.integers(0, 10, COUNTS[split], np.uint8)
        content[split] = images[..., None], labels
        for name, array in ((f"{start}-images", images), (f"{start}-labels", labels)):
            path, raw = folder / f"{name}-idx{array.ndim}-ubyte", _idx(array)
            if name in gz:
                path.with_name(path.name + ".gz").write_bytes(gzip.compress(raw))
            else:
                path.write_bytes(raw)
    return content


def _write_cifar(folder, dataset):
    """Writes the batches of the python version; gives images and labels (a dict) by split."""
    rng, content = np.random.default_rng(1), {}
    ten = dataset == "cifar10"
    files = {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]}
    if not ten:
        files = {"train": ["train"], "test": ["test"]}
    entries = {b"labels": 10} if ten else {b"fine_labels": 100, b"coarse_labels": 20}
    for split, names in files.items():
        batches = []
        for name in names:
            rows = rng.integers(0, 256, (COUNTS[split] // len(names), 3072), np.uint8)
            batch = {entry: [int(x) for x in rng.integers(0, n, len(rows))] for entry, n in entries.items()}
            (folder / name).write_bytes(pickle.dumps({b"data": rows, **batch}, 2))
            batches.append((rows, batch))
        images = np.concatenate([rows for rows, _ in batches]).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        labels = {entry: np.concatenate([batch[entry] for _, batch in batches]) for entry in entries}
        content[split] = images, labels
    meta = {b"label_names": 10} if ten else {b"fine_label_names": 100, b"coarse_label_names": 20}
    texts = {entry: [f"{entry[:4].decode()} {i}".encode() for i in range(n)] for entry, n in meta.items()}
    (folder / ("batches.meta" if ten else "meta")).write_bytes(pickle.dumps(texts, 2))
    return content


def _prepare(dataset, data_dir, source):
    builder = find_set(dataset, data_dir, source)
    assert not builder.info.splits
    prepare_set(builder, download=source is None)


def _pairs(images, labels):
    return sorted((np.asarray(image).tobytes(), int(label)) for image, label in zip(images, labels, strict=True))


def _loaded(dataset, data_dir, split):
    return list(tfds.as_numpy(tfds.load(dataset, data_dir=data_dir, split=split, download=False)))


@pytest.fixture
def mnist(tmp_path):
    (tmp_path / "files").mkdir()
    return tmp_path / "files", _write_mnist(tmp_path / "files")


def test_mnist_is_read_by_tfds_and_by_the_package(tmp_path, mnist):
    files, content = mnist
    _prepare("mnist", tmp_path / "sets", files)
    for split, (images, labels) in content.items():
        found = _loaded("mnist", tmp_path / "sets", split)
        assert len(found) == COUNTS[split]
        got = [example["image"] for example in found], [example["label"] for example in found]
        assert _pairs(*got) == _pairs(images, labels)
    read = load_prepared("mnist", tmp_path / "sets")
    assert (read.train.size, read.validation.size, read.image_shape, read.classes) == (30, 12, (1, 28, 28), 10)
    assert sorted(path.name for path in (tmp_path / "sets").iterdir()) == ["mnist"]  # and no folder of downloads
    assert find_set("mnist", tmp_path / "sets", None).info.splits["train"].num_examples == 30


def test_the_order_is_that_of_a_download(tmp_path, mnist, monkeypatch):
    """A server on this machine stands for the one that TFDS loads from; its builder does the rest by itself."""
    files, _ = mnist
    for path in files.iterdir():
        if path.suffix != ".gz":
            path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(files))

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    module = tfds.image_classification.mnist
    monkeypatch.setattr(module.MNIST, "URL", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setattr(module, "_TRAIN_EXAMPLES", COUNTS["train"])
    monkeypatch.setattr(module, "_TEST_EXAMPLES", COUNTS["test"])
    _prepare("mnist", tmp_path / "downloaded", None)
    server.shutdown()
    server.server_close()
    _prepare("mnist", tmp_path / "local", files)
    for split in COUNTS:
        one, other = (_loaded("mnist", tmp_path / name, split) for name in ("downloaded", "local"))
        assert [example["label"] for example in one] == [example["label"] for example in other]
        assert all(np.array_equal(a["image"], b["image"]) for a, b in zip(one, other, strict=True))


def test_without_a_network_it_is_told_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr("tfprune.data.preparation.urllib.request.getproxies", dict)

    def unreachable(address, timeout):
        raise OSError(-2, "Name or service not known", address)

    monkeypatch.setattr("tfprune.data.preparation.socket.create_connection", unreachable)
    with pytest.raises(InputError, match=r"mnist: cannot reach storage\.googleapis\.com .* with --from FOLDER"):
        find_set("mnist", tmp_path, None)
    with pytest.raises(InputError, match=r"cifar10: cannot reach www\.cs\.toronto\.edu"):
        find_set("cifar10", tmp_path, None)
    with pytest.raises(InputError, match=r"cannot reach [^ ]* \(Name or service not known\)$"):
        find_set("svhn_cropped", tmp_path, None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])
@pytest.mark.parametrize("packed", [False, True])
def test_cifar(tmp_path, dataset, packed):
    name = "cifar-10-batches-py" if dataset == "cifar10" else "cifar-100-python"
    source = tmp_path / "files" / name
    source.mkdir(parents=True)
    content = _write_cifar(source, dataset)
    if packed:
        with tarfile.open(tmp_path / "files" / f"{name.removesuffix('-batches-py')}.tar.gz", "w:gz") as archive:
            archive.add(source, name)
        for path in source.iterdir():
            path.unlink()
        source.rmdir()
        (source,) = (tmp_path / "files").iterdir()
    _prepare(dataset, tmp_path / "sets", source)
    for split, (images, labels) in content.items():
        found = _loaded(dataset, tmp_path / "sets", split)
        order = [int(example["id"].decode().removeprefix(f"{split}_")) for example in found]
        assert sorted(order) == list(range(COUNTS[split]))
        for feature, entry in {"label": b"fine_labels", "coarse_label": b"coarse_labels"}.items():
            if dataset == "cifar10":
                feature, entry = "label", b"labels"
            assert [example[feature] for example in found] == list(labels[entry][order])
        np.testing.assert_array_equal([example["image"] for example in found], images[order])
    names = tfds.builder(dataset, data_dir=tmp_path / "sets").info.features["label"].names
    assert names[3] == ("labe 3" if dataset == "cifar10" else "fine 3")


IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        (IMAGES, None, "holds no train-images-idx3-ubyte or train-images-idx3-ubyte.gz"),
        (IMAGES, b"", "not an idx file of bytes in 3"),
        (IMAGES, b"<html>" * 50, "not an idx file of bytes in 3"),
        (IMAGES, struct.pack(">4I", 2051, 30, 28, 28) + bytes(100), "23520 bytes are needed for .*, came 100 bytes"),
        (IMAGES, struct.pack(">4I", 2051, 1, 28, 28) + bytes(900), "784 bytes are needed for .*, came more"),
        (IMAGES, struct.pack(">4I", 2051, 2**32 - 1, 2**32 - 1, 2**32 - 1), "1 to 60000 images"),
        (IMAGES, struct.pack(">4I", 2051, 0, 28, 28), "1 to 60000 images"),
        (IMAGES, struct.pack(">4I", 2051, 30, 14, 56) + bytes(23520), "images of 28x28 are needed, came 14x56"),
        (IMAGES, struct.pack(">4I", 2051, 29, 28, 28) + bytes(29 * 784), "has 30 labels for the 29 images"),
        (LABELS, struct.pack(">2I", 2049, 30) + bytes([10]) * 30, "a label is 10, allowed are 0 to 9"),
        (f"{IMAGES}.gz", b"no gzip", "cannot read .*train-images-idx3-ubyte.gz: Not a gzipped file"),
        (f"{IMAGES}.gz", gzip.compress(_idx(np.zeros((30, 28, 28), np.uint8)))[:-20], "cannot read .*end-of-stream"),
        (f"{IMAGES}.gz", gzip.compress(struct.pack(">4I", 2051, 1, 28, 28) + bytes(10**7)), "came more"),
    ],
)
def test_damaged_or_hostile_idx_files(tmp_path, name, content, told):
    _write_mnist(tmp_path, gz=())
    (tmp_path / name.removesuffix(".gz")).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=told) as caught:
        find_set("mnist", tmp_path / "sets", tmp_path)
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)
    assert not (tmp_path / "sets").exists()


ROWS = np.zeros((6, 3072), np.uint8)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "it is empty"),
        (pickle.dumps(os.getcwd), "data_batch_2"),
        (pickle.dumps([1]), "a dict is needed, not a list"),
        (pickle.dumps({b"labels": [0] * 6}), "'data' must be uint8"),
        (pickle.dumps({b"data": ROWS[:, :5], b"labels": [0] * 6}), r"came uint8 \(6, 5\)"),
        (pickle.dumps({b"data": ROWS, b"labels": [0] * 5}), "'labels' must be a list of 6 whole numbers"),
        (pickle.dumps({b"data": ROWS, b"labels": [0] * 5 + ["x"]}), "'labels' must be a list of 6 whole numbers"),
        (pickle.dumps({b"data": ROWS, b"labels": [0] * 5 + [10]}), "a label is 10, allowed are 0 to 9"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_damaged_or_hostile_batches(tmp_path, content, told, packed):
    _write_cifar(tmp_path, "cifar10")
    (tmp_path / "data_batch_2").write_bytes(content)
    source = tmp_path
    if packed:
        source = tmp_path / "archive.tar.gz"
        with tarfile.open(source, "w:gz") as archive:
            for path in tmp_path.glob("*_batch*"):
                archive.add(path, f"../../{path.name}")
    with pytest.raises(InputError, match=told) as caught:
        find_set("cifar10", tmp_path / "sets", source)
    assert "\n" not in str(caught.value) and str(source) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"text", gzip.compress(b"text" * 300), gzip.compress(b"\0" * 2000)[:-9]])
def test_damaged_archives(tmp_path, content):
    path = tmp_path / "cifar-10-python.tar.gz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"cifar-10-python\.tar\.gz") as caught:
        find_set("cifar10", tmp_path / "sets", path)
    assert "\n" not in str(caught.value)


def test_an_archive_that_unpacks_to_too_much(tmp_path, monkeypatch):
    monkeypatch.setattr("tfprune.data.original_files._UNPACKED", 1 << 20)
    path = tmp_path / "cifar-10-python.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo("other")
        member.size = 1 << 22
        archive.addfile(member, io.BytesIO(bytes(member.size)))
    with pytest.raises(InputError, match="unpacks to more than 1048576 bytes"):
        find_set("cifar10", tmp_path / "sets", path)


def _changed(rng, content):
    """A few bytes changed, cut off, repeated or put in, mostly near the start, where the heads are."""
    content = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        at = int(rng.integers(min(len(content), 64) if rng.random() < 0.5 else len(content)) if content else 0)
        what = rng.integers(4)
        if what == 0 and content:
            content[at] = rng.integers(256)
        elif what == 1:
            del content[at:]
        elif what == 2:
            content[at:at] = rng.bytes(int(rng.integers(1, 9)))
        else:
            content[at : at + 4] = b"\xff" * 4
    return bytes(content)


@pytest.mark.parametrize("count", [150, pytest.param(2000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["idx", "gz", "batch", "archive"])
def test_changed_files_are_read_or_refused_in_one_line(tmp_path, kind, count):
    """As many of each kind, always the same."""
    rng, told = np.random.default_rng(7), set()
    if kind in ("idx", "gz"):
        _write_mnist(tmp_path, gz=())
        path = tmp_path / IMAGES
        whole = _idx(np.zeros((COUNTS["train"], 28, 28), np.uint8))
        if kind == "gz":
            path.unlink()
            path = tmp_path / f"{IMAGES}.gz"
            whole = gzip.compress(whole)
    else:
        _write_cifar(tmp_path, "cifar100")
        path = source = tmp_path / "test"
        if kind == "archive":
            path = source = tmp_path / "cifar-100-python.tar.gz"
            with tarfile.open(path, "w:gz", compresslevel=1) as archive:
                for name in ("test", "train", "meta"):
                    archive.add(tmp_path / name, name)
                    (tmp_path / name).unlink()
        whole = path.read_bytes()
    dataset, source = ("mnist", tmp_path) if kind in ("idx", "gz") else ("cifar100", tmp_path)
    for _ in range(count):
        path.write_bytes(_changed(rng, whole))
        try:
            parts, _ = read_original(dataset, source)
            assert parts["test"].images.dtype == np.uint8 and len(parts["test"].images) == COUNTS["test"]
        except InputError as error:
            assert "\n" not in str(error) and path.name in str(error)
            told.add(str(error))
    assert len(told) > 3


def test_what_has_no_original_files_here(tmp_path):
    with pytest.raises(InputError, match=r"--from is for mnist, .*, cifar100\. Received: svhn"):
        find_set("svhn_cropped", tmp_path / "sets", tmp_path)
    with pytest.raises(InputError, match="digits comes with scikit-learn"):
        find_set("digits", tmp_path, None)
    with pytest.raises(InputError, match="mnits: no such data set, did you mean mnist"):
        find_set("mnits", tmp_path, None)
    with pytest.raises(InputError, match="no such file or folder"):
        find_set("mnist", tmp_path / "sets", tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="a folder is needed"):
        find_set("mnist", tmp_path / "sets", tmp_path / "file")


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_a_preparation_that_ends_early_leaves_nothing(tmp_path, mnist, monkeypatch, error):
    files, _ = mnist
    builder = find_set("mnist", tmp_path / "sets", files)
    whole = type(builder)._generate_examples

    def stopped(self, split):
        for index, example in whole(self, split):
            if split == "test" and index == 5:
                raise error
            yield index, example

    monkeypatch.setattr(type(builder), "_generate_examples", stopped)
    with pytest.raises(KeyboardInterrupt if error is KeyboardInterrupt else InputError):
        prepare_set(builder, download=False)
    assert list((tmp_path / "sets").iterdir()) == []
    _prepare("mnist", tmp_path / "sets", files)


def test_what_a_killed_preparation_left_is_no_set_and_is_removed(tmp_path, mnist):
    files, _ = mnist
    _prepare("mnist", tmp_path / "sets", files)
    whole = tmp_path / "sets" / "mnist" / "3.0.1"
    whole.rename(whole.with_name("incomplete.ABCDEF_3.0.1"))  # as TFDS calls it until it is whole
    (whole.parent / ".3.0.1.lock").write_bytes(b"")
    downloads = tmp_path / "sets" / "downloads"
    kept = [
        downloads / "mnist" / "train.gz",
        downloads / "kmnist" / f"a.gz.tmp.{'0' * 32}" / "a",
        downloads / "extracted",
    ]
    kept.append(downloads / "extracted" / f"incomplete.{'0' * 32}_GZIP.another.gz" / "a")
    left = [downloads / "mnist" / "deep" / f"a.gz.tmp.{'0' * 32}" / "a"]
    left.append(downloads / "extracted" / f"incomplete.{'0' * 32}_GZIP.train.gz" / "a")
    for path in (*kept, *left):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.name != "extracted":
            path.write_bytes(b"")
    _prepare("mnist", tmp_path / "sets", files)
    assert [path.name for path in whole.parent.iterdir()] == ["3.0.1"]
    assert all(path.exists() for path in kept) and not any(path.parent.exists() for path in left)


def test_one_process_at_a_time(tmp_path, mnist):
    files, _ = mnist
    builder = find_set("mnist", tmp_path / "sets", files)
    whole = type(builder)._generate_examples

    def meanwhile(self, split):
        with pytest.raises(InputError, match="another process is preparing this set"):
            prepare_set(find_set("mnist", tmp_path / "sets", files), download=False)
        tried.append(split)
        return whole(self, split)

    tried = []
    type(builder)._generate_examples = meanwhile
    prepare_set(builder, download=False)
    assert tried == ["train", "test"]
    assert [path.name for path in (tmp_path / "sets" / "mnist").iterdir()] == ["3.0.1"]
