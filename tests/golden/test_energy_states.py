"""Layouts of the bits and counters of what a state keeps, of the ResNets as published."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import keras
import numpy as np
import pytest

from tfprune.experiments.energy.networks import build
from tfprune.experiments.energy.states import layout
from tfprune.layers.prunable import prunable

# Of each ResNet: the published number of bits, those of `readme`, `ising` and `current`, and those of `default` here.
BITS = {
    "resnet18": (6208, 6208, 5322, 2442, 5312),
    "resnet34": (9920, 9920, 9034, 4298, 9024),
    "resnet50": (32448, 32448, 28618, 5834, 28608),
    "resnet101": (58560, 58560, 54730, 10186, 54720),
}


@pytest.fixture(scope="module", params=BITS)
def resnet(request):
    return request.param, build(request.param, (32, 32, 1), 10, 0)


@pytest.fixture
def facts(golden):
    return json.loads((golden / "energy" / "resnet_states.json").read_text())


def _published_names(layers):
    """The names that the layers have here."""
    names = {"trailing n_classes (never read by the masking)": "classes", "trailing n_classes": "classes"}
    return [(names.get(name, f"{name}.0" if name.endswith("downsample") else name), size) for name, size in layers]


def _layers(space):
    starts = np.cumsum([0, *(stretch.size for stretch in space.stretches)])
    assert [stretch.start for stretch in space.stretches] == list(starts[:-1]) and space.size == starts[-1]
    return [(stretch.name, stretch.size) for stretch in space.stretches]


def _zeroed(space):
    """Kernels that a state without a bit empties; all others it leaves whole."""
    masks = space.masks(np.zeros(space.size, bool))
    assert all(mask.all() or not mask.any() for mask in masks.values())
    return {path.removesuffix("/kernel") for path, mask in masks.items() if not mask.any()}


def test_layouts_and_counters(resnet, facts):
    name, model = resnet
    stored = facts[name]
    assert sum(int(np.prod(variable.shape)) for variable in model.trainable_variables) == stored["trainable_parameters"]

    here = layout(model, name)
    assert _layers(here) == _published_names(stored["ising"]["layers"])[:-1]
    assert here.size == stored["ising"]["D"] - 10
    assert _zeroed(here) == {stretch.name for stretch in here.stretches}  # every layer is really masked

    current = layout(model, name, "current")
    assert _layers(current) == _published_names(stored["current"]["layers"])
    assert current.size == stored["current"]["D"]
    zeroed = {stretch.name for stretch in current.stretches[1:-1]}  # of the first listed layer and the classes nothing
    if name == "resnet18":
        assert {f"{layer}.weight" for layer in zeroed} == set(stored["current"]["tensors_zeroed_by_all_zero_state"])
    assert _zeroed(current) == zeroed

    counted, sizes = facts["kept_counter"]["values"][name], []
    for revision in ("readme", "ising", "current"):
        counter, size = published_counter(model, revision), stored[revision]["D"]
        assert [(each.name, each.size) for each in counter] == _published_names(stored[revision]["layers"])
        state = np.random.default_rng(counted["seed"]).integers(0, 2, (1, size))[0]
        if revision == "ising":
            state[-10:] = 1
        kept, total = _counts(counter, state), _counts(counter, np.ones(size))
        golden = counted[revision]
        if revision == "ising":
            assert (sum(kept), sum(total)) == (golden["kept"], golden["total"])
        else:
            assert (*kept, *total) == tuple(golden[key] for key in ("kept_conv", "kept_fc", "total_conv", "total_fc"))
        biases = 10 if revision == "readme" else 0  # of fc: in that total, but without influence on the fraction
        assert sum(total) + biases == golden["total"]
        assert sum(kept) / sum(total) == pytest.approx(golden["kept_ratio"], rel=1e-12)
        sizes.append(size)
    assert stored["readme_table"] == BITS[name][0]
    assert (*sizes, here.size) == BITS[name][1:]


def _counts(counter, state):
    """Of convolutions and of `fc`."""
    bits = np.split(state, np.cumsum([each.size for each in counter])[:-1])
    counts = [each.weights * on.sum() for each, on in zip(counter, bits, strict=True)]
    first = [each.name for each in counter].index("fc")
    return sum(counts[:first]), sum(counts[first:])


@dataclass(frozen=True)
class Counted:
    """Bits that a published counter counts alike.

    Attributes:
        name: of the layer, or `classes`.
        size: how many they are.
        weights: what each counts if it is on.
    """

    name: str
    size: int
    weights: float


def published_counter(model: keras.Model, revision: str) -> list[Counted]:
    """What the published programs count as kept for a state of a ResNet: the sum over the bits that are on.

    Args:
        model: one of the ResNets.
        revision: `current`: the size of a filter without its channels, and the classes of each input of `fc`; `readme`,
            an earlier one: filters with one parameter of normalisation, shortcuts once more for that alone; `ising`,
            of the second program: all parameters of layer and normalisation, shared out equally among its bits.

    Reference: Salehinejad & Valaee 2020, arXiv 2006.04270 and 2021, arXiv 2102.05437.
    """
    return list({"current": _current, "readme": _readme, "ising": _ising}[revision](prunable(model)))


def _current(kernels) -> Iterator[Counted]:
    for name, (height, width, _, filters) in _convolutions(kernels):
        if name.endswith(".conv2"):
            yield Counted(name, filters, height * width)
    inputs, classes = kernels["fc/kernel"].shape
    yield from (Counted("fc", inputs, classes), Counted("classes", classes, 0))


def _readme(kernels) -> Iterator[Counted]:
    for name, (height, width, channels, filters) in _convolutions(kernels):
        yield Counted(name, filters, height * width * channels + 1)
        if name.endswith("downsample.0"):
            yield Counted(name[:-1] + "1", filters, 1)
    yield Counted("fc", *kernels["fc/kernel"].shape)


def _ising(kernels) -> Iterator[Counted]:
    for name, (height, width, channels, filters) in _convolutions(kernels):
        yield Counted(name, filters, height * width * channels + 2)
    inputs, classes = kernels["fc/kernel"].shape
    yield from (Counted("fc", inputs, (inputs + 1) * classes / inputs), Counted("classes", classes, 0))


def _convolutions(kernels) -> Iterator[tuple[str, tuple[int, ...]]]:
    for path, kernel in kernels.items():
        if len(kernel.shape) == 4:
            yield path.removesuffix("/kernel"), tuple(kernel.shape)
