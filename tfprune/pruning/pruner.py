"""The one call that prunes: model and pruner in, masks out."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import keras
import numpy as np

from tfprune.errors import InputError
from tfprune.layers.masks import Masks
from tfprune.layers.prunable import prunable
from tfprune.pruning.batches import as_batches
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
    loss: str | Loss = "cross_entropy",
    masks: Mapping[str, np.ndarray] | None = None,
    batch_size: int = 128,
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
        data: needed by SNIP and GraSP; see `tfprune.pruning.batches.as_batches`.
        seed: of random scores, dropout while scoring and ties; a non-negative integer.
        scope: `"global"` or `"layerwise"`, instead of the pruner's own.
        quota: `"uniform"`, `"uniform_plus"`, `"erk"` or `"igq"`, instead of the pruner's own.
        quota_rule: `"valid"` or `"published"`, see `tfprune.pruning.quotas`.
        schedule: rounds, instead of the pruner's own.
        loss: of SNIP and GraSP: `"cross_entropy"`, `"published"` or a function of (labels, outputs).
        masks: masks to start from; what they prune stays pruned and counts as pruned.
        batch_size: where `data` is a pair of arrays.
        input_shape: shape of an input without the batch axis, where the model leaves sizes open.

    Returns:
        Masks for all prunable kernels, bool, in network order.

    Raises:
        InputError: unusable arguments, NaN in weights or scores (names the kernel), no data where it is needed, a
            sparsity that the masks, the quota or the network's paths put out of reach (says what is reachable).
    """
    _check(sparsity, pruning_type, seed)
    chosen = get_pruner(pruner).changed(scope, quota, schedule)
    shapes = {path: tuple(variable.shape) for path, variable in prunable(model).items()}
    if not shapes:
        raise InputError(f"model {model.name!r} has no kernels that can be pruned")
    _check_weights(model)
    start = Masks.dense(model) if masks is None else Masks(masks).check(model)
    if start.kept < sum(map(prod, shapes.values())) * (1 - sparsity) * (1 - 1e-12):
        raise InputError(f"sparsity {sparsity:.6g} is below that of the masks to start from, {start.sparsity:.6g}")
    options = {"loss": loss, "input_shape": input_shape}
    rounds = _rounds(model, chosen, sparsity, start, as_batches(data, batch_size), seed, quota_rule, options)
    if pruning_type == "direct":
        return rounds.final
    effective = Reachability(model, input_shape)
    return at_effective_sparsity(rounds.masks, effective, sparsity, start, rounds.landmarks())


def _rounds(model, pruner: Pruner, sparsity: float, start: Masks, batches, seed: int, rule: str, options) -> Rounds:
    score = get_score(pruner.score)
    if score.needs_data and batches is None:
        raise InputError(
            f"score {pruner.score} needs data=: a tf.data.Dataset of (inputs, labels) batches or a pair of arrays"
        )
    landmarks = None
    shapes = {path: mask.shape for path, mask in start.items()}
    if pruner.like is not None:
        other = _rounds(model, get_pruner(pruner.like), sparsity, start, batches, seed, rule, options)
        share = BorrowedShare(shapes, lambda kept: list(other.masks(kept).counts.values()))
        landmarks = other.landmarks()
    else:
        share = GlobalShare(shapes) if pruner.quota is None else QuotaShare(shapes, pruner.quota, rule)

    def scored(before: Mapping[str, np.ndarray], number: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng((seed, number))
        return score(model, batches, before, rng, **options)

    return Rounds(scored, share, pruner.schedule.densities(1 - sparsity), start, seed, landmarks)


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
