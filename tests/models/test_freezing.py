"""Which weights each kind of freezing takes out of training."""

import numpy as np
import pytest

from tfprune.errors import InputError
from tfprune.layers.convert import masked
from tfprune.layers.topology import named_layers
from tfprune.models.freezing import freeze, tensor_name
from tfprune.models.named import build_named


def _trained(**frozen):
    model = masked(build_named("cifar_vgg_11", (16, 16, 3), 10, 0))
    freeze(model, **frozen)
    return {
        tensor_name(f"{layer_name}/{variable.name}")
        for layer_name, layer in named_layers(model)
        for variable in layer.trainable_variables
    }


def test_groups():
    everything = _trained()
    norms = {name for name in everything if ".bn." in name}
    output = {"fc.weight", "fc.bias"}
    assert len(norms) == 16 and len(everything) == 34
    assert _trained(batchnorm=True) == everything - norms
    assert _trained(output=True) == everything - output
    assert _trained(others=True) == norms | output
    assert _trained(batchnorm=True, output=True, others=True) == set()


def test_exceptions():
    conv = {"layers.0.conv.weight", "layers.0.conv.bias"}
    rest = _trained(others=True)
    assert _trained(others=True, exceptions="layers.0.conv.weight") == rest | {"layers.0.conv.weight"}
    assert _trained(others=True, exceptions="layers.0, layers.2.conv.bias") == rest | conv | {"layers.2.conv.bias"}
    # A beginning ends at a dot: layers.1 is a pool, not layers.10.
    with pytest.raises(InputError, match=r"others_frozen_exceptions: 'layers\.1' is no weight of cifar_vgg_11"):
        _trained(others=True, exceptions="layers.1")


def test_frozen_normalisation_still_uses_the_batch():
    model = build_named("cifar_resnet_8_4", (8, 8, 3), 10, 0)
    freeze(model, batchnorm=True)
    norm = model.get_layer("bn")
    before = norm.moving_mean.numpy()
    images = 5 + np.random.default_rng(0).normal(size=(16, 8, 8, 4)).astype("f4")
    outputs = norm(images, training=True).numpy()
    np.testing.assert_allclose(outputs.mean((0, 1, 2)), 0, atol=1e-3)
    assert (norm.moving_mean.numpy() > before + 0.4).all()


def test_tensor_names():
    names = {tensor_name(f"bn/{variable}") for variable in ("gamma", "beta", "moving_mean", "moving_variance")}
    assert names == {"bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"}
    assert tensor_name("blocks.3.shortcut.0/kernel") == "blocks.3.shortcut.0.weight"
