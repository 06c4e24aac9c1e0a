"""The classic networks: shapes, seeds and refusals."""

import keras
import numpy as np
import pytest

from tfprune.errors import InputError
from tfprune.layers.prunable import prunable, unsupported
from tfprune.models.registry import ARCHITECTURES, build

SIZES = {"lenet300100": 266_200, "lenet5": 61_770, "vgg16": 14_715_584, "vgg19": 20_070_080, "resnet18": 11_261_632}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_size_and_probabilities(name):
    model = build(name)
    kernels = prunable(model)
    assert sum(int(np.prod(kernel.shape)) for kernel in kernels.values()) == SIZES[name]
    assert unsupported(model) == []
    images = np.random.default_rng(0).normal(size=(2, *model.input_shape[1:])).astype("f4")
    outputs = model(images).numpy()
    assert outputs.shape == (2, model.output_shape[-1])
    np.testing.assert_allclose(outputs.sum(-1), 1, rtol=1e-5)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_normalisation_after_every_kernel(name):
    layers = build(name).layers
    kernels = sum(isinstance(layer, (keras.layers.Dense, keras.layers.Conv2D)) for layer in layers)
    assert sum(isinstance(layer, keras.layers.BatchNormalization) for layer in layers) == kernels
    assert not any(layer.use_bias for layer in layers if hasattr(layer, "use_bias"))


def test_initial_kernels_are_normal_with_fan_average_variance():
    kernel = prunable(build("lenet300100"))["dense1/kernel"].numpy()
    assert kernel.std() == pytest.approx(np.sqrt(4 / (784 + 300)), rel=0.01)
    assert abs(kernel.mean()) < 1e-3


def test_seeds():
    first, again, other = (
        [kernel.numpy() for kernel in prunable(build("lenet5", seed=seed)).values()] for seed in (1, 1, 2)
    )
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(first, other, strict=True))
    # Layers do not repeat each other's numbers.
    assert not np.array_equal(first[2].ravel()[:100], first[3].ravel()[:100])


def test_other_shapes_and_classes():
    model = build("resnet18", input_shape=(32, 32, 1), classes=7)
    assert model.input_shape == (None, 32, 32, 1)
    assert model.output_shape == (None, 7)
    assert prunable(model)["conv/kernel"].shape == (3, 3, 1, 64)


def test_refusals():
    with pytest.raises(InputError, match="'vgg11'; known are lenet300100, lenet5, vgg16, vgg19, resnet18"):
        build("vgg11")
    with pytest.raises(InputError, match="lenet5 cannot be built"):
        build("lenet5", input_shape=(8, 8, 3))
    with pytest.raises(InputError, match="vgg16 cannot be built"):
        build("vgg16", input_shape=(16, 16, 3))
    for seed in (-1, 1.5, True):
        with pytest.raises(InputError, match="seed"):
            build("lenet300100", seed=seed)


def test_weights_of_a_seed_stay():
    kernels = prunable(build("resnet18", input_shape=(8, 8, 3), seed=3))
    first = {path: float(kernels[path].numpy().flat[0]) for path in ("conv/kernel", "stage4_block1_shortcut/kernel")}
    assert first == pytest.approx({"conv/kernel": -0.02322407, "stage4_block1_shortcut/kernel": -0.06931005}, rel=1e-5)
