"""Quotas of all five architectures at six sparsities against the original's."""

import numpy as np
import pytest

from tfprune.errors import InputError
from tfprune.pruning.quotas import QUOTAS

ARCHITECTURES = ("lenet300100", "lenet5", "vgg16", "vgg19", "resnet18")


@pytest.fixture(params=ARCHITECTURES)
def stored(request, golden):
    """(shapes, sizes, sparsities, {quota: (sparsities × layers, defined)}) of one architecture."""
    name = request.param
    with np.load(golden / "effective_sparsity/quotas.npz") as arrays:
        padded, ndim = arrays[f"{name}__kernel_shapes"], arrays[f"{name}__kernel_ndim"]
        shapes = [tuple(int(n) for n in row[:count]) for row, count in zip(padded, ndim, strict=True)]
        quotas = {quota: (arrays[f"{name}__{quota}"], arrays[f"{name}__{quota}__ok"]) for quota in QUOTAS}
        return shapes, np.array([np.prod(shape) for shape in shapes]), arrays["sparsities"], quotas


@pytest.mark.parametrize("quota", ["uniform", "erk", "uniform_plus"])
def test_published_rule(stored, quota):
    shapes, _, sparsities, quotas = stored
    expected, defined = quotas[quota]
    for row, sparsity in enumerate(sparsities):
        if not defined[row]:  # the original's assertion: uniform+ on a network of dense layers
            with pytest.raises(InputError, match="uniform_plus needs"):
                QUOTAS[quota](shapes, 1 - sparsity, "published")
            continue
        ours = 1 - QUOTAS[quota](shapes, 1 - sparsity, "published")
        np.testing.assert_allclose(ours, expected[row], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("quota", ["erk", "uniform_plus"])
def test_the_valid_rule_is_the_published_one_wherever_that_is_valid(stored, quota):
    """Only where a layer overflows may ours differ: then it must be valid and have the right total."""
    shapes, sizes, sparsities, quotas = stored
    expected, defined = quotas[quota]
    for row, sparsity in enumerate(sparsities):
        if not defined[row]:
            continue
        if quota == "uniform_plus" and expected[row].max() > 1:
            with pytest.raises(InputError, match="must be at least"):
                QUOTAS[quota](shapes, 1 - sparsity)
            continue
        ours = QUOTAS[quota](shapes, 1 - sparsity)
        assert ours.min() >= 0 and ours.max() <= 1
        assert ours @ sizes == pytest.approx((1 - sparsity) * sizes.sum(), rel=1e-12)
        if quota == "uniform_plus" or ours.max() < 1:
            np.testing.assert_allclose(1 - ours, expected[row], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("rule", ["valid", "published"])
def test_igq_within_one_weight_of_every_layer(stored, rule):
    shapes, sizes, sparsities, quotas = stored
    expected, defined = quotas["igq"]
    assert defined.all()
    for row, sparsity in enumerate(sparsities):
        ours = QUOTAS["igq"](shapes, 1 - sparsity, rule)
        assert np.abs((1 - ours - expected[row]) * sizes).max() < 1
        assert ours @ sizes == pytest.approx((1 - sparsity) * sizes.sum(), rel=1e-12)
