"""What is tried with a network: each function returns a short note, or raises what says why it failed."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
from zoo.subject import Subject, difference, variation

import tfprune

TOLERANCE = 1e-5  # of the outputs' scale
_CONVOLUTIONS = tuple(
    getattr(keras.layers, name)
    for n in "123"
    for name in (f"Conv{n}D", f"Conv{n}DTranspose", f"SeparableConv{n}D")
    if hasattr(keras.layers, name)
)


class WrongResult(AssertionError):
    """Numbers that are told or computed are wrong."""


class NotApplicable(Exception):
    """It means nothing for this network, or plain Keras cannot do it either."""


def as_given(subject: Subject) -> str:
    """`masked` of the model as its library or its own class makes it computes the same."""
    layers = [subject.model, *subject.model._flatten_layers()]
    own = {type(one).__name__ for one in layers if isinstance(one, keras.Model) and not _is_plain(one)}
    if not own:
        raise NotApplicable("Keras's own classes of models")
    found = difference(subject.outputs(subject.model), subject.outputs(tfprune.masked(subject.model)))
    if found > TOLERANCE:
        raise WrongResult(f"outputs differ by {found:.2g}")
    return ", ".join(sorted(own))


def direct(subject: Subject) -> str:
    masks = tfprune.prune(subject.model, "magnitude/global", sparsity=0.9, seed=0)
    if abs(masks.kept - 0.1 * masks.size) > 1:
        raise WrongResult(f"{masks.kept} of {masks.size} kept at sparsity 0.9")
    return f"{masks.kept:,} of {masks.size:,} kept"


def effective(subject: Subject) -> str:
    """A quota that no density reaches is SynFlow's turn; what was promised and what `sparsity` counts must agree."""
    options = {"sparsity": 0.9, "pruning_type": "effective", "seed": 0, "input_shape": subject.input_shape}
    try:
        pruner, masks = "random/erk", tfprune.prune(subject.model, "random/erk", **options)
    except tfprune.InputError as error:
        if not re.search("reach|quota", str(error)):
            raise
        pruner, masks = "synflow", tfprune.prune(subject.model, "synflow", **options)
    report = tfprune.sparsity(subject.model, masks, input_shape=subject.input_shape)
    counted = sum(mask.sum() for mask in report.effective_masks.values())
    if report.weights.kept != masks.kept or report.weights.effective != counted or counted > masks.kept:
        raise WrongResult(f"{report.weights} does not count the masks")
    if abs(report.effective - 0.9) > 0.02:
        raise AssertionError(f"{pruner}: effective sparsity {report.effective:.3f}, asked for 0.9")
    return f"{pruner}: {report.effective:.4f}, direct {report.direct:.4f}"


def masked(subject: Subject) -> str:
    """Masked, stripped, and the plain model with zeros written into its kernels: all compute the same."""
    sparse = subject.sparse
    expected = subject.zeroed()
    varies = variation(expected)
    if not varies > 1e-3:
        raise AssertionError(f"outputs vary by {varies:.1g} only: to compare them says nothing")
    worst = {
        "masked": difference(expected, subject.outputs(sparse)),
        "stripped": difference(expected, subject.outputs(tfprune.strip(sparse))),
    }
    _check(worst, subject, sparse)
    return f"differ by {max(worst.values()):.1g}, of inputs' {varies:.1g}"


def saved(subject: Subject) -> str:
    """Plain Keras is tried where this fails: what it cannot write and read is not our business."""
    sparse = subject.sparse
    try:
        loaded = _through_file(sparse, tfprune.load_model)
    except Exception as error:
        _unless_plain_fails(lambda: _through_file(subject.model, keras.saving.load_model), error)
        raise
    masks = tfprune.masks_of(loaded)
    if list(masks) != list(subject.masks):
        raise AssertionError("layers have other names than those saved")
    if masks != subject.masks:
        raise WrongResult("the masks read are not those saved")
    worst = {"loaded": difference(subject.outputs(sparse), subject.outputs(loaded))}
    _check(worst, subject, sparse)
    return f"differs by {worst['loaded']:.1g}"


def fit(subject: Subject) -> str:
    """One step moves kept weights and no others; plain Keras is tried where this fails."""
    model = tfprune.masked(subject.sparse)
    before = {path: kernel.numpy() for path, kernel in tfprune.prunable(tfprune.strip(model)).items()}
    targets = subject.targets()
    try:
        _step(model, subject.x, targets)
    except Exception as error:
        weights = subject.model.get_weights()
        try:
            _unless_plain_fails(lambda: _step(subject.model, subject.x, targets), error)
        finally:
            subject.model.set_weights(weights)
        raise
    if tfprune.masks_of(model) != subject.masks:
        raise WrongResult("a step changed masks")
    plain = tfprune.strip(model, compiled=False)
    after = {path: kernel.numpy() for path, kernel in tfprune.prunable(plain).items()}
    for path, mask in subject.masks.items():
        if after[path][~mask].any():
            raise WrongResult(f"{path}: pruned weights came back")
    moved = sum((after[path] != before[path]).any() for path in after)
    if not moved:
        raise WrongResult("no kernel moved")
    _check({"stripped": difference(subject.outputs(model), subject.outputs(plain))}, subject, model)
    return f"{moved} of {len(after)} kernels moved"


def compact(subject: Subject) -> str:
    small = tfprune.compact(subject.sparse)
    worst = {"compacted": difference(subject.zeroed(), subject.outputs(small))}
    floor = _check(worst, subject, subject.sparse)
    share = small.count_params() / subject.model.count_params()
    if share > 1:
        raise AssertionError(f"{share:.1%} of the parameters")
    return f"{share:.0%} of the parameters, differs by {worst['compacted']:.1g}{floor}"


def channels(subject: Subject) -> str:
    """Half of the filters leave; where there are none, or all have to stay, a quarter of all channels; says which."""
    model = subject.model
    subject.average()  # those of the masked model are of other signals
    before = subject.outputs(model)
    assert all(np.isfinite(y).all() for y in before), "the dense model's outputs are not finite"
    try:
        if not any(isinstance(layer, _CONVOLUTIONS) for layer in model._flatten_layers()):
            raise tfprune.InputError("no convolution of the model can lose filters: there is none")
        note, narrow = "filters", tfprune.prune_filters(model, "l1_norm", 0.5)
    except tfprune.InputError as error:
        if not str(error).startswith("no convolution of the model can lose filters"):
            raise
        note = f"channels ({error})"
        narrow = tfprune.prune_channels(model, "l2", 0.25)
    after = subject.outputs(narrow)
    if [y.shape for y in after] != [y.shape for y in before]:
        raise WrongResult("outputs of another shape")
    if not all(np.isfinite(y).all() for y in after):
        raise WrongResult("outputs are not finite")
    share = narrow.count_params() / model.count_params()
    if not share < 1:
        raise AssertionError(f"nothing left: {share:.1%} of the parameters")
    return f"{share:.0%} of the parameters, by {note}"


CAPABILITIES: dict[str, Callable[[Subject], str]] = {
    "as given": as_given,
    "direct": direct,
    "effective": effective,
    "masked": masked,
    "saved": saved,
    "fit": fit,
    "compact": compact,
    "channels": channels,
}


def prunable_share(subject: Subject) -> float:
    """The part of the parameters that `prunable` has, in [0, 1]."""
    kernels = sum(kernel.numpy().size for kernel in tfprune.prunable(subject.model).values())
    return kernels / subject.model.count_params()


def _is_plain(model: keras.Model) -> bool:
    inputs = keras.Input((1,))
    return type(model) in (keras.Sequential, type(keras.Model(inputs, inputs)))


def _check(worst: dict[str, float], subject: Subject, model: keras.Model) -> str:
    """Refuses differences above the tolerance, or 10 times what rounding alone does where that is more; tells it."""
    if max(worst.values()) <= TOLERANCE:
        return ""
    floor = subject.rounding(model)
    for what, found in worst.items():
        if found > max(TOLERANCE, 10 * floor):
            raise WrongResult(f"{what}: outputs differ by {found:.2g} (rounding alone {floor:.1g})")
    return f" (rounding alone {floor:.1g})"


def _through_file(model: keras.Model, load: Callable) -> keras.Model:
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "model.keras")
        return load(Path(folder) / "model.keras")


def _step(model: keras.Model, x, targets) -> None:
    model.compile(keras.optimizers.SGD(1e-3), "mse", jit_compile=False)
    model.fit(x, targets, batch_size=len(keras.tree.flatten(x)[0]), epochs=1, verbose=0)


def _unless_plain_fails(attempt: Callable[[], object], error: Exception) -> None:
    """Raises `NotApplicable` where the plain model fails as well."""
    try:
        attempt()
    except Exception as own:
        raise NotApplicable(f"nor does plain Keras: {first_line(own)}") from error


def first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:300]
