"""One iteration of iterative magnitude pruning: training with fixed masks, recorded, validated and checkpointed."""

from __future__ import annotations

from dataclasses import dataclass, field

import keras
import numpy as np

from tfprune.data.images import ImageSet
from tfprune.data.load import load_images
from tfprune.experiments.imp.folder import ImpFolder
from tfprune.experiments.imp.network import ImpNetwork, Weights
from tfprune.experiments.imp.settings import ImpSpec
from tfprune.experiments.imp.types import IterationRecord
from tfprune.training.drive_old import drive, read_checkpoint, write_checkpoint
from tfprune.training.evaluation import Evaluator
from tfprune.training.feeds import RowsFeed, normalised
from tfprune.training.loop import TrainingLoop
from tfprune.training.samplers import Draw, DrawnSampler, with_replacement


@dataclass
class Progress:
    """Where the training of an iteration stands; errors and losses are fractions and nats."""

    iteration: int
    step: int
    steps: int
    loss: float
    train_error: float
    validation_error: float
    milliseconds_per_step: float


@dataclass
class _History:
    """What an iteration has produced up to some step; with the variables' values, its checkpoint."""

    step: int = 0
    train_errors: list[np.float32] = field(default_factory=list)
    validation_steps: list[int] = field(default_factory=list)
    validation_errors: list[np.float32] = field(default_factory=list)
    recorded_steps: list[int] = field(default_factory=list)
    weights: list[Weights] = field(default_factory=list)
    running_averages: list[list[np.ndarray]] = field(default_factory=list)


def images_of(spec: ImpSpec) -> ImageSet:
    """The data that an input file describes.

    Raises:
        InputError: they are not there, damaged, or fewer than asked for.
    """
    return load_images(
        spec.dataset,
        spec.dataloc,
        preload=spec.preload,
        data_ratio=spec.data_ratio,
        reclass=spec.reclass,
        val_size=spec.val_size,
        search_folder=spec.source.parent,
    )


def network_of(spec: ImpSpec, images: ImageSet) -> ImpNetwork:
    """The network that an input file describes, for its data."""
    return ImpNetwork(
        spec.arch,
        spec.prune,
        images.image_shape,
        images.classes,
        momentum=spec.batch_norm_beta,
        epsilon=spec.batch_norm_epsilon,
        product_dtype=None if spec.precision == "float32" else spec.precision,
    )


class IterationTrainer:
    """Trains the network of an input file, one iteration at a time, always by the same compiled functions.

    Args:
        spec: the input.
        images: the data.
        folder: where checkpoints go.
        sample: gives the batch's indices for (iteration, step); by default drawn with replacement from the seed.
    """

    def __init__(self, spec: ImpSpec, images: ImageSet, folder: ImpFolder, sample: Draw | None = None):
        self.spec = spec
        self.folder = folder
        self.network = network_of(spec, images)
        if spec.minimizer == "Adam":
            optimizer = keras.optimizers.Adam(spec.learning_rate, epsilon=1e-8)  # TensorFlow 1's ε
        else:
            optimizer = keras.optimizers.SGD(spec.learning_rate)
        sample = sample or with_replacement(spec.seed, images.train.size, spec.batch_size)
        sampler = DrawnSampler(sample, spec.batch_size)
        feed = RowsFeed(images.train, sampler, normalised(images.mean, images.scale))
        self._loop = TrainingLoop(self.network.model, optimizer, feed)
        self._evaluator = Evaluator(self.network.model, images.validation, images.mean, images.scale)

    def train(
        self,
        iteration: int,
        weights: Weights,
        masks: Weights,
        ratios: np.ndarray,
        record_at: list[int],
        checkpoint: str = "checkpoint",
        report=lambda progress, history: None,
    ) -> tuple[IterationRecord, float]:
        """Takes steps 0 .. `steps`, from the last checkpoint of this iteration if there is one.

        At a validation step, a recorded step and a checkpoint, what is taken is the state before that step's update.

        Args:
            iteration: its number, which is also the stream of its batches.
            weights: where to start from.
            masks: fixed during the iteration.
            ratios: kept in the record.
            record_at: steps at which weights and running averages are recorded, ascending.
            checkpoint: name of the checkpoint file.
            report: called with `Progress` and the validations so far, about twice a second.

        Returns:
            The record, and the milliseconds per step over the steps taken here, without tracing and validation.

        Raises:
            InputError: the loss is no longer finite, or a file cannot be written.
        """
        spec, end = self.spec, self.spec.steps + 1
        history = self._resume(iteration, checkpoint)
        if history is None:
            history = _History()
            self.network.weights, self.network.masks = weights, masks
            self.network.reset_averages()
            self._loop.reset_optimizer()
            self._pause(history, record_at)
        milliseconds = 0.0
        for stretch in drive(
            self._loop,
            iteration,
            history.step,
            end,
            every=(spec.validate_step, spec.checkpoint_step),
            at=record_at,
            diverged=f"{spec.source}: training diverged: the loss is not finite at iteration {iteration}, step "
            f"{{step}}; lower [Network] learning_rate = {spec.learning_rate}",
        ):
            history.train_errors += list(stretch.errors)
            history.step, milliseconds = stretch.stop, stretch.milliseconds_per_step
            if history.step < end:
                self._pause(history, record_at)
                if history.step % spec.checkpoint_step == 0:
                    self._checkpoint(iteration, checkpoint, history)
            progress = Progress(
                iteration,
                history.step,
                spec.steps,
                float(stretch.losses[-1]),
                float(stretch.errors.mean()),
                float(history.validation_errors[-1]),
                milliseconds,
            )
            report(progress, history)
        record = IterationRecord(
            layers=self.network.layers,
            ratios=np.array(ratios, np.float64),
            recorded_steps=history.recorded_steps,
            steps=list(range(end)),
            validation_steps=history.validation_steps,
            train_errors=np.array(history.train_errors, np.float32),
            validation_errors=np.array(history.validation_errors, np.float32),
            weights=history.weights,
            running_averages=history.running_averages,
            masks=masks,
        )
        return record, milliseconds

    def _pause(self, history: _History, record_at: list[int]) -> None:
        step = history.step
        if step % self.spec.validate_step == 0:
            history.validation_steps.append(step)
            history.validation_errors.append(self._evaluator.error())
        if step in record_at:
            history.recorded_steps.append(step)
            history.weights.append(self.network.weights)
            history.running_averages.append(self.network.running_averages)

    def _checkpoint(self, iteration: int, name: str, history: _History) -> None:
        arrays = {
            "iteration": np.array(iteration),
            "step": np.array(history.step),
            "train_errors": np.array(history.train_errors, np.float32),
            "validation_steps": np.array(history.validation_steps),
            "validation_errors": np.array(history.validation_errors, np.float32),
            "recorded_steps": np.array(history.recorded_steps, int),
        }
        for index, (weights, averages) in enumerate(zip(history.weights, history.running_averages, strict=True)):
            for layer, layer_arrays in enumerate(weights):
                for number, array in enumerate([*layer_arrays, averages[layer]]):
                    arrays[f"recorded_{index}_{layer}_{number}"] = array
        write_checkpoint(self.folder, name, self._loop, arrays)

    def _resume(self, iteration: int, name: str) -> _History | None:
        return read_checkpoint(self.folder, name, self._loop, self._history, iteration=iteration)

    def _history(self, arrays: dict[str, np.ndarray]) -> _History:
        history = _History(
            step=int(arrays["step"]),
            train_errors=list(arrays["train_errors"]),
            validation_steps=arrays["validation_steps"].tolist(),
            validation_errors=list(arrays["validation_errors"]),
            recorded_steps=arrays["recorded_steps"].tolist(),
        )
        for index in range(len(history.recorded_steps)):
            weights, averages = [], []
            for layer in range(len(self.network.layers)):
                names = [f"recorded_{index}_{layer}_{number}" for number in range(5)]
                found = [arrays[found_name] for found_name in names if found_name in arrays]
                weights.append(found[:-1])
                averages.append(found[-1])
            history.weights.append(weights)
            history.running_averages.append(averages)
        shapes = _shapes(self.network.weights, self.network.running_averages)
        is_whole = len(history.train_errors) == history.step <= self.spec.steps
        is_whole &= len(history.validation_steps) == len(history.validation_errors) > 0
        recorded = zip(history.weights, history.running_averages, strict=True)
        if not is_whole or any(_shapes(*taken) != shapes for taken in recorded):
            raise ValueError("a history that this training can't have")
        return history


def _shapes(weights: Weights, averages: list[np.ndarray]) -> list[tuple[int, ...]]:
    return [array.shape for array in (*(array for layer in weights for array in layer), *averages)]
