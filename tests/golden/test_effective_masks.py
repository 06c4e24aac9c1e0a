"""Effective masks of the five networks against the exact reference: every count and every hash."""

import hashlib
import json

import numpy as np
import pytest

from tfprune.connectivity.reachability import Reachability
from tfprune.layers.masks import Masks
from tfprune.layers.prunable import prunable
from tfprune.models.registry import ARCHITECTURES, build


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name == "vgg19" else name for name in ARCHITECTURES]
)
def test_counts_and_hashes(golden, name):
    folder = golden / "effective_sparsity"
    shapes = json.loads((folder / "architectures.json").read_text())[name]
    stored = np.load(folder / "effective_masks.npz", allow_pickle=False)
    model = build(name)
    variables = prunable(model)
    assert [list(variable.shape) for variable in variables.values()] == [shape for _, shape in shapes]
    reachability = Reachability(model)
    for index, (density, seed) in enumerate(zip(stored["densities"], stored[f"{name}__mask_seeds"], strict=True)):
        rng = np.random.default_rng(int(seed))
        masks = Masks({path: rng.random(variable.shape) < density for path, variable in variables.items()})
        assert list(masks.counts.values()) == stored[f"{name}__direct_counts"][index].tolist()
        effective = reachability(masks)
        assert list(effective.counts.values()) == stored[f"{name}__reference_counts"][index].tolist(), density
        packed = np.packbits(np.concatenate([mask.ravel() for mask in effective.values()]))
        assert hashlib.sha256(packed.tobytes()).digest() == stored[f"{name}__reference_sha256"][index].tobytes()


def test_resnet18_extra(golden):
    """Layers of very different densities, and with whole layers gone."""
    stored = np.load(golden / "effective_sparsity/effective_masks.npz", allow_pickle=False)
    model = build("resnet18")
    variables = prunable(model)
    reachability = Reachability(model)
    names = stored["resnet18_extra__case_names"]
    assert len(names) == 13
    for case, name in enumerate(names):
        masks = Masks(dict(zip(variables, _extra_masks(str(name), variables.values()), strict=True)))
        assert list(masks.counts.values()) == stored["resnet18_extra__direct_counts"][case].tolist(), name
        effective = list(reachability(masks).counts.values())
        assert effective == stored["resnet18_extra__synflow_float64_counts"][case].tolist(), name


def _extra_masks(name, variables):
    if name.startswith("mixed"):
        rng = np.random.default_rng(900 + int(name.removeprefix("mixed")))
        densities = 10 ** rng.uniform(-3.3, -1, 21)
        return [rng.random(variable.shape) < density for variable, density in zip(variables, densities, strict=True)]
    rng = np.random.default_rng(5)
    masks = [rng.random(variable.shape) < 0.01 for variable in variables]
    for index in json.loads(name.removeprefix("zero")):
        masks[index][:] = False
    return masks
