"""`python -m tfprune.lth` from its flags to its files, told to the person who started it."""

from __future__ import annotations

from tfprune.experiments.lottery.requests import Request


def run(request: Request) -> None:
    """Runs a request, or what is left of it."""
    if request.options.display_output_location:
        print(request.folder)
        return
    raise NotImplementedError
