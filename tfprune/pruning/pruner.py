"""The one call that prunes: model and pruner in, masks out."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property, partial

import keras
import numpy as np
import tensorflow as tf

from tfprune.connectivity.reachability import CONVENTIONS, Reachability
from tfprune.errors import InputError, did_you_mean
from tfprune.layers.barriers import EFFECTIVE, barriers
from tfprune.layers.convert import masks_of
from tfprune.layers.kept import with_masks
from tfprune.layers.masks import Masks
from tfprune.layers.prunable import prunable
from tfprune.layers.subclassed import as_graph
from tfprune.pruning.batches import as_batches, with_labels
from tfprune.pruning.competing import competing
from tfprune.pruning.compiled import chosen_loss, loss_notice
from tfprune.pruning.effective import Missed, at_effective_sparsity
from tfprune.pruning.kernel_names import Named
from tfprune.pruning.losses import Loss
from tfprune.pruning.notices import dense_layers, frozen_layers, layer_collapse
from tfprune.pruning.patterns import Pattern, as_pattern
from tfprune.pruning.progress import Progress
from tfprune.pruning.rounds import Rounds
from tfprune.pruning.schedules import Schedule
from tfprune.pruning.scores import get_score
from tfprune.pruning.scoring import Scoring, scores_of
from tfprune.pruning.shares import BorrowedShare, Floors, GlobalShare, LayerShare, QuotaShare, Share
from tfprune.pruning.specs import Pruner, get_pruner
from tfprune.pruning.spine import spine
from tfprune.pruning.targets import Sparsity, Target, target_of

PRUNING_TYPES = ("direct", "effective")
FROZEN = ("prune", "keep")


def prune(
    model: keras.Model,
    pruner: str | Pruner | Callable,
    sparsity: Sparsity | None = None,
    pruning_type: str = "direct",
    data=None,
    seed: int = 0,
    *,
    scope: str | None = None,
    quota: str | None = None,
    quota_rule: str = "valid",
    pattern: str | None = None,
    group_score: str = "mean",
    pattern_remainder: str = "error",
    schedule: Schedule | None = None,
    loss: str | Loss | None = None,
    masks: Mapping[str, np.ndarray] | None = None,
    ignore: Named | Iterable[Named] = (),
    only: Named | Iterable[Named] | None = None,
    highest: bool = False,
    batch_size: int = 128,
    steps: int | None = None,
    input_shape: tuple | list | None = None,
    min_weights: int = 0,
    frozen: str | None = None,
    convention: str = "influence",
    unknown: str = "barrier",
    verbose: bool | int = True,
    on_missed: Callable[[Missed], None] | None = None,
) -> Masks:
    """Chooses which weights of a model to keep. The model itself is left as it is.

    `"direct"`: exactly `ceil(density · N)` of the N prunable weights are kept by pruners where all layers compete, and
    each layer's share, rounded, by those with quotas. `"effective"`: the returned masks are the sparsest of the
    pruner's nested masks of which at least that many weights lie on a path from input to output; an iterative pruner
    runs its schedule towards that density and the round in which the effective weights become too few is bisected.
    With a pattern of groups the fewest are kept that hold so many weights (of a quota's share: the nearest number).

    Args:
        model: built Sequential or Functional model; magnitude and LAMP score the weights that it has now.
        pruner: a name of `tfprune.pruners()`; a `Pruner`; a function that scores, see `tfprune.register_score`; or
            `module:name`, one of these in a module that can be imported from the working folder.
        sparsity: fraction of all prunable weights to prune, in [0, 1). Or name -> fraction that each kernel so named
            loses, with names as in `ignore`; the name of fewest kernels counts, then the first pattern that fits, and
            `"*"` is the rest. What no name fits stays as it is. An effective target is the total of these; layers then
            keep more in proportion to what they lose. May be left out for patterns N:M.
        pruning_type: `"direct"` or `"effective"`.
        data: needed by SNIP, GraSP and Wanda: what `fit` takes, see `tfprune.pruning.batches.as_batches`. Scores are
            those of the mean loss over all examples, with their sample weights; batch normalisation sees batch by
            batch. Wanda looks at inputs alone, and data may be no more: an array, a dict of arrays or batches of them.
        seed: of random scores, dropout while scoring and ties; a non-negative integer.
        scope: `"global"`, `"layerwise"` or `"per_output"` (each output keeps the same part of its weights, to within
            one, or of what a quota gives its layer), instead of the pruner's own.
        quota: a name of `tfprune.quotas()`, instead of the pruner's own.
        quota_rule: `"valid"` or `"published"`, see `tfprune.pruning.quotas`.
        pattern: `"2:4"` and other N:M, `"4x1"` and other blocks, `"row"`, `"column"` or `"kernel"`; see
            `tfprune.pruning.patterns`. N:M says the sparsity of each kernel.
        group_score: what a group counts: the `"mean"` (default), `"sum"` or `"max"` of its members' scores.
        pattern_remainder: what becomes of weights where the pattern does not divide a kernel: an `"error"`, or they
            stay `"dense"`, and count as kept.
        schedule: rounds, instead of the pruner's own.
        loss: of SNIP and GraSP: `"cross_entropy"`, `"published"` or a function of (labels, outputs). None: that of a
            compiled model, without regularizers and `add_loss`, and cross-entropy of one that is not compiled.
        masks: masks to start from; what they prune stays pruned and counts as pruned. None for `masks_of(model)`: those
            of a masked model, all weights of a plain one.
        ignore: kernels that stay as they are and count neither as weights nor as pruned: paths of kernels, layers or
            nested models, names of layers, patterns of these (`"conv*"`), layers, types of layers, or a function of a
            layer; one or several of them.
        only: as `ignore`, the kernels that compete; all others are ignored.
        highest: prune the highest scores in place of the lowest.
        batch_size: where `data` is a pair of arrays.
        steps: use the first so many batches; needed for data without an end.
        input_shape: shape of an input without the batch axis, where the model leaves sizes open.
        min_weights: number of weights that every kernel keeps, or all where it has fewer; the best that lead from an
            input to an output together, see `tfprune.pruning.spine`. With 1 or more no layer runs empty and a path is
            left (direct masks of a graph that is not known: the best by score alone). 0 is as published.
        frozen: `"prune"`: kernels that are not trainable compete like all others; `"keep"`: they are ignored. None is
            `"prune"` with a warning.
        convention: of what is effective, `"influence"` or `"paper"`; see `tfprune.connectivity.reachability`.
        unknown: what becomes of operations that no rule knows, where paths or SynFlow are asked for: of a `"barrier"`
            every output depends on every input, see `Reachability`; `"refuse"`.
        verbose: whether to show progress on stderr where the call takes more than three seconds.
        on_missed: is told of a missed effective target in place of the warning.

    Returns:
        Masks for all prunable kernels, bool, in network order.

    Warns:
        UserWarning: each once, in a line: kernels lost all their weights (layer collapse), and whether anything still
            reaches the output; the effective sparsity that is reached is below the target, and which kernel is the
            cliff; frozen kernels; layers with weights that stay dense, and their share of the parameters; operations
            that are barriers, and their share; the compiled loss was taken, and it is no cross-entropy.

    Raises:
        InputError: unusable arguments, NaN in weights or scores (names the kernel), no data where it is needed, a
            sparsity that the masks, `min_weights`, the quota or the network's paths put out of reach (says what is
            reachable).
    """
    _check(pruning_type, seed, min_weights, frozen, convention)
    wanted = None if pattern is None else as_pattern(pattern)
    if wanted is not None and wanted.sparsity is not None:
        _check_numbers(wanted, pruning_type, min_weights)
    if not tf.executing_eagerly():
        raise InputError("prune computes at once: call it outside of tf.Graph and tf.function")
    chosen = get_pruner(pruner).changed(scope, quota, schedule)
    if scope == "global" and isinstance(sparsity, Mapping):
        raise InputError("sparsity= says what each kernel keeps, which scope='global' excludes")
    compiled, model = model, as_graph(with_masks(model))
    if not prunable(model):
        raise InputError(f"model {model.name!r} has no kernels that can be pruned")
    _check_weights(model)
    whole = _start(model, masks)
    start = competing(model, whole, ignore, frozen, only)
    about = {"group_score": group_score, "remainder": pattern_remainder, "highest": highest}
    target = target_of(model, start, sparsity, chosen, wanted, **about)
    start, grid = target.start, target.grid
    floors = target.require(min_weights) if pruning_type == "direct" else target.floors(min_weights)
    told = [dense_layers(model), frozen_layers(model, start) if frozen is None else None]

    def completed(part: Mapping[str, np.ndarray]) -> Masks:
        return part if start is whole else Masks({path: part.get(path, mask) for path, mask in whole.items()})

    with Progress(bool(verbose)) as progress, barriers(model, unknown) as met:
        by_inputs = not any(score.needs_labels for score in scores_of(chosen))
        batches = as_batches(with_labels(data) if by_inputs else data, batch_size, steps, len(model.inputs))
        if any("loss" in score.options for score in scores_of(chosen)):
            loss = chosen_loss(compiled, loss)
            told.append(loss_notice(compiled, loss))
        batches = None if batches is None else progress.batches(batches)
        scoring = Scoring(model, batches, seed, completed, highest, loss=loss, input_shape=input_shape)
        effective = _Effective(model, completed, input_shape, convention, progress, unknown)
        options = {"rule": quota_rule, "floors": floors, "progress": progress}
        if min_weights:
            # Direct masks can be had without knowing the model's graph: then the best are kept, path or no path.
            asked = effective if pruning_type == "effective" or effective.known else None
            find = spine if grid is None else grid.spine
            options["spine"] = partial(find, count=int(min_weights), effective=asked, seed=seed)
        rounds = _rounds(scoring, chosen, target, seed, **options)
        if pruning_type == "direct":
            found, missed = rounds.final, None
        else:
            found, missed = at_effective_sparsity(
                rounds.masks, effective, target.sparsity, start, rounds.landmarks(), target.rounding(chosen)
            )
        masks = completed(found)
        collapse = layer_collapse(masks, whole, effective)
    if missed and on_missed is not None:
        on_missed(missed)
        missed = None
    told += [met.line(EFFECTIVE), missed and str(missed), collapse]
    for line in told:
        if line is not None:
            warnings.warn(line, stacklevel=2)
    return masks


def _start(model: keras.Model, masks: Mapping[str, np.ndarray] | None) -> Masks:
    own = masks_of(model)
    if masks is None:
        return own
    given = Masks(masks).check(model)
    for path, mask in given.items():
        if back := np.count_nonzero(mask & ~own[path]):
            raise InputError(
                f"masks= brings back {back} weights of kernel {path!r} that the model's own masks prune: their values "
                "are stale; leave masks= out, or change the model first with set_masks"
            )
    return given


class _Effective:
    """Which weights of kernels that compete are effective, in a model whose other kernels stay as they are."""

    def __init__(self, model, completed: Callable, input_shape, convention: str, progress: Progress, unknown: str):
        self._model, self._input_shape = model, input_shape
        self._options = {"convention": convention, "unknown": unknown}
        self._completed, self._progress, self._asked = completed, progress, 0

    @cached_property
    def _reachable(self) -> Reachability:
        return Reachability(self._model, self._input_shape, **self._options)

    @property
    def known(self) -> bool:
        """Whether the graph of the model is known."""
        try:
            return self._reachable is not None
        except InputError:
            return False

    def __call__(self, part: Masks) -> Masks:
        self._progress.at("looking for paths", self._asked, note=f"{part.kept:,} weights kept")
        self._asked += 1
        found = self._reachable(self._completed(part))
        return found if len(found) == len(part) else Masks({path: found[path] for path in part})


def _rounds(
    scoring: Scoring,
    pruner: Pruner,
    target: Target,
    seed: int,
    *,
    rule: str,
    floors: Floors,
    progress: Progress,
    spine: Callable | None = None,
) -> Rounds:
    landmarks, share, start = None, _share(pruner, target, rule, floors), target.start
    if share is None:
        options = {"rule": rule, "floors": floors, "progress": progress, "spine": spine}
        other = _rounds(scoring, get_pruner(pruner.like), target, seed, **options)
        shapes = {path: mask.shape for path, mask in start.items()}
        share = BorrowedShare(shapes, lambda kept: list(other.masks(kept).counts.values()))
        landmarks = other.landmarks()
    # No round may end with fewer weights than the kernels keep.
    densities = pruner.schedule.densities(max(1 - target.sparsity, floors.least / start.size))
    score, total = get_score(pruner.score), len(densities)
    scored = scoring.of(score, pruner.per_output)

    def told(before: Mapping[str, np.ndarray], number: int) -> dict[str, np.ndarray]:
        progress.at(f"scoring by {score.name}", number - 1, total)
        return scored(before, number)

    return Rounds(told, share, densities, start, seed, landmarks, spine, target.grid)


def _share(pruner: Pruner, target: Target, rule: str, floors: Floors) -> Share | None:
    """How the kept weights are divided; None where another pruner says it."""
    shapes = {path: mask.shape for path, mask in target.start.items()}
    if target.kept is not None:
        return LayerShare(shapes, target.kept, floors)
    if pruner.like is not None:
        return None
    return GlobalShare(shapes, floors) if pruner.quota is None else QuotaShare(shapes, pruner.quota, rule, floors)


def _check_numbers(pattern: Pattern, pruning_type: str, min_weights: int) -> None:
    """Of N:M."""
    if pruning_type != "direct":
        raise InputError(
            f"pattern {pattern.text} says how many weights are kept, so pruning_type must be direct; received "
            f"{pruning_type!r}"
        )
    if min_weights > pattern.kept:
        raise InputError(
            f"min_weights must be at most {pattern.kept} with pattern {pattern.text}; received {min_weights}"
        )


def _check(pruning_type: str, seed: int, min_weights: int, frozen: str | None, convention: str) -> None:
    if pruning_type not in PRUNING_TYPES:
        near = did_you_mean(pruning_type, PRUNING_TYPES)
        raise InputError(f"pruning_type must be one of {', '.join(PRUNING_TYPES)}; received {pruning_type!r}{near}")
    if isinstance(min_weights, bool) or not isinstance(min_weights, (int, np.integer)) or min_weights < 0:
        raise InputError(f"min_weights must be a non-negative integer; received {min_weights!r}")
    if frozen is not None and frozen not in FROZEN:
        raise InputError(
            f"frozen must be one of {', '.join(FROZEN)}; received {frozen!r}{did_you_mean(frozen, FROZEN)}"
        )
    if convention not in CONVENTIONS:
        near = did_you_mean(convention, CONVENTIONS)
        raise InputError(f"convention must be one of {', '.join(CONVENTIONS)}; received {convention!r}{near}")
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise InputError(f"seed must be a non-negative integer; received {seed!r}")


def _check_weights(model: keras.Model) -> None:
    for path, variable in prunable(model).items():
        if not np.isfinite(np.asarray(variable.value)).all():
            raise InputError(f"kernel {path!r} of model {model.name!r} holds NaN or infinite weights")
