"""The engines by name; none is loaded before it is asked for."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from tfprune.sweeps.engine import Engine
from tfprune.sweeps.settings import EngineSettings

_ENGINES = {
    "processes": "tfprune.sweeps.processes:ProcessEngine",
    "inline": "tfprune.sweeps.inline:InlineEngine",
    "ray": "tfprune.sweeps.ray_engine:RayEngine",
}


def engine_of(how: EngineSettings, folder: Path) -> Engine:
    """The engine that is asked for.

    Args:
        how: its settings, handed to it.
        folder: of the sweep, absolute, there already; the files of the runs lie in `runs` below it, engines may keep
            logs in `logs`.

    Raises:
        InputError: what it needs is not there.
    """
    module, name = _ENGINES[how.engine].split(":")
    return getattr(import_module(module), name)(how, folder)
