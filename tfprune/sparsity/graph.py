"""The graph of a Keras model, evaluated with other kernels and other rules than its own.

Biases, activations and normalisation are dropped, max-pools become average-pools, and the kernels are arguments: the
linear network of a model. On all-ones input and with kernels |w| it gives SynFlow's objective; with masks for kernels
and a step after each layer it gives reachability. What an operation does is a rule, found by the operation's type.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import keras
import tensorflow as tf
from keras import tree

from tfprune.errors import InputError
from tfprune.layers.prunable import kernels_of, prunable
from tfprune.layers.rule_table import Rule, RuleTable
from tfprune.layers.topology import flat_inputs, run

_RULES = RuleTable(
    "nothing says which outputs of {what} depend on which inputs", "tfprune.sparsity.graph.register_rule"
)


def register_rule(*operations: type | str) -> Callable[[Rule], Rule]:
    """Registers what layers of a type do in the linear network; a decorator.

    The rule is called as `rule(walk, layer, *args, **kwargs)` with the arguments of the layer's call (`training` and
    `mask` left out) and returns the output. It must be linear in each argument without a constant term, and where
    `walk.boolean` is true its outputs and gradients must be whole numbers ≥ 0: those ≥ 1 are reachable. That is, take
    a sum where the layer takes an average. `walk.kernel(layer.kernel)` is the kernel to use. For a layer through which
    every feature passes on its own, `@register_rule(MyLayer)` on a function that returns its input is enough.

    Args:
        *operations: layer classes, which stand for their subclasses too unless these override `call`; or names of
            Keras operations (`"Add"` for `keras.ops.add`).
    """
    return _RULES.register(*operations)


class Walk:
    """One evaluation of a graph; what rules may ask and tell.

    Args:
        model: Sequential or Functional model.
        kernels: path -> float32 tensor of the kernel's shape, for every path of `prunable(model)`.
        step: applied to every layer's output that is not simply its input; None for nothing.
        boolean: reachability is asked, so rules must return whole numbers.

    Attributes:
        boolean: as above.
        uses: path -> number of multiply-adds per example in which each of the kernel's weights took part.
    """

    def __init__(self, model: keras.Model, kernels: Mapping, step: Callable | None = None, boolean: bool = False):
        self.boolean = boolean
        self.uses = dict.fromkeys(kernels, 0)
        self._kernels = kernels
        self._step = step
        self._paths = {id(variable): path for path, variable in prunable(model).items()}

    def kernel(self, variable: keras.Variable):
        """The tensor that stands for a kernel; one that cannot be pruned (a quantized layer's) is all ones."""
        path = self._paths.get(id(variable))
        return tf.ones(variable.shape) if path is None else self._kernels[path]

    def use(self, variable: keras.Variable, times: int) -> None:
        """Notes that each weight of a kernel took part in `times` multiply-adds of an example."""
        if id(variable) in self._paths:
            self.uses[self._paths[id(variable)]] += times

    def run(self, model: keras.Model, inputs: Sequence) -> list:
        """Flat outputs of a model for flat inputs."""
        return run(model, list(inputs), self._call)

    def _call(self, operation: keras.Operation, *args, **kwargs):
        if isinstance(operation, keras.Model):
            (inputs,) = args or (kwargs["inputs"],)
            outputs = self.run(operation, flat_inputs(operation, inputs))
            return outputs[0] if len(outputs) == 1 else outputs
        if isinstance(operation, keras.layers.Layer):
            kwargs = {key: value for key, value in kwargs.items() if key not in ("training", "mask")}
        outputs = _RULES.find(operation)(self, operation, *args, **kwargs)
        if self._step is None or any(outputs is given for given in args):
            return outputs
        return tree.map_structure(self._step, outputs)


class LeanWalk(Walk):
    """A walk and its way back that hold the kernels of one layer at a time, and no gradient of a kernel.

    A layer's kernels are made when the layer runs, and again when the gradient of its output has come back. What else
    the layer computes for a second time is left out of the compiled graph: a linear layer's gradients do not need it.

    Args:
        model: Sequential or Functional model.
        make: path -> float32 tensor of the kernel's shape.
        take: called with path, kernel and gradient on the way back, once for every use of the kernel.
        step: as in `Walk`.
        boolean: as in `Walk`.
    """

    def __init__(self, model: keras.Model, make: Callable, take: Callable, step=None, boolean: bool = False):
        super().__init__(model, dict.fromkeys(prunable(model)), step, boolean)
        self._make, self._take = make, take
        self._anchor = tf.constant(0.0)  # every layer with kernels seems to depend on it, so none is left out

    def there_and_back(self, total: Callable[[], tf.Tensor | list]):
        """The tensors that `total` computes with this walk, once their gradients have been taken."""
        with tf.GradientTape() as tape:
            tape.watch(self._anchor)
            outputs = total()
        tape.gradient(outputs, self._anchor)
        return outputs

    def _call(self, operation: keras.Operation, *args, **kwargs):
        paths = [self._paths[id(variable)] for variable in kernels_of(operation).values()]
        if not paths:
            return super()._call(operation, *args, **kwargs)
        call = super()._call  # of layers with kernels, each takes one tensor and returns one

        def made(trigger: tf.Tensor) -> dict[str, tf.Tensor]:
            with tf.control_dependencies([trigger]):
                self._kernels = {path: self._make(path) for path in paths}
            return self._kernels

        @tf.custom_gradient
        def layer(inputs, anchor):
            def gradient(upstream):
                uses = dict(self.uses)
                kernels = made(upstream)
                with tf.GradientTape() as tape:
                    tape.watch((inputs, kernels))
                    outputs = call(operation, inputs)
                back, gradients = tape.gradient(outputs, (inputs, kernels), upstream, "zero")
                self.uses = uses
                for path in paths:
                    self._take(path, kernels[path], gradients[path])
                return back, tf.zeros_like(anchor)

            made(inputs)
            return call(operation, inputs), gradient

        return layer(args[0] if args else kwargs["inputs"], self._anchor)


def evaluate(model, kernels, inputs=None, step=None, boolean=False, input_shape=None) -> list[tf.Tensor]:
    """Outputs of the linear network of a model: differentiable in `kernels` and `inputs`.

    Args:
        model: Sequential or Functional model, plain or masked.
        kernels: path -> float32 tensor of the kernel's shape, for every path of `prunable(model)`. Masks are not
            applied: give `kernel · mask`.
        inputs: flat list of float32 tensors (batch, ...), one per `model.inputs`; None for one example of ones.
        step: function of a tensor, applied to every layer's output (for example a rescaling); None for nothing.
        boolean: sums instead of averages, see `register_rule`.
        input_shape: see `ones_input`.

    Returns:
        Flat list of float32 tensors, one per `model.outputs`.

    Raises:
        InputError: a subclassed model, a kernel is missing, or an operation has no rule; names it.

    Reference: Tanaka et al. 2020, arXiv 2006.05467, eq. 3 (the linear network of SynFlow).
    """
    variables = prunable(model)
    missing = [path for path in variables if path not in kernels]
    if missing:
        raise InputError(f"no kernel given for {missing[0]!r} of model {model.name!r}")
    walk = Walk(model, kernels, step, boolean)
    return walk.run(model, ones_input(model, input_shape) if inputs is None else inputs)


def ones_input(model: keras.Model, input_shape: tuple | list | None = None) -> list[tf.Tensor]:
    """One example of ones per input of `model`, float32 whatever the input's type.

    Args:
        model: Sequential or Functional model.
        input_shape: shape without the batch axis, needed where the model leaves sizes open; a list of shapes if the
            model has several inputs.

    Raises:
        InputError: a size is open and no shape is given, or the given one does not fit.
    """
    given = [None] * len(model.inputs)
    if input_shape is not None:
        given = list(input_shape) if len(model.inputs) > 1 else [input_shape]
        if len(given) != len(model.inputs):
            raise InputError(
                f"input_shape: model {model.name!r} has {len(model.inputs)} inputs. Received: {input_shape}"
            )
    return [tf.ones((1, *_sizes(model, tensor, shape))) for tensor, shape in zip(model.inputs, given, strict=True)]


def _sizes(model: keras.Model, tensor, given) -> tuple[int, ...]:
    own = tuple(tensor.shape[1:])
    shape = own if given is None else tuple(given)
    fits = len(shape) == len(own) and all(size in (None, wanted) for size, wanted in zip(own, shape, strict=True))
    if not fits or None in shape:
        raise InputError(
            f"model {model.name!r} takes inputs of shape {own} (without batch): give input_shape with every size. "
            f"Received: {given}"
        )
    return shape
