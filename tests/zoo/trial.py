"""All capabilities tried with one network, and what came of each."""

from __future__ import annotations

import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

OK, NOT_APPLICABLE, FAILED, WRONG = "ok", "n/a", "fails", "WRONG"


@dataclass(frozen=True)
class Outcome:
    """What came of a capability: `result` is one of OK, NOT_APPLICABLE, FAILED, WRONG."""

    name: str
    capability: str
    result: str
    note: str
    seconds: float


def trial(name: str) -> Iterator[Outcome]:
    """One outcome after the other; the first, `network`, notes the number of parameters and the prunable share."""
    from zoo.capabilities import CAPABILITIES, prunable_share
    from zoo.subject import Subject

    subject = Subject(name)
    yield _outcome(name, "network", lambda _: _size(subject, prunable_share), subject)
    for capability, attempt in CAPABILITIES.items():
        yield _outcome(name, capability, attempt, subject)


def _outcome(name: str, capability: str, attempt: Callable, subject) -> Outcome:
    from zoo.capabilities import NotApplicable, WrongResult, first_line

    begun = time.monotonic()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result, note = OK, attempt(subject)
    except NotApplicable as error:
        result, note = NOT_APPLICABLE, str(error)
    except WrongResult as error:
        result, note = WRONG, str(error)
    except Exception as error:
        result, note = FAILED, f"{first_line(error)} [{_raised_at(error)}]"
    return Outcome(name, capability, result, note, round(time.monotonic() - begun, 1))


def _size(subject, share: Callable) -> str:
    return f"{subject.model.count_params()} {share(subject):.4f}"


def _raised_at(error: Exception) -> str:
    """The last line of the package on the way to an error."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/tfprune/" in frame.filename]
    return f"{frames[-1].filename.rpartition('/tfprune/')[2]}:{frames[-1].lineno}" if frames else "Keras"
