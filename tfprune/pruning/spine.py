"""Weights that every kernel keeps, chosen so that they lead from the input to the output.

The best weights of each kernel alone need not meet: those of one layer may end in units that those of the next do not
read, and then nothing is effective although no kernel is empty. So they are chosen of the sparsest masks in which
anything is effective, and kernel by kernel only among weights that lie on a path together with what was chosen before.
A weight on a path leaves that path whole, whatever else its kernel loses: what is chosen in the end holds a path
wherever there was one (and no layer is passed twice on it). Kernels whose best weight is the lowest choose first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from tfprune.layers.masks import Masks
from tfprune.pruning.selection import tie_keys
from tfprune.pruning.shares import OutOfReach


def spine(
    scores: Mapping[str, np.ndarray],
    start: Masks,
    masks_of: Callable[[int], Masks],
    *,
    count: int | Mapping[str, int],
    effective: Callable[[Masks], Masks] | None,
    seed: int,
) -> dict[str, np.ndarray]:
    """Path -> bool array of the kernel's shape: `count` of its weights, or all that are alive where there are fewer.

    Args:
        scores: path -> float32 array, higher is kept.
        start: what is alive.
        masks_of: number of kept weights -> nested masks within `start`, by these scores.
        count: weights of each kernel, or path -> number.
        effective: masks -> those of their weights that are effective; asked about log₂ N times and once for each
            kernel. None chooses by scores alone, path or no path.
        seed: breaks ties.
    """
    masks = start if effective is None else _sparsest_alive(start, masks_of, effective)
    chosen = {}
    for path in sorted(start, key=lambda path: scores[path].max(where=start[path], initial=-np.inf)):
        alive = start[path].ravel()
        leading = alive if effective is None else effective(masks)[path].ravel()
        mask = np.zeros(alive.size, bool)
        for candidates in (leading, alive & ~leading):  # others only where too few lead on
            positions = np.flatnonzero(candidates)
            missing = (count if isinstance(count, int) else count[path]) - np.count_nonzero(mask)
            mask[_best(scores[path].ravel(), positions, missing, seed)] = True
        chosen[path] = mask.reshape(start[path].shape)
        masks = Masks({**masks, path: chosen[path]})
    return {path: chosen[path] for path in start}


def _sparsest_alive(start: Masks, masks_of: Callable[[int], Masks], effective: Callable[[Masks], Masks]) -> Masks:
    """The masks of the fewest kept weights of which any is effective; `start` where there are none."""
    low, high, found = 0, start.kept, start
    while high - low > 1:
        middle = (low + high) // 2
        try:
            masks = masks_of(middle)
        except OutOfReach as refusal:
            low, high = (middle, high) if refusal.too_sparse else (low, middle)
            continue
        if effective(masks).kept:
            high, found = middle, masks
        else:
            low = middle
    return found


def _best(scores: np.ndarray, positions: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Those of the positions with the best scores, `count` or all."""
    if count <= 0 or positions.size <= count:
        return positions[: max(count, 0)]
    values = scores[positions]
    threshold = np.partition(values, values.size - count)[values.size - count]
    above, ties = positions[values > threshold], positions[values == threshold]
    return np.concatenate([above, ties[np.argsort(tie_keys(ties, seed))[: count - above.size]]])
