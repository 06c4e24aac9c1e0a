"""The compiled training loop: many steps per call of one `tf.function`, the data already on the device."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from tfprune.layers.convert import masks_of
from tfprune.layers.masks import Masks
from tfprune.training.decay import Decay
from tfprune.training.engine import Target, engine_of, uncollected
from tfprune.training.feeds import Feed

_STEPS_PER_XLA_CALL = 512


class TrainingLoop:
    """Trains a classifier by softmax cross-entropy, one compiled call per stretch of steps.

    Args:
        model: maps the feed's inputs to logits (B, classes).
        optimizer: a Keras optimizer; `keras.optimizers.LossScaleOptimizer` scales the gradients and leaves out steps
            where they overflow.
        feed: gives the batches; `begin` it before the steps of an epoch (`tfprune.training.drive` does).
        decay: is added to the loss that is minimised, not to the one that is reported.
        schedule: step -> learning rate, set before each update. Not the number of updates counts but the step, so that
            a run that starts late, or leaves updates out, sees the rate of the step. None leaves it to the optimizer.
        xla: compiles the loop by XLA, which pays where small operations dominate: dense layers, not convolutions on
            CPUs. The feed must be resident. The sparse engine leaves it out.
        engine: what computes the products of a masked model, see `tfprune.training.engine.engine_of`. With the sparse
            engine `begin` chooses by the masks which layers train their kept weights alone; `model` is then behind what
            is trained until `give_weights`.

    Attributes:
        measures: names of what each step measures.
    """

    measures: tuple[str, ...] = ("train_error", "train_loss")

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        feed: Feed,
        *,
        decay: Decay | None = None,
        schedule: Callable[[tf.Tensor], tf.Tensor] | None = None,
        xla: bool = False,
        engine: str = "dense",
    ):
        self.model = model
        self.optimizer = optimizer
        self.feed = feed
        self._schedule = schedule
        self._own = self._trained = Target(model, optimizer, decay)
        self._engine, self._twin = engine_of(engine, feed.batch_size(0)), None
        self._xla = xla
        self._whole = type(self) is TrainingLoop and schedule is None  # what a subclass does in a step is not known
        self._optimizer_start = [np.array(variable.numpy()) for variable in optimizer.variables]
        self._compile()

    @property
    def kept(self) -> list[str]:
        """Names of the layers that train their kept weights alone."""
        return self._twin.kept if self._twin else []

    @property
    def rate(self) -> float:
        """The learning rate of the last step."""
        return float(self._trained.optimizer.learning_rate.numpy())

    @property
    def state(self) -> list[np.ndarray]:
        """Copies of everything that training changes: variables of model and optimizer, whatever the engine."""
        if self._twin:
            self._twin.give()
        return [np.array(variable.numpy()) for variable in self._state_variables()]

    @state.setter
    def state(self, arrays: list[np.ndarray]) -> None:
        for variable, array in zip(self._state_variables(), arrays, strict=True):
            variable.assign(array)
        if self._engine is not None:
            self._choose()

    def begin(self) -> None:
        """Starts from the weights and masks that the model has now, and the optimizer's first state."""
        self.reset_optimizer()
        if self._engine is not None:
            self._choose()

    def _choose(self) -> None:
        """What trains from now on, by the masks of now: the model itself, or a twin, which takes over its state."""
        masks = self._masks()
        if self._twin is None or not self._twin.fits(masks):
            self._twin = self._engine.twin(self._own, masks, self.feed.pixels, self._whole)
            trained = self._twin.target if self._twin else self._own
            if trained is not self._trained:
                self._trained = trained
                self._compile()
        if self._twin:
            self._twin.take()

    def _masks(self) -> Masks:
        """What is kept of the model's kernels until the next `begin`, be it plain or masked."""
        return masks_of(self.model)

    def give_weights(self) -> None:
        """Gives `model` the weights that are trained, where it does not train itself."""
        if self._twin:
            self._twin.give_weights()

    def reset_optimizer(self) -> None:
        """Optimizer state back to its start."""
        for variable, array in zip(self.optimizer.variables, self._optimizer_start, strict=True):
            variable.assign(array)

    def _compile(self) -> None:
        xla = self._xla and self._twin is None
        # XLA wants to know how long the histories are; the others are told at each call.
        self._most_steps = _STEPS_PER_XLA_CALL if xla else None
        self._run = tf.function(self._stretch, autograph=False, jit_compile=True if xla else None)
        self._compiled: dict[int | None, Callable] = {}

    def trace(self, stream: int = 0) -> None:
        """Compiles what an epoch needs, once, without a step, so that timings are of steps alone."""
        if not self._compiled:
            steps = 0, self.feed.epoch_end(0) - 1
            for size in {self.feed.batch_size(step) for step in steps}:
                self._call(0, 0, stream, size)

    def run(self, start: int, stop: int, stream: int = 0) -> tuple[np.ndarray, ...]:
        """Takes steps `start .. stop - 1`, all of one epoch.

        Args:
            start: first step.
            stop: step after the last one.
            stream: which stream of batches, for example the iteration.

        Returns:
            float32 (stop - start,) for each of `measures`: errors, the fraction of each batch misclassified before its
            update, losses, and what a subclass measures beside.
        """
        found = tuple(np.empty(stop - start, np.float32) for _ in self.measures)
        step = start
        with uncollected() if self._twin else contextlib.nullcontext():
            while step < stop:
                size, end = self._alike(step, stop)
                histories = self._call(step, end, stream, size)
                for whole, part in zip(found, histories, strict=True):
                    whole[step - start : end - start] = part.numpy()[: end - step]
                step = end
        return found

    def _alike(self, step, stop):
        """The batch size of `step`, and the end of the steps that one compiled call can take with it."""
        size = self.feed.batch_size(step)
        end = stop if self._most_steps is None else min(stop, step + self._most_steps)
        return size, next((later for later in range(step + 1, end) if self.feed.batch_size(later) != size), end)

    def _call(self, start, stop, stream, size):
        # Traced by hand: TensorFlow takes several loops in a process for one that is traced too often, and warns.
        if size not in self._compiled:
            number = tf.TensorSpec([], tf.int32)
            self._compiled[size] = self._run.get_concrete_function(number, number, number, size)
        return self._compiled[size](tf.constant(start), tf.constant(stop), tf.constant(stream))

    def _stretch(self, start, stop, stream, size):
        if self._trained.updates and self.feed.pixels.images is not None:
            return self._all_at_once(start, stop, stream, size)
        steps = stop - start if self._most_steps is None else self._most_steps
        histories = [tf.TensorArray(tf.float32, steps, element_shape=()) for _ in self.measures]

        def body(step, *histories):
            values = self._step(stream, step, size)
            written = [each.write(step - start, value) for each, value in zip(histories, values, strict=True)]
            return step + 1, *written

        # One step at a time: an update must see the one before it.
        _, *histories = tf.while_loop(lambda step, *_: step < stop, body, (start, *histories), parallel_iterations=1)
        return tuple(each.stack() for each in histories)

    def _all_at_once(self, start, stop, stream, size):
        numbers = tf.TensorSpec([size], tf.int32)
        stored = functools.partial(self.feed.stored, stream, size=size)
        batches = tf.map_fn(stored, tf.range(start, stop), fn_output_signature=(numbers, numbers))
        return tuple(self._whole_steps(*batches, stop - start))

    def _whole_steps(self, examples, labels, steps):
        updates = self._trained.updates
        return self._trained.stepper(examples, labels, *updates.begin(steps), updates.rule, updates.slots)

    def _step(self, stream, step, size):
        """Takes a step; gives `measures`, scalars."""
        return self._update(*self._batch(stream, step, size))

    def _batch(self, stream, step, size):
        """What a step is taken on, at its learning rate."""
        if self._schedule is not None:
            self._trained.optimizer.learning_rate.assign(self._schedule(step))
        if self._trained.takes_stored:
            return self.feed.stored(stream, step, size)
        if self._xla and self._twin:
            # Random numbers are others by XLA: whatever takes the steps sees the same distortions.
            return tf.function(self.feed.batch, autograph=False, jit_compile=True)(stream, step, size)
        return self.feed.batch(stream, step, size)

    def _update(self, inputs, labels):
        if self._trained.updates:
            return (measure[0] for measure in self._whole_steps(inputs[None], labels[None], 1))
        with tf.GradientTape() as tape:
            logits, losses = self._losses(inputs, labels)
            loss = tf.reduce_mean(losses)
            scaled = self._trained.optimizer.scale_loss(loss)
        self._descend(tape, scaled)
        return 1 - tf.reduce_mean(right(logits, labels)), loss

    def _losses(self, inputs, labels):
        # Layers of lower precision end in logits of lower precision; their cross-entropy is taken in float32.
        logits = tf.cast(self._trained.logits(inputs), tf.float32)
        return logits, tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)

    def _descend(self, tape, scaled):
        variables = self._trained.variables
        gradients = tape.gradient(scaled, [variable.value for variable in variables])
        self._trained.optimizer.apply(self._with_decay(gradients), variables)

    def _with_decay(self, gradients):
        if self._trained.decay is None:
            return gradients
        return [self._decayed(*pair) for pair in zip(gradients, self._trained.variables, strict=True)]

    def _decayed(self, gradient, variable):
        more = self._trained.decay.gradient(variable)
        return gradient if more is None else gradient + self._trained.optimizer.scale_loss(more)

    def _state_variables(self):
        return self._own.state


def right(logits, labels):
    """float32 (B,): 1 where the largest logit is the label's."""
    return tf.cast(tf.equal(tf.argmax(logits, axis=1, output_type=tf.int32), labels), tf.float32)
