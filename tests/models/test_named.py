"""Every family of lottery-ticket networks: what all of them promise, and what each is made of."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfprune.connectivity.report import sparsity
from tfprune.errors import InputError
from tfprune.layers.convert import load_model, masked, masks_of
from tfprune.layers.prunable import prunable, unsupported
from tfprune.models.blocks import Blocks, Style
from tfprune.models.initializers import BATCHNORM_INITS, KERNEL_INITS, ones
from tfprune.models.named import BUILDERS, build_named
from tfprune.pruning.pruner import prune

SMALL = {
    "mnist_lenet": ("mnist_lenet_20_10", (8, 8, 1)),
    "cifar_resnet": ("cifar_resnet_14_4", (16, 16, 3)),
    "cifar_vgg": ("cifar_vgg_11", (16, 16, 3)),
    "imagenet_resnet": ("imagenet_resnet_50_4", (64, 64, 3)),
    "tinyimagenet_resnet": ("tinyimagenet_resnet_18", (64, 64, 3)),
    "tinyimagenet_modifiedresnet": ("tinyimagenet_modifiedresnet_18", (16, 16, 3)),
}


def _build(name, shape=(8, 8, 1), classes=7, seed=0, **options):
    return build_named(name, shape, classes, seed, **options)


def _kernels(model):
    return {path: kernel.numpy() for path, kernel in prunable(model).items()}


def _norms(model):
    return [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]


@pytest.mark.parametrize(
    "family",
    [pytest.param(name, marks=pytest.mark.slow) if "tinyimagenet" in name else name for name in BUILDERS],
)
def test_contract(family, tmp_path):
    name, shape = SMALL[family]
    model = _build(name, shape)
    images = np.random.default_rng(0).normal(size=(2, *shape)).astype("f4")
    logits = model(images).numpy()
    assert model.name == name and logits.shape == (2, 7) and np.isfinite(logits).all()
    assert not np.allclose(logits.sum(-1), 1)  # no softmax
    assert unsupported(model) == []
    assert model.layers[-1].name.split(".")[-1] == "fc" and model.layers[-1].use_bias
    for norm in _norms(model):
        assert (norm.momentum, norm.epsilon) == (0.9, 1e-5)
        assert norm.gamma.numpy().min() >= 0 and norm.gamma.numpy().max() < 1 and not norm.beta.numpy().any()

    # Dots in names survive masks, pruning, the walk for effective masks, and files.
    masks = prune(model, "magnitude/uniform", 0.9)
    report = sparsity(model, masks)
    assert report.direct == pytest.approx(0.9, abs=1e-3) and 0.9 < report.effective < 1
    pruned = masked(model, masks)
    pruned.save(tmp_path / "model.keras")
    again = load_model(tmp_path / "model.keras")
    assert list(prunable(again)) == list(prunable(model))
    assert all(np.array_equal(masks_of(again)[path], mask) for path, mask in masks.items())
    np.testing.assert_array_equal(again(images), pruned(images))
    np.testing.assert_array_equal(masked(model)(images), logits)


@pytest.mark.slow_beyond(2)
@pytest.mark.parametrize("family", BUILDERS)
def test_seeds(family):
    name, shape = SMALL[family]
    first, again, other = (_build(name, shape, seed=seed) for seed in (1, 1, 2))
    for one, same in zip(first.variables, again.variables, strict=True):
        np.testing.assert_array_equal(one, same)
    for path, kernel in _kernels(first).items():
        assert not np.array_equal(kernel, _kernels(other)[path])
    flat = [kernel.ravel()[:9] / kernel.std() for kernel in _kernels(first).values()]
    assert len(np.unique(np.round(flat, 4), axis=0)) == len(flat)  # one seed for each kernel
    if _norms(first):
        fixed = _build(name, shape, seed=1, batchnorm_init="fixed")
        assert all((norm.gamma.numpy() == 1).all() for norm in _norms(fixed))
        for path, kernel in _kernels(first).items():
            np.testing.assert_array_equal(kernel, _kernels(fixed)[path])


@pytest.mark.parametrize("kernel_init", KERNEL_INITS)
def test_kernel_inits(kernel_init):
    dense = _kernels(_build("mnist_lenet_300", (28, 28, 1), kernel_init=kernel_init))["fc_layers.0/kernel"]
    conv = _kernels(_build("cifar_vgg_11", (16, 16, 3), kernel_init=kernel_init))["layers.4.conv/kernel"]
    assert dense.shape == (784, 300) and conv.shape == (3, 3, 128, 256)
    for kernel in (dense, conv):
        fan_in = np.prod(kernel.shape[:-1])
        spread = {"standard_normal": 1, "orthogonal": fan_in**-0.5}.get(kernel_init, (2 / fan_in) ** 0.5)
        assert kernel.std() == pytest.approx(spread, rel=0.01)
        assert abs(kernel.mean()) < 0.01 * spread
        most = np.abs(kernel).max() / spread
        if kernel_init in ("kaiming_normal", "standard_normal"):
            assert most > 4  # not cut
        elif kernel_init == "kaiming_uniform":
            assert most == pytest.approx(3**0.5, rel=0.01)
        elif kernel_init == "binary":
            assert len(np.unique(np.abs(kernel))) == 1
            normal = _kernels(_build("mnist_lenet_300", (28, 28, 1)))["fc_layers.0/kernel"]
            np.testing.assert_array_equal(np.sign(dense), np.sign(normal))
        else:
            columns = kernel.reshape(fan_in, -1)
            np.testing.assert_allclose(columns.T @ columns, np.eye(columns.shape[1]), atol=1e-5)


@pytest.mark.parametrize(
    ("batchnorm_init", "scales", "offset"),
    [("uniform", (0, 1), 0), ("fixed", (1, 1), 0), ("oneone", (1, 1), 1), ("positivenegative", (-1, 1), 0)],
)
def test_batchnorm_inits(batchnorm_init, scales, offset):
    assert batchnorm_init in BATCHNORM_INITS
    norms = _norms(_build("cifar_resnet_8_64", (8, 8, 3), batchnorm_init=batchnorm_init))
    gammas = np.concatenate([norm.gamma.numpy() for norm in norms])
    assert gammas.min() == pytest.approx(scales[0], abs=0.02) and gammas.max() == pytest.approx(scales[1], abs=0.02)
    assert gammas.mean() == pytest.approx(sum(scales) / 2, abs=0.05)
    assert all((norm.beta.numpy() == offset).all() for norm in norms)


def test_biases_are_uniform_by_fan_in():
    model = _build("mnist_lenet_1000", (10, 10, 1))
    bias = model.get_layer("fc_layers.0").bias.numpy()
    assert bias.min() == pytest.approx(-0.1, abs=0.002) and bias.max() == pytest.approx(0.1, abs=0.002)
    vgg = _build("cifar_vgg_11", (16, 16, 3))
    assert np.abs(vgg.get_layer("layers.10.conv").bias.numpy()).max() == pytest.approx((9 * 512) ** -0.5, rel=0.02)


def test_strided_layers_pad_both_sides():
    blocks = Blocks(0, Style(kernels=ones, symmetric=True, epsilon=0.0))
    image = keras.Input((4, 4, 1))
    model = keras.Model(image, blocks.conv(image, 1, 3, "conv", strides=2))
    # The first window lies half outside: 2 of its 3 rows and columns are in the image.
    np.testing.assert_allclose(model(np.ones((1, 4, 4, 1), "f4"))[0, :, :, 0], [[4, 6], [6, 9]])
    pool = keras.Model(image, blocks.max_pool(image, 3, 2, "pool"))
    pixels = np.arange(16, dtype="f4").reshape(1, 4, 4, 1)
    np.testing.assert_array_equal(pool(pixels)[0, :, :, 0], [[5, 7], [13, 15]])


# Trainable parameters at 1000 classes as torchvision publishes them.
@pytest.mark.parametrize(
    ("name", "parameters"),
    [("imagenet_resnet_18", 11_689_512), ("imagenet_resnet_34", 21_797_672), ("imagenet_resnet_50", 25_557_032)],
)
def test_imagenet_sizes(name, parameters):
    model = _build(name, (224, 224, 3), 1000)
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_variables) == parameters
    shapes = {layer.name: layer.output.shape[1] for layer in model.layers}
    assert [shapes[name] for name in ("model.conv1", "model.maxpool")] == [112, 56]
    assert [shapes[f"model.layer{stage}.1.relu"] for stage in (1, 2, 3, 4)] == [56, 28, 14, 7]


@pytest.mark.slow_beyond(1)
@pytest.mark.parametrize(("depth", "convolutions"), [(101, 100), (152, 151), (200, 199)])
def test_deep_imagenet_networks(depth, convolutions):
    paths = list(prunable(_build(f"imagenet_resnet_{depth}_2", (32, 32, 3))))
    assert len([path for path in paths if "downsample" not in path]) == convolutions + 1
    assert sum("downsample" in path for path in paths) == 4


def test_the_modified_stem_keeps_the_image():
    model = _build("tinyimagenet_modifiedresnet_18", (64, 64, 3), 200)
    assert model.get_layer("model.conv1").kernel.shape == (3, 3, 3, 64)
    assert [model.get_layer(f"model.layer{stage}.1.relu").output.shape[1] for stage in (1, 4)] == [64, 8]
    plain = _build("tinyimagenet_resnet_18", (64, 64, 3), 200)
    assert [plain.get_layer(f"model.layer{stage}.1.relu").output.shape[1] for stage in (1, 4)] == [16, 2]
    assert set(prunable(plain)) == set(prunable(model))


def test_shortcuts_of_narrow_networks_train():
    """Strided 1×1 kernels of few channels crash TensorFlow's CPU gradient; here the image is thinned out before."""
    model = _build("imagenet_resnet_18_4", (224, 224, 3))
    images = tf.constant(np.random.default_rng(0).normal(size=(4, 224, 224, 3)), tf.float32)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(model(images, training=True) ** 2)
    gradients = tape.gradient(total, [variable.value for variable in model.trainable_variables])
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    layer = model.get_layer("model.layer2.0.downsample.0")
    inside = keras.Model(model.inputs, [model.get_layer("model.layer1.1.relu").output, layer.output])
    before, after = inside(images[:1])
    expected = np.einsum("byxi,io->byxo", before[:, ::2, ::2], layer.kernel.numpy()[0, 0])
    np.testing.assert_allclose(after, expected, rtol=1e-4, atol=1e-5)


def test_synchronized():
    for synchronized in (False, True):
        norms = _norms(_build("cifar_resnet_8", (8, 8, 3), synchronized=synchronized))
        assert [norm.synchronized for norm in norms] == [synchronized] * len(norms)


def test_refusals():
    with pytest.raises(InputError, match="cifar_vgg"):
        _build("cifar_vgg_12")
    with pytest.raises(InputError, match=r"--model_init must be one of kaiming_normal, .*Received: 'kaiming'"):
        _build("mnist_lenet_3", kernel_init="kaiming")
    with pytest.raises(InputError, match="--batchnorm_init must be one of uniform, "):
        _build("cifar_resnet_8", batchnorm_init="normal")
    with pytest.raises(InputError, match="seed"):
        _build("mnist_lenet_3", seed=-1)
    with pytest.raises(InputError, match="cifar_vgg_16 cannot be built for images of shape"):
        _build("cifar_vgg_16", (8, 8, 3))
