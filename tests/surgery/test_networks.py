"""Compacting known networks: same outputs, fewer parameters."""

import keras
import numpy as np
import pytest

import tfprune
from tfprune.layers.prunable import prunable
from tfprune.models.named import build_named
from tfprune.models.registry import build


def _with_logits(model):
    """Probabilities would hide differences."""
    model.layers[-1].activation = keras.activations.linear
    return model


@pytest.mark.parametrize(
    "name, shape, pruner",
    [
        ("lenet300100", (28, 28, 1), "random/erk"),
        ("lenet5", (28, 28, 1), "magnitude/global"),
        pytest.param("vgg16", (32, 32, 3), "magnitude/erk", marks=pytest.mark.slow),
        pytest.param("vgg19", (32, 32, 3), "random/erk", marks=pytest.mark.slow),
        pytest.param("resnet18", (32, 32, 3), "magnitude/global", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("sparsity", [0.9, 0.99])
def test_registered_networks(name, shape, pruner, sparsity, lively, check):
    model = _with_logits(lively(build(name, input_shape=shape, classes=10), off=0.3))
    masks = tfprune.prune(model, pruner, sparsity, "effective")
    small = check(model, masks)
    assert small.count_params() < model.count_params()


def test_cifar_resnet(lively, check):
    model = lively(build_named("cifar_resnet_20_8", (16, 16, 3), 10, 0), off=0.3)
    small = check(model, tfprune.prune(model, "magnitude/global", 0.95))
    assert small.count_params() < 0.8 * model.count_params()


@pytest.mark.slow
@pytest.mark.parametrize(
    "network",
    [
        keras.applications.MobileNetV2,
        pytest.param(keras.applications.DenseNet121, marks=pytest.mark.slow),
        pytest.param(keras.applications.EfficientNetB0, marks=pytest.mark.slow),
    ],
    ids=lambda network: network.__name__,
)
def test_keras_applications(network, lively, check):
    """A tenth of the depthwise filters and two fifths of all others are zeros."""
    model = lively(network(weights=None, input_shape=(32, 32, 3), classes=5, classifier_activation=None), off=0.3)
    rng = np.random.default_rng(0)
    depthwise = {f"{layer.name}/kernel" for layer in model.layers if isinstance(layer, keras.layers.DepthwiseConv2D)}
    for path, variable in list(prunable(model).items())[:-1]:
        kernel = variable.numpy()
        if path in depthwise:
            kernel[:, :, rng.random(kernel.shape[2]) < 0.1] = 0
        else:
            kernel[..., rng.random(kernel.shape[-1]) < 0.4] = 0
        variable.assign(kernel)
    small = check(model)
    assert small.count_params() < 0.8 * model.count_params()
