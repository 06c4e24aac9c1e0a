"""Which filters and units the bits of a state stand for."""

import numpy as np
import pytest

from tfprune.errors import InputError
from tfprune.experiments.energy.networks import NETWORKS, build
from tfprune.experiments.energy.states import layout
from tfprune.surgery.compact import compact

FLOWERS = 102


def _sizes(space):
    return {stretch.name: stretch.size for stretch in space.stretches}


def test_alexnet_has_the_published_bits_but_for_its_classes(full):
    sizes = _sizes(layout(full("alexnet"), "alexnet"))
    assert list(sizes) == [
        *(f"features.{number}" for number in (0, 3, 6, 8, 10)),
        *(f"classifier.{number}" for number in (1, 4, 6)),
    ]
    values = list(sizes.values())
    assert sum(values[:5]) == 1152 and values[5:] == [9216, 4096, 4096]
    assert sum(values) == 18_560 == 18_662 - FLOWERS


def test_squeezenet_has_the_published_bits_but_for_its_classes(full):
    sizes = _sizes(layout(full("squeezenet"), "squeezenet"))
    fires = sum(size for name, size in sizes.items() if "squeeze" in name or "expand" in name)
    assert (sizes["features.0"], fires, sizes["classifier.1"]) == (64, 2880, 512)
    assert list(sizes)[1:4] == ["features.3.squeeze", "features.3.expand1x1", "features.3.expand3x3"]
    assert sum(sizes.values()) == 3456 == 3558 - FLOWERS


def test_other_layouts(full):
    sizes = _sizes(layout(full("resnext50"), "resnext50"))
    # Of every block two inner convolutions of twice ResNet-50's filters; the rest is the same.
    inner = 2 * (3 * 64 + 4 * 128 + 6 * 256 + 3 * 512)
    assert sum(sizes.values()) == 28_608 + inner == 36_160
    lenet = _sizes(layout(build("lenet", (28, 28, 1), 10, 0), "lenet"))
    assert lenet == {"conv1": 6, "conv2": 16, "fc1": 400, "fc2": 120, "fc3": 84}


def test_a_bit_switches_a_filter_or_an_input():
    model = build("squeezenet", (32, 32, 1), 3, 0, 1 / 16)
    space = layout(model, "squeezenet")
    starts = {stretch.name: stretch.start for stretch in space.stretches}
    state = np.ones(space.size, bool)
    state[[starts["features.3.expand3x3"] + 2, starts["classifier.1"] + 5]] = False
    masks = space.masks(state)
    filters, inputs = masks["features.3.expand3x3/kernel"], masks["classifier.1/kernel"]
    assert not filters[..., 2].any() and filters.sum() == filters.size - filters[..., 2].size
    assert not inputs[:, :, 5].any() and inputs.sum() == inputs.size - 3
    others = [
        mask for path, mask in masks.items() if path.split("/")[0] not in ("features.3.expand3x3", "classifier.1")
    ]
    assert all(mask.all() for mask in others)


@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in ("resnet18", "resnet34")])
def test_every_bit_acts(name):
    side = NETWORKS[name].least_side
    space = layout(build(name, (side, side, 1), 3, 0, 1 / 32), name)
    bits = np.concatenate([site.bits for site in space.sites])
    np.testing.assert_array_equal(bits, np.arange(space.size))
    assert float(space.kept(np.zeros(space.size, bool))) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("name", ["lenet", "resnet18", "resnext50", "squeezenet"])
def test_what_a_state_switches_off_can_leave_the_network(name):
    model = build(name, (32, 32, 1), 5, 0, 1 / 8)
    space, rng = layout(model, name), np.random.default_rng(0)
    for path, mask in space.masks(rng.random(space.size) < 0.6).items():
        space.kernels[path].assign(space.kernels[path].numpy() * mask)
    smaller, images = compact(model), rng.random((4, 32, 32, 1), np.float32)
    assert smaller.count_params() < model.count_params()
    np.testing.assert_allclose(smaller(images).numpy(), model(images).numpy(), atol=1e-5)


@pytest.mark.parametrize("name", ["alexnet", "resnext50"])
def test_the_last_published_layout_is_for_resnets(name):
    side = NETWORKS[name].least_side
    with pytest.raises(InputError, match=f"--states=current is for resnet18, .*Received: --nnmodel={name}"):
        layout(build(name, (side, side, 1), 3, 0, 1 / 32), name, "current")
