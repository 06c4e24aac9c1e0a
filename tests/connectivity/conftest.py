"""A brute-force answer to which weights are effective: the network written out as a graph of single numbers.

It shares nothing with the package: layers are unrolled here by loops over positions, and paths are followed node by
node. A network is a function `net(go, *inputs)` that calls `go(layer, x)`, `go.nested(...)` and `go.plus`; run
once with `Symbolic` it gives the Keras model, once with `Scalars` the graph.
"""

import sys
from itertools import product
from pathlib import Path

import keras
import numpy as np
import pytest

sys.path.append(str(Path(__file__).parent))  # for `seen_weights`

DEAD = 0  # the node of padding: no input ever reaches it


class Symbolic:
    """Builds the Keras model."""

    def __init__(self):
        self._models = {}

    def __call__(self, layer, x):
        return layer(x)

    def nested(self, name, net, x):
        if name not in self._models:
            inner = keras.Input(x.shape[1:])
            self._models[name] = keras.Model(inner, net(self, inner), name=name)
        return self._models[name](x)

    def plus(self, x, y):
        return x + y

    def times(self, x, y):
        return x * y


class Scalars:
    """Builds the graph of single numbers; tensors are int arrays of nodes, without batch axis."""

    def __init__(self):
        self.sources = [None]  # per node: list of (source, (path, index) or None)
        self.is_product = [False]
        self._prefix = ""
        self._paths = {}

    def input(self, shape):
        return self._grid(shape, lambda *_: [])

    def _node(self, sources, is_product=False):
        self.sources.append(sources)
        self.is_product.append(is_product)
        return len(self.sources) - 1

    def _grid(self, shape, sources_at, is_product=False):
        nodes = np.zeros(shape, int)
        for at in product(*map(range, shape)):
            nodes[at] = self._node(sources_at(*at), is_product)
        return nodes

    def nested(self, name, net, x):
        outer, self._prefix = self._prefix, f"{self._prefix}{name}/"
        y = net(self, x)
        self._prefix = outer
        return y

    def plus(self, x, y):
        x, y = np.broadcast_arrays(x, y)
        return self._grid(x.shape, lambda *at: [(x[at], None), (y[at], None)])

    def times(self, x, y):
        x, y = np.broadcast_arrays(x, y)
        return self._grid(x.shape, lambda *at: [(x[at], None), (y[at], None)], is_product=True)

    def __call__(self, layer, x):
        return getattr(self, type(layer).__name__)(layer, x)

    def _weight(self, layer, name, index):
        # A shared layer keeps the path of its first use.
        path = self._paths.setdefault(id(layer), f"{self._prefix}{layer.name}")
        return f"{path}/{name}", index

    def Dense(self, layer, x):
        def sources(*at):
            return [(x[*at[:-1], i], self._weight(layer, "kernel", (i, at[-1]))) for i in range(x.shape[-1])]

        return self._grid((*x.shape[:-1], layer.units), sources)

    def _windows(self, layer, x, size, taps):
        """Output grid of a sliding window; `taps(channel, tap)` -> [(input channel, weight)], and output channels."""
        sources_of, channels = taps
        dilation = getattr(layer, "dilation_rate", (1,) * len(size))
        axes = zip(x.shape[:-1], size, layer.strides, dilation, strict=True)
        places = [_axis(n, k, s, d, layer.padding) for n, k, s, d in axes]

        def sources(*at):
            found = []
            for tap in product(*map(range, size)):
                place = tuple(p[0](o, t) for p, o, t in zip(places, at[:-1], tap, strict=True))
                if all(0 <= i < n for i, n in zip(place, x.shape[:-1], strict=True)):
                    found += [(x[*place, channel], weight) for channel, weight in sources_of(at[-1], tap)]
            return found

        return self._grid((*(p[1] for p in places), channels), sources)

    def Conv2D(self, layer, x):
        groups = getattr(layer, "groups", 1)
        per_group, filters = x.shape[-1] // groups, layer.filters // groups

        def taps(out, tap):
            first = out // filters * per_group
            return [(first + i, self._weight(layer, "kernel", (*tap, i, out))) for i in range(per_group)]

        return self._windows(layer, x, layer.kernel_size, (taps, layer.filters))

    Conv1D = Conv3D = Conv2D

    def DepthwiseConv2D(self, layer, x, name="kernel"):
        many = layer.depth_multiplier

        def taps(out, tap):
            return [(out // many, self._weight(layer, name, (*tap, out // many, out % many)))]

        return self._windows(layer, x, layer.kernel_size, (taps, x.shape[-1] * many))

    def SeparableConv2D(self, layer, x):
        middle = self.DepthwiseConv2D(layer, x, "depthwise_kernel")

        def sources(*at):
            ones = (0,) * (len(at) - 1)
            return [
                (middle[*at[:-1], i], self._weight(layer, "pointwise_kernel", (*ones, i, at[-1])))
                for i in range(middle.shape[-1])
            ]

        return self._grid((*middle.shape[:-1], layer.filters), sources)

    def Conv2DTranspose(self, layer, x):
        sizes, before = [], []
        for n, k, s in zip(x.shape[:-1], layer.kernel_size, layer.strides, strict=True):
            full = n * s if layer.padding == "same" else n * s + max(k - s, 0)
            sizes.append(full)
            before.append(max((n - 1) * s + k - full, 0) // 2)
        found = {}
        for place in product(*map(range, x.shape[:-1])):
            for tap in product(*map(range, layer.kernel_size)):
                at = tuple(i * s + t - b for i, s, t, b in zip(place, layer.strides, tap, before, strict=True))
                for out, i in product(range(layer.filters), range(x.shape[-1])):
                    weight = self._weight(layer, "kernel", (*tap, out, i))
                    found.setdefault((*at, out), []).append((x[*place, i], weight))
        return self._grid((*sizes, layer.filters), lambda *at: found.get(at, []))

    def MaxPooling2D(self, layer, x):
        return self._windows(layer, x, layer.pool_size, (lambda out, tap: [(out, None)], x.shape[-1]))

    AveragePooling2D = AveragePooling1D = MaxPooling1D = MaxPooling2D

    def GlobalAveragePooling2D(self, layer, x):
        flat = x.reshape(-1, x.shape[-1])
        pooled = self._grid(flat.shape[1:], lambda c: [(node, None) for node in flat[:, c]])
        return pooled.reshape(1, 1, -1) if layer.keepdims else pooled

    GlobalMaxPooling2D = GlobalAveragePooling2D

    def Add(self, layer, xs):
        return self._grid(xs[0].shape, lambda *at: [(x[at], None) for x in xs])

    Subtract = Maximum = Minimum = Average = Add

    def Multiply(self, layer, xs):
        xs = np.broadcast_arrays(*xs)
        return self._grid(xs[0].shape, lambda *at: [(x[at], None) for x in xs], is_product=True)

    def Concatenate(self, layer, xs):
        return np.concatenate(xs, -1)

    def Flatten(self, layer, x):
        return x.reshape(-1)

    def Reshape(self, layer, x):
        return x.reshape(layer.target_shape)

    def Permute(self, layer, x):
        return x.transpose([axis - 1 for axis in layer.dims])

    def RepeatVector(self, layer, x):
        return np.repeat(x[None], layer.n, 0)

    def ZeroPadding2D(self, layer, x):
        return np.pad(x, (*layer.padding, (0, 0)), constant_values=DEAD)

    def Cropping2D(self, layer, x):
        (top, bottom), (left, right) = layer.cropping
        return x[top : x.shape[0] - bottom, left : x.shape[1] - right]

    def UpSampling2D(self, layer, x):
        return x.repeat(layer.size[0], 0).repeat(layer.size[1], 1)

    def BatchNormalization(self, layer, x):
        return x

    ReLU = Activation = LayerNormalization = Dropout = BatchNormalization

    def effective(self, masks, inputs, outputs):
        """Path -> bool array, from `masks`, the input nodes and the output nodes."""
        count = len(self.sources)
        alive, useful = np.zeros(count, bool), np.zeros(count, bool)

        def kept(weight):
            # Operations from which no output comes are not part of the Keras model.
            return weight is None or (weight[0] in masks and masks[weight[0]][weight[1]])

        alive[inputs] = True
        for node in range(1, count):  # sources come before what they feed
            if not alive[node] and self.sources[node]:
                reached = [alive[source] and kept(weight) for source, weight in self.sources[node]]
                alive[node] = all(reached) if self.is_product[node] else any(reached)
        useful[outputs] = True
        result = {path: np.zeros(mask.shape, bool) for path, mask in masks.items()}
        for node in range(count - 1, 0, -1):
            for position, (source, weight) in enumerate(self.sources[node] if useful[node] else []):
                others = [s for i, (s, _) in enumerate(self.sources[node]) if i != position]
                open_here = all(alive[other] for other in others) if self.is_product[node] else True
                if kept(weight) and open_here:
                    useful[source] = True
                    if weight is not None and alive[source]:
                        result[weight[0]][weight[1]] = True
        return result


def _axis(n, k, stride, dilation, padding):
    """(input place of output o and tap t, number of outputs) along one axis."""
    reach = (k - 1) * dilation + 1
    if padding == "valid":
        return (lambda o, t: o * stride + t * dilation), (n - reach) // stride + 1
    if padding == "causal":
        return (lambda o, t: o * stride + t * dilation - (reach - 1)), -(-n // stride)
    outputs = -(-n // stride)
    before = max((outputs - 1) * stride + reach - n, 0) // 2
    return (lambda o, t: o * stride + t * dilation - before), outputs


class BruteForce:
    """The Keras model of a network and, for masks, the brute-force effective masks.

    Args:
        net: function of `go` and one input, or as many as there are shapes.
        *shapes: shapes of the inputs without batch axis.
    """

    def __init__(self, net, *shapes):
        inputs = [keras.Input(shape) for shape in shapes]
        self.model = keras.Model(inputs, net(Symbolic(), *inputs))
        self._graph = Scalars()
        nodes = [self._graph.input(shape) for shape in shapes]
        outputs = net(self._graph, *nodes)
        self._inputs = np.concatenate([array.ravel() for array in nodes])
        outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
        self._outputs = np.concatenate([array.ravel() for array in outputs])

    def effective(self, masks):
        return self._graph.effective(masks, self._inputs, self._outputs)


@pytest.fixture
def brute_force():
    return BruteForce


@pytest.fixture
def float64():
    """Keras in double precision."""
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_dtype_policy("float32")
