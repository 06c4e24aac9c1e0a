"""The way out: a model as a file for deployment, checked by running the file."""

from __future__ import annotations

import shutil
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tfprune.errors import InputError
from tfprune.layers.convert import strip
from tfprune.layers.subclassed import as_graph
from tfprune.quiet import quiet_conversion
from tfprune.records.atomic import atomic_copy, temporary_folder
from tfprune.surgery.examples import CHUNK, in_batches, random_examples, read_examples
from tfprune.surgery.formats import Format, format_of
from tfprune.surgery.signatures import Run, model_runner, reason_of
from tfprune.surgery.twins import in_float32

# How far apart the outputs of the same weights may be, with and without their zeros, relative to the outputs' scale:
# other kernels add in another order, and integers round to the next step of 255 or to the one after it.
_SPARSE_TOLERANCES = {"float32": 1e-4, "float16": 1e-4, "int8": 0.02}
_ZEROS = 0.3  # LiteRT stores kernels with fewer zeros as they are


class ExportError(InputError):
    """An exported file does not compute what the model does; it was not put in place."""


@dataclass(frozen=True, repr=False)
class Exported:
    """A file that was written and checked; prints as a sentence.

    Attributes:
        path: of the file, or of a SavedModel's folder.
        format: `keras`, `savedmodel`, `litert` or `onnx`.
        precision: `float32`, `float16` or `int8`.
        sparse: whether kernels are stored without their zeros.
        bytes: size of the file; of all files of a folder.
        gzip_bytes: size when compressed with gzip (a folder as a tar archive), which is what zeros in a pruned model
            save in storage and transfer.
        difference: largest |file's output − model's| over all examples, divided by the largest |model's|; the largest
            of all outputs of the model.
        agreement: fraction of examples for which the largest entry of the output is the same, so the class that is
            predicted; the smallest of all outputs of shape (N, classes ≥ 2), None if there are none.
    """

    path: Path
    format: str
    precision: str
    bytes: int
    gzip_bytes: int
    difference: float
    agreement: float | None
    sparse: bool = False

    def __repr__(self) -> str:
        stored = ", sparse" if self.sparse else ""
        same = "" if self.agreement is None else f", the same class for {self.agreement:.2%} of the examples"
        return (
            f"{self.path} ({self.format}, {self.precision}{stored}): {self.bytes:,} bytes, "
            f"{self.gzip_bytes:,} gzipped; outputs differ from the model's by at most {self.difference:.2g} of their "
            f"scale{same}"
        )


def export(
    model: keras.Model,
    path: str | Path,
    *,
    precision: str = "float32",
    sparse: bool | None = None,
    representative=None,
    examples=None,
    tolerance: float | None = None,
) -> Exported:
    """Writes a model for deployment, and checks the file by loading and running it.

    | path | format | precisions |
    | --- | --- | --- |
    | `*.keras` | Keras | float32 |
    | no suffix | SavedModel, a folder | float32 |
    | `*.tflite` | LiteRT (TensorFlow Lite), for its interpreter without TensorFlow kernels | float32, float16, int8 |
    | `*.onnx` | ONNX, by Keras's own exporter, checked in ONNX Runtime | float32 |

    Masks go into the weights first: what is written is plain and not compiled, and no `tfprune` is needed to load it.
    float16 stores weights in half precision; int8 computes in integers throughout, with float32 inputs and outputs,
    and the ranges of its activations are those on the representative examples.

    LiteRT has an encoding of its own for kernels with many zeros, which is used where it makes the file smaller and
    LiteRT reads it rightly; not all it writes it can read, and then the file stays dense. In float32, dense layers
    compute without their zeros if these come in blocks of 4 inputs, or nearly all weights are gone: much faster for one
    example, slower for many. All else becomes dense again when the file is loaded, as fast as ever. Interpreters for
    microcontrollers lack the operation for it (DENSIFY): give them `sparse=False`.

    LiteRT and ONNX compute in float32 (or integers): of a model in half or double precision they get the float32 twin,
    with the same weights, and that is what the file is compared with. In LiteRT, recurrent layers become a chain of
    their steps, whose number the model must fix; the file grows with it. Where the model fixes the size of a batch they
    stay loops, of any number of steps, except in int8; the file takes only such batches then.

    The file takes its place at `path` only after it was checked. Whatever fails, what was there before stays; a
    SavedModel replaces no folder that holds something else. While a file is made, what other threads write to the
    standard error descriptor is lost.

    Args:
        model: built Sequential or Functional model, plain or masked; stays as it is. Inputs of a signature have the
            names of the model's, outputs are `output_0`, `output_1`, ... or the keys of a dict, as `model.export` does.
        path: see above. Its folder must exist.
        precision: see above.
        sparse: LiteRT's sparse encoding. None keeps the smaller of two files, if the sparse one is right; True insists.
        representative: for int8, examples of what the model will see: float32 array (N, ...), or of texts; for several
            inputs a dict by input names, or a list, of arrays; or an iterable of such batches. The first 256 count.
        examples: to check with, in the same forms; None for `representative`, and without these normal noise from a
            fixed seed.
        tolerance: largest `Exported.difference`; None for 1e-5 (Keras, SavedModel), 1e-4 (ONNX, LiteRT float32), 1e-2
            (float16), 0.2 (int8). int8's rounding grows with depth and shrinks with the number of examples of real
            data; whether it matters is better seen from `Exported.agreement`, or the accuracy of the file.

    Raises:
        InputError: a wrong suffix, a precision or an encoding that the format lacks, examples that are missing or do
            not fit, a place that cannot be written, or a model that the format cannot hold.
        ExportError: the outputs differ by more than the tolerance.
    """
    path = Path(path)
    kind = format_of(path)
    _check_arguments(kind, path, precision, sparse, representative)
    plain = as_graph(strip(model, compiled=False, verify=False))  # the file is compared with the model
    if kind.single and (twin := in_float32(plain)) is not plain:
        model = plain = twin
    calibration = None if representative is None else read_examples(plain, representative, "representative")
    if examples is not None:
        shown = read_examples(plain, examples, "examples")
    else:
        shown = random_examples(plain) if calibration is None else calibration
    if tolerance is None:
        tolerance = kind.tolerances[precision]
    fixed = plain.inputs[0].shape[0]
    batches = None if calibration is None else in_batches(calibration, fixed or 1)
    with quiet_conversion(), temporary_folder() as folder:
        made = folder / f"model{path.suffix}"
        _write(kind.write, plain, made, precision, batches, path)
        expected = _outputs(model_runner(model), shown, fixed)
        if any(output.dtype.kind not in "fiub" for output in expected):
            raise InputError(f"outputs of model {model.name!r} are texts: only numbers can be compared with the file's")
        if not all(np.isfinite(output).all() for output in expected):
            raise InputError(f"outputs of model {model.name!r} are not finite on the examples: nothing can be compared")
        found = _outputs_of_file(kind, made, path, plain, shown)
        thin = None
        if sparse or (sparse is None and kind.write_sparse and _has_zeros(plain)):
            thin = folder / f"sparse{path.suffix}"
            try:
                _write(kind.write_sparse, plain, thin, precision, batches, path)
                without_zeros = _outputs_of_file(kind, thin, path, plain, shown)
                _check_difference(
                    found, without_zeros, _SPARSE_TOLERANCES[precision], path, model.name, "the sparse encoding"
                )
            except InputError:
                if sparse:
                    raise
                thin = None
        if thin and (sparse or thin.stat().st_size < made.stat().st_size):
            made, found = thin, without_zeros
        difference = _check_difference(expected, found, tolerance, path, model.name, precision)
        atomic_copy(made, path)
        sizes = _sizes(made)
    return Exported(path, kind.name, precision, *sizes, difference, _agreement(expected, found), made == thin)


def _write(write, model: keras.Model, made: Path, precision: str, batches, path: Path) -> None:
    try:
        write(model, made, precision, batches)
    except OSError as error:
        raise InputError(f"cannot write {made}, on the way to {path}: {error.strerror or error}") from error


def _outputs_of_file(kind: Format, made: Path, path: Path, model: keras.Model, examples) -> list[np.ndarray]:
    try:
        return _outputs(kind.load(made, model, threads=None), examples, model.inputs[0].shape[0])
    except (RuntimeError, TypeError, ValueError, tf.errors.OpError) as error:
        raise ExportError(f"{path} was not written: it cannot be loaded and run ({reason_of(error)})") from error


def _check_difference(expected, found, tolerance: float, path: Path, name: str, what: str) -> float:
    difference = float(np.max(list(map(_difference, expected, found))))
    if not difference <= tolerance:
        raise ExportError(
            f"{path} was not written: in {what} the outputs of model {name!r} change by {difference:.3g} of their "
            f"scale, allowed is {tolerance:g}"
        )
    return difference


def _has_zeros(model: keras.Model) -> bool:
    """Whether LiteRT's sparse encoding would change anything."""
    kernels = (weight for weight in model.weights if len(weight.shape) > 1)
    return any(np.mean(keras.ops.convert_to_numpy(kernel) == 0) >= _ZEROS for kernel in kernels)


def _check_arguments(kind: Format, path: Path, precision: str, sparse: bool | None, representative) -> None:
    if sparse not in (None, True, False):
        raise InputError(f"sparse must be True, False or None. Received: {sparse!r}")
    if sparse and not kind.write_sparse:
        raise InputError(f"{kind.name} ({path}) has no sparse encoding, only .tflite files have. Received: sparse=True")
    if precision not in kind.tolerances:
        allowed = ", ".join(kind.tolerances)
        raise InputError(f"precision of {kind.name} ({path}) must be one of {allowed}. Received: {precision!r}")
    if precision == "int8" and representative is None:
        raise InputError("int8 needs representative examples: float32 array (N, ...). Received: representative=None")
    if not path.parent.is_dir():
        raise InputError(f"cannot write {path}: there is no folder {path.parent}")
    if path.suffix and path.is_dir():
        raise InputError(f"cannot write {path}: it is a folder")
    if not path.suffix and path.exists() and not _may_be_replaced(path):
        raise InputError(f"cannot write {path}: what is there is no SavedModel")


def _may_be_replaced(path: Path) -> bool:
    return (path / "saved_model.pb").exists() or (path.is_dir() and not any(path.iterdir()))


def _outputs(run: Run, examples: list[np.ndarray], fixed: int | None) -> list[np.ndarray]:
    """All outputs of all examples, numbers in float64."""
    batches = [run(batch) for batch in in_batches(examples, fixed or CHUNK)]
    arrays = [np.concatenate(parts) for parts in zip(*batches, strict=True)]
    return [array if array.dtype == object else array.astype(np.float64) for array in arrays]


def _difference(expected: np.ndarray, found: np.ndarray) -> float:
    if expected.shape != found.shape:
        return np.inf
    return float(np.abs(expected - found).max() / (np.abs(expected).max() or 1.0))


def _agreement(expected: list[np.ndarray], found: list[np.ndarray]) -> float | None:
    pairs = [(one, other) for one, other in zip(expected, found, strict=True) if one.ndim == 2 and one.shape[1] > 1]
    return min((float((one.argmax(1) == other.argmax(1)).mean()) for one, other in pairs), default=None)


class _Counter:
    """A file that gzip-compresses what is written to it and keeps the size alone."""

    def __init__(self):
        self._compressor = zlib.compressobj(wbits=31)  # 31: with gzip's header
        self._bytes = 0

    def write(self, data: bytes) -> int:
        self._bytes += len(self._compressor.compress(data))
        return len(data)

    def finish(self) -> int:
        return self._bytes + len(self._compressor.flush())


def _sizes(path: Path) -> tuple[int, int]:
    """Bytes of a file or of all files in a folder, raw and gzipped."""
    counter = _Counter()
    if not path.is_dir():
        with open(path, "rb") as file:
            shutil.copyfileobj(file, counter)
        return path.stat().st_size, counter.finish()
    with tarfile.open(fileobj=counter, mode="w|") as archive:
        archive.add(path, arcname=path.name)
    return sum(inner.stat().st_size for inner in path.rglob("*") if inner.is_file()), counter.finish()
