"""Files of models and weights: what a file that Keras cannot read lacks, and plain weights for masked models."""

from __future__ import annotations

import re
import weakref
import zipfile
from pathlib import Path

import keras

from tfprune.errors import InputError
from tfprune.layers.by_class import plain_by_class
from tfprune.layers.copying import plain_layer, remade
from tfprune.layers.kernel_masks import masks_of_layer
from tfprune.layers.state import copy_state
from tfprune.layers.subclassed import as_graph, taken_out
from tfprune.layers.topology import named_layers
from tfprune.records.atomic import atomic_copy, temporary_folder
from tfprune.records.reading import cause_line

_REGISTER = "decorate it with @keras.saving.register_keras_serializable() and import it first, or give custom_objects"


def unreadable(path: str | Path, error: Exception) -> InputError:
    """The error to raise for a model's file that made Keras raise another: the cause, and what to do, in one line."""
    said = str(error)
    function = re.search(r"Could not interpret (\w+) identifier: \{'class_name': '__lambda__'", said)
    if function:
        return InputError(
            f"cannot read {path}: the {function[1]} of a layer is a lambda, which Keras writes and cannot read; build "
            "the model anew with a function that is registered, and use load_weights"
        )
    unknown = re.search(
        r"(?:Could not locate|Unknown) (class|function|object|layer):? '([^']+)'"
        r"|Cannot deserialize object of type `([^`]+)`"
        r"|Could not interpret \w+ identifier: \{[^{}]*'class_name': '([^']+)'",
        said,
    )
    name = unknown and (unknown[2] or unknown[3] or unknown[4])
    # Keras 2 wrote one of these into all its models, and the last two where they compute by operators.
    if "batch_input_shape" in said or name in ("Functional", "TFOpLambda", "SlicingOpLambda"):
        return InputError(
            f"cannot read {path}: tf_keras (Keras 2) wrote it, Keras 3 cannot read it; load it with tf_keras"
        )
    if unknown:
        kind = unknown[1] or "class"
        advice = f"{_REGISTER}={{{name!r}: {name}}}" if name.isidentifier() else _REGISTER
        return InputError(f"cannot read {path}: Could not locate {kind} {name!r}; {advice}")
    if "safe_mode=False" in said:
        return InputError(f"cannot read {path}: it holds Python code (a lambda); give safe_mode=False if you trust it")
    if re.search(r"Could not deserialize 'keras\.(metrics|losses)\.", said):
        return InputError(f"cannot read {path}: its arguments of compile are of another Keras; give compile=False")
    # Keras wraps the cause into an error for each object around it, with all of its configuration.
    reason, outer = cause_line(error), said.rpartition("Exception encountered: ")[0]
    broken = re.findall(r"<class '([^']+)'> could not be deserialized properly", outer)
    if broken:
        name = broken[-1].rpartition(".")[2]
        return InputError(f"cannot read {path}: {name} cannot be made of what the file says of it ({reason})")
    return InputError(f"cannot read {path}: not a Keras model, or a damaged one ({reason})")


def save_model(model: keras.Model, path: Path) -> None:
    """Writes a model to a `.keras` file, atomically.

    Raises:
        InputError: the file cannot be written.
    """
    with temporary_folder() as place:
        model.save(place / path.name)
        atomic_copy(place / path.name, path)


def take_plain_weights(model: keras.Model) -> None:
    """Lets `load_weights` of a masked model take files of the plain model, too; these leave its masks as they are."""
    if any(masks_of_layer(layer) for _, layer in named_layers(model)):
        vars(model)["load_weights"] = _Loading(model)


class _Loading:
    """The `load_weights` of one masked model."""

    def __init__(self, model: keras.Model):
        self._model = weakref.ref(model)

    def __call__(self, filepath: str | Path, skip_mismatch: bool = False, **arguments) -> None:
        """`keras.Model.load_weights`, for files of the model and of its plain counterpart.

        Raises:
            FileNotFoundError: there is none.
            InputError: the file fits neither of them, or is none of weights.
        """
        model = self._model()
        load = type(model).load_weights
        try:
            load(model, filepath, **arguments)
        except FileNotFoundError:
            raise
        except (OSError, zipfile.BadZipFile, EOFError) as error:
            raise InputError(f"cannot load {filepath}: not a file of weights, or a damaged one ({error})") from error
        except (ValueError, KeyError) as error:
            if _load_plain(model, filepath, arguments):
                return
            if not skip_mismatch:
                raise _unfit(model, filepath, error) from error
            load(model, filepath, skip_mismatch=True, **arguments)


def _load_plain(model: keras.Model, filepath: str | Path, arguments: dict) -> bool:
    """Whether the file is one of the plain counterpart, and then its weights are in `model`."""
    try:
        graph = as_graph(model)
        plain = remade(graph, plain_layer, whole=plain_by_class)
        pairs = list(zip(named_layers(graph), named_layers(plain), strict=True))
        for (path, layer), (_, new) in pairs:
            copy_state(path, layer, new)
        taken_out(plain, model).load_weights(filepath, **arguments)
    except (ValueError, KeyError):
        return False
    for (path, layer), (_, new) in pairs:
        copy_state(path, new, layer)
    return True


def _unfit(model: keras.Model, filepath: str | Path, error: Exception) -> InputError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = next((line for line in lines if not line.startswith("A total of")), type(error).__name__)
    if reason.startswith("File format not supported"):
        return InputError(f"cannot load {filepath}: its name must end in .weights.h5, .keras or .h5")
    return InputError(
        f"cannot load {filepath}: it holds weights neither of the masked model {model.name!r} nor of its plain "
        f"counterpart ({reason[:200]})"
    )
