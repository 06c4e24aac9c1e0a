"""How the variables of a masked layer stand in a file: masks as bits, and kernels so that plain models find them.

A file of Keras (`.keras`, `.weights.h5`) has a group of numbered arrays for each layer, under the name of its class. Of
a masked layer these are its variables in Keras's order: a mask is packed, eight weights to a byte, and a kernel has
zeros where it is pruned; the values that pruned weights keep stand beside it, under `<number>_pruned`. Kernel and bias
are also there under the name of the plain class, as links to the same bytes. So the plain model reads the file by
Keras alone, and gets zeros for pruned weights.

Files of before hold kernels as they are, and masks as numbers, 0 and 1; they are read, too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import h5py
import keras
import numpy as np
from keras import ops

from tfprune.layers.inner import own_variables

_PRUNED = "_pruned"
_LARGEST_PIECE = 1 << 30  # bytes; of HDF5 4 GiB


def save_masked(layer: keras.layers.Layer, store, pairs: Mapping[str, tuple], plain: type | None) -> None:
    """Writes a layer's variables into what Keras gives `save_own_variables`.

    Args:
        layer: whose variables they are.
        store: Keras's.
        pairs: kernel's name -> (kernel, mask) of variables.
        plain: the Keras class whose variables come first among those of `layer`; None if there is none.
    """
    variables = own_variables(layer)
    numbers = {id(variable): str(index) for index, variable in enumerate(variables)}
    values: dict = dict(zip(numbers.values(), variables, strict=True))
    for kernel, mask in pairs.values():
        kept = ops.convert_to_numpy(mask)
        values[numbers[id(mask)]] = np.packbits(kept)
        if not kept.all():
            number, array = numbers[id(kernel)], ops.convert_to_numpy(kernel)
            values[number] = np.where(kept, array, np.zeros((), array.dtype))
            values[number + _PRUNED] = array[~kept]
    zeros = {number.removesuffix(_PRUNED) for number in values if number.endswith(_PRUNED)}
    for number, value in values.items():
        _write(store, number, value, compressed=number in zeros)
    if plain is not None:
        own = {id(variable) for pair in pairs.values() for variable in pair[1:]}
        _link_at_close(store, plain, [numbers[id(one)] for one in variables if id(one) not in own])


def load_masked(layer: keras.layers.Layer, store, pairs: Mapping[str, tuple]) -> None:
    """Gives a layer the variables that `save_masked` wrote, or Keras before there were packed masks.

    Raises:
        ValueError: they are those of another layer; it is unchanged then.
    """
    variables = own_variables(layer)
    keys = list(store.keys())
    stored = [key for key in keys if not key.endswith(_PRUNED)]
    if len(stored) != len(variables):
        raise ValueError(
            f"Layer {layer.name!r} expected {len(variables)} variables, but received {len(stored)} variables"
        )
    numbers = {id(variable): str(index) for index, variable in enumerate(variables)}
    values = {id(variable): store[number] for variable, number in zip(variables, numbers.values(), strict=True)}
    for _, mask in pairs.values():
        values[id(mask)] = unpacked(values[id(mask)], tuple(mask.shape))
    _check_shapes(layer, values)
    for kernel, mask in pairs.values():
        number = numbers[id(kernel)] + _PRUNED
        if number in keys:
            values[id(kernel)] = array = np.array(values[id(kernel)])
            array[~values[id(mask)]] = store[number]
    for variable in variables:
        variable.assign(values[id(variable)])


def load_plain(layer: keras.layers.Layer, store, masks: list, plain: type) -> bool:
    """Whether the file is of the plain model, and then its kernels and bias are in the layer; masks stay.

    It is known by the layer's name: Keras numbers layers by class, and not all of a class need have masks.

    Raises:
        ValueError: they are those of another layer.
    """
    path = _plain_path(layer, store, plain)
    if path is None:
        return False
    store, own = store.get(path), {id(mask) for mask in masks}
    variables = [variable for variable in own_variables(layer) if id(variable) not in own]
    if len(store.keys()) != len(variables):
        raise ValueError(f"Layer {layer.name!r} expected {len(variables)} variables, but received {len(store.keys())}")
    values = {id(variable): store[str(index)] for index, variable in enumerate(variables)}
    _check_shapes(layer, values)
    for variable in variables:
        variable.assign(values[id(variable)])
    return True


def _check_shapes(layer: keras.layers.Layer, values: Mapping[int, np.ndarray]) -> None:
    for variable in own_variables(layer):
        found, own = np.shape(values.get(id(variable), variable)), tuple(variable.shape)
        if found != own:
            raise ValueError(
                f"Layer {layer.name!r}: variable {variable.name!r} has shape {own}, in the file it has {found}"
            )


def unpacked(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if array.dtype != np.uint8:
        return array != 0  # of a file of before
    size = int(np.prod(shape))
    if array.shape != (-(-size // 8),):
        raise ValueError(f"a mask of shape {shape} is in {-(-size // 8)} bytes, the file has {array.shape}")
    return np.unpackbits(array, count=size).astype(bool).reshape(shape)


def _write(store, key: str, value, compressed: bool) -> None:
    group = _group(store)
    if compressed and group is not None and value.dtype.kind == "f":
        # Zeros cost little this way: a kernel and what was pruned of it take hardly more than the kernel alone.
        # In one piece where HDF5 can: within a `.keras`, a step back to another piece reads the archive from its start.
        chunks = value.shape if value.nbytes < _LARGEST_PIECE else True
        group.create_dataset(key, data=value, compression="lzf", chunks=chunks)
    else:
        store[key] = value


def _group(store) -> h5py.Group | None:
    """The group in which a layer's variables stand, if all of the file is one of HDF5."""
    # Keras has no public way to it.
    group = getattr(store, "_h5_entry_group", None)
    return group if isinstance(group, h5py.Group) and not hasattr(store, "sharding_config") else None


def _link_at_close(store, plain: type, keys: list[str]) -> None:
    """Links variables under the name of the plain class, once all layers are written: they may need the name."""
    group = _group(store)
    if group is None:
        return
    pending = vars(store).get("_plain_links")
    if pending is None:
        pending = vars(store)["_plain_links"] = []
        vars(store)["close"] = _closing(store.close, pending)
    pending.append((group, plain, keys))


def _closing(close: Callable, pending: list) -> Callable:
    def call() -> None:
        try:
            _link(pending)
        finally:
            close()

    return call


def _link(pending: list) -> None:
    taken: dict[tuple, bool] = {}
    for group, plain, keys in pending:
        container, name = group.parent.parent, group.parent.name.rpartition("/")[2]
        pattern = _plain_name(plain)
        match = re.fullmatch(f"masked_({pattern})", name)
        where = container.name, plain
        if where not in taken:  # a plain layer beside masked ones: whose number is whose, only the model knows
            taken[where] = any(re.fullmatch(pattern, other) for other in container)
        if match is None or taken[where]:
            continue
        linked = container.create_group(match[1]).create_group("vars")
        for index, key in enumerate(keys):
            linked[str(index)] = group[key]
        linked.attrs.update(group.attrs)


def _plain_path(layer: keras.layers.Layer, store, plain: type) -> str | None:
    file, path = getattr(store, "h5_file", None), getattr(store, "_h5_entry_path", None)
    where = path.rpartition("/")[0] if path else ""
    container = file.get(where) if where and isinstance(file, h5py.File) else None
    if not isinstance(container, h5py.Group):
        return None
    for name, group in container.items():
        found = group.get("vars") if re.fullmatch(_plain_name(plain), name) else None
        if isinstance(found, h5py.Group) and found.attrs.get("name") == layer.name:
            return f"{where}/{name}"
    return None


def _plain_name(plain: type) -> str:
    """A pattern for the names of groups of a class of layers: the class's own in snake case, and numbers."""
    words = re.sub(r"(?<=.)(?=[A-Z][a-z])", "_", plain.__name__).lower()
    return rf"{words}(?:_\d+)?"
