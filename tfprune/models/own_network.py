"""A network of one's own, `module:name` in place of a network's name: a function that builds it."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from tfprune.errors import InputError
from tfprune.layers.topology import is_graph
from tfprune.records.own_parts import imported

_AFTER_LOGITS = ("softmax", "log_softmax", "sigmoid", "log_sigmoid", "hard_sigmoid")


def own_network(name: str, input_shape: Sequence[int], classes: int, seed: int = 0) -> keras.Model:
    """Builds a network by a function `(input_shape, classes) -> keras.Model`, and puts a softmax after its logits.

    Args:
        name: `module:name` of the function, see `tfprune.records.own_parts`.
        input_shape: (height, width, channels) of the images.
        classes: number of classes.
        seed: Keras's is set to it before the function is called.

    Returns:
        Functional model, float32 (batch, *input_shape) to probabilities (batch, classes).

    Raises:
        InputError: no such function, it fails, or gives something else than a Sequential or Functional model from such
            images to logits.
    """
    function = imported(name, "network", {})
    if not callable(function):
        raise InputError(
            f"network {name} must be a function (input_shape, classes) -> keras.Model; it is {function!r:.80}"
        )
    keras.utils.set_random_seed(seed)
    try:
        model = function(tuple(input_shape), classes)
    except InputError:
        raise
    except Exception as error:  # code of the network's author
        raise InputError(f"network {name} cannot be built: {type(error).__name__}: {error}") from error
    if not isinstance(model, keras.Model) or not model.built or not is_graph(model):
        raise InputError(
            f"network {name} must give a Sequential or Functional model with its input's shape; it gave {model!r:.80}"
        )
    shapes = [tuple(each.shape) for each in (*model.inputs, *model.outputs)]
    if shapes != [(None, *input_shape), (None, classes)]:
        raise InputError(
            f"network {name} must lead from images (None, {', '.join(map(str, input_shape))}) to logits (None, "
            f"{classes}); it has the shapes {', '.join(map(str, shapes))}"
        )
    last = model.layers[-1]
    activation = getattr(getattr(last, "activation", None), "__name__", "")
    if isinstance(last, keras.layers.Softmax) or activation in _AFTER_LOGITS:
        raise InputError(
            f"network {name} must end in logits, which a softmax follows; its last layer {last.name!r} has "
            f"{'one' if 'softmax' in (activation or 'softmax') else f'the activation {activation}'} already"
        )
    return keras.Model(model.inputs, keras.layers.Softmax(name="probabilities")(model.outputs[0]), name="own_network")
