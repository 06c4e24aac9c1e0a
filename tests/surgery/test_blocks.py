"""KerasHub's blocks: the feed-forward width of decoders, heads and widths of encoders; weights are really 0 beside."""

import keras
import numpy as np
import pytest

from tfprune.layers.barriers import barriers
from tfprune.layers.weights import set_weights, weight_variables, weights_of
from tfprune.surgery.compact import compact
from tfprune.surgery.filter_sets import filter_sets, without
from tfprune.surgery.rebuild import rebuild
from tfprune.surgery.trace import Trace

hub = pytest.importorskip("keras_hub")

HEADS = {"num_query_heads": 4, "num_key_value_heads": 2}
SIZES = {"vocabulary_size": 20, "num_layers": 1, "hidden_dim": 16, "intermediate_dim": 24}
# Class -> options, name of the block, parameters that go with one unit of the feed-forward part
DECODERS = {
    "GPT2Backbone": ({"num_heads": 2, "max_sequence_length": 8}, "transformer_layer_0", 33),
    "GPTNeoXBackbone": ({"num_heads": 2}, "transformer_layer_0", 33),
    "BloomBackbone": ({"num_heads": 2}, "transformer_layer_0", 33),
    "LlamaBackbone": (HEADS, "transformer_layer_0", 48),
    "MistralBackbone": (HEADS, "transformer_layer_0", 48),
    "QwenBackbone": (HEADS, "transformer_layer_0", 48),
    "Qwen3Backbone": ({**HEADS, "head_dim": 4}, "transformer_layer_0", 48),
    "Phi3Backbone": (HEADS, "transformer_layer_0", 48),
    "GemmaBackbone": ({**HEADS, "num_key_value_heads": 1, "head_dim": 4}, "decoder_block_0", 48),
}


def _drawn(model, seed=0):
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        if len(variable.shape) and "int" not in variable.dtype:
            variable.assign(rng.normal(0, 0.3, variable.shape))
    return model


def _given(model):
    rng = np.random.default_rng(0)
    values = {"token_ids": rng.integers(0, 20, (2, 6)), "padding_mask": np.array([[1] * 6, [1] * 4 + [0] * 2])}
    return {name: values.get(name, np.zeros((2, 6), int)) for name in (tensor.name for tensor in model.inputs)}


def _outputs(model):
    return [np.asarray(x, float) for x in keras.tree.flatten(model(_given(model)))]


def _without(model, kernels):
    """The model without the channels of these axes of variables, and the same weights at 0 in the model itself."""
    with barriers(model):
        trace = Trace(model, weights_of(model))
        gone = [trace.channels.classes[trace.axes[path][axis][indices]] for path, axis, indices in kernels]
        assert not trace.channels.fixed[np.concatenate(gone)].any()
        return rebuild(model, trace, without(trace, gone))


@pytest.mark.parametrize("name", DECODERS)
def test_the_width_of_decoders(name):
    options, block, each = DECODERS[name]
    model = _drawn(getattr(hub.models, name)(**SIZES, **options))
    with barriers(model):
        free = [one for one in filter_sets(Trace(model, weights_of(model))) if not one.fixed]
    assert len(free) == 1 and not free[0].held
    path = next(iter(free[0].members))
    small = _without(model, [(path, 1, [1, 2, 7])])
    names = "feedforward_output_dense/kernel", "mlp_output_dense/kernel", "ffw_linear/kernel"
    (end,) = (variable for variable in model.get_layer(block).weights if variable.path.endswith(names))
    value = end.numpy()
    value[[1, 2, 7]] = 0
    end.assign(value)
    for one in (small, compact(model)):
        assert type(one.get_layer(block)) is type(model.get_layer(block))
        assert model.count_params() - one.count_params() == 3 * each
        for found, expected in zip(_outputs(one), _outputs(model), strict=True):
            assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def test_a_unit_whose_gate_or_input_is_empty():
    model = _drawn(hub.models.LlamaBackbone(**SIZES, **HEADS))
    for variable in model.get_layer("transformer_layer_0").weights:
        value = variable.numpy()
        if variable.path.endswith("feedforward_gate_dense/kernel"):
            value[:, 3] = 0
        if variable.path.endswith("feedforward_intermediate_dense/kernel"):
            value[:, 5] = 0
        variable.assign(value)
    small = compact(model)
    assert small.get_layer("transformer_layer_0").intermediate_dim == 22
    for found, expected in zip(_outputs(small), _outputs(model), strict=True):
        assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def test_the_width_of_blocks_that_share_their_position_bias():
    """The first one is gated, and has the bias."""
    from keras_hub.src.models.t5.t5_transformer_layer import T5TransformerLayer

    blocks = [
        T5TransformerLayer(False, 16, 24, 4, 0.0, "relu", 1e-6, 2, first, first, name=f"t5_{first}")
        for first in (True, False)
    ]
    x = inputs = keras.Input((6, 16))
    x, bias = blocks[0](x)
    x, _ = blocks[1](x, position_bias=bias)
    model = _drawn(keras.Model(inputs, [x, bias]))
    small = _without(model, [(f"{block.name}/input_projector.kernel", 1, [1, 2, 7]) for block in blocks])
    for block in blocks:
        value = block.output_projector.kernel.numpy()
        value[[1, 2, 7]] = 0
        block.output_projector.kernel.assign(value)
    given = np.random.default_rng(0).normal(size=(2, 6, 16))
    expected = model(given)
    for one in (small, compact(model, verify=False)):
        assert model.count_params() - one.count_params() == 3 * (48 + 32)
        for here, there in zip(one(given), expected, strict=True):
            assert np.abs(here - there).max() <= 1e-5 * np.abs(there).max()


def test_heads_and_width_of_an_encoder():
    """A third of the heads and half of the feed-forward width leave a DistilBERT of 2 888 parameters."""
    sizes = {"vocabulary_size": 50, "num_layers": 2, "num_heads": 3, "hidden_dim": 12, "intermediate_dim": 16}
    model = _drawn(hub.models.DistilBertBackbone(**sizes, max_sequence_length=8))
    kernels, old = [], weights_of(model)
    for block in ("transformer_layer_0", "transformer_layer_1"):
        kernels.append((f"{block}/self_attention_layer.query_dense.kernel", 1, [1]))
        kernels.append((f"{block}/feedforward_intermediate_dense.kernel", 1, list(range(8))))
        old[f"{block}/self_attention_layer.output_dense.kernel"][1] = 0
        old[f"{block}/feedforward_output_dense.kernel"][:8] = 0
    small = _without(model, kernels)
    set_weights(model, old)
    # Of each block: 3 x (12 + 1) x 4 + 4 x 12 of the head, 12 x 8 + 8 + 8 x 12 of the width
    assert small.count_params() == 2888 - 2 * (204 + 200)
    for one in (small, compact(model)):
        assert one.count_params() == small.count_params()
        for found, expected in zip(_outputs(one), _outputs(model), strict=True):
            assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
    assert len(weight_variables(small)) == len(weight_variables(model))
