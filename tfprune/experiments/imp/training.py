"""One iteration of iterative magnitude pruning: training with fixed masks, by one session, into a record."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

import keras
import numpy as np

from tfprune.data.images import ImageSet
from tfprune.data.load import load_images
from tfprune.experiments.imp.files.out_text import step_text
from tfprune.experiments.imp.files.records import IterationRecord, Weights
from tfprune.experiments.imp.network import ImpNetwork
from tfprune.experiments.imp.settings import ImpSettings
from tfprune.layers.masks import Masks
from tfprune.records.metric_log import MetricLog
from tfprune.records.run_folder import RunFolder
from tfprune.training.evaluation import Evaluator
from tfprune.training.feeds import Normalised, RowsFeed
from tfprune.training.loop import TrainingLoop
from tfprune.training.samplers import Draw, DrawnSampler, with_replacement
from tfprune.training.session import Arrays, Session, Trained, Watch
from tfprune.training.timetable import Pauses, Timetable

_SECONDS_PER_TEXT = 0.5


@dataclass(frozen=True)
class Start:
    """What an iteration trains.

    Attributes:
        weights: where it starts from.
        masks: fixed during the iteration.
        ratios: float64, one sparsity per prunable layer; kept in the record.
    """

    weights: Weights
    masks: Masks
    ratios: np.ndarray


def images_of(settings: ImpSettings) -> ImageSet:
    """The data that an input file describes.

    Raises:
        InputError: they are not there, damaged, or fewer than asked for.
    """
    return load_images(
        settings.dataset,
        settings.dataloc,
        preload=settings.preload,
        data_ratio=settings.data_ratio,
        reclass=settings.reclass,
        val_size=settings.val_size,
        search_folder=settings.source.parent,
    )


def network_of(settings: ImpSettings, image_shape: tuple[int, int, int], classes: int) -> ImpNetwork:
    """The network that an input file describes, for its data."""
    return ImpNetwork(
        settings.arch,
        settings.prune,
        image_shape,
        classes,
        momentum=settings.batch_norm_beta,
        epsilon=settings.batch_norm_epsilon,
        product_dtype=None if settings.precision == "float32" else settings.precision,
    )


class IterationTrainer:
    """Trains the network of an input file, one iteration at a time, always by the same compiled functions.

    Args:
        settings: the input.
        images: the data.
        folder: where checkpoints go.
        watch: is told how it goes.
        sample: gives the batch's indices for (iteration, step); by default drawn with replacement from the seed.
    """

    def __init__(
        self, settings: ImpSettings, images: ImageSet, folder: RunFolder, watch: Watch, sample: Draw | None = None
    ):
        self.settings, self.folder, self.watch = settings, folder, watch
        self.network = network_of(settings, images.image_shape, images.classes)
        if settings.minimizer == "Adam":
            optimizer = keras.optimizers.Adam(settings.learning_rate, epsilon=1e-8)  # TensorFlow 1's ε
        else:
            optimizer = keras.optimizers.SGD(settings.learning_rate)
        sample = sample or with_replacement(settings.seed, images.train.size, settings.batch_size)
        sampler = DrawnSampler(sample, settings.batch_size)
        feed = RowsFeed(images.train, sampler, Normalised(images.mean, images.scale))
        evaluator = Evaluator(self.network.model, images.validation, images.mean, images.scale)
        self._session = Session(
            TrainingLoop(self.network.model, optimizer, feed, engine=settings.engine),
            lambda: {"validation_error": evaluator.error()},
            shown=("train_loss", "train_error", "validation_error"),
        )

    def train(
        self,
        iteration: int,
        start: Start,
        record_at: Collection[int],
        checkpoint: str = "checkpoint",
        on_text: Callable[[str], None] | None = None,
    ) -> tuple[IterationRecord, Trained]:
        """Takes steps 0 .. `steps`, from the last checkpoint of this iteration if there is one.

        At a validation step, a recorded step and a checkpoint, what is taken is the state before that step's update.

        Args:
            iteration: its number, which is also the stream of its batches.
            start: weights, masks and ratios.
            record_at: steps at which weights and running averages are recorded.
            checkpoint: name of the checkpoint file.
            on_text: is given the lines of `<prefix>_out.dat` so far, about twice a second.

        Raises:
            InputError: the loss is no longer finite, or a file cannot be written.
        """
        settings, network = self.settings, self.network

        def begin() -> None:
            network.weights, network.masks = start.weights, start.masks
            network.reset_averages()

        def keep(step: int) -> Arrays:
            return {**network.weights, **network.running_averages}

        timetable = Timetable(
            tests=Pauses(every=settings.validate_step, last=settings.steps),
            checkpoints=Pauses(every=settings.checkpoint_step, last=settings.steps),
            keeps=Pauses(at=tuple(record_at)),
            each=("train_error",),
        )
        trained = self._session.run(
            self.folder,
            timetable,
            begin,
            self.watch,
            stream=iteration,
            end=settings.steps + 1,
            keep=keep,
            on_log=_now_and_then(on_text),
            checkpoint=checkpoint,
            diverged=f"{settings.source}: training diverged: the loss is not finite at iteration {iteration}, step "
            f"{{step}}; lower [Network] learning_rate = {settings.learning_rate}",
        )
        validations = trained.log.get("validation_error")
        kept = [trained.kept[step] for step in sorted(trained.kept)]
        record = IterationRecord(
            layers=network.layers,
            ratios=np.array(start.ratios, np.float64),
            recorded_steps=sorted(trained.kept),
            steps=list(range(settings.steps + 1)),
            validation_steps=[step for step, _ in validations],
            train_errors=np.array(trained.log.values("train_error"), np.float32),
            validation_errors=np.array([error for _, error in validations], np.float32),
            weights=[{path: arrays[path] for path in start.weights} for arrays in kept],
            running_averages=[
                {path: array for path, array in arrays.items() if path not in start.weights} for arrays in kept
            ],
            masks=start.masks,
        )
        return record, trained


def _now_and_then(on_text: Callable[[str], None] | None) -> Callable[[MetricLog], None]:
    """Gives a log's validations as text, but not so often that this would take the time of the training."""
    last = -_SECONDS_PER_TEXT

    def on_log(log: MetricLog) -> None:
        nonlocal last
        if on_text is not None and time.monotonic() - last >= _SECONDS_PER_TEXT:
            # Of the last validation the step is still to come.
            told = ((step, log.at("train_error", step), error) for step, error in log.get("validation_error"))
            on_text("".join(step_text(*numbers) for numbers in told if numbers[1] is not None))
            last = time.monotonic()

    return on_log
