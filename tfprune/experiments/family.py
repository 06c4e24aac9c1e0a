"""Systems: the published studies, each in a room of its own, and how another one is built.

A system is a folder `experiments/<name>/` with everything that is only its own. The spine does the rest, once for all:
flags, checks, the folder of a run, training that resumes, results, progress, the way from a command to its figures.

1. **Settings** (`settings.py`): a frozen dataclass of `tfprune.records.settings.setting` fields. They become the
   flags, with help, defaults and one-line errors, the record of a run and its digest.

       @dataclass(frozen=True)
       class ToySettings(Settings):
           steps: int = setting(int, "Training steps.", 60, at_least=1, at_most=1000)
           rate: float = setting(float, "Learning rate.", 0.1, above=0)
           out_path: str = setting(str, "Folder of all runs.", "Toy", place=True)

2. **Layout**: which files are results, as data.

       LAYOUT = Layout(results=("result.json", "accuracy.png", "weights.npz"))

3. **Recipe** (`recipe.py`): builds a network and a `TrainingLoop`, and lets a `Session` take its steps. The session
   restores, tests, logs, checkpoints and tells; a recipe says when (`Timetable`) and from which weights.

4. **Study** (`study.py`): settings, layout, recipe and report in one class, which loads no TensorFlow before `train`.

       class ToyStudy(Study):
           family, settings_type, layout = "toy", ToySettings, LAYOUT

           @property
           def folder(self):
               return Path(self.settings.out_path, self.digest)

           def train(self, folder, watch):
               from tfprune.experiments.toy.recipe import train_toy

               train_toy(self.settings, folder, watch)

           def report(self, folder):
               ...                       # tables and figures from the files; returns the text for the end

   `train` ends with `write_result`: every trained network leaves a `result.json`, a row of `tfprune.read_results`.
   For sweeps (`tfprune.sweeps`), a study that starts from another one's results gives that one by `needs`.
   What else its settings and files say (network, images, curves, figures) a `told.py` in the system's room tells the
   overview, see `tfprune.experiments.told`; without one, metric logs called `log` and PNG files are found.

5. **Entry point** (`tfprune/toy.py`): a docstring and one call, `app.run_command([flags_command(ToyStudy)], __doc__)`;
   and a line below, by which `tfprune.run("toy", steps=100)` finds it. A system outside of this package needs no line:
   `tfprune.run(ToyStudy, steps=100)`.

The runner (`tfprune.cli.run`) then checks, claims the folder, loads TensorFlow, trains, reports and finishes. A run
that was killed goes on with the same command and ends with the same bytes; a finished one does nothing; other settings
in the same folder are refused.
"""

from __future__ import annotations

from importlib import import_module
from typing import NamedTuple

from tfprune.cli.run import Study
from tfprune.errors import InputError, did_you_mean
from tfprune.records.own_parts import imported


class Family(NamedTuple):
    """Where a system is; nothing of it is loaded before it is asked for.

    Attributes:
        name: of its room, and in results.
        study: name of its `Study` in the room's `study.py`.
    """

    name: str
    study: str

    def load(self) -> type[Study]:
        """The system's study; loads no TensorFlow."""
        return getattr(import_module(f"tfprune.experiments.{self.name}.study"), self.study)


FAMILIES = {
    "imp": Family("imp", "ImpStudy"),
    "main": Family("one_shot", "OneShotStudy"),
    "lth": Family("lottery", "LotteryStudy"),
    "filters": Family("filters", "FilterStudy"),
    "energy": Family("energy", "EnergyStudy"),
}
"""Entry point -> system."""


def study_of(command: str) -> type[Study]:
    """The study of an entry point, `python -m tfprune.<command>`, or one's own, `module:Study`.

    Raises:
        InputError: there is none of that name, its module cannot be imported, or it is not written to its end.
    """
    if command not in FAMILIES and ":" in command:
        study = imported(command, "the study", {})
        if not (isinstance(study, type) and issubclass(study, Study)):
            raise InputError(f"{command} must be a class derived from tfprune.cli.run.Study. Received: {study!r:.80}")
        if missing := sorted(getattr(study, "__abstractmethods__", ())):
            raise InputError(f"{command}: the class lacks {', '.join(missing)}")
        return study
    if command not in FAMILIES:
        near = did_you_mean(command, FAMILIES)
        raise InputError(
            f"a command must be one of {', '.join(FAMILIES)}, or module:Study of your own. Received: {command!r}{near}"
        )
    return FAMILIES[command].load()
