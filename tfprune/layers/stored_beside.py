"""How the masks of any layer stand in a file: beside its weights, which are those of the plain layer.

Beside the group `vars` of a layer, in which Keras numbers its weights, a group `masks` has for each kernel, also those
of layers within, the packed mask under the kernel's name and, where weights are pruned, their values under
`<name>_pruned`. The kernels themselves have zeros there. So the plain model reads the file by Keras alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import h5py
import keras
import numpy as np
from keras import ops

from tfprune.layers.inner import inner_layers, own_variables
from tfprune.layers.kernel_masks import masks_of_layer
from tfprune.layers.stored import unpacked

_PRUNED = "_pruned"
_OWN_KEYS = "mask:"  # in a store that is no plain file of HDF5


def save_beside(layer: keras.layers.Layer, store, save: Callable) -> None:
    """Writes masks and own weights of a layer into what Keras gives `save_own_variables`.

    Args:
        layer: has `kernels_and_masks`.
        store: Keras's.
        save: what the plain layer does.
    """
    pairs = layer.kernels_and_masks()
    values = {}
    for name, (kernel, mask) in pairs.items():
        kept = ops.convert_to_numpy(mask)
        values[name] = np.packbits(kept)
        if not kept.all():
            values[name + _PRUNED] = ops.convert_to_numpy(kernel)[~kept]
    group = _group(store, create=bool(values))
    for name, value in values.items():
        if group is None:
            store[_OWN_KEYS + name] = value
        else:
            group[name] = value
    with without_masks(layer):
        _with_zeros(layer, save)(store)
    for owner in _owners(layer, pairs):
        _once(
            owner, "save_own_variables", lambda given, owner=owner: _with_zeros(layer, owner.save_own_variables)(given)
        )


def load_beside(layer: keras.layers.Layer, store, load: Callable) -> None:
    """Reads what `save_beside` wrote, or the weights of the plain layer, which leave the masks as they are.

    Raises:
        ValueError: the masks are those of another layer.
    """
    pairs = layer.kernels_and_masks()
    group, keys = _group(store), list(store.keys())
    if group is None:
        found = {key.removeprefix(_OWN_KEYS): np.array(store[key]) for key in keys if key.startswith(_OWN_KEYS)}
    else:
        found = {name: np.array(group[name]) for name in group}
    unknown = [name for name in found if name.removesuffix(_PRUNED) not in pairs]
    if unknown:
        raise ValueError(f"Layer {layer.name!r} has no masked kernel {unknown[0]!r}; it has {', '.join(pairs)}")
    masks = {name: unpacked(found[name], tuple(mask.shape)) for name, (_, mask) in pairs.items() if name in found}
    with without_masks(layer):
        load({key: store[key] for key in keys if not key.startswith(_OWN_KEYS)})
    for name, array in masks.items():
        pairs[name][1].assign(array)

    def restore(variables) -> None:
        own = {id(variable) for variable in variables}
        for name, (kernel, _) in pairs.items():
            if id(kernel) in own and name + _PRUNED in found:
                array = np.array(ops.convert_to_numpy(kernel))
                array[~masks[name]] = found[name + _PRUNED]
                kernel.assign(array)

    def loaded(owner: keras.layers.Layer, given) -> None:
        owner.load_own_variables(given)
        restore(own_variables(owner))

    restore(own_variables(layer))
    for owner in _owners(layer, pairs):
        _once(owner, "load_own_variables", lambda given, of=owner: loaded(of, given))


def _owners(layer: keras.layers.Layer, pairs: Mapping[str, tuple]) -> Iterator[keras.layers.Layer]:
    """Layers within a layer that have kernels of it."""
    kernels = {id(kernel) for kernel, _ in pairs.values()}
    for _, inner in inner_layers(layer):
        if inner is not layer and kernels & {id(variable) for variable in own_variables(inner)}:
            yield inner


def _once(layer: keras.layers.Layer, name: str, function: Callable) -> None:
    """Puts a function in a method's place until it is called: Keras goes on to the layers within a layer by itself."""

    def call(store) -> None:
        vars(layer).pop(name, None)
        function(store)

    vars(layer)[name] = call


def _with_zeros(layer: keras.layers.Layer, save: Callable) -> Callable:
    def call(store) -> None:
        with keras.StatelessScope(layer.kept_values()):
            save(store)

    return call


@contextmanager
def without_masks(layer: keras.layers.Layer) -> Iterator[None]:
    """Meanwhile, Keras finds the variables of the plain layer."""
    masks = {id(mask) for mask in masks_of_layer(layer).values()}
    every = list(layer._non_trainable_variables)
    layer._non_trainable_variables[:] = [variable for variable in every if id(variable) not in masks]
    try:
        yield
    finally:
        layer._non_trainable_variables[:] = every


def _group(store, create: bool = False) -> h5py.Group | None:
    """The group of a layer's masks, if all of the file is one of HDF5 and it is there."""
    file, path = getattr(store, "h5_file", None), getattr(store, "_h5_entry_path", None)
    if not isinstance(file, h5py.File) or path is None or hasattr(store, "sharding_config"):
        return None
    name = f"{path}/masks".lstrip("/")
    if create:
        return file.create_group(name)
    found = file.get(name)
    return found if isinstance(found, h5py.Group) else None
