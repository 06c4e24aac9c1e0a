"""A sparse model made smaller: channels that do nothing leave it, its outputs stay the same."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Mapping

import keras
import numpy as np
from keras import ops

from tfprune.layers.barriers import CHANNELS, barriers
from tfprune.layers.convert import masks_of, without_lora
from tfprune.layers.kernel_masks import masked_kernels
from tfprune.layers.masks import Masks
from tfprune.layers.prunable import prunable
from tfprune.layers.subclassed import as_graph, taken_out
from tfprune.layers.verify import check_copy
from tfprune.layers.weights import weights_of
from tfprune.surgery.norms import fold_norms
from tfprune.surgery.rebuild import rebuild
from tfprune.surgery.trace import Trace

_BIASES = "/bias", ".bias"


def compact(
    model: keras.Model,
    masks: Mapping[str, np.ndarray] | None = None,
    *,
    fold_batchnorm: bool = False,
    verify: bool = True,
    unknown: str = "barrier",
) -> keras.Model:
    """A smaller model in plain Keras with the same outputs in inference, up to rounding.

    - A channel that the outputs do not depend on leaves every layer it passes through. Channels that are added,
      multiplied or otherwise coupled leave together or not at all.
    - A channel that is constant, because nothing but biases and normalisation leads to it, moves into the bias of the
      next layer, which gets one if it has none. In front of a convolution that pads with zeros this would be wrong at
      the image's border: there a constant 0 leaves, and of all other constant channels one stays that stands for them.
    - Heads of attention, units of recurrent layers and columns of embeddings are channels like filters and dense units.
    - So are those that an own layer's matrices make and read, where the layer's constructor can make a smaller one of
      the same class, which is tried and compared; these matrices have no bias that takes in what is constant.
    - Inputs, outputs and whatever mixes features (layer normalisation, grouped convolutions, softmax, ...) keep all
      their channels, and so does an activation that is not known to be element-wise (see
      `tfprune.surgery.activations`). No layer becomes empty: one channel stays.
    - Layers that are made of others, and subclassed models, are looked into. They keep their class where nothing inside
      gets smaller, and else become nested Functional models of their parts, which do what they do in inference.

    Args:
        model: built model, plain or masked, with nested models and shared layers; is left as it is.
        masks: path -> bool array for every path of `prunable(model)`; None for the model's own. Weights that are 0
            count as pruned in any case.
        fold_batchnorm: for deployment: puts normalisation into the kernel and bias of the layer in front of it (see
            `tfprune.surgery.norms`), which is faster and leaves nothing to fine-tune it by.
        verify: runs the masked model and the small one on a small made-up input and compares the outputs; nothing is
            checked where no input can be made that the model takes.
        unknown: what becomes of operations that no rule of `tfprune.surgery` knows: around a `"barrier"` all channels
            stay; `"refuse"` refuses layers and operations of others, and treats Keras's operations in that way.

    Returns:
        Model with the same inputs, outputs and layer names; pruned weights are 0, low-rank updates (LoRA) merged; not
        compiled. The same model and masks give the same result, and compacting that again changes nothing.

    Warns:
        UserWarning: each once, in a line: the operations that are barriers, and their share of the parameters; nothing
            can leave although kernels have filters without weights, and which operations need the channels of these.

    Raises:
        InputError: a model without weights, masks that do not fit, a layer that no rule of `tfprune.surgery` knows and
            that is to be refused, or one that cannot be copied (names it); outputs that are not those of the masked
            model.
    """
    model = without_lora(model)
    own, model = model, as_graph(model)
    with barriers(model, unknown) as met:
        masks = masks_of(model) if masks is None else (masks if isinstance(masks, Masks) else Masks(masks)).check(model)
        small, held, more = _smaller(model, masks)
    while more:
        with barriers(small, unknown):
            small, _, more = _smaller(small)
    if fold_batchnorm:
        small = fold_norms(small)
    if verify:
        check_copy(small, model, masked_values(model, masks))
    met.tell(CHANNELS)
    if held:
        warnings.warn(
            f"nothing can leave model {model.name!r}: its channels without weights are kept by {held}", stacklevel=2
        )
    return taken_out(small, own)


def _smaller(model: keras.Model, masks: Masks | None = None) -> tuple[keras.Model, str, bool]:
    """The smaller model; what keeps channels that no weight makes, in words; whether it may become still smaller.

    That it may, as a grouped convolution with one channel left is a plain one. The words are there where no channel
    leaves. A model without masks of which nothing changes is given back.
    """
    weights = weights_of(model)
    own = set(weights)
    for path, mask in ({} if masks is None else masks).items():
        weights[path][~mask] = 0
    trace = Trace(model, weights)
    empty = _without_weights(trace)
    before, now = None, _told(weights)
    while before != now:
        trace.settle()
        before, now = now, _told(weights)
    stays = trace.possible(remaining(trace))
    for path in [path for path in weights if path.endswith(_BIASES) and path not in own]:
        if not weights[path].any():
            del weights[path]
    same = bool(stays.all()) and set(weights) == own
    if masks is None and same and _told(weights) == _told(weights_of(model)):
        return model, "", False
    return rebuild(model, trace, stays), trace.keepers(empty) if stays.all() else "", not same


def _told(weights: Mapping[str, np.ndarray]) -> dict[str, int]:
    """Numbers that are others where weights are."""
    return {path: zlib.crc32(array.tobytes()) for path, array in weights.items()}


def _without_weights(trace: Trace) -> np.ndarray:
    """Channels that a kernel makes without any weight; int array."""
    made = [kernel.made[~kernel.filters.any(axis=(0, 1))] for kernel in trace.kernels.values()]
    return np.concatenate([np.zeros(0, int), *made])


def masked_values(model: keras.Model, masks: Masks) -> list[tuple]:
    """(variable, tensor in its place) of what makes a model, plain or masked, compute with these masks."""
    kernels = prunable(model)
    paths = {id(kernel): path for path, kernel in kernels.items()}
    # Tensors at once: of a big model, arrays and tensors side by side would be one copy more.
    own = [(kernel, ops.where(masks[path], kernel, ops.zeros([], kernel.dtype))) for path, kernel in kernels.items()]
    return [*own, *((mask, masks[paths[id(kernel)]]) for kernel, mask in masked_kernels(model))]


def remaining(trace: Trace) -> np.ndarray:
    """Which channels of a settled trace have to stay; bool array."""
    classes = trace.channels.classes
    kept = trace.channels.fixed  # by class from here on
    for signal in trace.signals:
        kept[classes[signal.channels[signal.needed]]] = True
    for signal in trace.signals:
        if len(signal.channels) and not kept[classes[signal.channels]].any():
            kept[classes[signal.channels[0]]] = True
    return kept[classes]
