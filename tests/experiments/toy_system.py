"""A system of one's own, as `tfprune.experiments.family` describes it: one dense layer on digits, a few steps.

python tests/experiments/toy_system.py --out_path=Toy --steps=40
"""

from dataclasses import dataclass
from pathlib import Path

from tfprune.cli import app
from tfprune.cli.run import Study, flags_command
from tfprune.plots.style import new_figure, save_png
from tfprune.records.metric_log import MetricLog
from tfprune.records.result import write_result
from tfprune.records.run_folder import Layout
from tfprune.records.settings import Settings, setting


@dataclass(frozen=True)
class ToySettings(Settings):
    steps: int = setting(int, "Training steps.", 40, at_least=1, at_most=1000)
    rate: float = setting(float, "Learning rate.", 0.1, above=0.0)
    out_path: str = setting(str, "Folder of the run.", "Toy", place=True)


class ToyStudy(Study):
    family, settings_type = "toy", ToySettings
    layout = Layout(results=("log", "result.json", "accuracy.png"))

    @property
    def folder(self):
        return Path(self.settings.out_path)

    def train(self, folder, watch):
        import keras

        from tfprune.data.prepared import load_prepared
        from tfprune.training.image_batches import ImageBatches
        from tfprune.training.loop import TrainingLoop
        from tfprune.training.session import Session
        from tfprune.training.timetable import Pauses, Timetable

        settings, batches = self.settings, ImageBatches(load_prepared("digits"), 50)
        keras.utils.set_random_seed(0)
        layers = [keras.layers.Flatten(), keras.layers.Dense(batches.classes)]
        model = keras.Sequential([keras.Input(batches.input_shape), *layers])
        evaluator, start = batches.evaluator(model), model.get_weights()
        loop = TrainingLoop(model, keras.optimizers.Adam(settings.rate), batches.feed())
        tenth = Pauses(every=10, at=(settings.steps,))
        watch.start("training", f"{model.count_params()} weights")
        how = Timetable(tests=tenth, checkpoints=tenth)
        session = Session(loop, evaluator.metrics)
        trained = session.run(folder, how, lambda: model.set_weights(start), watch, stream=0, end=settings.steps)
        trained.log.write(folder.path("log"))
        facts = {"accuracy": trained.log.last("test_accuracy"), "steps": settings.steps, "seconds": trained.seconds}
        write_result(folder.path("result.json"), self.result(label="dense layer", **facts))

    def report(self, folder):
        log = MetricLog.read(folder.path("log"))
        figure = new_figure(4, 3)
        figure.add_subplot().plot(*zip(*log.get("test_accuracy"), strict=True))
        save_png(figure, folder.path("accuracy.png"))
        return f"test accuracy {log.last('test_accuracy'):.4f}\nfiles: {self.folder}"


if __name__ == "__main__":
    app.run_command([flags_command(ToyStudy)], __doc__)
