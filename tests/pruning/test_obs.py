"""The surgery against one that inverts a matrix for every weight, and against the same masks without it."""

import numpy as np
import pytest

from tfprune.pruning.obs import inverse_factor, part_by_part, surgery

DAMPENING = 0.01


def layer(seed, inputs=8, outputs=5, rows=40):
    """(X with correlated columns, W)."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, inputs)) @ rng.normal(size=(inputs, inputs))
    return x, rng.normal(size=(inputs, outputs))


def operated(x, weights, leaving=None, pattern=None, blocksize=128, alive=None):
    gram = x.T @ x
    alive = np.ones(weights.shape, bool) if alive is None else alive
    dead = np.diagonal(gram) == 0
    return surgery(weights * alive, alive, inverse_factor(gram, DAMPENING), dead, leaving, pattern, blocksize)


def one_by_one(x, weights, mask):
    """Each output on its own: a weight that the mask prunes goes, the later ones take the best step, and so on."""
    gram = x.T @ x
    hessian = gram + DAMPENING * np.mean(np.diag(gram)) * np.eye(len(gram))
    found = weights.copy()
    for output in range(weights.shape[1]):
        for row in range(len(weights)):
            if not mask[row, output]:
                inverse = np.linalg.inv(hessian[row:, row:])
                found[row:, output] -= found[row, output] / inverse[0, 0] * inverse[0]
    return np.where(mask, found, 0)


def error(x, weights, new):
    return np.square(x @ weights - x @ new).sum()


def damped_error(x, weights, new):
    change = weights - new
    return error(x, weights, new) + DAMPENING * np.mean(np.diag(x.T @ x)) * np.square(change).sum()


@pytest.mark.parametrize("blocksize", [1, 3, 8])
def test_weights_are_those_of_steps_that_each_invert_a_matrix(blocksize):
    x, weights = layer(0)
    leaving = part_by_part([min(blocksize, 8 - start) * 5 for start in range(0, 8, blocksize)], 21)
    new, mask = operated(x, weights, leaving, blocksize=blocksize)
    assert np.count_nonzero(~mask) == 21 and not new[~mask].any()
    np.testing.assert_allclose(new, one_by_one(x, weights, mask), atol=1e-9)


def test_the_cheapest_of_a_block_leave():
    """In one block costs are those of the weights as they are: w² / [H⁻¹]ⱼⱼ of the Hessian of inputs from j on."""
    x, weights = layer(1)
    gram = x.T @ x
    hessian = gram + DAMPENING * np.mean(np.diag(gram)) * np.eye(8)
    inverses = np.array([np.linalg.inv(hessian[row:, row:])[0, 0] for row in range(8)])
    costs = weights**2 / inverses[:, None]
    _, mask = operated(x, weights, [17])
    assert costs[~mask].max() < costs[mask].min() and np.count_nonzero(~mask) == 17


@pytest.mark.parametrize("seed", range(8))
def test_outputs_change_less_than_without_moving_the_rest_and_than_by_magnitude(seed):
    x, weights = layer(seed, 16, 12, 60)
    new, mask = operated(x, weights, part_by_part([48] * 4, 96), blocksize=4)
    assert damped_error(x, weights, new) <= damped_error(x, weights, weights * mask)
    order = np.argsort(np.abs(weights), axis=None)
    by_magnitude = weights.copy()
    by_magnitude.ravel()[order[:96]] = 0
    assert error(x, weights, new) < error(x, weights, by_magnitude)


@pytest.mark.parametrize("seed", range(3))
def test_it_comes_near_the_best_that_its_masks_allow(seed):
    """Least squares of what stays is the bound; the order in which weights are settled costs a part of it."""
    x, weights = layer(seed, 8, 6, 60)
    new, mask = operated(x, weights, [24])
    best = np.zeros_like(weights)
    for output in range(6):
        kept = mask[:, output]
        best[kept, output] = np.linalg.lstsq(x[:, kept], x @ weights[:, output], rcond=None)[0]
    bound, without = error(x, weights, best), error(x, weights, weights * mask)
    assert bound <= error(x, weights, new) + 1e-9 < without


@pytest.mark.parametrize("blocksize", [4, 8])
def test_two_of_four(blocksize):
    x, weights = layer(2, 16, 7)
    new, mask = operated(x, weights, pattern=(2, 4), blocksize=blocksize)
    np.testing.assert_array_equal(mask.reshape(4, 4, 7).sum(1), 2)
    np.testing.assert_allclose(new, one_by_one(x, weights, mask), atol=1e-9)
    assert damped_error(x, weights, new) <= damped_error(x, weights, weights * mask)


def test_what_is_always_zero_leaves_first_and_what_stays_of_it_is_as_it_was():
    x, weights = layer(3, 8, 5)
    x[:, [2, 5]] = 0
    few, mask = operated(x, weights, [7])
    assert not mask[[0, 1, 3, 4, 6, 7]].sum() < 30  # all of the ten that leave nothing behind come before others
    smallest = np.sort(np.abs(weights[[2, 5]]).ravel())[:7]
    np.testing.assert_allclose(np.sort(np.abs(weights[~mask])), smallest)
    np.testing.assert_array_equal(few[mask], weights[mask])
    nothing, mask = operated(np.zeros((4, 3)), weights[:3, :2], [3])
    assert mask.sum() == 3 and np.isfinite(nothing).all()


def test_pruned_weights_stay_pruned():
    x, weights = layer(4)
    alive = np.random.default_rng(0).random(weights.shape) < 0.7
    gone = np.count_nonzero(~alive)
    new, mask = operated(x, weights, [10], alive=alive)
    assert not (mask & ~alive).any() and np.count_nonzero(~mask) == gone + 10
    np.testing.assert_allclose(new, one_by_one(x, weights * alive, mask), atol=1e-9)
    _, mask = operated(x, weights, pattern=(2, 4), blocksize=4, alive=alive)
    np.testing.assert_array_equal(mask.reshape(2, 4, 5).sum(1), np.minimum(alive.reshape(2, 4, 5).sum(1), 2))


def test_parts_add_up():
    rng = np.random.default_rng(0)
    for _ in range(200):
        alive = rng.integers(0, 9, rng.integers(1, 7))
        leaving = int(rng.integers(0, alive.sum() + 1))
        parts = part_by_part(alive, leaving)
        assert sum(parts) == leaving and (parts <= alive).all() and min(parts) >= 0


def test_a_hessian_without_inverse():
    with pytest.raises(np.linalg.LinAlgError):
        inverse_factor(np.ones((3, 3)), 0.0)
