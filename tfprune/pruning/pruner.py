"""The one call that prunes: model and pruner in, masks out."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property, partial

import keras
import numpy as np
import tensorflow as tf

from tfprune.connectivity.reachability import CONVENTIONS, Reachability
from tfprune.errors import InputError, did_you_mean, did_you_mean_fraction
from tfprune.layers.barriers import EFFECTIVE, barriers
from tfprune.layers.convert import masks_of
from tfprune.layers.masks import Masks
from tfprune.layers.prunable import prunable
from tfprune.layers.subclassed import as_graph
from tfprune.pruning.batches import as_batches
from tfprune.pruning.competing import Ignored, competing
from tfprune.pruning.compiled import chosen_loss, loss_notice
from tfprune.pruning.effective import Missed, at_effective_sparsity
from tfprune.pruning.losses import Loss
from tfprune.pruning.notices import dense_layers, frozen_layers, layer_collapse
from tfprune.pruning.progress import Progress
from tfprune.pruning.rounds import Rounds
from tfprune.pruning.schedules import Schedule
from tfprune.pruning.scores import get_score
from tfprune.pruning.selection import kept_count
from tfprune.pruning.shares import BorrowedShare, GlobalShare, QuotaShare, below_floors
from tfprune.pruning.specs import Pruner, get_pruner
from tfprune.pruning.spine import spine
from tfprune.pruning.within_outputs import within_outputs

PRUNING_TYPES = ("direct", "effective")
FROZEN = ("prune", "keep")


def prune(
    model: keras.Model,
    pruner: str | Pruner,
    sparsity: float,
    pruning_type: str = "direct",
    data=None,
    seed: int = 0,
    *,
    scope: str | None = None,
    quota: str | None = None,
    quota_rule: str = "valid",
    schedule: Schedule | None = None,
    loss: str | Loss | None = None,
    masks: Mapping[str, np.ndarray] | None = None,
    ignore: Ignored | Iterable[Ignored] = (),
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

    Args:
        model: built Sequential or Functional model; magnitude and LAMP score the weights that it has now.
        pruner: a name of `tfprune.pruning.specs.PRUNERS` or a `Pruner`.
        sparsity: fraction of all prunable weights to prune, in [0, 1).
        pruning_type: `"direct"` or `"effective"`.
        data: needed by SNIP, GraSP and Wanda: what `fit` takes, see `tfprune.pruning.batches.as_batches`. Scores are
            those of the mean loss over all examples, with their sample weights; batch normalisation sees batch by
            batch. Wanda looks at inputs alone.
        seed: of random scores, dropout while scoring and ties; a non-negative integer.
        scope: `"global"`, `"layerwise"` or `"per_output"` (each output keeps the same part of its weights, to within
            one, or of what a quota gives its layer), instead of the pruner's own.
        quota: `"uniform"`, `"uniform_plus"`, `"erk"` or `"igq"`, instead of the pruner's own.
        quota_rule: `"valid"` or `"published"`, see `tfprune.pruning.quotas`.
        schedule: rounds, instead of the pruner's own.
        loss: of SNIP and GraSP: `"cross_entropy"`, `"published"` or a function of (labels, outputs). None: that of a
            compiled model, without regularizers and `add_loss`, and cross-entropy of one that is not compiled.
        masks: masks to start from; what they prune stays pruned and counts as pruned. None for `masks_of(model)`: those
            of a masked model, all weights of a plain one.
        ignore: kernels that stay as they are and count neither as weights nor as pruned: paths of kernels, layers or
            nested models, names of layers, layers, or a function of a layer; one or several of them.
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
    _check(sparsity, pruning_type, seed, min_weights, frozen, convention)
    if not tf.executing_eagerly():
        raise InputError("prune computes at once: call it outside of tf.Graph and tf.function")
    chosen = get_pruner(pruner).changed(scope, quota, schedule)
    compiled, model = model, as_graph(model)
    if not prunable(model):
        raise InputError(f"model {model.name!r} has no kernels that can be pruned")
    _check_weights(model)
    whole = _start(model, masks)
    start = competing(model, whole, ignore, frozen)
    if start.kept < start.size * (1 - sparsity) * (1 - 1e-12):
        raise InputError(f"sparsity {sparsity:.6g} is below that of the masks to start from, {start.sparsity:.6g}")
    floors = {path: min(min_weights, count) for path, count in start.counts.items()} if min_weights else {}
    least = sum(floors.values())
    if pruning_type == "direct" and least > kept_count(start.size, 1 - sparsity):
        raise below_floors(least, start.size, sparsity)
    told = [dense_layers(model), frozen_layers(model, start) if frozen is None else None]

    def completed(part: Mapping[str, np.ndarray]) -> Masks:
        return part if start is whole else Masks({path: part.get(path, mask) for path, mask in whole.items()})

    with Progress(bool(verbose)) as progress, barriers(model, unknown) as met:
        batches = as_batches(data, batch_size, steps, len(model.inputs))
        if _takes_loss(chosen):
            loss = chosen_loss(compiled, loss)
            told.append(loss_notice(compiled, loss))
        batches = None if batches is None else progress.batches(batches)
        scores = _Scores(model, batches, seed, completed, highest, loss=loss, input_shape=input_shape)
        effective = _Effective(model, completed, input_shape, convention, progress, unknown)
        options = {"rule": quota_rule, "floors": floors, "progress": progress}
        if min_weights:
            # Direct masks can be had without knowing the model's graph: then the best are kept, path or no path.
            asked = effective if pruning_type == "effective" or effective.known else None
            options["spine"] = partial(spine, count=min_weights, effective=asked, seed=seed)
        # No round may end with fewer weights than the kernels keep.
        rounds = _rounds(scores, chosen, max(1 - sparsity, least / start.size), start, seed, **options)
        if pruning_type == "direct":
            found, missed = rounds.final, None
        else:
            rounding = 0 if chosen.quota is None and chosen.like is None else len(start)
            found, missed = at_effective_sparsity(
                rounds.masks, effective, sparsity, start, rounds.landmarks(), rounding
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


def _takes_loss(pruner: Pruner) -> bool:
    own = "loss" in get_score(pruner.score).options
    return own or (pruner.like is not None and _takes_loss(get_pruner(pruner.like)))


class _Scores:
    """Calls a score for kernels that compete, of a model whose other kernels stay as they are."""

    def __init__(self, model, batches, seed: int, completed: Callable, highest: bool, **options):
        self._model, self._batches, self._seed = model, batches, seed
        self._completed, self._sign, self._options = completed, -1 if highest else 1, options

    def of(
        self, name: str, per_output: bool = False
    ) -> Callable[[Mapping[str, np.ndarray], int], dict[str, np.ndarray]]:
        """(masks before the round, number of the round) -> scores."""
        score = get_score(name)
        if score.needs_data and self._batches is None:
            raise InputError(
                f"score {name} needs data=: a tf.data.Dataset of (inputs, labels) batches or a pair of arrays"
            )

        def scored(before: Mapping[str, np.ndarray], number: int) -> dict[str, np.ndarray]:
            rng = np.random.default_rng((self._seed, number))
            scores = score(self._model, self._batches, self._completed(before), rng, **self._options)
            if score.needs_data and number == 1 and not any(values.any() for values in scores.values()):
                raise InputError(f"all scores of {name} are 0: no weight that is left changes the loss")
            unknown = [path for path in before if path not in scores]
            if unknown:
                raise InputError(
                    f"score {name} says nothing of {len(unknown)} kernels: leave them out, ignore={unknown}"
                )
            scores = scores if self._sign == 1 else {path: -scores[path] for path in before}
            return within_outputs(self._model, scores, before, self._seed) if per_output else scores

        return scored


def _rounds(
    scores: _Scores,
    pruner: Pruner,
    density: float,
    start: Masks,
    seed: int,
    *,
    rule: str,
    floors: Mapping[str, int],
    progress: Progress,
    spine: Callable | None = None,
) -> Rounds:
    landmarks = None
    shapes = {path: mask.shape for path, mask in start.items()}
    if pruner.like is not None:
        options = {"rule": rule, "floors": floors, "progress": progress, "spine": spine}
        other = _rounds(scores, get_pruner(pruner.like), density, start, seed, **options)
        share = BorrowedShare(shapes, lambda kept: list(other.masks(kept).counts.values()))
        landmarks = other.landmarks()
    elif pruner.quota is None:
        share = GlobalShare(shapes, floors)
    else:
        share = QuotaShare(shapes, pruner.quota, rule, floors)
    densities = pruner.schedule.densities(density)
    score, total = scores.of(pruner.score, pruner.per_output), len(densities)

    def told(before: Mapping[str, np.ndarray], number: int) -> dict[str, np.ndarray]:
        progress.at(f"scoring by {pruner.score}", number - 1, total)
        return score(before, number)

    return Rounds(told, share, densities, start, seed, landmarks, spine)


def _check(
    sparsity: float, pruning_type: str, seed: int, min_weights: int, frozen: str | None, convention: str
) -> None:
    if isinstance(sparsity, bool) or not isinstance(sparsity, (int, float, np.number)) or not 0 <= sparsity < 1:
        raise InputError(f"sparsity must lie in [0, 1); received {sparsity!r}{did_you_mean_fraction(sparsity)}")
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
