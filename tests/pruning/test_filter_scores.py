"""What every registered filter score must keep to, and each one by hand."""

import numpy as np
import pytest

from tfprune.errors import InputError
from tfprune.pruning.filter_scores import FILTER_SCORES, get_filter_score, score_filters

OPERATOR_NORMS = ("operator_norm", "operator_norm_absolute")


def kernel_of(*shape, seed=0):
    """(positions, channels, filters)"""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def scores_of(kernel, scoring, seed=0):
    return score_filters({"kernel": np.asarray(kernel, np.float32)}, scoring, seed)["kernel"]


@pytest.mark.parametrize("name", FILTER_SCORES)
class TestContract:
    def test_one_number_for_each_filter_of_each_kernel(self, name):
        shapes = {"image": (9, 3, 8), "line": (3, 8, 5), "matrix": (1, 8, 4), "depthwise": (9, 1, 8), "few": (25, 2, 2)}
        kernels = {path: kernel_of(*shape) for path, shape in shapes.items()}
        before = {path: kernel.copy() for path, kernel in kernels.items()}
        scores = score_filters(kernels, name)
        assert list(scores) == list(shapes)
        for path, values in scores.items():
            assert values.dtype == np.float32 and values.shape == shapes[path][2:]
            assert np.isfinite(values).all() and (values >= 0).all() and values.max() > 0
            np.testing.assert_array_equal(kernels[path], before[path])

    def test_kernels_do_not_see_each_other(self, name):
        """A batch of several gives what each gives alone; random scores are drawn one after the other."""
        kernels = {"first": kernel_of(9, 4, 6), "second": kernel_of(9, 2, 7, seed=1), "third": kernel_of(4, 3, 5)}
        together = score_filters(kernels, name)
        for path in list(kernels)[: 1 if name == "random" else 3]:
            np.testing.assert_allclose(together[path], scores_of(kernels[path], name), rtol=1e-6)

    def test_the_seed_decides(self, name):
        kernel = kernel_of(9, 4, 6)
        np.testing.assert_array_equal(scores_of(kernel, name, 0), scores_of(kernel, name, 0))
        assert (name == "random") == (not np.array_equal(scores_of(kernel, name, 0), scores_of(kernel, name, 1)))

    def test_zeros(self, name):
        scores = scores_of(np.zeros((9, 4, 6)), name)
        assert np.isfinite(scores).all()
        assert name == "random" or not scores.any()

    def test_filter_0_without_weights(self, name):
        kernel = kernel_of(9, 4, 6)
        kernel[..., 0] = 0
        scores = scores_of(kernel, name)
        assert np.isfinite(scores).all()
        if name not in ("random", "gm_norm"):
            assert scores[0] == 0 and (scores[1:] > 0).all()

    def test_equal_filters(self, name):
        scores = scores_of(np.repeat(kernel_of(9, 4, 1), 6, axis=2), name)
        assert np.isfinite(scores).all()
        if name == "gm_norm":
            assert not scores.any()
        elif name != "random":
            np.testing.assert_allclose(scores, scores[0], rtol=1e-6)
            assert scores[0] > 0

    def test_weights_of_any_size(self, name):
        """Squares of float32's largest and smallest numbers are none any more."""
        for scale in (1e30, 1e-30):
            scores = scores_of(kernel_of(9, 4, 6) * np.float32(scale), name)
            assert np.isfinite(scores).all() and scores.max() > 0

    def test_no_number(self, name):
        with pytest.raises(InputError, match=r"^kernel 'kernel' holds NaN or infinite weights$"):
            scores_of(np.full((9, 4, 6), np.nan), name)


def test_norms_by_hand():
    kernel = np.zeros((2, 1, 3))
    kernel[:, 0] = [[3, 0, 1], [-4, 2, 1]]
    np.testing.assert_allclose(scores_of(kernel, "l1_norm"), [1, 2 / 7, 2 / 7], rtol=1e-6)
    np.testing.assert_allclose(scores_of(kernel, "l2"), [1, 2 / 5, np.sqrt(2) / 5], rtol=1e-6)


def test_distances_from_the_geometric_median_by_hand():
    """Of 0, 1, 2, 3, 10 on a line the median minimises the sum of distances, not the mean 3.2."""
    line = scores_of(np.array([0, 1, 2, 3, 10.0]).reshape(1, 1, 5), "gm_norm")
    np.testing.assert_allclose(line, np.array([2, 1, 0, 1, 8]) / 8, atol=1e-5)
    # The median of a triangle sees its sides under 120°: here at height 1/√3 over the base.
    triangle = scores_of(np.array([[-1, 1, 0], [0, 0, 3.0]]).reshape(2, 1, 3), "gm_norm")
    base, tip = 2 / np.sqrt(3), 3 - 1 / np.sqrt(3)
    np.testing.assert_allclose(triangle, np.array([base, base, tip]) / tip, rtol=1e-5)


def test_operator_norm_by_hand():
    """One position: u is the row of weights itself, and r_j = Σ_c K_cj sign(K_c0) = (1 + 2, 3 − 4, −5 + 1)."""
    kernel = np.array([[1, 3, -5], [-2, 4, -1.0]]).reshape(1, 2, 3)
    np.testing.assert_allclose(scores_of(kernel, "operator_norm"), np.array([3, 1, 4]) ** 2 / 3, rtol=1e-6)
    np.testing.assert_allclose(scores_of(kernel, "operator_norm_absolute"), np.array([3, 7, 6]) ** 2 / 7, rtol=1e-6)


@pytest.mark.parametrize("channels", [1, 5])
@pytest.mark.parametrize("positions, filters", [(9, 16), (49, 6)])
def test_operator_norm_by_singular_value_decomposition(channels, positions, filters):
    kernel = kernel_of(positions, channels, filters)
    raw, absolute = np.zeros(filters), np.zeros(filters)
    for channel in range(channels):
        u, s, w = np.linalg.svd(kernel[:, channel].T.astype(float), full_matrices=False)
        reference = np.outer(u[:, 0], w[0])[0]
        raw += kernel[:, channel].T @ (reference / np.linalg.norm(reference))
        absolute += s[0] * np.abs(u[:, 0])
    np.testing.assert_allclose(scores_of(kernel, "operator_norm"), raw**2 / raw.max(), rtol=1e-4)
    np.testing.assert_allclose(scores_of(kernel, "operator_norm_absolute"), absolute**2 / absolute.max(), rtol=1e-4)


@pytest.mark.parametrize("name", ["operator_norm_absolute", "l1_norm", "l2", "gm_norm"])
def test_the_order_of_filters_does_not_matter(name):
    kernel, order = kernel_of(9, 20, 12), np.random.default_rng(1).permutation(12)
    np.testing.assert_allclose(scores_of(kernel[..., order], name), scores_of(kernel, name)[order], rtol=1e-5)


def test_the_order_of_filters_matters_to_the_published_operator_norm():
    kernel = kernel_of(9, 20, 12)
    scores, turned = scores_of(kernel, "operator_norm"), scores_of(kernel[..., ::-1], "operator_norm")[::-1]
    assert not np.array_equal(np.argsort(scores), np.argsort(turned))


@pytest.mark.parametrize("name", OPERATOR_NORMS)
def test_operator_norm_ignores_signs_of_channels_and_order_of_positions(name):
    kernel = kernel_of(9, 4, 6)
    turned = kernel[::-1] * np.array([1, -1, -1, 1], np.float32)[:, None]
    np.testing.assert_allclose(scores_of(turned, name), scores_of(kernel, name), rtol=1e-5)


def test_the_next_filter_is_the_reference_where_filter_0_is_orthogonal():
    """Channel 0: filter 0 is orthogonal to the others, so filter 1 gives the sign; filter 0 gives it in channel 1."""
    kernel = np.zeros((2, 2, 3), np.float32)
    kernel[:, 0] = [[0, -3, 4], [1, 0, 0]]
    kernel[0, 1] = [1, -1, 1]
    # r = (0, 3, −4) + (1, −1, 1)
    np.testing.assert_allclose(scores_of(kernel, "operator_norm"), np.array([1, 2, -3]) ** 2 / 2, rtol=1e-6)


def test_refused():
    with pytest.raises(InputError, match=f"scoring must be one of {', '.join(FILTER_SCORES)}; received 'svd'"):
        get_filter_score("svd")
    for seed in (-1, 0.5, True):
        with pytest.raises(InputError, match=f"seed must be a non-negative integer; received {seed}"):
            scores_of(kernel_of(1, 1, 1), "random", seed)
