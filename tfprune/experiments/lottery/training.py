"""Training with fixed masks from one step to another: what every workflow of this system is made of."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping

import keras
import numpy as np
import tensorflow as tf

from tfprune.experiments.lottery import files
from tfprune.experiments.lottery.data import LotteryData
from tfprune.experiments.lottery.names import PlainSettings
from tfprune.experiments.lottery.settings import TrainingSettings
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
from tfprune.records.run_folder import RunFolder
from tfprune.training.decay import AllDecay
from tfprune.training.loop import TrainingLoop
from tfprune.training.mirrored import Several
from tfprune.training.optimizers import WarmupMilestones, make_optimizer
from tfprune.training.session import Session, Trained, Watch
from tfprune.training.timetable import Pauses, Timetable


class Trainer:
    """Trains one network on one data set, any weights and masks, always by the same compiled functions.

    Args:
        settings: network, optimizer and its schedule; where training starts and ends is said at each call.
        data: the data.
        several: what to train with on several devices; None trains on one.
        engine: of training on one device, see `TrainingLoop`.

    Attributes:
        model: the network in plain Keras, for scoring and pruning; its weights are whatever they were set to last.
        data: the data.
        loop: what takes the steps.
    """

    def __init__(
        self,
        settings: PlainSettings,
        data: LotteryData,
        several: Several | None = None,
        engine: str = "dense",
    ):
        self.data = data
        self._settings, training = settings.model, settings.training
        self.model = self._built(0)
        with several.strategy.scope() if several else contextlib.nullcontext():
            self._sparse = self._trainable(training.precision, several is not None)
            half = training.precision == "mixed_float16"
            optimizer = make_optimizer(
                training.optimizer_name, training.lr, training.momentum, training.nesterov_momentum, half
            )
            feed = data.feed(training.data_order_seed)
            more = {"schedule": self._schedule(training)}
            if training.weight_decay:
                more["decay"] = AllDecay(self._sparse, training.weight_decay)
            if several:
                loop = several.loop(self._sparse, optimizer, feed, several.strategy, **more)
            else:
                dense = all(len(kernel.shape) == 2 for kernel in prunable(self.model).values())
                xla = dense and feed.resident and training.precision == "float32"
                loop = TrainingLoop(self._sparse, optimizer, feed, xla=xla, engine=engine, **more)

        def blame(error: Exception, stream: int, step: int) -> Exception:
            of_data = isinstance(error, tf.errors.OpError)
            return data.blame(error, training.data_order_seed, stream, step) if of_data else error

        self.loop = loop
        self._session = Session(loop, data.evaluator(self._sparse).metrics, blame=blame)

    def initial_weights(self, seed: int) -> Weights:
        """Weights drawn anew, as the settings say."""
        return weights_of(self._built(seed))

    def train(
        self,
        weights: Mapping[str, np.ndarray],
        masks: Masks,
        start: Step,
        end: Step,
        stream: int,
        folder: RunFolder,
        watch: Watch,
        keep: Collection[Step] = (),
        only_at_end: bool = False,
    ) -> Trained:
        """Takes the steps from `start` to `end`, or from the folder's checkpoint on.

        Args:
            weights: path -> array of all weights; those that are pruned do not matter.
            masks: fixed while training.
            start: where learning rate and epochs begin.
            end: after it nothing is done.
            stream: which order of batches and which distortions.
            folder: claimed for this training; is left with mask, kept weights and `logger`.
            watch: is told how it goes.
            keep: steps at which weights are written, beside `start` and `end`.
            only_at_end: leaves out the tests before.

        Raises:
            InputError: weights or checkpoint of another network, a loss that is not finite, or a file that cannot be
                read or written.
        """
        kept = {step.iteration: step for step in (start, *keep, end) if start <= step <= end}
        epoch, last = self.data.steps_per_epoch, end.iteration
        tests = Pauses(at=(last,)) if only_at_end else Pauses(every=epoch, at=(start.iteration, last))
        means, checkpoints = Pauses(every=epoch, at=(last,)), Pauses(every=epoch, last=last - 1)
        timetable = Timetable(tests, checkpoints, means, keeps=Pauses(at=kept))

        def begin() -> None:
            files.write_mask(folder.folder, masks)
            set_weights(self._sparse, {path: array * masks.get(path, True) for path, array in weights.items()})
            set_masks(self._sparse, masks)

        return self._session.run(
            folder,
            timetable,
            begin,
            watch,
            stream=stream,
            start=start.iteration,
            end=last,
            keep=lambda step: files.write_weights(folder.folder, kept[step], weights_of(self._sparse)),
            on_log=lambda log: log.write(folder.path(files.LOGGER)),
        )

    def _built(self, seed: int) -> keras.Model:
        settings, data = self._settings, self.data
        inits = {"kernel_init": settings.model_init, "batchnorm_init": settings.batchnorm_init}
        return build_named(settings.model_name, data.input_shape, data.classes, seed, **inits)

    def _trainable(self, precision: str, several_devices: bool) -> keras.Model:
        settings, model = self._settings, masked(self.model)
        if precision != "float32":
            model = with_precision(model, precision)
        if several_devices:
            model = with_synchronized_norm(model)
        exceptions = settings.others_frozen_exceptions
        for _, layer in named_layers(model):
            if isinstance(layer, MaskedDense):
                layer.product = pruned_matmul  # `train` starts from weights that are 0 where pruned
        freeze(model, settings.batchnorm_frozen, settings.output_frozen, settings.others_frozen, exceptions)
        return model

    def _schedule(self, training: TrainingSettings) -> WarmupMilestones:
        steps = self.data.steps_per_epoch
        milestones = [step.iteration for step in parse_steps(training.milestone_steps, steps)]
        warmup = Step.parse(training.warmup_steps, steps).iteration if training.warmup_steps else 0
        return WarmupMilestones(training.lr, milestones, 1.0 if training.gamma is None else training.gamma, warmup)
