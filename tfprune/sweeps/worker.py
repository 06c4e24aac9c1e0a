"""One run of a sweep, in whatever process an engine has chosen for it."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
import time
import traceback
import warnings

from tfprune.cli.run import RunSettings, Study, carry_out
from tfprune.errors import InputError
from tfprune.experiments.family import study_of
from tfprune.sweeps.engine import Job, Outcome

_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
_OF_LIBRARIES = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"),
    "NUMBA_NUM_THREADS",  # of the sparse engine
)
_OF_TENSORFLOW = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")


def thread_environment(threads: int | None) -> dict[str, str]:
    """Environment variables that hold a process to so many threads, read when its libraries are loaded.

    So they belong in the environment of a process that is started; `perform` sets those for TensorFlow, which it loads
    later, all the same.
    """
    return {} if threads is None else dict.fromkeys((*_OF_LIBRARIES, *_OF_TENSORFLOW), str(threads))


def study_of_job(job: Job) -> Study:
    """The study that a job means: its settings checked, its place filled in.

    Raises:
        InputError: a setting that there is not, or a value that is not allowed.
    """
    kind = study_of(job.command)
    place = kind.placed(job.words, job.settings, job.root)
    study = kind.asked(job.words, {**job.settings, **place})
    for _ in range(job.back):
        needed = study.needs()
        if needed is None:
            raise InputError(f"the study {job.command} needs no other run")
        study = needed
    return study


def perform(job: Job) -> Outcome:
    """Carries out a job; whatever the run raises is told in its outcome.

    A run that is finished already takes no time. Everything that it writes to Python's stdout and stderr is kept for
    the case that it fails.

    Raises:
        KeyboardInterrupt: Ctrl-C.
    """
    began, said = time.monotonic(), io.StringIO()
    if "tensorflow" not in sys.modules:
        os.environ.update(thread_environment(job.threads))
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), warnings.catch_warnings():
            warnings.simplefilter("always")
            carry_out(study_of_job(job), RunSettings(device=job.device, quiet=True))
    except (Exception, SystemExit) as error:
        details = f"{said.getvalue()}{traceback.format_exc()}"
        return Outcome(job, one_line(error), time.monotonic() - began, details, full=is_full(error))
    return Outcome(job, None, time.monotonic() - began)


def one_line(error: BaseException) -> str:
    """What went wrong, in a line of bounded length."""
    text = str(InputError(str(error)))
    return text if isinstance(error, InputError) else f"{type(error).__name__}: {text}".removesuffix(": ")


def is_full(error: BaseException | None) -> bool:
    """Whether an error came of a disk or quota that is full."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        error = error.__cause__ or error.__context__
    return False
