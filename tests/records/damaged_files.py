"""Reads damaged files of some kinds and prints what went wrong, as JSON. A script: its memory is bounded for good.

python tests/records/damaged_files.py FOLDER KIND=COUNT...
"""

import faulthandler
import gzip
import io
import itertools
import json
import pickle
import resource
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import damage
import numpy as np

from tfprune.errors import InputError

_MORE_MEMORY = 1 << 30
_SECONDS_PER_KIND = 240


class Kind(NamedTuple):
    """A kind of file: whole samples of it, how it is damaged, its name, what reads it, and what a right value is."""

    samples: list[bytes]
    damages: tuple[Callable, ...]
    name: str
    read: Callable[[Path], Any]
    is_right: Callable[[Any], bool]
    by_hand: Callable[[], Iterable[bytes]] = lambda: ()


def _npz(arrays, save=np.savez):
    buffer = io.BytesIO()
    save(buffer, **arrays)
    return buffer.getvalue()


def _npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _is_arrays(kinds="biufc"):
    def check(value):
        return all(type(name) is str and a.dtype.kind in kinds and a.size >= 0 for name, a in value.items())

    return check


def _is_plain(value, depth=0):
    """Containers, numbers, text and arrays that can be walked; parts that are shared are seen once."""
    seen, todo = set(), [value]
    while todo:
        item = todo.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, dict):
            todo += [*item.keys(), *item.values()]
        elif isinstance(item, list | tuple):
            todo += item
        elif isinstance(item, np.ndarray):
            if item.dtype.kind not in "biufc" or (item.dtype == bool and item.size and item.view("u1").max() > 1):
                return False
        elif not isinstance(item, None | int | float | str | bytes | bytearray | np.number | np.bool_):
            return False
    return True


_RNG = np.random.default_rng(0)
_SHAPES = {"dense/kernel": (5, 4), "conv/kernel": (3, 3, 1, 2)}
_KERNELS = {name: _RNG.random(shape, np.float32) for name, shape in _SHAPES.items()}


def _pickle():
    from tfprune.records.pickles import load_pickle

    value = {
        "plain": [None, True, 0, -(2**70), 0.5, "text", b"bytes", (), (1, (2, [3]))],
        "arrays": [np.arange(6, dtype="f4").reshape(2, 3), np.arange(4, dtype=">i4"), np.array([[True, False]])],
        "scalars": (np.float32(0.72), np.float64(-0.0), np.bool_(True)),
    }
    samples = [pickle.dumps(value, protocol) for protocol in range(6)]
    return Kind(samples, damage.PICKLE, "a.pkl", load_pickle, _is_plain, damage.hostile_pickles)


def _mapped_pickle():
    from tfprune.data.imagenet_batches import read_batch

    content = {"data": _RNG.integers(256, size=(20, 48), dtype="u1"), "labels": list(range(1, 21)), "mean": np.ones(48)}
    samples = [pickle.dumps(content, protocol) for protocol in (2, 3, 4, 5)]
    samples.append(pickle.dumps({name.encode(): value for name, value in content.items()}, 3))

    def is_right(batch):
        rows, labels, mean = batch
        good = rows.dtype == np.uint8 and rows.shape[1] == 48 and labels.shape == rows.shape[:1]
        return good and labels.dtype == np.int32 and (mean is None or (mean.shape == (48,) and mean.dtype == "f4"))

    return Kind(samples, damage.PICKLE, "batch", lambda path: read_batch(path, 48), is_right, damage.hostile_pickles)


def _cifar_batch():
    from tfprune.data.original_files import _CIFAR, _read_batch

    content = {b"data": _RNG.integers(256, size=(2, 3072), dtype="u1"), b"labels": [3, 9], b"filenames": [b"a", b"b"]}
    samples = [pickle.dumps(content, protocol) for protocol in (2, 3, 4)]

    def is_right(part):
        return part.images.shape[1:] == (32, 32, 3) and part.labels["label"].shape == part.images.shape[:1]

    def by_hand():
        yield from damage.hostile_pickles()
        for labels in ([2**100_000, 1], [1, -1], [True, False], [[1], [2]], np.ones((2, 2), int), "ab", [1.0, 2.0]):
            yield pickle.dumps(content | {b"labels": labels}, 4)

    return Kind(samples, damage.PICKLE, "batch", lambda path: _read_batch(_CIFAR["cifar10"], path), is_right, by_hand)


def _cifar_names():
    from tfprune.data.original_files import _CIFAR, _class_names

    content = {b"label_names": [bytes([97 + number]) for number in range(10)], b"num_vis": 3072}
    samples = [pickle.dumps(content, protocol) for protocol in (2, 3, 4)]
    return Kind(
        samples,
        damage.PICKLE,
        "meta",
        lambda path: _class_names(_CIFAR["cifar10"], path),
        lambda names: len(names["label"]) == 10,
        damage.hostile_pickles,
    )


def _idx_file(name, compress):
    from tfprune.data.original_files import _read_idx

    head = b"\0\0\x08\x03" + b"".join(size.to_bytes(4, "big") for size in (2, 28, 28))
    samples = [compress(head + _RNG.bytes(2 * 28 * 28))]

    def is_right(pixels):
        return pixels.dtype == np.uint8 and pixels.ndim == 3

    def by_hand():
        yield compress(head[:4] + b"\xff" * 12)
        yield compress(head[:4] + (60_000).to_bytes(4, "big") + head[8:])
        yield compress(head + bytes(1 << 26))

    return Kind(samples, damage.ANY, name, lambda path: _read_idx(path, 3), is_right, by_hand)


def _idx():
    return _idx_file("train-images-idx3-ubyte", bytes)


def _idx_gz():
    return _idx_file("train-images-idx3-ubyte.gz", gzip.compress)


def _iteration():
    from tfprune.experiments.imp.arch import LayerSpec
    from tfprune.experiments.imp.files.iterations import read_iteration, write_iteration
    from tfprune.experiments.imp.files.records import IterationRecord

    layers = (LayerSpec("c", (3, 3, 1, 2, 1), True), LayerSpec("p", (2, 1), False), LayerSpec("x", (8, 2), True))
    shapes = {f"layer_{i}/{name}": shape for i in (0, 2) for name, shape in layers[i].shapes.items()}
    record = IterationRecord(
        layers=layers,
        ratios=np.array([0.5, 0.3]),
        recorded_steps=[1],
        steps=[0, 1],
        validation_steps=[0],
        train_errors=np.array([0.9, 0.5], np.float32),
        validation_errors=np.array([0.5], np.float32),
        weights=[{path: _RNG.random(shape, np.float32) for path, shape in shapes.items()}],
        running_averages=[{f"layer_2/running_{name}": _RNG.random(8, np.float32) for name in ("mean", "variance")}],
        masks={path: _RNG.random(shape) < 0.5 for path, shape in shapes.items() if path.endswith(("kernel", "bias"))},
    )
    path = Path(sys.argv[1], "iteration.pkl")
    write_iteration(path, record)

    def is_right(value):
        return all(mask.dtype == bool for mask in value.masks.values()) and value.ratios.dtype == np.float64

    return Kind([path.read_bytes()], damage.PICKLE, "a.pkl", read_iteration, is_right, damage.hostile_pickles)


def _findata():
    from tfprune.experiments.imp.arch import LayerSpec
    from tfprune.experiments.imp.files.iterations import read_findata, write_findata

    path = Path(sys.argv[1], "findata.pkl")
    write_findata(path, [LayerSpec("x", (8, 2), True)], [np.array([0.5]), np.array([0.75])], [0.5, 0.25])
    return Kind(
        [path.read_bytes()],
        damage.PICKLE,
        "a.pkl",
        read_findata,
        lambda value: value.best_validation_errors.dtype == np.float32,
        damage.hostile_pickles,
    )


def _object_array():
    from tfprune.records.object_arrays import read_object_array

    array = np.empty(2, object)
    array[:] = list(_KERNELS.values())
    samples = [_npy(array), _npy(np.ones((2, 3)))]
    head = samples[0][: 10 + int.from_bytes(samples[0][8:10], "little")]
    return Kind(
        samples,
        (*damage.ARRAY, *damage.PICKLE),
        "a.npy",
        read_object_array,
        lambda value: all(isinstance(a, np.ndarray | np.number | np.bool_) for a in value),
        lambda: (head + stream for stream in damage.hostile_pickles()),
    )


def _dense_weights():
    from tfprune.experiments.one_shot.files import read_dense_weights

    samples = [_npz(_KERNELS), _npz(_KERNELS, np.savez_compressed)]

    def is_right(value):
        return {name: (a.shape, a.dtype) for name, a in value.items()} == {
            name: (shape, np.float32) for name, shape in _SHAPES.items()
        }

    return _archive(samples, lambda path: read_dense_weights(path, _SHAPES), is_right, "dense/kernel")


def _array():
    from tfprune.experiments.one_shot.files import read_array

    samples = [_npy(np.arange(5)), _npy(np.linspace(0, 1, 7)), _npy(np.ones(3, np.float32))]
    return Kind(
        samples,
        damage.ARRAY,
        "a.npy",
        read_array,
        lambda value: value.dtype == np.float64 and value.ndim == 1,
        lambda: (damage.npy(shape, content=bytes(4)) for shape in ("(10**15,)", "(2**62,)", "(-1,)", "(" * 5000)),
    )


def _masks():
    from tfprune.records.mask_file import read_masks, write_masks

    path = Path(sys.argv[1], "masks.npz")
    write_masks(path, {name: kernel < 0.5 for name, kernel in _KERNELS.items()})
    with np.load(path) as arrays:
        samples = [path.read_bytes(), _npz(dict(arrays), np.savez_compressed)]
    return _archive(samples, read_masks, _is_arrays("b"), "bits")


def _checkpoint():
    from tfprune.experiments.imp.study import LAYOUT
    from tfprune.records.run_folder import RunFolder

    state = {"step": np.array(3), "state_0": np.ones((4, 3), np.float32), "names": np.array([True])}
    folder = RunFolder(sys.argv[1], LAYOUT, "IMP")

    def read(path):
        return folder.read_checkpoint("checkpoint")

    return _archive([_npz(state)], read, _is_arrays(), "state_0", "IMP_checkpoint.npz")


def _lottery_weights():
    from tfprune.experiments.lottery.files import read_weights

    return _archive(
        [_npz(_KERNELS), _npz(_KERNELS, np.savez_compressed)],
        lambda path: read_weights(path.parent, "ep1_it0"),
        _is_arrays("f"),
        "dense/kernel",
        "model_ep1_it0.npz",
    )


def _archive(samples, read, is_right, array, name="a.npz"):
    return Kind(samples, damage.ARCHIVE, name, read, is_right, lambda: damage.bombs(array))


def _json(name, content, read, is_right):
    text = json.dumps(content, indent=1).encode()

    def by_hand():
        for piece in ("[" * 100_000, '{"a":' * 100_000, '"', "1" * 5000, "NaN", "[]", "3", "null", "[" * 60 + "]" * 60):
            yield piece.encode()
            for key in content:
                yield json.dumps(content | {key: "@"}).replace('"@"', piece).encode()
        for value in ("no", "yes", 0, 1, None, [], {}, 2**70, -1, "\0", True, "masks"):
            for key in content:
                yield json.dumps(content | {key: value}).encode()
        yield b"\xef\xbb\xbf" + text

    return Kind([text], damage.TEXT, name, read, is_right, by_hand)


def _record():
    from tfprune.records.run_folder import Layout, read_record

    layout = Layout(())

    return _json(
        "run.json",
        {"input": {"steps": 3, "data": "digits", "p": [0.5, 0.25]}, "finished": True},
        lambda path: read_record(Path(path).parent, layout),
        lambda value: isinstance(value["input"], dict) and value["finished"] in (True, False),
    )


def _report():
    from tfprune.experiments.lottery.files import read_report

    return _json(
        "sparsity_report.json",
        {"total": 100, "unpruned": 20},
        lambda path: read_report(path.parent),
        lambda report: 0 <= report.density <= 1,
    )


def _metrics():
    from tfprune.experiments.filters.results import COLUMNS, read_metrics

    content = dict.fromkeys(COLUMNS, 0.5) | {"scoring": "l2", "version": "v1_50", "parameters": 100}
    return _json(
        "metrics.json",
        content,
        lambda path: read_metrics(path.parent),
        lambda value: all(type(value[name]) is str for name in COLUMNS[:2]),
    )


def _result():
    from tfprune.records.result import COUNTED, Result, read_result, write_result

    path = Path(sys.argv[1], "result.json")
    counts = dict(zip(COUNTED, (200, 50, 20, 210, 60, 70, 400, 100, 120), strict=True))
    facts = {"seed": 1, "level": 2, "accuracy": 0.5, "loss": 1.5, "steps": 7, "seconds": 0.5, "digest": "a"}
    facts["layers"] = {"a/kernel": {"weights": 200, "kept": 50, "effective": 20}}
    write_result(path, Result("mine", "dense", {"lr": 0.1}, more={"note": [1]}, **facts, **counts))

    def is_right(value):
        good = all(type(getattr(value, name)) in (int, type(None)) for name in (*COUNTED, "level", "steps"))
        counts = [tuple(layer.values()) for layer in (value.layers or {}).values()]
        good = good and all(type(count) in (int, type(None)) for layer in counts for count in layer)
        return good and (value.accuracy is None or 0 <= value.accuracy <= 1)

    return _json("result.json", json.loads(path.read_text()), read_result, is_right)


def _row_of(name, samples, beside, damages, by_hand=lambda: ()):
    """A file from which the table of results takes a row, and whole ones beside it, by their names."""
    from tfprune.experiments.results import COLUMNS, read_results

    for other, text in beside.items():
        Path(sys.argv[1], other).parent.mkdir(parents=True, exist_ok=True)
        Path(sys.argv[1], other).write_bytes(text)

    def read(path):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            table = read_results(path.parent)
        for each in told:
            if each.category is UserWarning:  # Python warns of odd escapes in the header of an array
                raise InputError(str(each.message))
        return table

    def is_right(table):
        return tuple(table.columns) == COLUMNS and not (table[["density", "accuracy"]] > 1).any(axis=None)

    Path(sys.argv[1], name).parent.mkdir(parents=True, exist_ok=True)
    return Kind(samples, damages, name, read, is_right, by_hand)


def _original_report():
    place = "lottery_0a/replicate_1/level_0/main"
    beside = {
        f"{place}/logger": b"test_accuracy,0,0.1\ntest_accuracy,7,0.9",
        f"{place}/hparams.log": b"Dataset Hyperparameters\n    * batch_size => 128",
    }
    kind = _json("report", {"total": 300.0, "unpruned": 20.0}, None, None)
    return _row_of(f"{place}/sparsity_report.json", kind.samples, beside, kind.damages, kind.by_hand)


def _original_settings():
    place = "lottery_0b/replicate_1/level_0/main"
    beside = {f"{place}/logger": b"test_accuracy,0,0.1\ntest_accuracy,7,0.9"}
    text = b"Training Hyperparameters\n    * lr => 0.1\nHyperparameters for Sparse Pruning\n    * layers => None"
    odd = (b"Hyperparameters", b"pretraining", b"[]", b" => ", b"a => inf", b"a = nan", b"[ ]\na = 1" + b"0" * 5000)
    return _row_of(f"{place}/hparams.log", [text], beside, damage.TEXT, lambda: odd)


def _original_sparsities():
    place = "arch/snip/direct/0_10"
    beside = {"arch/dense/counts.npy": _npy(np.array([30, 20])), f"{place}_accuracies.npy": _npy(np.array([0.5, 0.9]))}
    samples = [_npy(np.array([0.5, 0.25])), _npy(np.array([0, 1]))]
    return _row_of(f"{place}_sparsities_direct.npy", samples, beside, damage.ANY)


def _original_metrics():
    metrics = {"test_loss": 1.6, "test_acc": 90.25, "finetuning_runtime": 12.5, "nb_params": 100}
    kind = _json("metrics", {"v0": metrics, "v3_50": metrics}, None, None)
    return _row_of("scripts/vgg_l1_norm_CIFAR_metrics.json", kind.samples, {}, kind.damages, kind.by_hand)


def _old_metrics():
    place = "vgg16_digits/unpruned"
    record = {"input": {"seed": 1, "loss": "standard"}, "finished": True}
    metrics = {"scoring": "unpruned", "version": "unpruned", "parameters": 9, "flops": 8, "test_accuracy": 0.5}
    kind = _json("metrics", metrics, None, None)
    beside = {f"{place}/run.json": json.dumps(record).encode()}
    return _row_of(f"{place}/metrics.json", kind.samples, beside, kind.damages, kind.by_hand)


def _text(name, samples, read, is_right, *by_hand):
    return Kind([sample.encode() for sample in samples], damage.TEXT, name, read, is_right, lambda: by_hand)


def _logger():
    from tfprune.records.metric_log import MetricLog

    sample = "test_accuracy,0,0.1\ntest_accuracy,10,0.75\ntrain_loss,10,1.25e-3\n"
    return _text("logger", [sample], MetricLog.read, lambda log: all(log.get(name) for name in log.names))


def _table():
    from tfprune.experiments.imp.files.tables import read_table

    sample = "iteration,unpruned_fraction,best_validation_error\n0,1.0,0.25\n1,0.7,0.125\n"
    order = "order,units,accuracy,std\nmost,0,0.5,0.1\nleast,2,0.4,0.0\n"
    wide = (b",".join([b"a"] * 300_000), b'"' + b"\n" * 100_000, b"iteration\n" + b"1,2,3\n" * 3)
    return _text(
        "a.csv",
        [sample, order],
        read_table,
        lambda table: all(a == "order" or table[a].dtype.kind in "iuf" for a in table),
        *wide,
    )


def _ini():
    from tfprune.experiments.imp.settings import read_settings

    sample = (
        "[IO]\nsave_dir = run\nprefix = IMP\n[Data]\ndataset = digits\n[Network]\narch = c3,4:p2,1:f24:f16:x\n"
        "steps = 400\nbatch_size = 50\nseed_ = 1\n[IMP]\nprune = T:F:T:T:F\nweights_step = 10\n[Run]\nseed = 3\n"
    ).replace("seed_ = 1\n", "")
    levels = "".join(f"{'abcdefghijk'[i]} = {f'%({chr(98 + i)})s' * 9}\n" for i in range(9))
    by_hand = [
        b"\xff\xfe\x00\x01",
        b"[IO]\nsave_dir = a\0b\n" + sample.split("\n", 2)[2].encode(),
        f"{sample}[IO2]\n{levels}j = x\n".encode(),
        sample.replace("f24", "f99999999999").encode(),
        sample.replace("seed = 3", f"seed = {2**70}").encode(),
        sample.replace("= 50", "= 100000000").encode(),
        b"[" * 100_000,
    ]
    return _text("a.ini", [sample], read_settings, lambda read: read.steps >= 1 and 0 <= read.seed < 2**32, *by_hand)


def _classes():
    from tfprune.data.reclass import label_map

    def read(path):
        return label_map(f"f,5,{path}", 8)

    return _text("classes.dat", ["0,1,2,3,4,0,1,2\n", "0 1 2 3\n4 0 1 2"], read, lambda labels: labels.max() < 5)


def _annotations():
    from tfprune.data.tiny_imagenet import _validation

    def read(path):
        (path.parent / "val").mkdir(exist_ok=True)
        path.replace(path.parent / "val" / path.name)
        return _validation(path.parent, ["n1", "n2"])

    sample = "val_0.JPEG\tn1\t0\t0\t62\t62\nval_1.JPEG\tn2\t1\t2\t60\t62\n"
    return _text("val_annotations.txt", [sample], read, lambda pairs: all(number in (0, 1) for _, number in pairs))


def _tiny_model():
    import keras

    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, use_bias=False, name="conv1")(inputs)
    x = keras.layers.BatchNormalization(name="bn1")(x)
    return keras.Model(inputs, keras.layers.Dense(2, name="logits")(keras.layers.Flatten()(x)))


def _torch_weights():
    return {"conv1.weight": _RNG.random((4, 3, 3, 3), np.float32)} | {
        f"bn1.{name}": _RNG.random(4, np.float32) for name in ("weight", "bias", "running_mean", "running_var")
    }


def _load_torch(model):
    from tfprune.models.torch_weights import load_torch_weights

    return lambda path: load_torch_weights(model, path, heads=("logits",))


def _pretrained_npz():
    model = _tiny_model()
    samples = [_npz(_torch_weights()), _npz(_torch_weights() | {"fc.weight": np.ones(3)}, np.savez_compressed)]
    return _archive(samples, _load_torch(model), lambda value: value == (), "conv1.weight")


def _safetensors():
    import safetensors.numpy

    model, sample = _tiny_model(), safetensors.numpy.save(_torch_weights())
    length = int.from_bytes(sample[:8], "little")

    def other_header(data, rng, samples):
        header = (damage.other_number, damage.other_word)[rng.integers(2)](data[8 : 8 + length], rng, samples)
        return len(header).to_bytes(8, "little") + header + data[8 + length :]

    return Kind(
        [sample],
        (*damage.ANY, other_header, other_header, other_header),
        "a.safetensors",
        _load_torch(model),
        lambda value: value == (),
        lambda: [b"", (2**62).to_bytes(8, "little"), (10**8).to_bytes(8, "little") + b"{" * 10**6],
    )


def _keras_model():
    import keras

    from tfprune.layers.convert import load_model

    path = Path(sys.argv[1], "model.keras")
    model = _tiny_model()
    model.save(path)
    return Kind(
        [path.read_bytes()],
        damage.ARCHIVE,
        "a.keras",
        lambda path: load_model(path, compile=False),
        lambda value: isinstance(value, keras.Model),
        lambda: itertools.islice(damage.bombs("model"), 3),
    )


def _images():
    """Samples of images, small and not square, as the data sets have them and not."""
    import tensorflow as tf

    pixels = _RNG.integers(256, size=(64, 64, 3), dtype="u1")
    samples = [tf.io.encode_jpeg(pixels), tf.io.encode_jpeg(pixels[:, :40, :1]), tf.io.encode_png(pixels[:1])]
    return [sample.numpy() for sample in samples]


def _tiny_image():
    from tfprune.data.tiny_imagenet import _rows

    def read(path):
        return _rows(path.parent, [(path, 0)])

    def is_right(rows):
        return rows.parts[0].shape == (1, 3 * 64 * 64) and rows.parts[0].dtype == np.uint8

    return Kind(_images()[:1], damage.ANY, "a.JPEG", read, is_right)


def _folder_image():
    from tfprune.data.image_folders import FolderImages

    places = [Path(sys.argv[1], part, "a") for part in ("train", "val")]
    for place in places:
        place.mkdir(parents=True, exist_ok=True)
        (place / "a.jpeg").write_bytes(_images()[0])
    images = FolderImages(sys.argv[1], side=16, resize=20)
    parts = images.validation_batches(1), images.train_batches(0, 0, 1)

    def read(path):
        for place in places:
            (place / "a.jpeg").write_bytes(path.read_bytes())
        return [batch for part in parts for batch in part]

    def is_right(batches):
        return [tuple(pixels.shape) for pixels, _ in batches] == [(1, 16, 16, 3)] * 2

    return Kind(_images(), damage.ANY, "a.jpeg", read, is_right)


KINDS = {name.removeprefix("_"): value for name, value in globals().items() if name.startswith("_") and callable(value)}


def main(folder: str, counts: dict[str, int]) -> list[str]:
    """Reads so many damaged files of each kind; gives what did not end as it should, one line each."""
    wrong, kinds = [], {name: KINDS[name]() for name in counts}
    for name, kind in kinds.items():
        for sample in kind.samples:
            _try(kind, sample, f"{name}: undamaged", folder, wrong, must_be_read=True)
    # From here on: what was imported is there.
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + _MORE_MEMORY, used + _MORE_MEMORY))
    for name, kind in kinds.items():
        rng, began = np.random.default_rng(list(name.encode())), time.perf_counter()
        by_hand = list(kind.by_hand())
        faulthandler.dump_traceback_later(_SECONDS_PER_KIND, exit=True)
        for number, data in enumerate(by_hand):
            _try(kind, data, f"{name}: by hand, {number}", folder, wrong)
        for number in range(max(0, counts[name] - len(by_hand))):
            sample = kind.samples[rng.integers(len(kind.samples))]
            how = kind.damages[rng.integers(len(kind.damages))]
            _try(kind, how(sample, rng, kind.samples), f"{name}: {how.__name__}, {number}", folder, wrong)
        faulthandler.cancel_dump_traceback_later()
        print(f"{name}: {time.perf_counter() - began:.1f} s", file=sys.stderr)
    return wrong


def _try(kind, data, what, folder, wrong, must_be_read=False):
    path = Path(folder, kind.name)
    path.write_bytes(data)
    try:
        value = kind.read(path)
    except InputError as error:
        told = str(error)
        if must_be_read or "\n" in told or len(told) > 2000 or str(folder) not in told:
            wrong.append(f"{what}: {told[:300]!r}")
    except BaseException as error:
        wrong.append(f"{what}: {type(error).__name__}: {str(error)[:200]!r}")
    else:
        if not kind.is_right(value):
            wrong.append(f"{what}: {str(value)[:200]}")


if __name__ == "__main__":
    faulthandler.enable()
    chosen = dict(word.split("=") for word in sys.argv[2:])
    print(json.dumps(main(sys.argv[1], {name: int(count) for name, count in chosen.items()})))
