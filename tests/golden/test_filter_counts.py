"""Parameters, kept filters and multiplications of every published version, exactly those of the reproduction."""

import json

import numpy as np
import pytest

from tfprune.connectivity.compaction import size_of
from tfprune.connectivity.measured import measured
from tfprune.experiments.filters.networks import NETWORKS
from tfprune.experiments.filters.recipe import kept_filters, prune_version
from tfprune.experiments.filters.settings import FilterSettings
from tfprune.experiments.filters.versions import versions
from tfprune.layers.masks import Masks


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name == "resnet50")) for name in NETWORKS]
)
def test_versions(name, golden):
    stored = json.loads((golden / "filters" / "parameter_counts.json").read_text())[name]
    assert versions(name) == {version: tuple(facts["p"]) for version, facts in stored["versions"].items()}
    model = NETWORKS[name].build((32, 32, 3), 10, 0)
    settings = FilterSettings(model=name, version=("v0",))
    for version, fractions in versions(name).items():
        pruned = prune_version(model, settings, "l1_norm", fractions)
        facts = stored["versions"][version]
        assert kept_filters(pruned, name) == facts["kept_filters"]
        assert sum(int(np.prod(variable.shape)) for variable in pruned.trainable_variables) == facts["params"]
        assert size_of(pruned).flops == 2 * facts["macs_32x32"]


@pytest.mark.parametrize("name", NETWORKS)
def test_unpruned(name, golden):
    stored = json.loads((golden / "filters" / "parameter_counts.json").read_text())[name]
    model = NETWORKS[name].build((32, 32, 3), 10, 0)
    assert sum(int(np.prod(variable.shape)) for variable in model.trainable_variables) == stored["params_unpruned"]
    assert kept_filters(model, name) == stored["prunable_layer_filters"]
    found = measured(model, Masks.dense(model))  # an initial weight may be 0
    assert (
        found["parameters"] == found["parameters_masked"] == found["parameters_compacted"] == stored["params_unpruned"]
    )
    assert found["flops"] == found["flops_masked"] == found["flops_compacted"] == 2 * stored["macs_32x32_unpruned"]
