"""A sparse model made faster: layers below break-even hold and compute their kept weights alone."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from tfprune.engine.choice import AUTO, DENSE, SPARSE, check_engine
from tfprune.engine.compiling import kernels
from tfprune.engine.geometry import Geometry
from tfprune.engine.rule import pays
from tfprune.errors import InputError
from tfprune.layers.compiling import compile_alike
from tfprune.layers.convert import masked, without_lora
from tfprune.layers.copying import layer_like, plain_layer
from tfprune.layers.flowing import few_examples, flows_of, let_flow
from tfprune.layers.kept import kept_copy
from tfprune.layers.kept_geometry import pays_for
from tfprune.layers.kept_layers import why_not_kept
from tfprune.layers.kernel_masks import masked_kernels
from tfprune.layers.masks import Masks
from tfprune.layers.prunable import kernels_of, prunable, share_of_parameters
from tfprune.layers.subclassed import as_graph
from tfprune.layers.topology import named_layers
from tfprune.layers.verify import check_copy
from tfprune.surgery.compact import compact as compacted
from tfprune.surgery.compact import masked_values

_UNKNOWN_SIZE = 16


def accelerate(
    model: keras.Model,
    masks: Mapping[str, np.ndarray] | None = None,
    *,
    batch_size: int = 32,
    engine: str = "auto",
    compact: bool = True,
    fold_batchnorm: bool = False,
    verify: bool = True,
) -> keras.Model:
    """A model with the same outputs that holds and computes only the kept weights of layers where that is quicker.

    In such a layer (`SparseDense`, `SparseConv2D`, ...) a vector of values, which is trained, and one of places stand
    for the kernel; optimizers have slots for the values alone. It computes on CPUs, in float32, with the extra
    `tfprune[sparse]`. Which layers these are follows from shapes, density and `batch_size` by the rule of
    `tfprune.engine.rule`; the others are masked where weights are pruned, and plain where none are.

    In inference with 12 examples or more, convolutions that follow one another are computed at once, with what lies
    between them, see `tfprune.layers.flows`; outputs and gradients are those of the layers.

    The copy trains with `fit`, as the masked model does; `save` and `tfprune.load_model`, `masks_of`, `sparsity`,
    `strip` and `export` take it, and `tfprune.masked(fast)` gives back a masked model with its weights. Its masks stay
    what they are.

    Optimizers see a vector in place of the kernel: those that look at each weight alone train it as they do the masked
    one; Muon, Lamb, Adafactor and others that look at a whole kernel train it differently.

    Args:
        model: built model, masked, plain with zeros for its pruned weights, or accelerated; stays as it is.
        masks: path -> bool array for every path of `prunable(model)`; None for the model's own, and for zeros in layers
            without masks.
        batch_size: examples in a batch that it is to be quick with, ≥ 1; takes batches of any size.
        engine: `"auto"`: layers for which the rule says that it pays; `"sparse"`: all layers with pruned weights that
            can be; `"dense"`: none.
        compact: whether channels without effect leave first, see `tfprune.compact`, after which weights that are 0
            count as pruned; without that, paths and shapes are those of `model`.
        fold_batchnorm: for inference: puts normalisation into the kernel and bias of the layer in front of it, as
            `tfprune.compact` does.
        verify: compares the outputs of each copy with those of what it was made of, as `masked` does.

    Returns:
        Model compiled like `model`, with the same inputs, outputs and layer names; the same for the same arguments.

    Warns:
        UserWarning: once, in a line: layers that are sparse enough, but cannot hold kept weights alone, and why; no
            layer of the model is sparse and large enough, or none has pruned weights. What `tfprune.compact` warns of.

    Raises:
        InputError: an argument is out of range, Numba is not installed (says the command), TensorFlow sees a GPU, or
            what `masked` and `compact` raise.
    """
    check_arguments(batch_size, engine)
    whole, masks = pruned(model, masks, compact, fold_batchnorm, verify)
    sparse = masked(whole, masks, verify=False)
    choices = choose(sparse, batch_size, engine)
    fast = with_kept(sparse, choices)
    if verify:
        check_copy(fast, whole, masked_values(whole, masks))
        if flows_of(fast):
            with few_examples():
                check_copy(fast, whole, masked_values(whole, masks))
    if model.compiled:
        compile_alike(fast, model)
    if engine != DENSE:
        _tell(sparse, choices, engine)
    return fast


@dataclass(frozen=True)
class Choice:
    """What becomes of a layer.

    Attributes:
        layer: masked.
        kernels: (variable, mask) of each kernel.
        reason: why it stays dense, in a few words; None if it holds its kept weights alone.
        missed: whether it would hold these, if it could: the rule says that it pays, or the engine is to be sparse.
    """

    layer: keras.layers.Layer
    kernels: tuple[tuple[keras.Variable, np.ndarray], ...]
    reason: str | None
    missed: bool = False

    @property
    def is_pruned(self) -> bool:
        """Whether the layer has pruned weights."""
        return not all(mask.all() for _, mask in self.kernels)


def pruned(
    model: keras.Model,
    masks: Mapping[str, np.ndarray] | None,
    compact: bool,
    fold_batchnorm: bool = False,
    verify: bool = False,
) -> tuple[keras.Model, Masks]:
    """The model that an accelerated one computes the outputs of, with these masks; arguments as for `accelerate`."""
    if fold_batchnorm and not compact:
        raise InputError("fold_batchnorm = True is a part of compaction. Received: compact=False")
    model = without_lora(model)
    if compact:
        model, masks = compacted(model, masks, fold_batchnorm=fold_batchnorm, verify=verify), None
    return model, _zeros_pruned(model) if masks is None else Masks(masks).check(model)


def choose(sparse: keras.Model, batch_size: int, engine: str = AUTO) -> dict[str, Choice]:
    """Path of a layer with kernels -> what becomes of it; by shapes, masks and these arguments alone.

    Args:
        sparse: masked model.
        batch_size, engine: as for `accelerate`.
    """
    masks = {id(kernel): mask.numpy() for kernel, mask in masked_kernels(sparse)}
    found = {}
    for path, layer in named_layers(as_graph(sparse)):
        kernels = tuple((kernel, masks[id(kernel)]) for kernel in kernels_of(layer).values() if id(kernel) in masks)
        if kernels:
            found[path] = _choice(layer, kernels, batch_size, engine)
    return found


def with_kept(sparse: keras.Model, choices: Mapping[str, Choice]) -> keras.Model:
    """A copy of a masked model in which layers are what was chosen for them; not compiled."""
    kept = {id(choice.layer) for choice in choices.values() if choice.reason is None}
    plain = {id(choice.layer) for choice in choices.values() if not choice.is_pruned}

    def other(layer: keras.Operation) -> keras.Operation:
        return plain_layer(layer) if id(layer) in plain else layer_like(layer)

    return let_flow(kept_copy(sparse, lambda layer, _: id(layer) in kept, other))


def _choice(layer: keras.layers.Layer, kernels, batch_size: int, engine: str) -> Choice:
    if all(mask.all() for _, mask in kernels):
        return Choice(layer, kernels, "it has no pruned weights")
    if engine == DENSE:
        return Choice(layer, kernels, "engine is dense")
    reason = why_not_kept(layer)
    if reason is not None:
        return Choice(layer, kernels, reason, engine == SPARSE or _would_pay(layer, kernels, batch_size))
    if engine == AUTO and not pays_for(layer, np.count_nonzero(kernels[0][1]), batch_size):
        return Choice(layer, kernels, "slower by the rule")
    return Choice(layer, kernels, None)


def _would_pay(layer: keras.layers.Layer, kernels, batch_size: int) -> bool:
    """Whether the rule says so of matrices with these weights, whatever the layer does with them at its positions."""
    if isinstance(layer, keras.layers.Embedding):  # which looks rows up
        return False
    examples = batch_size * _positions(layer)
    matrices = [(mask.size // mask.shape[-1], mask.shape[-1], np.count_nonzero(mask)) for _, mask in kernels]
    return any(pays(Geometry.dense(inputs, outputs), kept, examples) for inputs, outputs, kept in matrices)


def _positions(layer: keras.layers.Layer) -> int:
    """Of what a layer makes of an example; an axis of unknown size counts as 16, a small image's or a short text's."""
    shapes = [tensor.shape[1:] for node in layer._inbound_nodes for tensor in node.output_tensors]
    first = getattr(layer, "data_format", None) == "channels_first"
    sizes = [shape[1:] if first else shape[:-1] for shape in shapes]
    return max((math.prod(size or _UNKNOWN_SIZE for size in some) for some in sizes), default=1)


def _zeros_pruned(model: keras.Model) -> Masks:
    """The masks of a model; of layers that have none, weights that are 0 are pruned."""
    masks = {id(kernel): mask for kernel, mask in masked_kernels(model)}
    return Masks(
        {
            path: masks[id(kernel)].numpy() if id(kernel) in masks else kernel.numpy() != 0
            for path, kernel in prunable(model).items()
        }
    )


def check_arguments(batch_size: int, engine: str) -> None:
    """Raises InputError: one is out of range, or the engine cannot compute here."""
    if isinstance(batch_size, bool) or not isinstance(batch_size, (int, np.integer)) or batch_size < 1:
        raise InputError(f"batch_size must be a number of examples, 1 or more. Received: {batch_size!r}")
    check_engine(engine, "engine")
    if engine == DENSE:
        return
    gpus = len(tf.config.get_visible_devices("GPU"))
    if gpus:
        raise InputError(
            f"the sparse engine computes on CPUs, and TensorFlow sees {gpus} GPU{'s' * (gpus > 1)}, where dense layers "
            "are faster: call tf.config.set_visible_devices([], 'GPU') first, or set CUDA_VISIBLE_DEVICES=-1"
        )
    kernels()


def _tell(sparse: keras.Model, choices: Mapping[str, Choice], engine: str) -> None:
    missed = {path: choice for path, choice in choices.items() if choice.missed}
    if missed:
        shown = [f"{path!r} ({choice.reason})" for path, choice in missed.items()]
        share = 100 * share_of_parameters(sparse, [choice.layer for choice in missed.values()])
        count = f"{len(shown)} layers" if len(shown) > 1 else "1 layer"
        would = "would pay and" if engine == AUTO else "cannot hold kept weights alone and"
        warnings.warn(
            f"{count} with {share:.3g} % of the parameters {would} stay dense: "
            f"{', '.join(shown[:3])}{', ...' * (len(shown) > 3)}",
            stacklevel=3,
        )
    elif all(choice.reason is not None for choice in choices.values()):
        small = "no layer is sparse and large enough, tfprune.acceleration_report tells more"
        why = small if any(choice.is_pruned for choice in choices.values()) else "it has no pruned weights"
        warnings.warn(f"nothing of model {sparse.name!r} gets faster: {why}", stacklevel=3)
