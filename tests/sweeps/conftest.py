"""Sweeps of a study that is over at once."""

import os
import sys
from pathlib import Path

import pytest

import tfprune

sys.path.append(str(Path(__file__).parent))  # for `trivial_system`, in processes that tests start, too
STUDY = "trivial_system:TrivialStudy"


class Place:
    """An empty folder in which a sweep file is written and carried out."""

    def __init__(self, folder):
        self.folder, self.out = folder, folder / "out"

    def write(self, text, name="study.toml", study=STUDY):
        path = self.folder / name
        path.write_text(f'entry_point = "{study}"\n{text}')
        return path

    def sweep(self, text, **settings):
        """Carries out a file of this text."""
        return tfprune.run_sweep(self.write(text), **{"out": self.out, "engine": "inline", "quiet": True} | settings)

    @property
    def trained(self):
        """How many times something was trained."""
        path = self.out / "runs" / "trained.txt"
        return len(path.read_text().split()) if path.exists() else 0

    @property
    def sums(self):
        """(word, x, y) -> sum, of the finished runs."""
        table = tfprune.read_results(self.out / "runs")
        rows = zip(table["settings"], table["more"], strict=True)
        return {(each["word"], each["x"], each["y"]): more["sum"] for each, more in rows}


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Place(tmp_path)


@pytest.fixture
def environment():
    """Of processes that tests start."""
    paths = [str(Path(tfprune.__file__).parents[1]), str(Path(__file__).parent)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
