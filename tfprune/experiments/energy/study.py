"""Energy-based pruning as the runner carries it out."""

from __future__ import annotations

from pathlib import Path

from tfprune.cli.early import check_readable
from tfprune.cli.progress import ProgressBar
from tfprune.cli.run import Study
from tfprune.data.facts import data_flag, named_set, prepared_facts
from tfprune.engine.choice import check_engine
from tfprune.experiments.energy import files
from tfprune.experiments.energy.settings import EnergySettings
from tfprune.records.result import result_path, write_result
from tfprune.records.run_folder import RunFolder

_OF_ISING, _OF_PASSES = ("keep_rate", "cost_layout"), ("state_batch", "rescore")
"""Settings of the Ising cost, and of the cost by forward passes."""


class EnergyStudy(Study):
    """A network whose filters are searched while it is trained, and the small one that is left of it."""

    family, settings_type, layout, stage_trained = "energy", EnergySettings, files.LAYOUT, files.TRAINED

    @property
    def folder(self) -> Path:
        return Path(self.settings.out_path, self.settings.name)

    @property
    def warnings(self) -> list[str]:
        settings, idle = self.settings, []
        ising = settings.model == "ising" and settings.cost == "ipruning"
        for name in _OF_ISING if not ising else _OF_PASSES:
            if getattr(settings, name) != getattr(EnergySettings, name):
                idle.append(f"--{name}={getattr(settings, name)} has no effect with --model={settings.model} ")
        return [f"{text}--cost={settings.cost}" for text in idle]

    def check(self) -> None:
        settings = self.settings
        check_engine(settings.engine)
        with data_flag("dataset"):
            prepared_facts(*named_set(settings.dataset, settings.path_to_data), common_side=settings.side)
        for flag in ("pre_trained_f", "state_f"):
            if (path := getattr(settings, flag)) is not None:
                check_readable(path, f"--{flag}")
        if settings.state_f is not None:
            files.read_states(settings.state_f)
        super().check()

    def train(self, folder: RunFolder, watch: ProgressBar) -> None:
        from tfprune.experiments.energy.recipe import EnergyPruning, load_images
        from tfprune.experiments.energy.report import finish

        watch.say(f"reading {self.settings.dataset}")
        images = load_images(self.settings)
        watch.say(
            f"{images.train.size} training, {images.held_out.size} validation and {images.validation.size} test images "
            f"of {'x'.join(map(str, images.image_shape))}, {images.classes} classes"
        )
        pruning = EnergyPruning(self.settings, images)
        trained = pruning.train(folder, watch)
        facts = finish(pruning, trained, folder, self.settings.name)
        write_result(result_path(self.folder), self.result(**facts))
        folder.mark(files.TRAINED)

    def report(self, folder: RunFolder) -> str:
        from tfprune.experiments.energy.figures import draw_all
        from tfprune.experiments.energy.results import summary
        from tfprune.plots.style import save_png

        for name, figure in draw_all(self.folder, self.settings.name).items():
            save_png(figure, folder.path(f"{name}.png"))
        return f"{summary(self.folder, self.settings.name)}\nfiles: {self.folder}"
