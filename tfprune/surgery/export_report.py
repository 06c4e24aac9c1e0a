"""What exporting a model in every format brings: bytes and measured latency."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from tfprune.errors import InputError
from tfprune.layers.subclassed import as_graph
from tfprune.quiet import quiet_conversion
from tfprune.records.atomic import temporary_folder
from tfprune.surgery.examples import read_examples, repeated
from tfprune.surgery.export import Exported, export
from tfprune.surgery.formats import FORMATS, format_of
from tfprune.surgery.timing import latencies


class ExportTable(pd.DataFrame):
    """A data frame that prints all of its columns, however narrow the terminal is."""

    @property
    def _constructor(self):
        return pd.DataFrame  # what is taken out of it is a plain one

    def __repr__(self) -> str:
        counts = dict.fromkeys(("bytes", "gzip_bytes"), "{:,}".format)
        timed = {name: "{:.3g}".format for name in self if str(name).startswith("ms_")}
        shares = {"difference": "{:.1e}".format, "agreement": lambda share: "" if pd.isna(share) else f"{share:.4f}"}
        stored = {"sparse": lambda sparse: "yes" if sparse else ""}
        return self.to_string(index=False, formatters={**counts, **timed, **shares, **stored})


def export_report(
    models: Mapping[str, keras.Model],
    examples,
    folder: str | Path | None = None,
    *,
    precisions: Sequence[str] = ("float32", "float16", "int8"),
    batches: Sequence[int] = (1, 32),
    repeats: int = 20,
    threads: int = 2,
    onnx: bool = False,
    refused: list[str] | None = None,
) -> ExportTable:
    """Exports models in every format and measures the files: one row per model, format and precision.

    | column | what it is |
    | --- | --- |
    | model | key of `models` |
    | format, precision | `keras`, `savedmodel`, `litert` or `onnx`; `float32`, `float16` or `int8` |
    | sparse | whether the file is in LiteRT's sparse encoding |
    | bytes, gzip_bytes | size of the file, raw and gzipped |
    | difference, agreement | from the model's own outputs on the examples, as in `Exported` |
    | `ms_batch_<b>` | milliseconds of one call on a batch of b examples, for each b of `batches` |

    A call takes arrays and gives arrays. `.keras` and SavedModel are run by TensorFlow as compiled functions, with the
    threads it has; LiteRT and ONNX by their own interpreters. All files are loaded before anything is timed, and each
    repeat times every file once, so that other programs disturb all alike; the median is reported.

    Args:
        models: name -> model (dense, pruned and compacted, say), all with the same inputs. The names become file names.
        examples: in the forms of `representative` of `export`; they calibrate int8 and are what the files are run on,
            over and over where there are fewer than a batch.
        folder: where the files stay; must exist. None for a temporary one.
        precisions: of LiteRT. Keras and SavedModel are always float32.
        batches: numbers of examples, ≥ 1.
        repeats: number of timed calls per file and batch, ≥ 1.
        threads: of the interpreters of LiteRT and ONNX, ≥ 1.
        onnx: whether to export to ONNX as well.
        refused: a list that takes the lines of errors of files that cannot be made, which have no row then; None to
            raise the first.

    Raises:
        InputError: an argument is out of range, or what `export` raises. Differences are reported, whatever their size.
    """
    _check_arguments(models, precisions, batches, repeats, threads)
    with contextlib.ExitStack() as stack:
        if folder is None:
            folder = stack.enter_context(temporary_folder())
        rows, calls = [], {}
        for name, model in models.items():
            model = as_graph(model)
            shown = read_examples(model, examples, "examples")
            given = dict(zip((tensor.name for tensor in model.inputs), shown, strict=True))
            for path, precision in _targets(Path(folder), name, precisions, onnx):
                try:
                    done = export(model, path, precision=precision, representative=given, tolerance=np.inf)
                    with quiet_conversion():
                        runs = [format_of(path).load(path, model, threads) for _ in batches]
                except InputError as error:
                    if refused is None:
                        raise
                    refused.append(str(error))
                    continue
                for batch, run in zip(batches, runs, strict=True):
                    calls[len(rows), batch] = run, repeated(shown, batch)
                rows.append({"model": name, **_columns(done)})
        with quiet_conversion():
            for (row, batch), milliseconds in latencies(calls, repeats).items():
                rows[row][f"ms_batch_{batch}"] = milliseconds
    return ExportTable(rows)


def _check_arguments(models, precisions, batches, repeats: int, threads: int) -> None:
    for name in models:
        if not isinstance(name, str) or not re.fullmatch(r"[\w-]+", name):
            raise InputError(f"names of models must be of letters, digits, _ and -. Received: {name!r}")
    allowed = FORMATS[".tflite"].tolerances
    if isinstance(precisions, str) or not set(precisions) <= set(allowed):
        raise InputError(f"precisions must be a list of {', '.join(allowed)}. Received: {precisions!r}")
    for argument, value in (("repeats", repeats), ("threads", threads), *(("batches", batch) for batch in batches)):
        if not isinstance(value, int) or value < 1:
            raise InputError(f"{argument} must be at least 1. Received: {value!r}")


def _targets(folder: Path, name: str, precisions: Sequence[str], onnx: bool) -> list[tuple[Path, str]]:
    files = [(folder / f"{name}.keras", "float32"), (folder / f"{name}-savedmodel", "float32")]
    files += [(folder / f"{name}-{precision}.tflite", precision) for precision in precisions]
    return files + [(folder / f"{name}.onnx", "float32")] * onnx


def _columns(done: Exported) -> dict:
    names = "format", "precision", "sparse", "bytes", "gzip_bytes", "difference", "agreement"
    return {name: getattr(done, name) for name in names}
