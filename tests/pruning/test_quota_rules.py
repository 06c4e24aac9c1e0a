"""Quotas on shapes small enough to work out by hand, and everything that is refused."""

import numpy as np
import pytest

from tfprune.errors import InputError
from tfprune.pruning.quotas import QUOTAS, erk, get_quota, igq, uniform_plus

CONV_NET = [(3, 3, 3, 8), (3, 3, 8, 16), (3, 3, 16, 16), (256, 10)]


@pytest.mark.parametrize("quota", QUOTAS.values(), ids=QUOTAS)
@pytest.mark.parametrize("density", [1.0, 0.7, 0.3, 0.2])
def test_contract(quota, density):
    """Every quota: valid densities whose total is the one asked for."""
    sizes = np.array([np.prod(shape) for shape in CONV_NET])
    densities = quota(CONV_NET, density)
    assert densities.shape == (4,) and densities.dtype == np.float64
    assert (densities >= 0).all() and (densities <= 1).all()
    assert densities @ sizes == pytest.approx(density * sizes.sum(), rel=1e-12)


@pytest.mark.parametrize("quota", QUOTAS.values(), ids=QUOTAS)
def test_no_layer_loses_weights_when_the_density_rises(quota):
    rows = np.array([quota(CONV_NET, density) for density in np.linspace(0.15, 1, 200)])
    assert (np.diff(rows, axis=0) >= -1e-15).all()


def test_erk_by_hand():
    # Sums 4 and 8, sizes 4 and 16; 6 kept weights: F = 1/2, kept 2 and 4.
    np.testing.assert_allclose(erk([(2, 2), (4, 4)], 6 / 20), [0.5, 0.25])
    # 15 kept: F = 5/4 would keep 5 of 4, so the first is whole and the second keeps 11.
    np.testing.assert_allclose(erk([(2, 2), (4, 4)], 15 / 20), [1, 11 / 16])
    np.testing.assert_allclose(erk([(2, 2), (4, 4)], 15 / 20, "published"), [5 / 4, 10 / 16])


def test_igq_by_hand():
    # With F = 1: 1/(1+1) of the layer of one weight, 1/(3+1) of that of three: 1/2 + 3/4 kept of 4.
    np.testing.assert_allclose(igq([(1, 1), (1, 3)], 1.25 / 4), [1 / 2, 1 / 4], rtol=1e-14)


def test_uniform_plus_by_hand():
    shapes = [(1, 1, 1, 10), (1, 1, 10, 10), (10, 10)]
    # 100 of 200 to be shared after the first layer.
    np.testing.assert_allclose(uniform_plus(shapes, 110 / 210), [1, 0.5, 0.5])
    # 30 left, of which the last layer keeps 20.
    np.testing.assert_allclose(uniform_plus(shapes, 40 / 210), [1, 0.1, 0.2])
    np.testing.assert_allclose(uniform_plus(shapes, 30 / 210), [1, 0, 0.2], atol=1e-14)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: get_quota("arc"), "one of uniform, uniform_plus, erk, igq; received 'arc'"),
        (lambda: erk(CONV_NET, 1.5), r"density must lie in \[0, 1\]; received 1.5"),
        (lambda: erk(CONV_NET, float("nan")), "density must lie"),
        (lambda: erk(CONV_NET, 0.5, "old"), "one of valid, published; received 'old'"),
        (lambda: erk([], 0.5), "at least one layer"),
        (lambda: igq([(3, 0)], 0.5), "positive shapes"),
        (lambda: uniform_plus([(9, 9), (9, 9), (9, 9)], 0.5), "needs at least three prunable layers and a convolution"),
        (lambda: uniform_plus(CONV_NET, 0.01), "density must be at least 0.116816.* received density 0.01"),
    ],
)
def test_refused(call, message):
    with pytest.raises(InputError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
