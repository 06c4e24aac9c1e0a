"""Channels that the caller chooses leave a model, with everything that belongs to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import keras
import numpy as np

from tfprune.errors import InputError
from tfprune.layers.barriers import CHANNELS
from tfprune.pruning.channel_choice import Choice
from tfprune.pruning.channel_network import ChannelNetwork


def remove_channels(
    model: keras.Model,
    channels: Mapping[str, Sequence[int]],
    *,
    renormalize: bool = False,
    verify: bool = True,
    unknown: str = "barrier",
) -> keras.Model:
    """A smaller model without exactly these channels of these layers, and without what is coupled with them.

    What belongs to a channel leaves as with `tfprune.prune_channels`: its weights and bias, its normalisation, the
    inputs of the next layers, and the channels of other layers that are added to it, multiplied or otherwise coupled.
    The outputs are those of the model with these channels at 0 wherever a layer reads them.

        small = tfprune.remove_channels(model, {"conv1": [0, 5], "dense": [7]})

    Args:
        model: built, plain or masked; is left as it is.
        channels: layer path (or name, where only one has it) -> indices of the channels that leave, each once, in any
            order: filters of convolutions, units of dense layers. How many each layer has is told by
            `tfprune.pruning.prune_channels.channel_layers(model)`.
        renormalize, verify, unknown: as for `tfprune.prune_channels`.

    Returns:
        Model in plain Keras with the same inputs, outputs and layer names; a layer whose parts get smaller becomes a
        nested model of these, a subclassed model a Functional one; masked weights are 0; not compiled.

    Warns:
        UserWarning: once, in a line: the operations that are barriers, and their share of the parameters.

    Raises:
        InputError: names of layers that the model has not, or that make no channels; indices out of range, given twice,
            or that leave a layer none; channels that the model's outputs or an operation that mixes features need
            (names it); a model that is not built, a layer that no rule of `tfprune.surgery` knows and that is to be
            refused, or one that cannot be copied; outputs that are not those said above.
    """
    if not isinstance(channels, Mapping):
        raise InputError(f"channels must be layer path -> list of indices; received {type(channels).__name__}")
    network = ChannelNetwork(model, unknown, renormalize)
    network.barriers.tell(CHANNELS)
    everything, gone = Choice(network.makers), {}
    for name, indices in channels.items():
        maker = everything.one(name, "channels")
        if maker.path in gone:
            raise InputError(f"channels: {name!r} is the layer {maker.path!r}, which is named already")
        leaving = _checked(name, indices, len(maker.channels))
        _check_free(network, name, maker.channels, leaving)
        gone[maker.path] = maker.channels[leaving]
    return network.smaller(gone.values(), verify, exact=True)


def _checked(name: str, indices, count: int) -> np.ndarray:
    """The indices as array, each of them one of `count` channels, and not all of them."""
    allowed = f"channels of {name!r} must be a list of whole numbers from 0 to {count - 1}"
    try:
        numbers = list(indices)
    except TypeError:
        raise InputError(f"{allowed}; received {indices!r}") from None
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or not 0 <= number < count:
            raise InputError(f"{allowed}; received {number!r}")
    array, times = np.unique(np.array(numbers, int), return_counts=True)
    if (times > 1).any():
        raise InputError(f"{allowed}, each once; received {array[times > 1][0]} more than once")
    if len(array) == count:
        raise InputError(f"channels of {name!r}: at most {count - 1} of its {count} can leave; received all")
    return array


def _check_free(network: ChannelNetwork, name: str, made: np.ndarray, leaving: np.ndarray) -> None:
    """Refuses channels that something needs; `made` are the classes of all of the layer."""
    bound = leaving[network.fixed[made[leaving]]]
    if len(bound):
        told = f"channels of {name!r}: {', '.join(map(str, bound))} cannot leave"
        raise InputError(f"{told}: {network.needed(made[bound])}")
