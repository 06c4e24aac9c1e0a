"""Optimal brain surgery on one layer: which weights leave, and what the others become to make up for them.

The layer's output on some data is X·W, and what W may change is told by the Hessian H = XᵀX alone. Going through the
inputs in order, a weight w of input j that leaves costs w² / [H⁻¹]ⱼⱼ, H of the inputs from j on, and the weights of the
later inputs take a step along H⁻¹'s column that undoes what can be undone. All these inverses are in the one factor
H⁻¹ = UᵀU, U upper triangular.

References: Hassibi & Stork 1992, "Second order derivatives for network pruning: Optimal Brain Surgeon" (NIPS 5);
Frantar & Alistarh 2023, arXiv 2301.00774, algorithm 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def inverse_factor(hessian: np.ndarray, dampening: float) -> np.ndarray:
    """Upper triangular U with UᵀU the inverse of the Hessian and `dampening` times its mean diagonal.

    Args:
        hessian: float64 (inputs, inputs), symmetric, with nothing below 0 among its eigenvalues.
        dampening: ≥ 0.

    Raises:
        numpy.linalg.LinAlgError: it is singular.
    """
    mean = float(np.mean(np.diagonal(hessian)))
    damped = hessian + (dampening * mean or float(mean == 0)) * np.eye(len(hessian))
    # Of the matrix with rows and columns turned around the factor is lower triangular, its inverse is, too, and turned
    # around again that is U.
    lower = np.linalg.cholesky(damped[::-1, ::-1])
    factor = np.linalg.inv(lower)[::-1, ::-1]
    if not np.isfinite(factor).all():
        raise np.linalg.LinAlgError("singular")
    return np.triu(factor)


def part_by_part(alive: Sequence[int], leaving: int) -> list[int]:
    """How many of each part's living leave, in proportion, exactly `leaving` in all."""
    ends = np.cumsum([0, *alive], dtype=np.int64)
    total = max(1, int(ends[-1]))
    return np.diff((2 * leaving * ends + total) // (2 * total)).tolist()


def surgery(
    weights: np.ndarray,
    alive: np.ndarray,
    factor: np.ndarray,
    dead: np.ndarray,
    leaving: Sequence[int] | None,
    pattern: tuple[int, int] | None,
    blocksize: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Prunes a matrix, block by block of its inputs, and moves what stays.

    In a block, the weights that cost least leave, of all outputs together; of N:M it is all but the N dearest of every
    M inputs, chosen for each output when these inputs' turn comes.

    Args:
        weights: float64 (inputs, outputs); 0 where not alive.
        alive: bool, of the same shape; what is not stays pruned.
        factor: see `inverse_factor`.
        dead: bool (inputs,): those that are always 0, whose weights leave first, the smallest before.
        leaving: how many leave in each block; None for a pattern.
        pattern: (N, M); the blocks' sizes are multiples of M.
        blocksize: inputs whose later weights are updated together.

    Returns:
        The new weights, and which of them stay.
    """
    weights, mask = weights.copy(), np.ones(weights.shape, bool)
    inputs = len(weights)
    for number, first in enumerate(range(0, inputs, blocksize)):
        last = min(first + blocksize, inputs)
        block, own = weights[first:last], factor[first:last, first:last]  # a view, changed in place
        errors = np.zeros_like(block)
        if pattern is None:
            costs = _costs(block, np.diagonal(own), dead[first:last], alive[first:last])
            count = leaving[number] + int(np.count_nonzero(~alive[first:last]))
            mask[first:last].ravel()[np.argsort(costs, axis=None, kind="stable")[:count]] = False
        for row in range(last - first):
            if pattern is not None and row % pattern[1] == 0:
                rows = slice(row, row + pattern[1])
                costs = _costs(block[rows], np.diagonal(own)[rows], dead[first:last][rows], alive[first:last][rows])
                order = np.argsort(costs, axis=0, kind="stable")[: pattern[1] - pattern[0]]
                kept = alive[first:last][rows].copy()
                np.put_along_axis(kept, order, False, axis=0)
                mask[first:last][rows] = kept
            lost = np.where(mask[first + row], 0, block[row]) / own[row, row]
            block[row:] -= own[row, row:, None] * lost
            errors[row] = lost
        weights[last:] -= factor[first:last, last:].T @ errors
    return np.where(mask, weights, 0), mask


def _costs(weights: np.ndarray, diagonal: np.ndarray, dead: np.ndarray, alive: np.ndarray) -> np.ndarray:
    costs = np.square(weights / diagonal[:, None])
    costs[dead] = -1 / (1 + np.square(weights[dead]))
    return np.where(alive, costs, -np.inf)
