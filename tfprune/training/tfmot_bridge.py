"""Gradual magnitude pruning by `tensorflow_model_optimization`, which knows only the Keras before version 3.

A Keras 3 model gets a legacy twin, layer by layer, with the same weights and outputs; the twin is pruned while it
trains; its weights and masks come back. Everything that touches the two old packages is in this module, which imports
them when the first twin is made.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from functools import cache

import keras
import numpy as np
import tensorflow as tf

from tfprune.errors import InputError
from tfprune.layers.convert import masked, set_masks, strip
from tfprune.layers.kernel_masks import MaskedKernels
from tfprune.layers.masks import Masks
from tfprune.layers.prunable import kernels_of, prunable
from tfprune.layers.topology import flat_inputs, named_layers, require_graph, run
from tfprune.layers.weights import Weights, set_weights, weight_variables
from tfprune.pruning.training_schedules import PolynomialSchedule
from tfprune.records.reading import first_line

_SWITCH = "TF_USE_LEGACY_KERAS"

_CONV = "filters kernel_size strides padding data_format dilation_rate activation use_bias"
_DEPTHWISE = "kernel_size strides padding depth_multiplier data_format dilation_rate activation use_bias"
_POOL = "pool_size strides padding data_format"
_RANKS = ("1D", "2D", "3D")
# Classes that have the same name in both versions -> what of their configuration says what they compute.
_KEYS: dict[str, str] = {
    "Dense": "units activation use_bias",
    "EinsumDense": "equation output_shape activation bias_axes",
    **{f"Conv{rank}": f"{_CONV} groups" for rank in _RANKS},
    **{f"Conv{rank}Transpose": f"{_CONV} output_padding" for rank in _RANKS},
    **{f"DepthwiseConv{rank}": _DEPTHWISE for rank in ("1D", "2D")},
    **{f"SeparableConv{rank}": f"{_CONV} depth_multiplier" for rank in ("1D", "2D")},
    "BatchNormalization": "axis momentum epsilon center scale",
    "LayerNormalization": "axis epsilon center scale",
    "Rescaling": "scale offset",
    "Activation": "activation",
    "ReLU": "max_value negative_slope threshold",
    "LeakyReLU": "negative_slope",
    "ELU": "alpha",
    "Softmax": "axis",
    "Dropout": "rate noise_shape seed",
    **{f"SpatialDropout{rank}": "rate" for rank in _RANKS},
    **{f"{kind}Pooling{rank}": _POOL for kind in ("Max", "Average") for rank in _RANKS},
    **{f"Global{kind}Pooling{rank}": "data_format keepdims" for kind in ("Max", "Average") for rank in _RANKS},
    "ZeroPadding1D": "padding",
    "ZeroPadding2D": "padding data_format",
    "ZeroPadding3D": "padding data_format",
    "UpSampling1D": "size",
    "UpSampling2D": "size data_format interpolation",
    "UpSampling3D": "size data_format",
    "Flatten": "data_format",
    "Reshape": "target_shape",
    "Permute": "dims",
    "RepeatVector": "n",
    "Concatenate": "axis",
    **dict.fromkeys(("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"), ""),
}
_RENAMED = {("LeakyReLU", "negative_slope"): "alpha"}
# What would change training or outputs, and has no counterpart or would be lost.
_REFUSED = ("regularizer", "constraint", "lora_rank", "quantization_config", "renorm")


class Twin:
    """A legacy copy of a model that `TrainingLoop`, or any Keras 3 optimizer, trains in its place.

    Its variables are presented as Keras 3 variables that share their storage. Batch normalisation's running variance
    is, on images, that of a sample (n − 1), as the old Keras has it. What layers like Dropout draw comes from the old
    Keras, too, and cannot be continued from a checkpoint.

    Args:
        model: Sequential or Functional, of the layers that the old Keras has, too; nested, with shared layers, several
            inputs or outputs. A masked model is copied with its zeros, and its masks are forgotten.
        schedule: how its kernels are pruned while it trains, every one to the schedule's sparsity; None leaves it
            dense.

    Attributes:
        model: the `tf_keras.Model`; takes and gives a list where `model` has several inputs or outputs.
        variables: everything that training changes, the state of pruning too.
        trainable_variables: those that an optimizer changes.
        kernels: path -> variable, as `tfprune.prunable(model)`.

    Raises:
        InputError: a layer without a legacy twin, or with a regularizer or constraint; names it.

    Reference: Zhu & Gupta 2017, arXiv 1710.01878.
    """

    def __init__(self, model: keras.Model, schedule: PolynomialSchedule | None = None):
        require_graph(model)
        schedule = schedule and schedule.fixed(None)
        if any(isinstance(layer, MaskedKernels) for _, layer in named_layers(model)):
            model = strip(model)
        layers = {path: layer for path, layer in named_layers(model) if not isinstance(layer, keras.layers.InputLayer)}
        legacy = {path: _legacy_layer(path, layer) for path, layer in layers.items()}
        wrappers = {}
        if schedule is not None:
            wrappers = {
                path: _pruned(legacy[path], layer, schedule) for path, layer in layers.items() if kernels_of(layer)
            }
        called = {id(layer): wrappers.get(path, legacy[path]) for path, layer in layers.items()}
        self.model = _legacy_graph(model, called)
        shared = {id(variable): _shared(variable) for variable in self.model.weights}
        self.variables = list(shared.values())
        self.trainable_variables = [shared[id(variable)] for variable in self.model.trainable_weights]
        paths = {id(variable): path for path, variable in weight_variables(model).items()}
        self._weights, self._masks = {}, {}
        for path, layer in layers.items():
            pairs = zip(_weights_of(layer), legacy[path].weights, strict=True)
            self._weights |= {paths[id(own)]: shared[id(variable)] for own, variable in pairs}
            if path in wrappers:
                names = [f"{path}/{name}" for name in kernels_of(layer)]
                masks = (mask for _, mask, _ in wrappers[path].pruning_vars)
                self._masks |= dict(zip(names, masks, strict=True))
                wrappers[path].pruning_step.assign(0)  # what tfmot's callback does before the first step
        self.kernels = {path: self._weights[path] for path in prunable(model)}
        for path, variable in weight_variables(model).items():
            self._weights[path].assign(variable)

    def __call__(self, inputs, training: bool = False):
        """The outputs; in training, masks are renewed first where that is due.

        Where it is pruned, pruned weights are set to 0 first even without training.
        """
        return self.model(inputs, training=training)

    @property
    def masks(self) -> Masks:
        """tfmot's masks as they are now, for every path of `prunable(model)`; all True for a dense twin."""
        ones = {path: np.ones(kernel.shape, bool) for path, kernel in self.kernels.items()}
        return Masks(ones | {path: mask.numpy() != 0 for path, mask in self._masks.items()})

    @property
    def weights(self) -> Weights:
        """Copies of all weights by the paths of `tfprune.layers.weights`, pruned ones 0."""
        arrays = {path: np.array(variable.numpy()) for path, variable in self._weights.items()}
        return arrays | {path: np.where(mask, arrays[path], 0) for path, mask in self.masks.items()}

    def write_to(self, model: keras.Model) -> None:
        """Gives weights and masks to a masked model of the same form."""
        set_weights(model, self.weights)
        set_masks(model, self.masks)


def gradual_prune(
    model: keras.Model,
    batches: Iterable[tuple],
    steps: int,
    schedule: PolynomialSchedule,
    *,
    optimizer: str | keras.optimizers.Optimizer = "adam",
    loss: str | Callable = "sparse_categorical_crossentropy",
) -> keras.Model:
    """Trains a model and prunes it meanwhile, the smallest weights of each kernel first (tfmot's `PolynomialDecay`).

    Every kernel ends with the schedule's final sparsity: tfmot prunes each layer for itself. At least one weight of a
    kernel is left, and weights of the same size as the smallest one kept are all kept.

    Args:
        model: see `Twin`; stays as it is.
        batches: (inputs, targets) pairs, gone through again from the start until there were enough.
        steps: updates to take, at least the schedule's end_step.
        schedule: for example `PolynomialSchedule.within(steps, 0.9)`.
        optimizer: name or Keras 3 optimizer.
        loss: name or function of Keras 3 losses: (targets, outputs) -> float32, whose mean is minimised.

    Returns:
        A masked copy of the model with the trained weights; `tfprune.masks_of` gives its masks.

    Raises:
        InputError: a layer without a legacy twin, too few steps, or batches that end early.

    Reference: Zhu & Gupta 2017, arXiv 1710.01878.
    """
    schedule = schedule.fixed(steps)
    if steps < schedule.end_step:
        raise InputError(f"steps must be at least the schedule's end_step, {schedule.end_step}. Received: {steps}")
    twin = Twin(model, schedule)
    optimizer, measure = keras.optimizers.get(optimizer), keras.losses.get(loss)
    variables = twin.trainable_variables
    optimizer.build(variables)

    @tf.function(reduce_retracing=True)
    def step(inputs, targets):
        with tf.GradientTape() as tape:
            scaled = optimizer.scale_loss(tf.reduce_mean(measure(targets, twin(inputs, training=True))))
        optimizer.apply(tape.gradient(scaled, [variable.value for variable in variables]), variables)

    for inputs, targets in _repeated(batches, steps):
        step(*tf.nest.map_structure(tf.convert_to_tensor, (inputs, targets)))
    found = masked(model)
    twin.write_to(found)
    return found


def _repeated(batches: Iterable[tuple], steps: int) -> Iterator[tuple]:
    taken = 0
    while taken < steps:
        before = taken
        for batch in batches:
            if taken == steps:
                return
            taken += 1
            yield batch
        if taken == before:
            raise InputError(
                f"batches ended after {taken} of {steps} steps: give more of them, or what can be gone through again"
            )


@cache
def _packages():
    """(tensorflow_model_optimization, tf_keras), without a trace in how this process sees Keras."""
    before = os.environ.get(_SWITCH)
    # The import sets the switch, and `tf.keras` obeys it when it is first used: let it be used before.
    _ = tf.keras.__version__
    try:
        import tensorflow_model_optimization
        import tf_keras
    finally:
        if before is None:
            os.environ.pop(_SWITCH, None)
        else:
            os.environ[_SWITCH] = before
    return tensorflow_model_optimization, tf_keras


def _legacy_layer(path: str, layer: keras.layers.Layer):
    """The layer of the same class and configuration in the old Keras, not yet built."""
    _, tf_keras = _packages()
    kind = type(layer).__name__
    if kind not in _KEYS or type(layer) is not getattr(keras.layers, kind):
        raise InputError(f"layer {path!r}: the layer type {kind} has no twin in the Keras before version 3")
    config = layer.get_config()
    for key, value in config.items():
        if value and key.endswith(_REFUSED):
            raise InputError(f"layer {path!r} ({kind}): {key} is not carried over to the Keras before version 3")
    chosen = {_RENAMED.get((kind, key), key): config[key] for key in _KEYS[kind].split() if key in config}
    if "activation" in chosen:
        # The function itself: some names mean another function in the old Keras.
        chosen["activation"] = layer.activation
    try:
        legacy = getattr(tf_keras.layers, kind)(**chosen, name=path, dtype=layer.dtype_policy.name)
    except (TypeError, ValueError) as error:
        reason = first_line(error)
        raise InputError(f"layer {path!r} ({kind}) has no twin in the Keras before version 3: {reason}") from error
    legacy.trainable = layer.trainable
    return legacy


def _pruned(legacy, layer: keras.layers.Layer, schedule: PolynomialSchedule):
    """tfmot's wrapper of a legacy layer, for the kernels that are prunable here."""
    tfmot, _ = _packages()
    own = [id(variable) for variable in _weights_of(layer)]
    places = [own.index(id(kernel)) for kernel in kernels_of(layer).values()]
    # tfmot's own list leaves out depthwise kernels, among others.
    legacy.get_prunable_weights = lambda: [legacy.weights[place] for place in places]

    class PolynomialDecay(tfmot.sparsity.keras.PolynomialDecay):
        """Steps, where the wrapper counts its calls: a shared layer is called several times in a step."""

        calls = 0

        def __call__(self, count):
            due, sparsity = super().__call__((count - 1) // self.calls + 1)
            return tf.logical_and(due, tf.equal((count - 1) % self.calls, 0)), sparsity

    decay = PolynomialDecay(
        schedule.initial, schedule.final, schedule.begin_step, schedule.end_step, schedule.power, schedule.frequency
    )
    return tfmot.sparsity.keras.prune_low_magnitude(legacy, pruning_schedule=decay, dtype=layer.dtype_policy.name)


def _legacy_graph(model: keras.Model, called: dict[int, object]):
    """A legacy model of the graph of `model`, nested ones unfolded.

    Args:
        called: id of a layer -> what is called in its place.
    """
    _, tf_keras = _packages()

    def call(operation, *args, **kwargs):
        if isinstance(operation, keras.Model):
            (inputs,) = args or (kwargs["inputs"],)
            outputs = run(operation, flat_inputs(operation, inputs), call)
            return outputs[0] if len(outputs) == 1 else outputs
        if id(operation) not in called:
            raise InputError(
                f"operation {operation.name!r} ({type(operation).__name__}) has no twin in the Keras before version 3; "
                "use the layer for it"
            )
        legacy = called[id(operation)]
        given = {key: value for key, value in kwargs.items() if value is not None}
        if hasattr(legacy, "pruning_schedule"):
            legacy.pruning_schedule.calls += 1
            given.pop("training", None)
        return legacy(*args, **given)

    inputs = [
        tf_keras.Input(tensor.shape[1:], batch_size=tensor.shape[0], dtype=tensor.dtype, name=tensor.name)
        for tensor in model.inputs
    ]
    outputs = run(model, inputs, call)
    pack = [tensors[0] if len(tensors) == 1 else tensors for tensors in (inputs, outputs)]
    return tf_keras.Model(*pack, name=model.name)


def _weights_of(layer: keras.layers.Layer) -> list[keras.Variable]:
    """In the order of the legacy layer's weights, which has no states of random generators."""
    return [variable for variable in layer.variables if variable.name != "seed_generator_state"]


def _shared(variable: tf.Variable) -> keras.Variable:
    """A Keras 3 variable with the storage of a legacy one."""
    name = variable.name.split(":")[0].rsplit("/", 1)[-1]
    return keras.Variable(variable, trainable=variable.trainable, name=name)
