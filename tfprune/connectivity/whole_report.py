"""The whole way from a dense model to a small one on one page, with nothing on it that was not measured."""

from __future__ import annotations

import io
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tfprune.connectivity.compaction import Size, size_of
from tfprune.connectivity.report import SparsityReport, sparsity
from tfprune.errors import InputError
from tfprune.layers.compiling import compile_alike
from tfprune.layers.subclassed import as_graph
from tfprune.records.atomic import atomic_write_text
from tfprune.records.extras import extra
from tfprune.records.pages import Section, as_html, as_markdown, as_text
from tfprune.surgery.signatures import inputs_of, reason_of

_WRITERS = {".txt": as_text, ".html": as_html, ".md": as_markdown}


@dataclass(frozen=True, repr=False)
class Report:
    """A page of numbers; prints as text, and as HTML in a notebook.

    Attributes:
        title: of the page.
        numbers: `dense`, `sparse`, `small` -> what was measured of it, by name; metrics have the names Keras gives.
        files: rows of `tfprune.export_report`, empty if nothing was exported.
        sections: what the page shows.
    """

    title: str
    numbers: dict[str, dict[str, float]]
    files: list[dict]
    sections: tuple[Section, ...]

    def __repr__(self) -> str:
        return as_text(self.title, self.sections)

    def _repr_html_(self) -> str:
        return as_html(self.title, self.sections)

    def save(self, path: str | Path) -> Path:
        """Writes the page: `.html` in one file with its figures, `.md` (a model card) and `.txt` without them."""
        path = _checked_path(path)
        atomic_write_text(path, _WRITERS[path.suffix](self.title, self.sections).rstrip() + "\n")
        return path


def report(
    dense: keras.Model,
    sparse: keras.Model,
    small: keras.Model | None = None,
    data=None,
    *,
    path: str | Path | None = None,
    title: str | None = None,
    sensitivity=None,
    input_shape=None,
    files: bool = True,
    onnx: bool = False,
    precisions: Sequence[str] = ("float32", "float16", "int8"),
    batches: Sequence[int] = (1,),
    repeats: int = 20,
    threads: int = 2,
) -> Report:
    """What pruning cost and brought: metrics, sparsity, FLOPs, sizes and latencies of files, layer by layer.

    Metrics are what `evaluate` gives; a model that is not compiled is judged as the first of the three that is. Zeros
    of `sparse` count as pruned whether it is masked or plain. What is not given or cannot be made is left out; the page
    says what could not be made.

    Args:
        dense, sparse, small: built models before pruning, pruned, and made small (`compact`, `prune_filters`), with the
            same inputs; stay as they are.
        data: to evaluate and to run files on: a tuple (x, y) of arrays, or a dataset of batches of such tuples that can
            be read many times; arrays of inputs alone for files alone. None leaves out metrics, and files too where an
            input cannot be made up.
        path: where to write the page: `.html`, `.md` or `.txt`; None to write none.
        title: of the page; None for one from the name of `dense`.
        sensitivity: what `tfprune.sensitivity` gave, or any object with a `table` (pandas) or a `figure()`.
        input_shape: as for `tfprune.sparsity`, where the models leave sizes open.
        files: whether to export and time.
        onnx, precisions, batches, repeats, threads: as for `tfprune.export_report`.

    Raises:
        InputError: a suffix of `path` or `data` of another kind, labels without a compiled model, or what
            `tfprune.sparsity` raises.
    """
    if path is not None:
        path = _checked_path(path)
    models = {"dense": dense, "sparse": sparse} | ({} if small is None else {"small": small})
    inputs, labelled = _read(data)
    metrics = _evaluated(models, data) if labelled else {}
    counts = {name: sparsity(model, input_shape=input_shape) for name, model in models.items()}
    sizes = {name: size_of(model, input_shape) for name, model in models.items()}
    refused: list[str] = []
    batches = [fixed] if (fixed := as_graph(dense).inputs[0].shape[0]) else list(batches)
    options = {"precisions": precisions, "repeats": repeats, "threads": threads, "onnx": onnx}
    rows = _exported(models, inputs, refused, batches, **options) if files else []
    numbers = {
        name: {**metrics.get(name, {}), **_measured(counts[name], sizes[name], counts["dense"])} for name in models
    }
    sections = [
        Section("In short", _summary(numbers, rows, batches), lines=_remarks(counts)),
        _files(rows, refused, batches, threads),
        _layers(counts),
        _of_sensitivity(sensitivity),
        Section("Measured on", lines=[machine()]),
    ]
    if title is None:
        title = f"{dense.name}, pruned"
    shown = tuple(section for section in sections if section.table or section.lines or section.pictures)
    page = Report(title, numbers, rows, shown)
    if path is not None:
        page.save(path)
    return page


def machine() -> str:
    """This machine and its software, in words."""
    cores = os.cpu_count() or 1
    gpus = len(tf.config.list_physical_devices("GPU"))
    parts = [f"{cores} {platform.machine()} core{'s' * (cores != 1)}", f"{gpus} GPU{'s' * (gpus != 1)}" if gpus else ""]
    versions = f"TensorFlow {tf.__version__}, Keras {keras.__version__}, Python {platform.python_version()}"
    return ", ".join(filter(None, parts)) + f"; {versions}; {platform.system()}"


def _checked_path(path: str | Path) -> Path:
    path = Path(path)
    if path.suffix not in _WRITERS:
        raise InputError(f"the path of a report must end in {', '.join(_WRITERS)}. Received: {path}")
    if not path.parent.is_dir():
        raise InputError(f"cannot write {path}: there is no folder {path.parent}")
    return path


def _read(data):
    """Inputs alone, in a form that `export` takes, and whether there are labels."""
    if data is None:
        return None, False
    if isinstance(data, tuple):
        if len(data) not in (2, 3):
            raise InputError(f"data: a tuple must be (x, y) or (x, y, weights). Received: {len(data)} parts")
        return data[0], True
    if isinstance(data, (np.ndarray, tf.Tensor, Mapping, list)):
        return data, False
    if not hasattr(data, "__iter__") and not hasattr(data, "__getitem__"):
        raise InputError(f"data must be (x, y), arrays or a dataset of batches. Received: {type(data).__name__}")
    if hasattr(data, "__next__"):
        raise InputError("data: a generator can be read once only; give arrays or a dataset")
    first = next(iter(data), None) if hasattr(data, "__iter__") else data[0]
    if not isinstance(first, tuple):
        return data, False
    batches = data if hasattr(data, "__iter__") else (data[place] for place in range(len(data)))
    return (batch[0] for batch in batches), True


def _evaluated(models: Mapping[str, keras.Model], data) -> dict[str, dict[str, float]]:
    compiled = next((model for model in models.values() if model.compiled), None)
    if compiled is None:
        raise InputError(
            "data has labels, but no model is compiled: model.compile(loss=..., metrics=[...]) says what to measure"
        )
    return {
        name: _metrics(model if model.compiled else _judged(model, compiled), data) for name, model in models.items()
    }


def _metrics(model: keras.Model, data) -> dict[str, float]:
    given = dict(zip(("x", "y", "sample_weight"), data, strict=False)) if isinstance(data, tuple) else {"x": data}
    try:
        found = model.evaluate(**given, verbose=0, return_dict=True)
    except (ValueError, tf.errors.InvalidArgumentError) as error:
        raise InputError(f"data: model {model.name!r} cannot be evaluated on them: {reason_of(error)}") from error
    return {name: float(value) for name, value in found.items()}


def _judged(model: keras.Model, compiled: keras.Model) -> keras.Model:
    """The same layers in a model of their own, which is compiled in place of the given one."""
    graph = as_graph(model)
    outputs = graph.outputs[0] if isinstance(graph, keras.Sequential) else graph.output
    judged = keras.Model(inputs_of(graph), outputs, name=model.name)
    compile_alike(judged, compiled)
    return judged


def _measured(counts: SparsityReport, size: Size, dense: SparsityReport) -> dict[str, float]:
    kept = counts.weights.kept
    return {
        "parameters": size.parameters,
        "prunable weights": counts.weights.dense,
        "weights kept": kept,
        "weights effective": counts.weights.effective,
        "direct sparsity": counts.direct,
        "effective sparsity": counts.effective,
        "compression": dense.weights.dense / kept if kept else np.inf,
        "FLOPs": counts.flops.dense,
        "FLOPs kept": counts.flops.kept,
        "FLOPs effective": counts.flops.effective,
    }


def _shown(name: str, value: float | None) -> str:
    if value is None:
        return ""
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if name == "compression" else f"{value:.4f}"


def _summary(numbers, rows, batches) -> dict[str, dict[str, str]]:
    names = dict.fromkeys(name for values in numbers.values() for name in values)
    table = {name: {model: _shown(name, values.get(name)) for model, values in numbers.items()} for name in names}
    best = {"smallest file, bytes": ("bytes", ",")}
    best |= {f"fastest file, ms for a batch of {batch}": (f"ms_batch_{batch}", ".3g") for batch in batches}
    for title, (column, form) in best.items() if rows else ():
        table[title] = {}
        for model in numbers:
            row = min((row for row in rows if row["model"] == model), key=lambda row: row[column], default=None)
            table[title][model] = "" if row is None else f"{row[column]:{form}} ({_kind(row)})"
    return table


def _kind(row: Mapping) -> str:
    return " ".join([row["format"], row["precision"], *["sparse"] * row["sparse"]])


def _remarks(counts: Mapping[str, SparsityReport]) -> list[str]:
    lines = [
        "FLOPs: of prunable kernels, for one example, two for each weight and position; those of zeros are saved only "
        "by what skips zeros. Sparsity: of each model's own weights. Compression: prunable weights of the dense model "
        "over weights kept."
    ]
    for name, found in counts.items():
        if found.unsupported:
            lines.append(f"{name}: these layers cannot be pruned and stay dense: {', '.join(found.unsupported)}")
        if found.barriers:
            lines.append(f"{name}: effective counts are upper bounds, no rule knows: {', '.join(found.barriers)}")
    return lines


def _exported(models, inputs, refused, batches, **options) -> list[dict]:
    extra("pandas", "files of a report")
    from tfprune.surgery.examples import random_examples, read_examples
    from tfprune.surgery.export_report import export_report

    first = as_graph(models["dense"])
    if inputs is not None:
        examples = read_examples(first, inputs, "data")
    else:
        try:
            examples = random_examples(first)
        except InputError as error:
            refused.append(str(error))
            return []
    table = export_report(models, examples, batches=batches, refused=refused, **options)
    return table.to_dict("records")


def _files(rows: Sequence[Mapping], refused: Sequence[str], batches: Sequence[int], threads: int) -> Section:
    table = {}
    for row in rows:
        agreement = row["agreement"]
        table[f"{row['model']}: {_kind(row)}"] = {
            "bytes": f"{row['bytes']:,}",
            "gzipped": f"{row['gzip_bytes']:,}",
            "difference": f"{row['difference']:.1e}",
            "same class": "" if agreement is None or np.isnan(agreement) else f"{agreement:.2%}",
            **{f"ms, batch {batch}": f"{row[f'ms_batch_{batch}']:.3g}" for batch in batches},
        }
    lines = [f"left out: {line}" for line in refused]
    if rows:
        lines.insert(
            0,
            "Difference: largest from the model's own outputs, in parts of their scale. Milliseconds: median of calls "
            f"with arrays in and arrays out, of LiteRT and ONNX in {threads} thread{'s' * (threads > 1)}.",
        )
    return Section("Files", table, "model: format", lines)


def _layers(counts: Mapping[str, SparsityReport]) -> Section:
    found = counts["sparse"]
    table, small = {}, counts.get("small")
    for path, weights in {**found.weights_of, "total": found.weights}.items():
        flops = found.flops if path == "total" else found.flops_of[path]
        table[path] = {
            "weights": f"{weights.dense:,}",
            "kept": f"{weights.kept:,}",
            "effective": f"{weights.effective:,}",
            "direct sparsity": f"{weights.direct_sparsity:.4f}",
            "effective sparsity": f"{weights.effective_sparsity:.4f}",
            "FLOPs": f"{flops.dense:,}",
            "FLOPs kept": f"{flops.kept:,}",
        }
        if small is not None:
            left = small.weights if path == "total" else small.weights_of.get(path)
            table[path]["weights, small"] = "" if left is None else f"{left.dense:,}"
    of = list(found.weights_of.values())
    parts = [np.array([getattr(one, name) / max(1, one.dense) for one in of]) for name in ("kept", "effective")]
    extra("matplotlib", "the figure of a report")
    from tfprune.plots.kept_bars import kept_bars

    drawn = kept_bars(list(found.weights_of), *parts)
    return Section("Layers", table, "kernel", pictures={"what is left of each kernel": _svg(drawn)})


def _of_sensitivity(given) -> Section:
    if given is None:
        return Section("Sensitivity")
    if not hasattr(given, "table") and not hasattr(given, "figure"):
        raise InputError(f"sensitivity needs a table or a figure(). Received: {type(given).__name__}")
    table, pictures = {}, {}
    if hasattr(given, "table"):
        for name, row in given.table.to_dict("index").items():
            table[str(name)] = {
                str(column): f"{value:.4g}" if isinstance(value, float) else str(value) for column, value in row.items()
            }
    if hasattr(given, "figure"):
        pictures["the metric against the sparsity of each layer"] = _svg(given.figure())
    return Section("Sensitivity", table, "layer", pictures=pictures)


def _svg(figure) -> bytes:
    written = io.BytesIO()
    figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    return written.getvalue()
