"""Which layers of a model the engine can compute at once, and by what steps; see `tfprune.engine.flow`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import keras
import numpy as np
from keras import activations, layers

from tfprune.engine.geometry import Geometry
from tfprune.engine.rule import goes_along
from tfprune.engine.steps import Kept, Pool, Product, Scale, Step, Sum, View
from tfprune.layers.flow_weights import KernelWeights, factors, kept_of
from tfprune.layers.kept_geometry import geometry_of
from tfprune.layers.kept_layers import KeptKernel, SparseConv2D, SparseDense, SparseDepthwiseConv2D, why_not_kept
from tfprune.layers.kinds import plain_type
from tfprune.layers.topology import Call, calls

_WHOLE = layers.Conv2D, layers.DepthwiseConv2D, layers.Dense
_KEPT = SparseConv2D, SparseDepthwiseConv2D, SparseDense
_NOTHING_IN_INFERENCE = layers.Dropout, layers.SpatialDropout2D

# From the value of each of some variables to what a step computes with.
Weights = Callable[[dict[int, np.ndarray]], Kept | tuple[np.ndarray, np.ndarray] | None]
# Of float32 (B, features), in place.
Finish = Callable[[np.ndarray], np.ndarray]


@dataclass
class Plan:
    """Calls of operations that follow one another in a graph, as steps.

    Attributes:
        calls: the operations; all are called once. They read one tensor of others, and one of theirs is read by others.
        image: height, width, channels of what they read.
        steps, weights: in order.
        finish: what is done in the end, or None.
    """

    calls: list[Call]
    image: tuple[int, int, int]
    steps: list[Step] = field(default_factory=list)
    weights: list[Weights] = field(default_factory=list)
    finish: Finish | None = None

    @property
    def given(self) -> keras.KerasTensor:
        """The tensor that they read."""
        return self.calls[0].given[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of an example that they make."""
        return tuple(self.calls[-1].made[0].shape[1:])

    def finished(self, images: np.ndarray) -> np.ndarray:
        """What they make, of float32 (B, height, width, channels) that the last step made."""
        outputs = images.reshape(len(images), *self.shape)
        return outputs if self.finish is None else self.finish(outputs)


def plans(model: keras.Model, to_the_end: bool = False) -> list[Plan]:
    """What of a model can be computed at once: as many calls in a row as can be, each with a layer of kept weights.

    Args:
        model: Sequential or Functional.
        to_the_end: whether a softmax or sigmoid of features behind them is a part, for models of which nobody takes a
            loss: those of Keras look for what these were made of.
    """
    found, every = [], calls(model)
    used = Counter(id(tensor) for call in every for tensor in call.given) + Counter(map(id, model.outputs))
    called = Counter(id(call.operation) for call in every)
    begin = 0
    while begin < len(every):
        plan = _longest(every[begin:], used, called, _FINISHES if to_the_end else {})
        if plan is not None:
            found.append(plan)
        begin += len(plan.calls) if plan is not None else 1
    return found


def _longest(every: list[Call], used: Counter, called: Counter, finishes: dict[int, Finish]) -> Plan | None:
    builder = _Builder(used, finishes)
    best = None
    for number, call in enumerate(every, 1):
        if called[id(call.operation)] > 1 or not builder.take(call):
            break
        if builder.has_one_end():
            best = number
    if best is None:
        return None
    builder = _Builder(used, finishes)
    for call in every[:best]:
        builder.take(call)
    is_kept = any(isinstance(call.operation, KeptKernel) for call in every[:best])
    return Plan(every[:best], builder.image, builder.steps, builder.weights, builder.finish) if is_kept else None


class _Builder:
    """Steps of calls, one after the other.

    Args:
        used: id of a tensor -> how often it is read in the whole graph.
        finishes: id of an activation -> what does the same to features that the last step makes.
    """

    def __init__(self, used: Counter, finishes: dict[int, Finish]):
        self._used, self._finishes = used, finishes
        self._views: dict[int, View] = {}
        self._open: Counter = Counter()  # id of a tensor -> how many reads of it are still to come
        self.image = (0, 0, 0)
        self.steps: list[Step] = []
        self.weights: list[Weights] = []
        self.finish: Finish | None = None

    def take(self, call: Call) -> bool:
        """Adds what a call does; False where that is no step, or where it reads a second tensor from elsewhere."""
        if self.finish is not None or (not self._views and not self._begin(call)):
            return False
        views = [self._views.get(id(tensor)) for tensor in call.given]
        (made,) = call.made if len(call.made) == 1 else (None,)
        if None in views or made is None or made.dtype != "float32" or call.others:
            return False
        view = _made_by(self, call.operation, views, call)
        if view is None:
            return False
        self._views[id(made)] = view
        self._open[id(made)] = self._used[id(made)]
        for tensor in call.given:
            if id(tensor) in self._open:
                self._open[id(tensor)] -= 1
        self._last = made
        return True

    def has_one_end(self) -> bool:
        """Whether nothing but the last call's tensor is still to be read, and that is an image as it was made."""
        is_open = {key for key, left in self._open.items() if left}
        return self._is_last(self._last) and is_open == {id(self._last)}

    def add(self, step: Step, weights: Weights = lambda values: None) -> View:
        """The view of what a new step makes."""
        self.steps.append(step)
        self.weights.append(weights)
        return View(len(self.steps), step.height, step.width)

    def channels(self, view: View) -> int:
        """Of what a view shows."""
        return self.steps[view.number - 1].channels if view.number else self.image[2]

    def finishes(self, call: Call) -> dict[int, Finish]:
        """Activations that may be in the end of what a call makes."""
        return self._finishes if len(call.made[0].shape) == 2 else {}

    def alone(self, call: Call) -> bool:
        """Whether a call reads what the last step makes, as it makes it, and nothing else does, by whatever tensor."""
        (tensor,) = call.given
        left = sum(left for key, left in self._open.items() if self._views[key].number == len(self.steps))
        return self._is_last(tensor) and left == 1

    def _is_last(self, tensor: keras.KerasTensor) -> bool:
        step = self.steps[-1] if self.steps else None
        return step is not None and self._views[id(tensor)] == View(len(self.steps), step.height, step.width)

    def clamp(self, call: Call, view: View, floor: float, ceiling: float) -> View:
        """At least and at most this, in the step before where that can be."""
        if self.alone(call) and not isinstance(self.steps[-1], Pool):
            last = self.steps[-1]
            low, high = max(floor, last.floor), max(min(ceiling, last.ceiling), floor)
            self.steps[-1] = replace(last, floor=low, ceiling=high)
            return view
        channels = self.channels(view)
        ones, zeros = np.ones(channels, np.float32), np.zeros(channels, np.float32)
        step = Scale((view,), view.height, view.width, channels, floor=floor, ceiling=ceiling)
        return self.add(step, lambda values: (ones, zeros))

    def _begin(self, call: Call) -> bool:
        tensor = call.given[0] if call.given else None
        if tensor is None or tensor.dtype != "float32" or len(tensor.shape) != 4 or None in tensor.shape[1:]:
            return False
        self.image = tuple(tensor.shape[1:])
        self._views[id(tensor)] = View(0, *self.image[:2])
        return True


def _made_by(builder: _Builder, operation: keras.Operation, views: list[View], call: Call) -> View | None:
    """What an operation makes of views; None where that is no step."""
    kind = plain_type(operation)
    if getattr(operation, "data_format", None) == "channels_first" or getattr(operation, "activity_regularizer", None):
        return None
    if type(operation) in _KEPT or kind in _WHOLE:
        return _product(builder, operation, views[0], call)
    if kind is layers.Flatten or kind in _NOTHING_IN_INFERENCE:
        return views[0]  # images become features as they lie
    if kind is layers.BatchNormalization:
        return _normalisation(builder, operation, views[0], call)
    if kind is layers.ReLU and not operation.negative_slope and not operation.threshold:
        ceiling = np.inf if operation.max_value is None else operation.max_value
        return builder.clamp(call, views[0], 0.0, ceiling)
    if kind is layers.Activation and id(operation.activation) in _LIMITS:
        is_linear = operation.activation is activations.linear
        return views[0] if is_linear else builder.clamp(call, views[0], *_LIMITS[id(operation.activation)])
    if kind is layers.Activation and id(operation.activation) in builder.finishes(call) and builder.alone(call):
        builder.finish = builder.finishes(call)[id(operation.activation)]
        return views[0]
    if kind is layers.ZeroPadding2D:
        (top, bottom), (left, right) = operation.padding
        view = views[0]
        sizes = view.height + top + bottom, view.width + left + right
        return View(view.number, *sizes, view.top + top, view.left + left)
    if kind in (layers.MaxPooling2D, layers.AveragePooling2D):
        return _pool(builder, operation, views[0], call)
    if kind in (layers.GlobalMaxPooling2D, layers.GlobalAveragePooling2D):
        view, mean = views[0], kind is layers.GlobalAveragePooling2D
        sizes = view.height, view.width
        step = Pool((view,), 1, 1, builder.channels(view), window=sizes, strides=sizes, is_mean=mean)
        return builder.add(step)
    if _is_sum(operation, views, call):
        return builder.add(Sum(tuple(views), views[0].height, views[0].width, builder.channels(views[0])))
    return None


_LIMITS = {  # by id, as a function of one's own may have no hash
    id(activations.linear): (-np.inf, np.inf),
    id(activations.relu): (0.0, np.inf),
    id(activations.relu6): (0.0, 6.0),
}


@np.errstate(all="ignore")
def _softmax(features: np.ndarray) -> np.ndarray:
    features -= features.max(axis=-1, keepdims=True)
    np.exp(features, out=features)
    features /= features.sum(axis=-1, keepdims=True)
    return features


@np.errstate(all="ignore")
def _sigmoid(features: np.ndarray) -> np.ndarray:
    np.exp(np.negative(features, out=features), out=features)
    features += 1
    return np.reciprocal(features, out=features)


_FINISHES = {id(activations.softmax): _softmax, id(activations.sigmoid): _sigmoid}


def _is_sum(operation: keras.Operation, views: list[View], call: Call) -> bool:
    if type(operation) not in (layers.Add, _ADDITION) or len(views) != 2:
        return False
    sizes = {(view.height, view.width) for view in views}
    return call.given[0].shape == call.given[1].shape and len(sizes) == 1


def _addition() -> type:
    tensor = keras.Input((1,))
    return type((tensor + tensor)._keras_history.operation)


_ADDITION = _addition()  # of what `+` makes in a graph; Keras has no public name for it


def _product(builder: _Builder, layer: keras.layers.Layer, view: View, call: Call) -> View | None:
    """A convolution, or a matrix behind all positions of an image: a convolution as large as that."""
    is_known = id(layer.activation) in _LIMITS | builder.finishes(call)
    if not is_known or (not isinstance(layer, KeptKernel) and why_not_kept(layer) is not None):
        return None
    shape = call.given[0].shape
    if len(shape) == 2:
        image = view.height, view.width, builder.channels(view)
        geometry = Geometry.convolution((*image, layer.units), image)
    elif isinstance(layer, layers.Dense):
        return None
    else:
        geometry = geometry_of(layer, shape)
    positions, is_kept = geometry.out_height * geometry.out_width, isinstance(layer, KeptKernel)
    is_quick = (is_kept and positions > 1) or goes_along(geometry, kept_of(layer))
    if geometry.strides[1] > 2 or not positions or not is_quick:
        return None
    builder.finish = builder.finishes(call).get(id(layer.activation))
    floor, ceiling = _LIMITS.get(id(layer.activation), _LIMITS[id(activations.linear)])
    step = replace(Product.of(view, geometry), floor=floor, ceiling=ceiling)
    return builder.add(step, KernelWeights(layer, geometry))


def _normalisation(builder: _Builder, layer: keras.layers.BatchNormalization, view: View, call: Call) -> View | None:
    rank = len(call.given[0].shape)
    is_per_channel = layer.axis in (-1, rank - 1) and (rank == 4 or view.height * view.width == 1)
    if layer.dtype_policy.name != "float32" or getattr(layer, "renorm", False) or not is_per_channel:
        return None
    last = builder.weights[-1] if builder.alone(call) and not builder.steps[-1].is_limited else None
    if isinstance(last, KernelWeights) and last.normalisation is None:
        last.normalisation = layer
        return view
    step = Scale((view,), view.height, view.width, builder.channels(view))
    return builder.add(step, lambda values: factors(layer, values))


def _pool(builder: _Builder, layer, view: View, call: Call) -> View:
    height, width = call.made[0].shape[1:3]
    before = [0, 0]
    if layer.padding == "same":
        for axis, (size, out) in enumerate(((view.height, height), (view.width, width))):
            before[axis] = max(0, (out - 1) * layer.strides[axis] + layer.pool_size[axis] - size) // 2
    mean = plain_type(layer) is layers.AveragePooling2D
    options = {"window": tuple(layer.pool_size), "strides": tuple(layer.strides), "before": tuple(before)}
    return builder.add(Pool((view,), height, width, builder.channels(view), is_mean=mean, **options))
