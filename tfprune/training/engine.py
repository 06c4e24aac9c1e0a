"""Training of kept weights alone: in place of a masked model, its twin by the sparse engine takes the steps.

The masked model stays what studies see. It gives the twin its weights when a training begins and has them back whenever
somebody looks; so do the two optimizers with their states, so that a checkpoint is the same file whoever writes it.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import keras
import numpy as np
import tensorflow as tf

from tfprune.engine.choice import AUTO, DENSE, SPARSE, check_engine
from tfprune.engine.compiling import can_compile, has_engine, kernels
from tfprune.errors import InputError
from tfprune.layers.compiling import fresh_optimizer
from tfprune.layers.convert import masked, masks_of
from tfprune.layers.copying import layer_like, plain_layer
from tfprune.layers.joined import joined, stepped
from tfprune.layers.kept import kept_copy, pairs, take_from, write_back
from tfprune.layers.kept_geometry import pays_for
from tfprune.layers.kept_layers import KeptKernel, why_not_kept
from tfprune.layers.masks import Masks
from tfprune.layers.prunable import prunable
from tfprune.layers.topology import named_layers
from tfprune.training.decay import Decay
from tfprune.training.feeds import Pixels
from tfprune.training.updates import Updates, updates_of


def engine_of(asked: str, batch_size: int | None) -> Engine | None:
    """What an engine's name means on this machine, for float32 models on one device.

    Args:
        asked: `dense`: all products are dense; `sparse`: the sparse engine where it pays; `auto`: that, but dense where
            TensorFlow sees a GPU or Numba is not installed.
        batch_size: of the training; None is taken for 32.

    Returns:
        None for dense.

    Raises:
        InputError: another name, or `sparse` on a GPU or without Numba.
    """
    check_engine(asked, "engine")
    on_gpu = asked != DENSE and bool(tf.config.list_logical_devices("GPU"))
    if asked == DENSE or (asked == AUTO and (on_gpu or not has_engine())):
        return None
    if on_gpu:
        raise InputError("engine = sparse computes on CPUs, and TensorFlow sees a GPU: use auto or dense, or hide it")
    return Engine(batch_size or 32, asked == SPARSE)


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Keeps Python from looking for garbage in cycles: the engine's calls make none, and would set it off.

    A look at all that TensorFlow holds takes as long as many steps.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@dataclass(frozen=True)
class Target:
    """What is trained.

    Attributes:
        model: its outputs are logits.
        optimizer: built for its trainable variables.
        decay: a term of the loss, or None.
        quick: what computes the model's outputs in training, from the same variables; None for itself.
        stepper: what takes whole steps, as `tfprune.layers.joined` says; None where nothing does.
        updates: what the optimizer does in these; None where they cannot do it, and so are not to be taken.
    """

    model: keras.Model
    optimizer: keras.optimizers.Optimizer
    decay: Decay | None = None
    quick: keras.Model | None = None
    stepper: Callable | None = None
    variables: list[keras.Variable] = field(init=False)
    updates: Updates | None = field(init=False)

    def __post_init__(self):
        object.__setattr__(self, "variables", list(self.model.trainable_variables))
        self.optimizer.build(self.variables)
        object.__setattr__(self, "updates", self._updates())

    def _updates(self) -> Updates | None:
        trained = {id(variable) for variable in self.variables}
        if self.stepper is None or self.decay is not None or trained != {id(one) for one in self.stepper.variables}:
            return None
        return updates_of(self.optimizer, self.stepper.variables)

    @property
    def takes_stored(self) -> bool:
        """Whether steps are taken from what inputs are made of: bytes, or numbers of images."""
        if self.updates is not None:
            return True
        return self.quick is not None and self.quick.inputs[0].dtype != self.model.inputs[0].dtype

    def logits(self, inputs):
        """Outputs of inputs, in training."""
        return (self.quick or self.model)(inputs, training=True)

    @property
    def state(self) -> list[keras.Variable]:
        """Everything that training changes."""
        return [*self.model.variables, *self.optimizer.variables]


@dataclass(frozen=True)
class Engine:
    """Makes twins for trainings with batches of a size.

    Attributes:
        batch_size: examples.
        is_due: whether it was asked for by its name, and so is there; else, where Numba is of no use, this is told once
            something would be computed by it, and all is dense.
    """

    batch_size: int
    is_due: bool = True

    def is_ready(self) -> bool:
        """Whether kernels can be compiled; loads Numba."""
        return self.is_due or can_compile()

    def twin(self, target: Target, masks: Masks, pixels: Pixels | None = None, whole: bool = False) -> Twin | None:
        """What trains the kept weights of a model, None where that pays for none of its layers.

        Args:
            target: with the model.
            masks: its own; of a plain model those that it is to have.
            pixels: how inputs are made of bytes, where only that is done to these.
            whole: whether steps are nothing but cross-entropy of a batch and an update.
        """
        kept = {id(kernel): int(np.count_nonzero(masks[path])) for path, kernel in prunable(target.model).items()}
        chosen = {
            path: kept[id(layer.kernel)] < layer.kernel.shape.num_elements()
            for path, layer in named_layers(target.model)
            if why_not_kept(layer) is None and pays_for(layer, kept[id(layer.kernel)], self.batch_size)
        }
        if not any(chosen.values()) or not self.is_ready():  # nothing is pruned
            return None
        kernels()  # compiled now, not in the first step
        return Twin(target, masks, set(chosen), pixels, whole)


class Twin:
    """The kept weights of a model in training.

    Args:
        own: the model's.
        masks: as for `Engine.twin`.
        chosen: paths of the layers that hold kept weights alone; others are plain where they are in the model.
        pixels, whole: as for `Engine.twin`.

    Attributes:
        target: what is trained in its place.
        masks: those that it was made for.
        kept: names of the layers that hold kept weights alone.
        variables: id of each trainable variable of the model -> the one that is trained in its place, of which a kernel
            may be the kept weights alone.
    """

    def __init__(self, own: Target, masks: Masks, chosen: set[str], pixels: Pixels | None, whole: bool):
        self._own, self.masks = own, masks
        is_plain = masks != masks_of(own.model)
        source = masked(own.model, masks, verify=False) if is_plain else own.model
        layers = {id(layer) for path, layer in named_layers(source) if path in chosen}
        model = kept_copy(source, lambda layer, mask: id(layer) in layers, plain_layer if is_plain else layer_like)
        self.kept = [path for path, layer in named_layers(model) if isinstance(layer, KeptKernel)]
        self.variables = {id(variable): copy for variable, copy in pairs(model, own.model)}
        decay = own.decay and own.decay.of(self.variables)
        target = Target(model, fresh_optimizer(own.optimizer), decay, stepper=stepped(model, pixels) if whole else None)
        self.target = target if target.updates else replace(target, quick=joined(model, pixels))
        self._scattered = _Slots(own, model)

    def fits(self, masks: Masks) -> bool:
        """Whether these are the masks that it was made for."""
        return masks == self.masks

    def take(self) -> None:
        """Takes over weights and the optimizer's state."""
        take_from(self.target.model, self._own.model)
        self._scattered.take(self.target.optimizer)

    def give_weights(self) -> None:
        """Gives the weights back; pruned ones are what they were."""
        write_back(self.target.model, self._own.model)

    def give(self) -> None:
        """Gives everything back."""
        self.give_weights()
        self._scattered.give(self.target.optimizer)


class _Slots:
    """An optimizer's state for whole kernels, and for kept weights alone."""

    def __init__(self, own: Target, twin: keras.Model):
        self._optimizer = own.optimizer
        self._indices = {
            variable.path.replace("/", "_"): _indices(copy, twin)
            for variable, copy in pairs(twin, own.model)
            if variable.shape != copy.shape
        }

    def take(self, optimizer: keras.optimizers.Optimizer) -> None:
        for whole, kept in self._pairs(optimizer):
            value = whole.numpy()
            kept.assign(value if whole.shape == kept.shape else value.reshape(-1)[self._of(whole)])

    def give(self, optimizer: keras.optimizers.Optimizer) -> None:
        for whole, kept in self._pairs(optimizer):
            value = kept.numpy()
            if whole.shape != kept.shape:
                scattered = np.zeros(whole.shape, value.dtype)
                scattered.reshape(-1)[self._of(whole)] = value
                value = scattered
            whole.assign(value)

    def _pairs(self, optimizer: keras.optimizers.Optimizer):
        return zip(self._optimizer.variables, optimizer.variables, strict=True)

    def _of(self, slot: keras.Variable) -> np.ndarray:
        """Where the kept weights are; a slot's name begins with its variable's path."""
        return self._indices[max((path for path in self._indices if slot.name.startswith(path)), key=len)]


def _indices(values: keras.Variable, model: keras.Model) -> np.ndarray:
    for _, layer in named_layers(model):
        if isinstance(layer, KeptKernel) and layer.kernel_values is values:
            return layer.kernel_indices.numpy()
    raise AssertionError(values.path)
