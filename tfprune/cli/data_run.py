"""`python -m tfprune.data` from its flags to the prepared set."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

from tfprune.cli.early import check_output, loading_tensorflow
from tfprune.data.original_files import published_counts
from tfprune.data.preparation import find_set, prepare_set
from tfprune.errors import InputError


def run(dataset: str, source: str | None, data_dir: str | None) -> None:
    """Prepares a set unless it is there.

    Raises:
        InputError: an unknown set, files that cannot be had or read, or a folder that cannot be written.
    """
    if data_dir == "":
        raise InputError("--data_dir must name a folder. Received: ''")
    builder = find_set(dataset, data_dir, source)
    if builder.info.splits:
        print(f"{_contents(builder)}: already there; nothing to do")
        return
    check_output(Path(builder.data_path).parent, "--data_dir")
    print(f"{builder.name}: {'downloading' if source is None else f'read {source}'}", file=sys.stderr, flush=True)
    with loading_tensorflow():
        import tensorflow  # noqa: F401 - TFDS loads it only when the first image is written
    prepare_set(builder, download=source is None)
    builder = find_set(dataset, data_dir, source)
    print(_contents(builder))
    counts = {name: split.num_examples for name, split in builder.info.splits.items()}
    if source is not None and counts != published_counts(dataset):
        warnings.warn(f"{dataset} has {_text(published_counts(dataset))} examples as published", stacklevel=2)


def _contents(builder) -> str:
    counts = {name: split.num_examples for name, split in builder.info.splits.items()}
    return f"{builder.name}: {_text(counts)} examples in {builder.data_path}"


def _text(counts: dict[str, int]) -> str:
    return " and ".join(f"{count:,} {name}" for name, count in sorted(counts.items(), reverse=True))
