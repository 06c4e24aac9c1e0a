"""The table of layers against Keras itself: which weights move which channels, asked of layers by changing them."""

import keras
import numpy as np
import pytest
from keras import layers as L

from tfprune.layers.convert import masked
from tfprune.layers.kinds import CHANNEL_WISE, KINDS, channel_axis, channel_kernels, kind_of, resize

# Every weight meets an entry of the inputs; there are as many inputs as outputs nowhere.
LAYERS = {
    "dense": (L.Dense(3), (4,)),
    "dense on rows": (L.Dense(3), (2, 4)),
    "einsum": (L.EinsumDense("abc,cd->abd", (5, 3), bias_axes="d"), (5, 4)),
    "einsum turned": (L.EinsumDense("...i,oi->...o", 3, bias_axes="o"), (5, 4)),
    "einsum without bias": (L.EinsumDense("ab,bc->ac", 3), (4,)),
    "conv1": (L.Conv1D(3, 2, padding="causal", dilation_rate=2), (6, 4)),
    "conv2": (L.Conv2D(3, 2, strides=2), (5, 4, 2)),
    # Keras 3.15 adds a bias along an image's last axis where that is as long as there are channels: here it is longer.
    "conv2 channels first": (L.Conv2D(3, 2, data_format="channels_first"), (2, 4, 6)),
    "conv3": (L.Conv3D(3, 2), (2, 3, 2, 4)),
    "transposed1": (L.Conv1DTranspose(3, 2, strides=2), (5, 4)),
    "transposed2": (L.Conv2DTranspose(3, 2), (3, 2, 4)),
    "transposed3": (L.Conv3DTranspose(3, 2), (2, 2, 2, 4)),
    "depthwise1": (L.DepthwiseConv1D(2, depth_multiplier=3), (5, 4)),
    "depthwise2": (L.DepthwiseConv2D(2, padding="same", depth_multiplier=2, use_bias=False), (3, 4, 3)),
    "separable1": (L.SeparableConv1D(5, 2, depth_multiplier=3), (5, 4)),
    "separable2": (L.SeparableConv2D(5, 2), (3, 3, 4)),
}
# Their kernels lie between some of the channels only, or between other axes.
OTHER = {
    "grouped": (L.Conv2D(6, 2, groups=2), (3, 3, 4)),
    "einsum over rows": (L.EinsumDense("abc,bd->adc", (3, 4)), (5, 4)),
    "einsum over all": (L.EinsumDense("abc,bcd->ad", 3), (5, 4)),
    "einsum that swaps rows": (L.EinsumDense("abxc,cd->axbd", (2, 3, 4)), (3, 2, 4)),
    "einsum to heads": (L.EinsumDense("abc,cde->abde", (None, 2, 3)), (5, 4)),
    "einsum with a bias per row": (L.EinsumDense("abc,cd->abd", (5, 3), bias_axes="bd"), (5, 4)),
}
NORMS = (L.BatchNormalization(), L.LayerNormalization(), L.GroupNormalization(2), L.RMSNormalization())
CHANNEL_LAYERS = (*NORMS, L.Normalization(), L.PReLU())


def _built(layer, shape):
    """A new layer of the same configuration, with weights far from 0."""
    layer = type(layer).from_config(layer.get_config())
    layer.build((None, *shape))
    rng = np.random.default_rng(0)
    for variable in layer.variables:
        if variable.dtype == "float32":
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    return layer, rng.uniform(0.5, 1.5, (2, *shape)).astype("f4")


def _at(layer, channel):
    return (slice(None), channel) if channel_axis(layer) == 1 else (..., channel)


def _effects(layer, inputs, variable):
    """Which channels of the outputs each entry of a variable moves; bool (*shape of the variable, channels)."""

    def outputs():
        if isinstance(layer, L.Normalization):
            layer.finalize_state()
        return np.moveaxis(np.asarray(layer(inputs)), channel_axis(layer), -1)

    before, value = outputs(), variable.numpy()
    found = []
    for at in np.ndindex(value.shape):
        changed = value.copy()
        changed[at] += 1
        variable.assign(changed)
        found.append((np.abs(outputs() - before) > 1e-4).any(tuple(range(before.ndim - 1))))
    variable.assign(value)
    return np.reshape(found, (*value.shape, -1))


def _moves_its_own(effects, axes):
    """Whether slice j of a variable along these axes moves channel j and no other; True for each of its entries."""
    count = effects.ndim - 1
    effects = np.moveaxis(effects, [axis % count for axis in axes], range(len(axes)))
    channels = effects.shape[-1]
    return effects.reshape(channels, -1, channels) == np.eye(channels, dtype=bool)[:, None]


def test_every_type_is_here():
    assert {type(layer) for layer, _ in LAYERS.values()} == set(KINDS)
    assert {type(layer) for layer in CHANNEL_LAYERS} == set(CHANNEL_WISE)


@pytest.mark.parametrize("name", LAYERS)
def test_the_last_kernel_and_the_bias_make_the_outputs(name):
    layer, inputs = _built(*LAYERS[name])
    kernel = channel_kernels(layer)[-1]
    variable = getattr(layer, kernel.name)
    assert variable.name == kernel.name
    assert _moves_its_own(_effects(layer, inputs, variable), kernel.outputs).all()
    if layer.bias is not None:
        assert _moves_its_own(_effects(layer, inputs, layer.bias), (0,)).all()


@pytest.mark.parametrize("name", LAYERS)
def test_the_first_kernel_reads_the_inputs(name):
    layer, inputs = _built(*LAYERS[name])
    kernel = channel_kernels(layer)[0]
    for channel in range(inputs.shape[channel_axis(layer)]):
        alone = np.zeros_like(inputs)
        alone[_at(layer, channel)] = inputs[_at(layer, channel)]
        used = np.moveaxis(_effects(layer, alone, getattr(layer, kernel.name)).any(-1), kernel.inputs, 0)
        assert used[channel].all() and not np.delete(used, channel, 0).any()


@pytest.mark.parametrize("name", ["separable1", "separable2"])
def test_the_second_kernel_reads_what_the_first_makes(name):
    layer, inputs = _built(*LAYERS[name])
    first, second = channel_kernels(layer)
    variable = getattr(layer, first.name)
    value = variable.numpy()
    for made, at in enumerate(np.ndindex(*(value.shape[axis] for axis in first.outputs))):
        alone = np.zeros_like(value)
        alone[(..., *at)] = value[(..., *at)]
        variable.assign(alone)
        used = np.moveaxis(_effects(layer, inputs, getattr(layer, second.name)).any(-1), second.inputs, 0)
        assert used[made].all() and not np.delete(used, made, 0).any()


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_smaller_configurations_make_layers_of_slices(name, biased):
    """Without input channel 1 and, where the inputs do not say them all, the last output channel."""
    layer, inputs = _built(*LAYERS[name])
    axis = channel_axis(layer)
    kept, values = np.delete(np.arange(inputs.shape[axis]), 1), {}
    for kernel in channel_kernels(layer):
        value = np.take(getattr(layer, kernel.name).numpy(), kept, kernel.inputs)
        if kernel.is_depthwise:
            kept = np.concatenate([range(at * value.shape[-1], (at + 1) * value.shape[-1]) for at in kept])
        else:
            kept = np.arange(value.shape[kernel.outputs[0]] - 1)
            value = np.take(value, kept, kernel.outputs[0])
        values[kernel.name] = value
    if biased:
        values["bias"] = np.zeros(len(kept)) if layer.bias is None else layer.bias.numpy()[kept]
    config = layer.get_config()
    resize(layer, config, len(kept), biased)
    small = type(layer).from_config(config)
    small.build(np.delete(inputs, 1, axis).shape)
    assert {variable.name: tuple(variable.shape) for variable in small.variables} == {
        name: value.shape for name, value in values.items()
    }
    for variable in small.variables:
        variable.assign(values[variable.name])
    if not biased and layer.bias is not None:
        layer.bias.assign(np.zeros(layer.bias.shape))
    found = small(np.delete(inputs, 1, axis))
    inputs[_at(layer, 1)] = 0
    np.testing.assert_allclose(found, np.take(layer(inputs), kept, axis), rtol=1e-5)


@pytest.mark.parametrize("name", OTHER)
def test_kernels_that_are_not_between_all_channels(name):
    layer, _ = _built(*OTHER[name])
    assert kind_of(layer) is KINDS[type(layer)] and channel_kernels(layer) == ()


def test_outputs_of_a_grouped_convolution():
    layer, inputs = _built(*OTHER["grouped"])
    assert _moves_its_own(_effects(layer, inputs, layer.kernel), kind_of(layer).kernels[-1].outputs).all()


@pytest.mark.parametrize("layer", CHANNEL_LAYERS, ids=lambda layer: type(layer).__name__)
def test_weights_of_single_channels(layer):
    layer, inputs = _built(layer, (3, 4))
    variables = {variable.name: variable for variable in layer.variables if variable.dtype == "float32"}
    assert list(variables) == list(CHANNEL_WISE[type(layer)])
    for variable in variables.values():
        effects = _effects(layer, -inputs, variable)  # PReLU has a slope below 0
        assert effects.shape[-2:] == (4, 4) and _moves_its_own(effects, (-1,)).all()


def test_which_layers_are_of_a_kind():
    class Other(L.Dense):
        pass

    model = keras.Sequential([keras.Input((4,)), L.Dense(3), Other(2)])
    dense, other = model.layers
    assert kind_of(dense) is kind_of(masked(model).layers[0]) is KINDS[L.Dense] and kind_of(other) is None
    dense.quantize("int8")
    assert kind_of(dense) is None and channel_kernels(dense) == ()
