"""Small runs on digits, in this process."""

import pytest

from tfprune.experiments.imp.folder import ImpFolder
from tfprune.experiments.imp.recipe import run_imp
from tfprune.experiments.imp.run_data import ImpRun
from tfprune.experiments.imp.settings import read_spec, spec_record
from tfprune.experiments.imp.training import images_of

KEYS = {
    "IO": {"save_dir": None},
    "Data": {"dataset": "digits"},
    "Network": {
        "arch": "f24:f16:x",
        "steps": 80,
        "batch_size": 50,
        "val_size": 150,
        "learning_rate": 0.1,
        "validate_step": 20,
    },
    "IMP": {"prune": "T:T:F", "prune_ratio": 0.5, "weights_step": 10, "max_iterations": 3},
    "Run": {},
}


class Watcher:
    """A `Report` that keeps what it is told."""

    def __init__(self):
        self.started, self.ended, self.steps = [], [], []

    def start(self, what, iteration, layers, masks):
        self.started.append((what, iteration))

    def progress(self, progress):
        self.steps.append((progress.iteration, progress.step))

    def end(self, row):
        self.ended.append(row)


@pytest.fixture
def imp(tmp_path):
    """`imp(folder="run", section_key=value, ...)` runs and gives (ImpRun, Watcher, spec, images)."""

    def run(folder="run", sample=None, **changed):
        sections = {name: dict(keys) for name, keys in KEYS.items()}
        sections["IO"]["save_dir"] = tmp_path / folder
        for name, value in changed.items():
            section, key = name.split("_", 1)
            sections[section][key] = value
        text = "\n".join(
            f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items() if value is not None)
            for name, keys in sections.items()
        )
        path = tmp_path / f"{folder}.ini"
        path.write_text(text)
        spec = read_spec(path)
        images = images_of(spec)
        imp_folder = ImpFolder(spec.save_dir, spec.prefix)
        imp_folder.claim(spec_record(spec), lambda _: [], spec.rest_it if spec.restart else 0)
        watcher = Watcher()
        run_imp(spec, images, imp_folder, watcher, sample)
        return ImpRun(spec.save_dir), watcher, spec, images

    return run
