"""Results of runs of the original programs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tfprune.errors import InputError
from tfprune.experiments.energy.files import LOSSES
from tfprune.records.listing import Listing
from tfprune.records.reading import read_json, read_text
from tfprune.records.result import ORIGINAL, Result, result_path, tolerated
from tfprune.records.run_folder import RECORD

_ARGUMENTS = re.compile(r"args_(?P<name>.*)\.json")


def find(listing: Listing) -> Iterator[tuple[str, Result, str]]:
    """Whose code trained the networks in a folder, their results, and whence; runs of ours leave a result file.

    A run of the originals is `args_<name>.json` with `loss_<name>.txt` beside it. These tell of validation images alone
    (in `more`, as they stand there), so `accuracy` and `loss`, of test images, are None.
    """
    names = listing.names
    if RECORD in names or result_path("").name in names:
        return
    for file in sorted(names):
        match = _ARGUMENTS.fullmatch(file)
        if match and (name := match["name"]) and f"loss_{name}.txt" in names:
            path, losses = listing.folder / file, listing.folder / f"loss_{name}.txt"
            with tolerated(losses):
                yield (
                    ORIGINAL,
                    _original(name, read_json(path, "the settings of a run"), read_losses(losses)),
                    path.name,
                )


def _original(name: str, settings: dict, rows: list[list[float]]) -> Result:
    method, cost, seed = (settings.get(key) for key in ("model", "cost", "seed"))
    words = [word for word in (method, cost if method == "ising" else None) if isinstance(word, str) and word]
    return Result(
        family="energy",
        label=" ".join(words) or name,
        settings=settings,
        seed=seed if type(seed) in (int, str) else None,
        method=words[0] if words else None,
        more={"epochs": len(rows), "last_epoch": dict(zip(LOSSES, rows[-1], strict=True))},
    )


def read_losses(path: Path) -> list[list[float]]:
    """The numbers of `loss_<name>.txt` after each epoch, as many as `LOSSES` has names.

    Raises:
        InputError: a damaged or foreign file.
    """
    lines = [line for line in read_text(path).splitlines() if line.strip() and not line.startswith("#")]
    try:
        rows = [[float(number) for number in line.replace(",", " ").split()] for line in lines]
    except ValueError as error:
        raise InputError(f"cannot read {path}: {error}") from None
    if not rows or any(len(row) != len(LOSSES) for row in rows):
        raise InputError(f"cannot read {path}: each line must have {len(LOSSES)} numbers")
    return rows
