"""SparseGPT: a pretrained model pruned layer by layer, with the weights that stay moved to make up for the rest."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping

import keras
import numpy as np

from tfprune.errors import InputError, did_you_mean_fraction
from tfprune.layers.catching import first_argument
from tfprune.layers.convert import masked, masks_of, set_masks
from tfprune.layers.linear import Linear, linear_kernels
from tfprune.layers.masks import Masks
from tfprune.layers.prunable import prunable
from tfprune.layers.subclassed import as_graph
from tfprune.pruning.calibration import Inputs, calls_in_order, is_eager, told_calls
from tfprune.pruning.competing import competing
from tfprune.pruning.kernel_names import Named
from tfprune.pruning.obs import inverse_factor, part_by_part, surgery
from tfprune.pruning.patterns import as_pattern
from tfprune.pruning.progress import Progress
from tfprune.pruning.selection import kept_count

# (path, weights (groups, inputs, outputs), what is alive of them, products of inputs (groups, inputs, inputs))
# -> (new weights, which of them stay)
Compress = Callable[[str, np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def sparsegpt(
    model: keras.Model,
    sparsity: float | None = None,
    data=None,
    *,
    pattern: str | None = None,
    blocksize: int = 128,
    dampening: float = 0.01,
    batch_size: int = 128,
    steps: int | None = None,
    ignore: Named | Iterable[Named] = (),
    verbose: bool | int = True,
) -> keras.Model:
    """A masked copy of a model, pruned so that each layer's outputs on data change as little as they can; no training.

        sparse = tfprune.sparsegpt(model, 0.5, data=x)  # a few hundred examples
        sparse = tfprune.sparsegpt(model, pattern="2:4", data=x)

    Kernels are pruned one after the other, in the order in which the model calls their layers: each sees what the
    network that is pruned so far gives. One Hessian is held at a time (of layers that read the same, once for all of
    them), inputs² float64 numbers, and a few copies of it while it is solved; the data are run once for each. The model
    runs in inference; labels are not looked at, and positions that a Keras mask leaves out count like others.

    Pruned are kernels of dense layers, `EinsumDense`, projections of attention and convolutions of all kinds, alone or
    within other layers and subclassed models. Others (tables, recurrent kernels, layers of one's own) stay as they are.
    Inputs that are always 0 lose their weights first; what stays of those keeps its value.

    Args:
        model: built Keras model, plain or masked; is left as it is. What its masks prune stays pruned.
        sparsity: of each kernel that is pruned, in [0, 1): exactly `kept_count` of its weights stay.
        data: inputs, or what `tfprune.prune` takes; see `tfprune.pruning.calibration.Inputs`.
        pattern: `"N:M"` in place of a sparsity, as `"2:4"`: of every M inputs in a row (of one place of a convolution's
            window) N stay, for each output.
        blocksize: inputs whose weights are chosen at once, and after which later ones are updated.
        dampening: is added to the Hessian's diagonal, in parts of its mean.
        batch_size, steps: as for `tfprune.prune`.
        ignore: kernels that stay as they are, as for `tfprune.prune`.
        verbose: whether to show progress on stderr where the call takes more than three seconds.

    Returns:
        Masked model whose pruned weights are 0, as of `tfprune.masked`; compiled where `model` is.

    Warns:
        UserWarning: kernels that stay dense because it is not known what they are multiplied with, in one line.

    Raises:
        InputError: unusable arguments, data that do not fit, no kernel to prune, a pattern that does not fit a kernel,
            masks that prune more than is asked for, inputs that are not finite, or a Hessian that is singular.

    Reference: Frantar & Alistarh 2023, arXiv 2301.00774, algorithm 1; Hessians are those of float32 products, added in
    float64, all else is float64.
    """
    if (sparsity is None) == (pattern is None):
        raise InputError(f"give sparsity= or pattern=, one of them; received {sparsity!r} and {pattern!r}")
    if sparsity is not None and (isinstance(sparsity, bool) or not 0 <= sparsity < 1):
        raise InputError(f"sparsity must lie in [0, 1); received {sparsity!r}{did_you_mean_fraction(sparsity)}")
    if isinstance(blocksize, bool) or not isinstance(blocksize, (int, np.integer)) or blocksize < 1:
        raise InputError(f"blocksize must be a positive integer; received {blocksize!r}")
    if not dampening >= 0:
        raise InputError(f"dampening must be at least 0; received {dampening!r}")
    numbers = None if pattern is None else _numbers(pattern)

    def compress(path: str, weights: np.ndarray, alive: np.ndarray, grams: np.ndarray):
        leaving = None
        if sparsity is not None:
            leaving = alive.sum() - kept_count(alive.size, 1 - sparsity)
            if leaving < 0:
                own = 1 - alive.sum() / alive.size
                raise InputError(f"sparsity {sparsity:.6g} is below that of kernel {path!r}, {own:.6g}")
        try:
            return _pruned(weights, alive, grams, leaving, numbers, int(blocksize), dampening)
        except np.linalg.LinAlgError:
            told = "take more data or a larger dampening="
            raise InputError(f"the Hessian of kernel {path!r} is singular with dampening={dampening}: {told}") from None

    def fits(path: str, linear: Linear) -> None:
        if numbers and linear.depth % numbers[1]:
            raise InputError(
                f"pattern {pattern} does not fit kernel {path!r} of shape {tuple(linear.shape)}: {linear.depth} inputs "
                f"in a row are no multiple of {numbers[1]}; leave it out by ignore="
            )

    return in_order(model, data, compress, fits, batch_size, steps, ignore, bool(verbose))


def in_order(
    model: keras.Model,
    data,
    compress: Compress,
    fits: Callable[[str, Linear], None] = lambda path, linear: None,
    batch_size: int = 128,
    steps: int | None = None,
    ignore: Named | Iterable[Named] = (),
    verbose: bool = False,
) -> keras.Model:
    """A masked copy of a model whose kernels were compressed one by one, each with what the ones before it give.

    Args:
        compress: is given weights in float64 that are 0 where pruned.
        fits: (path, how the kernel is used) raises `InputError` where it cannot be pruned.

    Others and raises as for `sparsegpt`.
    """
    copy = masked(model)
    graph = as_graph(copy)
    batches = Inputs(graph, data, batch_size, steps)
    kernels, masks = prunable(copy), dict(masks_of(copy))
    chosen = competing(graph, Masks(masks), ignore, None)
    linear = {path: one for path, one in linear_kernels(copy).items() if path in chosen}
    order = _shared(graph, next(iter(batches)), linear)
    _tell_of_others([path for path in chosen if not any(path in group for group, _ in order)], len(chosen))
    for path in (path for group, _ in order for path in group):
        fits(path, linear[path])
    for path, mask in masks.items():
        kernels[path].assign(np.where(mask, kernels[path].numpy(), 0))
    with Progress(verbose) as progress:
        for number, (group, calls) in enumerate(order):
            progress.at("layer by layer", number, len(order), note=group[0])
            grams = _grams(graph, batches, group[0], linear[group[0]], calls)
            for path in group:
                one, kernel = linear[path], kernels[path].numpy()
                given = one.matrices(kernel).astype(np.float64), one.matrices(masks[path])
                weights, mask = compress(path, *given, grams)
                kernels[path].assign(one.kernel(weights).reshape(kernel.shape))
                masks[path] = one.kernel(mask).reshape(kernel.shape)
    set_masks(copy, masks)
    return copy


def _shared(graph: keras.Model, inputs, linear: Mapping[str, Linear]) -> list[tuple[list[str], int]]:
    """(paths, calls of their layer) of kernels that read the same features, in the order of their layers' calls."""
    found: list[tuple[list[str], int]] = []
    for layer, calls, alike in calls_in_order(graph, inputs, [one.layer for one in linear.values()]):
        for path in (path for path, one in linear.items() if one.layer is layer):
            reads = linear[path].reads
            if alike and calls == 1 == found[-1][1] and reads == linear[found[-1][0][-1]].reads:
                found[-1][0].append(path)
            else:
                found.append(([path], calls))
    return found


def _grams(graph: keras.Model, batches: Inputs, path: str, linear: Linear, calls: int) -> np.ndarray:
    """(groups, inputs, inputs) float64, sums over all that a layer is called with."""
    total = 0.0

    def tell(args, kwargs):
        nonlocal total
        given = first_argument(args, kwargs)
        if not is_eager(given):
            raise InputError(f"what kernel {path!r} is multiplied with is known for some batches only: leave it out")
        for part in linear.grams(given):
            total = total + np.asarray(part, np.float64)

    told_calls(graph, batches, linear.layer, calls, tell)
    if not np.isfinite(total).all():
        raise InputError(f"what kernel {path!r} is multiplied with is not finite for these data")
    return total


def _pruned(
    weights: np.ndarray,
    alive: np.ndarray,
    grams: np.ndarray,
    leaving: int | None,
    pattern: tuple[int, int] | None,
    blocksize: int,
    dampening: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Of the stack of matrices of a kernel; `leaving` in all."""
    if pattern is not None:
        blocksize = -(-blocksize // pattern[1]) * pattern[1]
    starts = range(0, weights.shape[1], blocksize)
    parts = None
    if leaving is not None:
        living = [int(one[start : start + blocksize].sum()) for one in alive for start in starts]
        parts = np.reshape(part_by_part(living, int(leaving)), (len(alive), len(starts)))
    found = [
        surgery(
            *(weights[at], alive[at], inverse_factor(gram, dampening), np.diagonal(gram) == 0),
            None if parts is None else parts[at],
            pattern,
            blocksize,
        )
        for at, gram in enumerate(grams)
    ]
    return np.stack([new for new, _ in found]), np.stack([mask for _, mask in found])


def _tell_of_others(paths: list[str], count: int) -> None:
    if len(paths) == count:
        raise InputError("there is no kernel to prune of which it is known what it is multiplied with")
    if paths:
        shown = ", ".join(map(repr, paths[:3])) + (", ..." if len(paths) > 3 else "")
        warnings.warn(
            f"{len(paths)} of {count} kernels stay dense, as it is not known what they are multiplied with: {shown}; "
            "ignore= leaves them out without this line",
            stacklevel=4,
        )


def _numbers(pattern: str) -> tuple[int, int]:
    known = as_pattern(pattern)
    if known.of is None:
        raise InputError(f"pattern must be N:M here, as 2:4; received {pattern!r}")
    return known.kept, known.of
