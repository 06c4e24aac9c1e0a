"""Operations that no rule knows: no weight through which the input moves an output may be called ineffective.

`seen_weights.py` says in numbers which weights those are. Where the operation really mixes everything, the two are
equal.
"""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as L
from keras import ops
from seen_weights import seen

from tfprune.connectivity import graph
from tfprune.connectivity.compaction import compaction_report
from tfprune.connectivity.reachability import CONVENTIONS, Reachability, effective_masks
from tfprune.connectivity.report import sparsity
from tfprune.errors import InputError
from tfprune.layers.masks import Masks
from tfprune.layers.prunable import prunable
from tfprune.surgery.compact import compact

pytestmark = pytest.mark.usefixtures("float64")


class Mixer(L.Layer):
    """Every entry of the outputs depends on every entry of all inputs."""

    def __init__(self, shapes=((3,),), **kwargs):
        super().__init__(**kwargs)
        self.shapes = shapes

    def call(self, *inputs, scale=None):
        given = [*inputs, *([] if scale is None else [scale])]
        total = sum(
            ops.sum(x * _numbers(x.shape[1:], seed), axis=list(range(1, len(x.shape)))) for seed, x in enumerate(given)
        )
        outputs = [
            ops.tanh(ops.reshape(total, (-1, *[1] * len(shape))) * _numbers(shape, 7) + _numbers(shape, 8))
            for shape in self.shapes
        ]
        return outputs[0] if len(outputs) == 1 else outputs


class Pooled(L.Layer):
    """The mean over positions by a mask, which may be of any numbers."""

    def call(self, x, mask=None):
        return ops.sum(x * mask[..., None], axis=1)


class Affine(L.Layer):
    """Entry by entry, and nowhere 0 for certain."""

    def call(self, x):
        return ops.tanh(x) * 2 + 1


def _numbers(shape, seed):
    return ops.convert_to_tensor(np.random.default_rng(seed).normal(size=shape), "float64")


def in_the_middle(x):
    return L.Dense(2)(Mixer(((4, 3),))(L.Dense(4)(x)))


def in_front(x):
    return L.Dense(2)(ops.tanh(L.Dense(4)(Mixer(((5,),))(x))))


def behind(x):
    return Mixer()(ops.tanh(L.Dense(4)(L.Dense(4)(x))))


def beside(x):
    x = L.Dense(4)(x)
    return L.Dense(2)(x + Mixer(((4,),))(x))


def as_a_gate(x):
    """Open also where nothing leads to it, as nobody knows what it adds."""
    return L.Dense(2)(L.Dense(4, use_bias=False)(x) * Mixer(((4,),))(L.Dense(3, use_bias=False)(x)))


def with_two_inputs_and_outputs(x):
    a, b = Mixer(((3,), (2, 2)))(L.Dense(3)(x), L.Dense(2)(x))
    return [L.Dense(2)(a), L.Dense(1)(b)]


def with_an_argument_by_name(x):
    return L.Dense(2)(Mixer()(L.Dense(3)(x), scale=L.Dense(2)(x)))


def with_a_mask(x):
    return L.Dense(2)(Pooled()(ops.tanh(L.Dense(2)(L.Reshape((3, 2))(x))), mask=ops.tanh(L.Dense(3)(x))))


def shared_twice(x):
    mixer = Mixer()
    return L.Dense(2)(mixer(L.Dense(3)(mixer(L.Dense(4)(x)))))


EXACT = [
    *(in_the_middle, in_front, behind, beside, as_a_gate, with_two_inputs_and_outputs, shared_twice),
    with_an_argument_by_name,
]


class OwnCell(L.SimpleRNNCell):
    """Only its state says how it goes on."""

    def call(self, x, states, training=False):
        output, (state,) = super().call(x, states, training)
        return output * state, [state]


def own_cells(x):
    cells = [L.LSTMCell(3), OwnCell(2)]
    return L.Dense(2)(L.RNN(cells)(L.Dense(3)(L.Reshape((3, 2))(x))))


class Opaque(L.Layer):
    """Its kernel is turned before any tensor of the graph meets it; TensorFlow hides the rest."""

    def build(self, shape):
        self.matrix = self.add_weight(shape=(3, shape[-1]), name="matrix")

    def call(self, x):
        return tf.tanh(tf.linalg.matvec(tf.convert_to_tensor(self.matrix), x))


def opaque(x):
    return L.Dense(2)(Opaque()(L.Dense(4)(x)))


def operations(x):
    x = ops.cumprod(L.Dense(4)(x), axis=1)
    x = L.Dense(4)(ops.logical_not(ops.greater(x, 0)) * ops.tanh(x))
    return L.Dense(2)(ops.cross(x[:, :3], x[:, 1:]))


def a_lambda(x):
    return L.Dense(2)(L.Lambda(lambda x: ops.tanh(x[:, ::2]) + x[:, 1:2])(L.Dense(5)(x)))


def entry_by_entry(x):
    return L.Dense(2)(Affine()(L.Dense(4)(x)) * L.Dense(4, use_bias=False)(x))


BOUNDED = [with_a_mask, own_cells, opaque, operations, a_lambda, entry_by_entry]


def random_graph(seed):
    """Known and unknown operations on random earlier results, all of four features, with shared unknown layers."""

    def net(x):
        rng = np.random.default_rng(seed)
        results, mixer, affine = [L.Dense(4)(x)], Mixer(((4,),)), Affine()
        for _ in range(9):
            a, b = (results[int(len(results) * np.sqrt(rng.random()))] for _ in range(2))
            bias = bool(rng.integers(2))
            kind = rng.choice(["dense", "dense", "dense", "times", "plus", "norm", "mixer", "two", "affine", "cumprod"])
            results.append(
                {
                    "dense": lambda a=a, bias=bias: L.Dense(4, use_bias=bias)(a),
                    "times": lambda a=a, b=b: L.Multiply()([a, b]),
                    "plus": lambda a=a, b=b: a + b,
                    "norm": lambda a=a, bias=bias: L.LayerNormalization(center=bias)(a),
                    "mixer": lambda a=a: mixer(a),
                    "two": lambda a=a, b=b: Mixer(((4,), (4,)))(a, b)[1],
                    "affine": lambda a=a: affine(a),
                    "cumprod": lambda a=a: ops.cumprod(a, axis=1),
                }[kind]()
            )
        return [L.Dense(2)(results[-1]), L.Dense(1, use_bias=False)(results[-2])]

    net.__name__ = f"random_{seed}"
    return net


BOUNDED += [random_graph(seed) for seed in range(8)]


def _model(net):
    x = keras.Input((6,))
    return keras.Model(x, net(x))


def _random_masks(model):
    rng = np.random.default_rng(0)
    for density in (1.0, 0.6, 0.35, 0.2, 0.1):
        for _ in range(2):
            yield Masks({path: rng.random(kernel.shape) < density for path, kernel in prunable(model).items()})


@pytest.mark.filterwarnings("ignore:no rule knows")
@pytest.mark.parametrize("net", EXACT + BOUNDED, ids=lambda net: net.__name__)
def test_no_weight_that_moves_the_outputs_is_called_ineffective(net):
    model = _model(net)
    reachability = Reachability(model)
    assert len(reachability.barriers) >= 1 or net.__name__.startswith("random")
    told_apart = False
    for masks in _random_masks(model):
        effective, expected = reachability(masks), seen(model, masks)
        for path in expected:
            missed = expected[path] & ~effective[path]
            assert not missed.any(), f"{path}: {np.argwhere(missed)[:3]}"
            if net in EXACT:
                np.testing.assert_array_equal(effective[path], expected[path], path)
        told_apart |= effective.kept < masks.kept
    assert told_apart or net not in EXACT


@pytest.mark.filterwarnings("ignore:no rule knows")
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_nested_as_inline(convention):
    """A nested model of unknown layers, called twice, is what its layers are one by one."""

    def inner(parts, x):
        dense, mixer, last = parts
        return last(mixer(dense(x)))

    def parts():
        return L.Dense(4, name="dense"), Mixer(name="mixer"), L.Dense(6, name="last")

    x = keras.Input((6,))
    nested = keras.Model(x, inner(parts(), x), name="inner")
    models, same = [], parts()
    for call in (nested, lambda x: inner(same, x)):
        x = keras.Input((6,))
        models.append(keras.Model(x, L.Dense(2, name="out")(call(L.Dense(6, name="between")(call(x))))))
    for masks in _random_masks(models[0]):
        outside = {path.removeprefix("inner/"): mask for path, mask in masks.items()}
        found = Reachability(models[0], convention=convention)(masks)
        expected = Reachability(models[1], convention=convention)(outside)
        assert {path.removeprefix("inner/"): count for path, count in found.counts.items()} == expected.counts


def test_by_hand():
    """Three of the four weights in front of the barrier have an input; behind it all have, unless nothing leads in."""
    x = keras.Input((2,))
    model = keras.Model(x, L.Dense(1, name="b", use_bias=False)(Mixer(name="mix")(L.Dense(2, name="a")(x))))
    masks = {"a/kernel": np.array([[1, 1], [1, 0]], bool), "b/kernel": np.array([[1], [0], [1]], bool)}
    with pytest.warns(UserWarning, match="no rule knows 1 operation"):
        report = sparsity(model, masks)
    assert report.effective_masks.counts == {"a/kernel": 3, "b/kernel": 2}
    assert report.barriers == ("mix",) and "no rule knows: mix" in repr(report)
    with pytest.warns(UserWarning, match="no rule knows"):
        nothing = effective_masks(model, {**masks, "a/kernel": np.zeros((2, 2), bool)})
    assert nothing.kept == 0


class Holding(L.Layer):
    """Computes with a layer that the model has, too; TensorFlow's operation hides what."""

    def __init__(self, dense, **kwargs):
        super().__init__(**kwargs)
        self.dense = dense

    def call(self, x):
        return tf.cumsum(self.dense(x), axis=-1)


@pytest.mark.filterwarnings("ignore:no rule knows")
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_a_layer_that_an_unknown_one_holds_as_well(convention):
    """Its weights do something there, whether or not they do elsewhere."""
    x, held = keras.Input((3,)), L.Dense(4, use_bias=False, name="held")
    elsewhere = held(L.Dense(3, use_bias=False, name="cut")(x))
    inside = Holding(held, name="holding")(L.Dense(3, use_bias=False, name="front")(x))
    model = keras.Model(x, L.Dense(2, name="out")(elsewhere + inside))
    masks = {path: np.full(kernel.shape, "cut" not in path) for path, kernel in prunable(model).items()}
    masks["held/kernel"][1] = False
    reachability = Reachability(model, convention=convention)
    assert reachability.barriers == ("holding",)
    assert reachability(masks).counts == {"cut/kernel": 0, "front/kernel": 9, "held/kernel": 8, "out/kernel": 8}
    nothing = {**masks, "front/kernel": np.zeros((3, 3), bool)}
    assert reachability(nothing).kept == 0


@pytest.mark.filterwarnings("ignore:no rule knows")
@pytest.mark.parametrize("is_nested", [False, True])
def test_a_mask_of_a_known_layer_leads_to_its_outputs(is_nested):
    """Only which positions are averaged depends on the input; a nested model hands its mask to the layers inside."""
    keras.utils.set_random_seed(0)
    x = keras.Input((4, 3))
    mask = ops.greater(L.Dense(1, use_bias=False, name="mask")(x)[:, :, 0], 0)
    values = ops.tanh(L.Dense(2, use_bias=False, name="values")(x)) + np.arange(8.0).reshape(4, 2)
    pool, last = L.GlobalAveragePooling1D(), L.Dense(1, use_bias=False, name="out")
    if is_nested:
        inner = keras.Input((4, 2))
        outputs = keras.Model(inner, last(pool(inner)), name="inner")(values, mask=mask)
    else:
        outputs = last(pool(values, mask=mask))
    model = keras.Model(x, outputs)
    masks = {path: np.full(kernel.shape, not path.startswith("values")) for path, kernel in prunable(model).items()}
    model.get_layer("values").kernel.assign(np.zeros((3, 2)))
    outputs = np.asarray(model(np.random.default_rng(0).normal(size=(9, 4, 3))))
    assert np.ptp(outputs[np.isfinite(outputs)]) > 0.1
    for convention in CONVENTIONS:
        effective = effective_masks(model, masks, convention=convention)
        counts = {path.removeprefix("inner/"): count for path, count in effective.counts.items()}
        assert counts == {"mask/kernel": 3, "values/kernel": 0, "out/kernel": 2}


@pytest.mark.parametrize("constant", [-1.0, np.float64(-1), "tensor", "variable"])
def test_constants_of_the_graph_are_no_paths(constant):
    """Whatever they are kept in: a negative factor must not cancel what goes through it."""
    constant = {"tensor": ops.convert_to_tensor([-1.0, -2, 3]), "variable": keras.Variable([-1.0, -1, -1])}.get(
        constant, constant
    )
    x = keras.Input((2,))
    y = L.Dense(3, name="a", use_bias=False)(x) * constant
    model = keras.Model(x, L.Dense(2, name="b")(y * L.Dense(3, name="c")(x)))
    for masks in _random_masks(model):
        assert effective_masks(model, masks) == Masks(seen(model, masks))


def test_refused():
    model = _model(in_the_middle)
    own, lambdas = _model(in_the_middle), _model(a_lambda)
    for call in (Reachability, sparsity, lambda model, **options: compaction_report(model, model, **options)):
        with pytest.raises(InputError, match=r"'mixer.*' *: nothing says.*Mixer.*register_rule\(Mixer\)"):
            call(own, unknown="refuse")
        with pytest.raises(InputError, match=r"'lambda.*Lambda"):
            call(lambdas, unknown="refuse")
        with pytest.raises(
            InputError, match=r"unknown must be one of barrier, refuse.*'refused'.*did you mean 'refuse'"
        ):
            call(model, unknown="refused")
    with pytest.raises(InputError, match="Mixer"):  # nothing around it names barriers
        graph.evaluate(model, {path: kernel.value for path, kernel in prunable(model).items()})


def test_named_once_with_their_share():
    x = keras.Input((6,))
    y = L.Dense(4, use_bias=False, name="dense")(x)
    cell = OwnCell(3, use_bias=False)
    y = ops.cumprod(L.RNN(cell, name="rnn")(L.Reshape((4, 1))(y)), axis=-1)
    model = keras.Model(x, L.Lambda(ops.tanh, name="last")(y))
    share = "33.3"  # 3 + 9 of 24 + 12
    for call in (Reachability, sparsity, compact):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            call(model)
        (line,) = (str(one.message) for one in told)
        assert line.count("'rnn' (RNN)") <= 1 and "\n" not in line
        if call is not compact:  # which keeps the channels of recurrent layers by a rule
            assert f"3 operations with {share} % of the parameters: 'rnn' (RNN), 'cumprod" in line
            assert "upper bound" in line


def test_no_line_where_all_is_known():
    model = keras.Sequential([keras.Input((6,)), L.Dense(4), L.ReLU(), L.Dense(2)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Reachability(model).barriers == ()
        compaction_report(model, compact(model))


def test_flops_of_known_layers_count_around_a_barrier():
    model = _model(in_the_middle)  # 6 x 4 once, 3 x 2 at four places
    with pytest.warns(UserWarning, match="counts no floating-point operations"):
        assert compaction_report(model, model).before.flops == 2 * (24 + 4 * 6)
