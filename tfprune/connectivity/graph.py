"""The graph of a Keras model, evaluated with other kernels and other rules than its own.

Biases, activations and normalisation are dropped, max-pools become average-pools, and the kernels are arguments: the
linear network of a model. On all-ones input and with kernels |w| it gives SynFlow's objective; with masks for kernels
and a step after each layer it gives reachability. What an operation does is a rule, found by the operation's type.
Where there is none, what runs inside a layer takes its place (`tfprune.layers.inside`), or a barrier.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf
from keras import tree

from tfprune.connectivity.everything import everything, is_tensor, total, types_of
from tfprune.errors import InputError
from tfprune.layers.barriers import graphs, meet, refuses
from tfprune.layers.inside import Inside, Reads, graph_inside, is_keras_composite, without_masks
from tfprune.layers.prunable import prunable
from tfprune.layers.rule_table import NoRule, Rule, RuleTable
from tfprune.layers.topology import flat_inputs, is_nested, run

# Masks only say of which entries these take averages in training.
_MASKED_IN_TRAINING = (keras.layers.BatchNormalization,)

# Their rules know what a mask does.
_TAKE_MASKS = (keras.layers.Softmax,)

_RULES = RuleTable(
    "nothing says which outputs of {what} depend on which inputs", "tfprune.connectivity.graph.register_rule"
)


def register_rule(*operations: type | str) -> Callable[[Rule], Rule]:
    """Registers what layers of a type do in the linear network; a decorator.

    The rule is called as `rule(walk, layer, *args, **kwargs)` with the arguments of the layer's call (`training` and
    `mask` left out) and returns the output. It must be linear in each argument without a constant term, and where
    `walk.boolean` is true its outputs and gradients must be whole numbers ≥ 0: those ≥ 1 are reachable. That is, take
    a sum where the layer takes an average. `walk.kernel(layer.kernel)` is the kernel to use, `walk.product`,
    `walk.mix`, `walk.lift` and `walk.linear` say what multiplies, normalises, shifts and adds up. For a layer through
    which every feature passes on its own, `@register_rule(MyLayer)` on a function that returns its input is enough.
    What a layer that is not Keras's adds need not be told: its output counts as one that can be other than 0 wherever
    it is a factor.

    Args:
        *operations: layer classes, which stand for their subclasses too unless these override `call`; or names, see
            `RuleTable.register`.
    """
    return _RULES.register(*operations)


def known_rules() -> tuple:
    """All rules that are registered now; equal while they are the same."""
    return _RULES.rules


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
        self._is_inside = 0  # how deep in the graphs inside layers
        self._made_of: dict[int, tuple] = {}  # id of a tensor -> it, so that it keeps the id, and its variable
        self._inside_known: dict[tuple, keras.Model | None] = {}
        self._masks: list[tf.Tensor] = []  # of nested models, whose graph does not say which layers take them
        self._paths = {id(variable): path for path, variable in prunable(model).items()}

    def kernel(self, variable: keras.Variable):
        """The tensor that stands for a kernel; one that cannot be pruned (a quantized layer's) is all ones."""
        path = self._paths.get(id(variable))
        kernel = tf.ones(variable.shape) if path is None else self._made(path)
        self._made_of[id(kernel)] = kernel, variable
        return kernel

    def _made(self, path: str):
        return self._kernels[path]

    def is_kernel(self, tensor) -> bool:
        """Whether a tensor stands for a kernel, so that no input leads to it."""
        return id(tensor) in self._made_of

    def kernel_of(self, tensor) -> keras.Variable | None:
        """The variable that a tensor of `kernel` stands for."""
        return self._made_of.get(id(tensor), (None, None))[1]

    def paths_of(self, variables: Iterable[keras.Variable]) -> dict[str, keras.Variable]:
        """Path -> kernel of the model, for those among some variables."""
        return {self._paths[id(one)]: one for one in variables if id(one) in self._paths}

    def kernels_in(self, operation: keras.Operation, args=(), kwargs=None) -> dict[str, keras.Variable]:
        """Path -> kernel of the model that an operation has among its weights, or is called with."""
        operands = [x for x in tree.flatten((args, kwargs or {})) if isinstance(x, keras.Variable)]
        return self.paths_of([*getattr(operation, "weights", ()), *operands])

    def read(self, variables: Iterable[keras.Variable], amount: tf.Tensor):
        """What kernels of the model add to `amount`, a scalar, where only their being read is known."""
        kernels = [self.kernel(variable) for variable in self.paths_of(variables).values()]
        return amount * tf.add_n([tf.zeros([]), *map(tf.reduce_mean, kernels)])

    def linear(self, function: Callable, *tensors, cut: bool = True):
        """`function(*tensors)`, which adds up and moves entries, among them those of kernels; a rule's step between.

        Args:
            function: linear in all tensors together, except for kernels.
            cut: whether the step that follows a layer follows here, too: whole numbers stay small.
        """
        outputs = function(*tensors)
        return self.cut(outputs) if cut else outputs

    def scan(self, step: Callable, sequences, states: list) -> tuple[list, list]:
        """States after each step, stacked along axis 1, and after the last one.

        Args:
            step: (entries of a step (1, ...), list of states) -> list of states of the same shapes. It is traced once,
                however many steps there are.
            sequences: tensor (1, steps, ...).
            states: before the first step, tensors (1, ...).
        """
        return scanned(step, sequences, states)

    def cut(self, x):
        """x after the step that follows a layer."""
        return x if self._step is None else self._step(x)

    def use(self, variable: keras.Variable, times: int) -> None:
        """Notes that each weight of a kernel took part in `times` multiply-adds of an example."""
        if id(variable) in self._paths:
            self.uses[self._paths[id(variable)]] += times

    def product(self, function: Callable, *factors):
        """`function(*factors)`, which is linear in each factor; what is no tensor among them is a constant."""
        return function(*factors)

    def mix(self, x, axes: Sequence[int], keeps_zero: bool = False):
        """What a normalisation or softmax makes of x, whose entries along `axes` (batch is 0) it scales by one another.

        Args:
            x: tensor (1, ...).
            axes: those of one group; entries that differ elsewhere do not meet.
            keeps_zero: whether an entry that is 0 stays 0 whatever the others are, as where no mean is taken off.

        The linear network drops it, as Tanaka et al. do.
        """
        return x

    def lift(self, x, where: np.ndarray | None = None):
        """x plus a constant, where `where` is not 0 (None: everywhere), as a bias or the value of an activation at 0.

        The linear network drops it.
        """
        return x

    def run(self, model: keras.Model, inputs: Sequence) -> list:
        """Flat outputs of a model for flat inputs."""
        return run(model, list(inputs), self._call)

    def apply(self, operation: keras.Operation, *args, **kwargs):
        """What the rule of an operation gives, or the barrier that stands for it."""
        if isinstance(operation, Reads):
            outputs, given = args
            return outputs + self.read(operation.variables, total(self, given))
        rule = _RULES.find(operation, everything)
        if rule is everything:
            return everything(self, operation, *args, **kwargs)
        known, masks = kwargs, self._masks
        if isinstance(operation, keras.layers.Layer):
            taken = ("training",) if isinstance(operation, _TAKE_MASKS) else ("training", "mask")
            known = {key: value for key, value in kwargs.items() if key not in taken}
            masks = masks if isinstance(operation, (*_MASKED_IN_TRAINING, *_TAKE_MASKS)) else [*masks, *_masks(kwargs)]
        try:
            outputs = rule(self, operation, *args, **known)
        except NoRule:
            if not meet(operation):
                raise
            return everything(self, operation, *args, **kwargs)
        # What a mask leaves out or lets in can change every output.
        return tree.map_structure(lambda x: x + total(self, masks), outputs) if self.boolean and masks else outputs

    def _inside(self, operation: keras.Operation, args, kwargs) -> Inside | None:
        """The graph that takes an operation's place, where no rule knows it."""
        if not self._may_open(operation):
            return None
        args, kwargs = tree.map_structure(self._tensor, (args, without_masks(operation, kwargs)))
        shapes = [tuple(x.shape) if is_tensor(x) else repr(x) for x in tree.flatten((args, kwargs))]
        key, known = (id(operation), *shapes), self._inside_known if refuses() else graphs()
        if key not in known:
            types = types_of(operation, args, kwargs)
            known[key] = graph_inside(operation, *tree.map_structure(lambda x: _spec(x, types), (args, kwargs)))
        return known[key]

    def knows(self, operation: keras.Operation) -> bool:
        """Whether an operation has a rule."""
        return _RULES.knows(operation)

    def _may_open(self, operation: keras.Operation) -> bool:
        if _RULES.knows(operation) or not isinstance(operation, keras.layers.Layer):
            return False
        if is_keras_composite(operation):
            return True
        # One without weights may be meant to stay unknown; inside of others nobody can teach it.
        return not refuses() and not tf.executing_eagerly() and bool(self._is_inside or operation.weights)

    def _tensor(self, leaf):
        """The tensor in what this walk hands from one operation to the next; anything else as it is."""
        return leaf

    def _constant(self, leaf):
        """Constants of a graph as NumPy's arrays, so that no rule takes them for what the input leads to."""
        if isinstance(leaf, keras.Variable):
            return leaf if id(leaf) in self._paths else np.ones(leaf.shape, np.float32)  # whatever it will hold
        if not tf.is_tensor(leaf) or not hasattr(leaf, "numpy") or tf.executing_eagerly():
            return leaf
        # What a layer has made of its variables may be another number tomorrow.
        return np.ones(leaf.shape, np.float32) if self._is_inside and leaf.dtype.is_floating else leaf.numpy()

    def _filled(self, leaf):
        return self.kernel(leaf) if isinstance(leaf, keras.Variable) else leaf

    def _call(self, operation: keras.Operation, *args, **kwargs):
        if is_nested(operation):
            (inputs,) = args or (kwargs["inputs"],)
            outside, self._masks = self._masks, [*self._masks, *_masks(kwargs)]
            outputs = self.run(operation, flat_inputs(operation, inputs))
            self._masks = outside
            return outputs[0] if len(outputs) == 1 else outputs
        args, kwargs = tree.map_structure(self._constant, (args, kwargs))
        inner = self._inside(operation, args, kwargs)
        if inner is not None:
            return self._run_inside(inner, args, kwargs, without_masks(operation, kwargs))
        args, kwargs = tree.map_structure(self._filled, (args, kwargs))
        outputs = self.apply(operation, *args, **kwargs)
        if self._step is None or any(outputs is given for given in args):
            return outputs
        return tree.map_structure(self._step, outputs)

    def _run_inside(self, inner: Inside, args, kwargs, unmasked):
        masks = [self._tensor(mask) for key, mask in kwargs.items() if mask is not unmasked[key]]
        outside, self._masks = self._masks, [*self._masks, *masks]
        given = [x for x in tree.flatten((args, unmasked)) if is_tensor(self._tensor(x))]
        self._is_inside += 1
        outputs = self.run(inner.model, given)
        self._is_inside -= 1
        self._masks = outside
        if inner.unseen:
            outputs = [self._call(Reads(inner.unseen), output, given) for output in outputs]
        return tree.pack_sequence_as(inner.model.output, outputs)


def scanned(step: Callable, sequences, states: list) -> tuple[list, list]:
    """As `Walk.scan`, where every tensor may be a structure of them."""
    by_step = tree.map_structure(_swapped, sequences)
    made = tf.scan(lambda before, x: step(x, before), by_step, states)
    return tree.map_structure(_swapped, made), tree.map_structure(lambda x: x[-1], made)


def _swapped(x: tf.Tensor) -> tf.Tensor:
    """The first two axes in the other order."""
    return tf.transpose(x, (1, 0, *range(2, len(x.shape))))


def _masks(kwargs: Mapping) -> list[tf.Tensor]:
    return [x for key, x in kwargs.items() if (key == "mask" or key.endswith("_mask")) and tf.is_tensor(x)]


def _spec(leaf, types: Iterator):
    """What stands for a tensor of a walk in a new graph."""
    return keras.KerasTensor(leaf.shape, next(types) or keras.config.floatx()) if is_tensor(leaf) else leaf


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
        InputError: a kernel is missing, or an operation has no rule; names it.

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
