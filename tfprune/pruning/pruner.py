"""The one call that prunes: model and pruner in, masks out."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping

import keras
import numpy as np
import tensorflow as tf

from tfprune.errors import InputError
from tfprune.layers.masks import Masks
from tfprune.layers.prunable import prunable
from tfprune.pruning.batches import as_batches
from tfprune.pruning.compiled import CompiledLoss, chosen_loss
from tfprune.pruning.effective import at_effective_sparsity
from tfprune.pruning.losses import Loss
from tfprune.pruning.rounds import Rounds
from tfprune.pruning.schedules import Schedule
from tfprune.pruning.scores import get_score
from tfprune.pruning.shares import BorrowedShare, GlobalShare, QuotaShare
from tfprune.pruning.specs import Pruner, get_pruner
from tfprune.sparsity.reachability import Reachability

PRUNING_TYPES = ("direct", "effective")


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
    ignore: Collection[str] = (),
    highest: bool = False,
    batch_size: int = 128,
    steps: int | None = None,
    input_shape: tuple | list | None = None,
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
        data: needed by SNIP and GraSP: what `fit` takes, see `tfprune.pruning.batches.as_batches`. Scores are those of
            the mean loss over all examples, with their sample weights; batch normalisation sees batch by batch.
        seed: of random scores, dropout while scoring and ties; a non-negative integer.
        scope: `"global"` or `"layerwise"`, instead of the pruner's own.
        quota: `"uniform"`, `"uniform_plus"`, `"erk"` or `"igq"`, instead of the pruner's own.
        quota_rule: `"valid"` or `"published"`, see `tfprune.pruning.quotas`.
        schedule: rounds, instead of the pruner's own.
        loss: of SNIP and GraSP: `"cross_entropy"`, `"published"` or a function of (labels, outputs). None: that of a
            compiled model, without regularizers and `add_loss`, and cross-entropy of one that is not compiled.
        masks: masks to start from; what they prune stays pruned and counts as pruned.
        ignore: paths of kernels that stay as they are and count neither as weights nor as pruned.
        highest: prune the highest scores in place of the lowest.
        batch_size: where `data` is a pair of arrays.
        steps: use the first so many batches; needed for data without an end.
        input_shape: shape of an input without the batch axis, where the model leaves sizes open.

    Returns:
        Masks for all prunable kernels, bool, in network order.

    Warns:
        UserWarning: layer collapse: kernels lost all their weights, so that nothing passes through them; names three.
            Or the compiled loss was taken, and it is no cross-entropy.

    Raises:
        InputError: unusable arguments, NaN in weights or scores (names the kernel), no data where it is needed, a
            sparsity that the masks, the quota or the network's paths put out of reach (says what is reachable).
    """
    _check(sparsity, pruning_type, seed)
    if not tf.executing_eagerly():
        raise InputError("prune computes at once: call it outside of tf.Graph and tf.function")
    chosen = get_pruner(pruner).changed(scope, quota, schedule)
    if not prunable(model):
        raise InputError(f"model {model.name!r} has no kernels that can be pruned")
    _check_weights(model)
    whole = Masks.dense(model) if masks is None else Masks(masks).check(model)
    start = _competing(whole, ignore)
    if start.kept < start.size * (1 - sparsity) * (1 - 1e-12):
        raise InputError(f"sparsity {sparsity:.6g} is below that of the masks to start from, {start.sparsity:.6g}")

    def completed(part: Mapping[str, np.ndarray]) -> Masks:
        return Masks({path: part.get(path, mask) for path, mask in whole.items()}) if ignore else part

    batches = as_batches(data, batch_size, steps, len(model.inputs))
    if _needs_data(chosen):
        loss = _told_loss(model, loss)
    scores = _Scores(model, batches, seed, completed, highest, loss=loss, input_shape=input_shape)
    rounds = _rounds(scores, chosen, sparsity, start, seed, quota_rule)
    if pruning_type == "direct":
        return _told(completed(rounds.final), whole)
    reachable = Reachability(model, input_shape)

    def effective(part: Masks) -> Masks:
        found = reachable(completed(part))
        return Masks({path: found[path] for path in part}) if ignore else found

    found = at_effective_sparsity(rounds.masks, effective, sparsity, start, rounds.landmarks())
    return _told(completed(found), whole)


def _told(masks: Masks, before: Masks) -> Masks:
    """The masks, once a layer collapse has been told."""
    empty = [path for path, mask in masks.items() if before[path].any() and not mask.any()]
    if empty:
        names = ", ".join(map(repr, empty[:3])) + (", ..." if len(empty) > 3 else "")
        lost = f"{len(empty)} of {len(masks)} kernels have no weights left"
        warnings.warn(f"layer collapse at sparsity {masks.sparsity:.6g}: {lost}: {names}", stacklevel=3)
    return masks


def _needs_data(pruner: Pruner) -> bool:
    return get_score(pruner.score).needs_data or (pruner.like is not None and _needs_data(get_pruner(pruner.like)))


def _told_loss(model: keras.Model, loss: str | Loss | None) -> Loss:
    """The loss, once it has been told where it is not what one would think."""
    found = chosen_loss(model, loss)
    if isinstance(found, CompiledLoss) and found.classifies is None:
        told = (
            f"the scores are of the loss that model {model.name!r} is compiled with, {found.name}; loss= takes another"
        )
        warnings.warn(told, stacklevel=3)
    return found


class _Scores:
    """Calls a score for kernels that compete, of a model whose other kernels stay as they are."""

    def __init__(self, model, batches, seed: int, completed: Callable, highest: bool, **options):
        self._model, self._batches, self._seed = model, batches, seed
        self._completed, self._sign, self._options = completed, -1 if highest else 1, options

    def of(self, name: str) -> Callable[[Mapping[str, np.ndarray], int], dict[str, np.ndarray]]:
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
            return scores if self._sign == 1 else {path: -scores[path] for path in before}

        return scored


def _competing(masks: Masks, ignore: Collection[str]) -> Masks:
    unknown = [path for path in ignore if path not in masks]
    if unknown:
        raise InputError(f"ignore= holds {unknown[0]!r}, which is no prunable kernel; there are {', '.join(masks)}")
    left = {path: mask for path, mask in masks.items() if path not in ignore}
    if not left:
        raise InputError("ignore= leaves no kernel to prune")
    return Masks(left) if ignore else masks


def _rounds(scores: _Scores, pruner: Pruner, sparsity: float, start: Masks, seed: int, rule: str) -> Rounds:
    landmarks = None
    shapes = {path: mask.shape for path, mask in start.items()}
    if pruner.like is not None:
        other = _rounds(scores, get_pruner(pruner.like), sparsity, start, seed, rule)
        share = BorrowedShare(shapes, lambda kept: list(other.masks(kept).counts.values()))
        landmarks = other.landmarks()
    else:
        share = GlobalShare(shapes) if pruner.quota is None else QuotaShare(shapes, pruner.quota, rule)
    densities = pruner.schedule.densities(1 - sparsity)
    return Rounds(scores.of(pruner.score), share, densities, start, seed, landmarks)


def _check(sparsity: float, pruning_type: str, seed: int) -> None:
    if isinstance(sparsity, bool) or not isinstance(sparsity, (int, float, np.number)) or not 0 <= sparsity < 1:
        raise InputError(f"sparsity must lie in [0, 1); received {sparsity!r}")
    if pruning_type not in PRUNING_TYPES:
        raise InputError(f"pruning_type must be one of {', '.join(PRUNING_TYPES)}; received {pruning_type!r}")
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise InputError(f"seed must be a non-negative integer; received {seed!r}")


def _check_weights(model: keras.Model) -> None:
    for path, variable in prunable(model).items():
        if not np.isfinite(np.asarray(variable.value)).all():
            raise InputError(f"kernel {path!r} of model {model.name!r} holds NaN or infinite weights")
