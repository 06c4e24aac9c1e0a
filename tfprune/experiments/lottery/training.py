"""Training with fixed masks from one step to another: what every workflow of this system is made of."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping
from typing import Protocol

import keras
import numpy as np
import tensorflow as tf

from tfprune.experiments.lottery.data import LotteryData
from tfprune.experiments.lottery.folder import LotteryFolder
from tfprune.experiments.lottery.hparams import ModelHparams, TrainingHparams
from tfprune.experiments.lottery.results import ACCURACY, LOSS
from tfprune.experiments.lottery.steps import Step, parse_steps
from tfprune.layers.convert import masked, set_masks
from tfprune.layers.masked import MaskedDense
from tfprune.layers.masks import Masks
from tfprune.layers.products import pruned_matmul
from tfprune.layers.prunable import prunable
from tfprune.layers.topology import named_layers
from tfprune.layers.variants import with_precision, with_synchronized_norm
from tfprune.layers.weights import Weights, set_weights, weights_of
from tfprune.models.freezing import freeze
from tfprune.models.named import build_named
from tfprune.records.metric_log import MetricLog
from tfprune.records.network_folder import CHECKPOINT
from tfprune.training.decay import AllDecay
from tfprune.training.drive_old import Progress, Stretch, drive, read_checkpoint, write_checkpoint
from tfprune.training.loop import TrainingLoop
from tfprune.training.mirrored import MirroredLoop, mirrored_strategy
from tfprune.training.optimizers import WarmupMilestones, make_optimizer


class Report(Protocol):
    """Who watches a run (see `tfprune.experiments.lottery.progress`)."""

    def start(self, what: str, masks: Masks) -> None:
        """The training of `what`, for example `level 3`, begins."""

    def progress(self, progress: Progress) -> None:
        """Called about twice a second while training."""


class Trainer:
    """Trains one network on one data set, any weights and masks, always by the same compiled functions.

    Args:
        model: the network.
        training: the optimizer and its schedule; where training starts and ends is said at each call.
        data: the data.
        distribute: `none`, or `mirrored` for all GPUs.
        devices: with `mirrored`, logical devices to take in their place.

    Attributes:
        model: the network in plain Keras, for scoring and pruning; its weights are whatever they were set to last.
        data: the data.
    """

    def __init__(
        self,
        model: ModelHparams,
        training: TrainingHparams,
        data: LotteryData,
        distribute: str = "none",
        devices: Collection[str] | None = None,
    ):
        self.data = data
        self._hparams, self._order_seed = model, training.data_order_seed
        self.model = self._built(0)
        strategy = mirrored_strategy(devices) if distribute == "mirrored" else None
        with strategy.scope() if strategy else contextlib.nullcontext():
            self._sparse = self._trainable(training.precision, strategy is not None)
            half = training.precision == "mixed_float16"
            optimizer = make_optimizer(
                training.optimizer_name, training.lr, training.momentum, training.nesterov_momentum, half
            )
            feed = data.feed(training.data_order_seed)
            settings = {"schedule": self._schedule(training)}
            if training.weight_decay:
                settings["decay"] = AllDecay(self._sparse, training.weight_decay)
            if strategy:
                self._loop = MirroredLoop(self._sparse, optimizer, feed, strategy, **settings)
            else:
                dense = all(len(kernel.shape) == 2 for kernel in prunable(self.model).values())
                xla = dense and feed.resident and training.precision == "float32"
                self._loop = TrainingLoop(self._sparse, optimizer, feed, xla=xla, **settings)
        self._evaluator = data.evaluator(self._sparse)

    def initial_weights(self, seed: int) -> Weights:
        """Weights drawn anew, as the hyperparameters say."""
        return weights_of(self._built(seed))

    def step(self, text: str) -> Step:
        """A step as text, in epochs of this data."""
        return Step.parse(text, self.data.steps_per_epoch)

    def train(
        self,
        weights: Mapping[str, np.ndarray],
        masks: Masks,
        start: Step,
        end: Step,
        stream: int,
        folder: LotteryFolder,
        report: Report,
        keep: Collection[Step] = (),
        only_at_end: bool = False,
    ) -> None:
        """Takes the steps from `start` to `end`, or from the folder's checkpoint on, and finishes the folder.

        Args:
            weights: path -> array of all weights; those that are pruned do not matter.
            masks: fixed while training.
            start: where learning rate and epochs begin.
            end: after it nothing is done.
            stream: which order of batches and which distortions.
            folder: claimed for this training.
            report: is told how it goes.
            keep: steps at which weights are written, beside `start` and `end`.
            only_at_end: leaves out the tests after each epoch.

        Raises:
            InputError: weights or checkpoint of another network, a loss that is not finite, or a file that cannot be
                read or written.
        """
        set_weights(self._sparse, {path: array * masks.get(path, True) for path, array in weights.items()})
        set_masks(self._sparse, masks)
        self._loop.reset_optimizer()
        resumed = read_checkpoint(folder, CHECKPOINT, self._loop, lambda arrays: int(arrays["step"]))
        step = start.iteration if resumed is None else resumed
        log = folder.resume_log(-1 if resumed is None else step)
        if resumed is None:
            folder.write_mask(masks)
            folder.write_weights(start, weights_of(self._sparse))
            if not only_at_end:
                self._test(log, step)
        kept = {each.iteration: each for each in (*keep, end) if start < each <= end}
        recent: list[Stretch] = []
        for stretch in self._stretches(stream, step, end.iteration, list(kept)):
            step = stretch.stop
            recent.append(stretch)
            if step in kept:
                folder.write_weights(kept[step], weights_of(self._sparse))
            if step % self.data.steps_per_epoch == 0 or step == end.iteration:
                _log_batches(log, step, recent)
                recent = []
                if not only_at_end or step == end.iteration:
                    self._test(log, step)
                folder.write_log(log)
                if step < end.iteration:
                    write_checkpoint(folder, CHECKPOINT, self._loop, {"step": np.array(step)})
            accuracy = log.last(ACCURACY)
            told = np.nan if accuracy is None else accuracy
            loss = float(stretch.losses[-1])
            report.progress(Progress(step, end.iteration, loss, told, stretch.milliseconds_per_step))
        if start == end:
            self._test(log, step)
            folder.write_log(log)
        folder.finish()

    def _stretches(self, stream: int, step: int, end: int, at: list[int]) -> Iterator[Stretch]:
        try:
            for stretch in drive(self._loop, stream, step, end, at=at):
                step = stretch.stop
                yield stretch
        except tf.errors.OpError as error:
            raise self.data.blame(error, self._order_seed, stream, step) from None

    def _built(self, seed: int) -> keras.Model:
        hparams = self._hparams
        return build_named(
            hparams.model_name,
            self.data.input_shape,
            self.data.classes,
            seed,
            kernel_init=hparams.model_init,
            batchnorm_init=hparams.batchnorm_init,
        )

    def _trainable(self, precision: str, several_devices: bool) -> keras.Model:
        hparams, model = self._hparams, masked(self.model)
        if precision != "float32":
            model = with_precision(model, precision)
        if several_devices:
            model = with_synchronized_norm(model)
        exceptions = hparams.others_frozen_exceptions
        for _, layer in named_layers(model):
            if isinstance(layer, MaskedDense):
                layer.product = pruned_matmul  # `train` starts from weights that are 0 where pruned
        freeze(model, hparams.batchnorm_frozen, hparams.output_frozen, hparams.others_frozen, exceptions)
        return model

    def _schedule(self, training: TrainingHparams) -> WarmupMilestones:
        milestones = parse_steps(training.milestone_steps, self.data.steps_per_epoch)
        warmup = self.step(training.warmup_steps).iteration if training.warmup_steps else 0
        gamma = 1.0 if training.gamma is None else training.gamma
        return WarmupMilestones(training.lr, [step.iteration for step in milestones], gamma, warmup)

    def _test(self, log: MetricLog, step: int) -> None:
        accuracy, loss = self._evaluator.accuracy_and_loss()
        log.add(LOSS, step, loss)
        log.add(ACCURACY, step, accuracy)


def _log_batches(log: MetricLog, step: int, stretches: list[Stretch]) -> None:
    """Means over the batches since the last entry, each as it was before its update."""
    log.add("train_loss", step, float(np.concatenate([stretch.losses for stretch in stretches]).mean(dtype=np.float64)))
    errors = np.concatenate([stretch.errors for stretch in stretches])
    log.add("train_accuracy", step, 1 - float(errors.mean(dtype=np.float64)))
