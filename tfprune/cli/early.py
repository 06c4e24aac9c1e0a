"""What an entry point says and finds wrong before TensorFlow is loaded, which takes ten seconds."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from tfprune.errors import InputError
from tfprune.quiet import quiet_start
from tfprune.records.reading import open_file


@contextlib.contextmanager
def loading_tensorflow(quiet: bool = False) -> Iterator[None]:
    """Around the imports that load TensorFlow: says that it will take a while, and holds back what TensorFlow says.

    Args:
        quiet: says nothing.
    """
    if not quiet and "tensorflow" not in sys.modules:
        print("loading TensorFlow ...", file=sys.stderr, flush=True)
    # TensorFlow reads this when it is imported: its notes would stand between the user and our lines. What matters of
    # what it logs as errors it raises, too.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quiet_start():
        yield


def check_readable(path: str | Path, named: str) -> None:
    """Refuses what is no file, or cannot be opened.

    Args:
        path: the file.
        named: how the user gave it, for the message.

    Raises:
        InputError: says why.
    """
    try:
        open_file(path).close()
    except InputError as error:
        raise InputError(f"{named}: {error}") from None


def check_output(folder: str | Path, named: str) -> None:
    """Refuses a folder that cannot be made or written.

    Args:
        folder: may be missing, as may those above it.
        named: how the user gave it, for the message.

    Raises:
        InputError: says why.
    """
    folder = Path(folder)
    place = folder
    while not os.path.lexists(place) and place != place.parent:
        place = place.parent
    if not place.is_dir():
        reason = f"{place} is not a folder" if place.exists() else f"{place} leads nowhere"
    elif not os.access(place, os.W_OK | os.X_OK):
        reason = f"no permission to write in {place}"
    else:
        return
    raise InputError(f"{named}: cannot use the folder {folder}: {reason}")
