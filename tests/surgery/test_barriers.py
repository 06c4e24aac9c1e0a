"""Operations that no rule knows keep all channels around them; smaller models have the same outputs, or say why not."""

import warnings

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops

import tfprune
from tfprune.errors import InputError
from tfprune.surgery.compact import compact
from tfprune.surgery.groups import channel_groups


@keras.saving.register_keras_serializable("tests_barriers")
class Mixer(L.Layer):
    """Reverses and mixes features, of one tensor or of two of the same shape; has weights of its own."""

    def build(self, x_shape, other_shape=None):
        width = x_shape[-1]
        self.kernel = self.add_weight(shape=(width, width), name="kernel")

    def call(self, x, other=None):
        x = x if other is None else x - 2 * other
        return ops.matmul(x, self.kernel)[..., ::-1] + 1


@keras.saving.register_keras_serializable("tests_barriers")
class Halves(L.Layer):
    def call(self, x):
        return ops.split(x, 2, axis=-1)


@keras.saving.register_keras_serializable("tests_barriers")
class Named(L.Layer):
    """Takes and gives a dictionary."""

    def call(self, given):
        return {"sum": given["a"] + given["b"], "product": given["a"] * given["b"]}


def middle(x):
    return L.Conv2D(3, 1, name="c")(Mixer(name="mix")(L.Conv2D(4, 3, name="b")(L.Conv2D(5, 3, name="a")(x))))


def beside(x):
    x = L.Conv2D(4, 1, name="a")(x)
    y = L.ReLU()(L.Conv2D(4, 3, padding="same", name="b")(x))
    return L.Conv2D(2, 1, name="c")(L.Concatenate()([Mixer(name="mix")(x), y]))


def two_inputs(x):
    a, b = (L.Conv2D(4, 3, name=name)(L.Conv2D(5, 1, name=f"{name}0")(x)) for name in "ab")
    return L.Conv2D(2, 1, name="c")(Mixer(name="mix")(a, other=b))


def two_outputs(x):
    first, second = Halves()(L.Conv2D(6, 1, name="b")(L.Conv2D(4, 3, name="a")(x)))
    return [L.Conv2D(2, 1)(L.Conv2D(4, 1, name="c")(first)), L.Conv2D(2, 1, name="d")(second)]


def by_name(x):
    given = {name: L.Conv2D(3, 1, name=name)(L.Conv2D(5, 1, name=f"{name}0")(x)) for name in "ab"}
    found = Named()(given)
    return L.Conv2D(2, 1)(L.Conv2D(4, 1, name="c")(found["product"])) + found["sum"][..., :2]


def shared(x):
    mixer, x = Mixer(name="mix"), L.Conv2D(4, 1, name="a0")(L.Conv2D(5, 1, name="a")(x))
    return L.Conv2D(2, 1)(mixer(L.Conv2D(4, 1, name="c")(L.Conv2D(5, 1, name="b")(mixer(x)))))


def nested(x):
    inner = keras.Input((6, 6, 4))
    block = keras.Model(
        inner, L.Conv2D(4, 1, name="b")(Mixer(name="mix")(L.Conv2D(4, 1, name="a")(inner))), name="block"
    )
    x = L.Conv2D(4, 1, name="c")(L.Conv2D(5, 1, name="d")(x))
    return L.Conv2D(2, 1)(block(L.Conv2D(4, 1, name="e")(block(x))))


def operations(x):
    x = ops.triu(L.Conv2D(4, 1, name="b")(L.Conv2D(5, 3, name="a")(x)), -2)
    return L.Conv2D(2, 1)(L.Lambda(lambda x: ops.tanh(x[..., ::-1]), name="last")(L.Conv2D(3, 1, name="c")(x)))


NETS = [middle, beside, two_inputs, two_outputs, by_name, shared, nested, operations]


def _model(net):
    x = keras.Input((6, 6, 3))
    return keras.Model(x, net(x))


def _without_channels(model, seed):
    """Masks that take filters out, besides single weights."""
    rng = np.random.default_rng(seed)
    masks = {}
    for path, kernel in tfprune.prunable(model).items():
        masks[path] = (rng.random(kernel.shape) < 0.8) & (rng.random(kernel.shape[-1]) < 0.6)
    return masks


@pytest.mark.filterwarnings("ignore:no rule knows", "ignore:nothing can leave")
@pytest.mark.parametrize("net", NETS, ids=lambda net: net.__name__)
def test_same_outputs(net, lively, check):
    model = lively(_model(net))
    smaller = [check(model, tfprune.Masks(_without_channels(model, seed))).count_params() for seed in range(3)]
    assert min(smaller) < model.count_params() or net is beside


@pytest.mark.filterwarnings("ignore:no rule knows")
def test_by_hand(lively, check):
    """Of a -> b -> mix -> c, the channels of `a` can leave; those of `b` stay, and the outputs of `c`, too."""
    model = lively(_model(middle))
    masks = {path: np.ones(kernel.shape, bool) for path, kernel in tfprune.prunable(model).items()}
    masks["a/kernel"][..., 1:3] = False
    masks["b/kernel"][..., 2] = False
    small = check(model, tfprune.Masks(masks))
    assert [small.get_layer(name).filters for name in "abc"] == [3, 4, 3]
    fixed = {group.name: group.fixed.all() for group in channel_groups(model)}
    assert fixed == {
        "a/kernel[2]": True,
        "a/kernel[3]": False,
        "b/kernel[3]": True,
        "mix/kernel[1]": True,
        "c/kernel[2]": True,
        "c/kernel[3]": True,
    }


def _told(call):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        call()
    return [str(one.message) for one in told]


def test_named_once_and_refused():
    model = _model(operations)
    for call in (compact, tfprune.prune_filters, channel_groups):
        lines = _told(lambda call=call: call(model))
        (line,) = (line for line in lines if line.startswith("no rule knows"))
        assert "2 operations with 0 % of the parameters: 'triu" in line and "'last' (Lambda)" in line
        assert "all channels stay" in line
    for call in (compact, tfprune.prune_filters):
        with pytest.raises(InputError, match=r"'last': nothing says what the layer type Lambda does to channels"):
            call(model, unknown="refuse")
        with pytest.raises(InputError, match="unknown must be one of barrier, refuse"):
            call(model, unknown=True)
    known = keras.Sequential([keras.Input((6, 6, 3)), L.Conv2D(2, 3), L.LayerNormalization()])
    assert _told(lambda: compact(known)) == []


def test_says_what_keeps_channels_without_weights():
    model = keras.Sequential(
        [keras.Input((4, 4, 3)), L.Conv2D(4, 1, name="a"), Mixer(name="mix"), L.Conv2D(2, 1, name="c")]
    )
    masks = {path: np.ones(kernel.shape, bool) for path, kernel in tfprune.prunable(model).items()}
    assert not any("can leave" in line for line in _told(lambda: compact(model, masks)))
    masks["a/kernel"][..., 0] = False
    lines = _told(lambda: compact(model, masks))
    assert lines[1:] == [
        f"nothing can leave model {model.name!r}: its channels without weights are kept by 'mix' (Mixer)"
    ]
    known = keras.Sequential(
        [keras.Input((4, 4, 3)), L.Conv2D(4, 1, name="a"), L.LayerNormalization(name="norm"), L.Dense(2)]
    )
    masks = {path: np.ones(kernel.shape, bool) for path, kernel in tfprune.prunable(known).items()}
    masks["a/kernel"][..., 0] = False
    (line,) = _told(lambda: compact(known, masks))
    assert line.endswith("kept by 'norm' (LayerNormalization)")
    masks["a/kernel"][:] = True
    masks[list(masks)[-1]][:, 0] = False  # an output of the model: nobody expects it to leave
    assert _told(lambda: compact(known, masks)) == []


@pytest.mark.filterwarnings("ignore:no rule knows")
def test_refusals_to_prune_filters_name_the_barrier():
    x = keras.Input((6, 6, 3))
    y = Mixer(name="mix")(L.Conv2D(4, 1, name="a")(x))
    model = keras.Model(x, L.Dense(2)(L.LayerNormalization(name="norm")(L.Conv2D(4, 1, name="b")(y))))
    with pytest.raises(InputError, match=r"no convolution .*: 'mix' \(Mixer\), 'norm' \(LayerNormalization\)$"):
        tfprune.prune_filters(model)
    with pytest.raises(InputError, match=r"layer .b. cannot lose .*: .norm. \(LayerNormalization\); with renormalize"):
        tfprune.prune_filters(_with_a_free_layer(model), fractions={"b": 0.5})


def _with_a_free_layer(model):
    return keras.Model(model.input, L.Conv2D(2, 1)(L.Conv2D(3, 1, name="free")(model.output)))
