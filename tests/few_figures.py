"""Of IMP's figures the first two, and films of few units: all of them are drawn elsewhere."""

import contextlib
import itertools
from functools import partial

import pytest

from tfprune.experiments.imp.figures import report


@contextlib.contextmanager
def few_figures():
    """Runs that end within it, in this process, draw no more than that."""
    figures = report._figures
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "_figures", lambda *told: itertools.islice(figures(*told), 2))
        patch.setattr(report, "films_of_run", partial(report.films_of_run, units=4))
        yield
