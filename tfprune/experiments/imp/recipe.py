"""Iterative magnitude pruning with rewinding, as in Pellegrini & Biroli 2021 (arXiv 2104.13343).

train the dense network, remember its weights at an early step
repeat: prune each layer by magnitude; rewind what is left to the remembered weights; train
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np

from tfprune.data.images import ImageSet
from tfprune.errors import InputError
from tfprune.experiments.imp.arch import LayerSpec, weight_path
from tfprune.experiments.imp.files.iterations import (
    iteration_path,
    out_path,
    read_iteration,
    write_findata,
    write_iteration,
)
from tfprune.experiments.imp.files.out_text import iteration_text, step_text
from tfprune.experiments.imp.files.records import IterationRecord, Weights
from tfprune.experiments.imp.folder import ImpFolder
from tfprune.experiments.imp.masks import (
    connected_fraction,
    live_inputs,
    live_units,
    prune_layerwise,
    random_masks,
    unpruned_fraction,
)
from tfprune.experiments.imp.network import ImpNetwork, initial_weights
from tfprune.experiments.imp.settings import ImpSpec
from tfprune.experiments.imp.training import IterationTrainer, Progress
from tfprune.layers.masks import Masks
from tfprune.pruning.iterative import iterative_pruning
from tfprune.pruning.shuffle import shuffled_layerwise
from tfprune.records.atomic import atomic_write_text
from tfprune.training.samplers import Draw


class Plan(NamedTuple):
    """What an iteration trains: one sparsity per prunable layer, and masks."""

    ratios: np.ndarray
    masks: Masks


class Report(Protocol):
    """Who watches a run (see `tfprune.experiments.imp.progress`)."""

    def start(self, what: str, iteration: int, layers: tuple[LayerSpec, ...], masks: Masks) -> None:
        """Training of `what` ("IMP" or "random mask") begins with these masks."""

    def progress(self, progress: Progress) -> None:
        """Called about twice a second while training."""

    def end(self, row: dict) -> None:
        """Training has ended with these results (a row of the summary or of the baseline's table)."""


def run_imp(spec: ImpSpec, images: ImageSet, folder: ImpFolder, report: Report, sample: Draw | None = None) -> None:
    """Runs an input file to its end, skipping what the folder already holds.

    Args:
        spec: the input.
        images: its data.
        folder: claimed for this input.
        report: is told how it goes.
        sample: replaces the batches drawn from the seed.

    Raises:
        InputError: a restart file does not fit, the training diverges, or a file cannot be written.
    """
    trainer = IterationTrainer(spec, images, folder, sample)
    layers = trainer.network.layers
    iteration, ratios, masks, rewinding = _beginning(spec, trainer.network)
    texts, all_ratios, best = [], [], []

    def train(iteration: int, plan: Plan) -> IterationRecord:
        return _iteration(spec, trainer, folder, report, iteration, *plan, rewinding, "".join(texts))

    def prune(iteration: int, record: IterationRecord, plan: Plan) -> Plan:
        final = record.weights[record.recorded_steps.index(spec.prune_step)]
        ratios = plan.ratios + spec.prune_ratio * (1 - plan.ratios)
        return Plan(ratios, prune_layerwise(layers, final, plan.masks, ratios, spec.regrow))

    def done(plan: Plan) -> bool:
        return connected_fraction(layers, plan.masks) <= spec.stop_ratio

    iterations = range(iteration, spec.max_iterations)
    for iteration, record in iterative_pruning(iterations, Plan(ratios, masks), train, prune, done):
        if rewinding is None:
            rewinding = record.weights[record.recorded_steps.index(spec.weights_step)]
        elif spec.random_baseline:
            _random_baseline(spec, trainer, folder, report, iteration, record, rewinding)
        texts.append(iteration_text(record))
        all_ratios.append(record.ratios)
        best.append(min(record.validation_errors))
        atomic_write_text(out_path(folder.folder, folder.prefix), "".join(texts))
        write_findata(folder.path("findata.pkl"), layers, all_ratios, best)
        folder.drop_checkpoint("checkpoint")
    if not best:
        write_findata(folder.path("findata.pkl"), layers, [], [])


def _beginning(spec: ImpSpec, network: ImpNetwork) -> tuple[int, np.ndarray, Masks, Weights | None]:
    """First iteration, its ratios and masks, and the weights to rewind to (None: iteration 0 makes them)."""
    layers = network.layers
    if not spec.restart:
        ratios = np.full(sum(layer.prunable for layer in layers), spec.init_sparsity)
        return 0, ratios, random_masks(layers, spec.init_sparsity, np.random.default_rng([spec.seed, 1])), None
    rewinding = _restart_record("rest_weights_file", spec.rest_weights_file, layers).weights[0]
    record = _restart_record("rest_mask_file", spec.rest_mask_file, layers)
    try:
        final = record.weights[spec.rest_file_step]
    except IndexError:
        raise InputError(
            f"[Network] rest_file_step must be an index into the {len(record.weights)} recorded steps "
            f"{record.recorded_steps} of {spec.rest_mask_file}. Received: {spec.rest_file_step}"
        ) from None
    ratios = record.ratios + spec.prune_ratio * (1 - record.ratios)
    return spec.rest_it, ratios, prune_layerwise(layers, final, record.masks, ratios, spec.regrow), rewinding


def _restart_record(key: str, path: str, layers: tuple[LayerSpec, ...]) -> IterationRecord:
    record = read_iteration(path)
    if record.layers != layers:
        told = [
            ":".join(f"{kind}{list(params)}{'T' if flag else 'F'}" for kind, params, flag in each)
            for each in (layers, record.layers)
        ]
        raise InputError(f"[Network] {key} = {path}: its network is {told[1]}, the input file's is {told[0]}")
    if not record.weights:
        raise InputError(f"[Network] {key} = {path}: holds no weights")
    return record


def _iteration(spec, trainer, folder, report, iteration, ratios, masks, rewinding, text) -> IterationRecord:
    """One training of the pruned network, or its record if the folder has it."""
    path = iteration_path(folder.folder, folder.prefix, iteration)
    layers = trainer.network.layers
    if path.exists():
        record = read_iteration(path)
        if record.layers != layers:
            raise InputError(f"{path}: its network is not that of {spec.source}")
        return record
    steps = {spec.prune_step, spec.steps} | ({spec.weights_step} if iteration == 0 and rewinding is None else set())
    weights = rewinding or initial_weights(layers, np.random.default_rng([spec.seed, 0]))
    report.start("IMP", iteration, layers, masks)

    def progress(state: Progress, history) -> None:
        told = zip(history.validation_steps, history.validation_errors, strict=True)
        lines = [step_text(step, history.train_errors[step], error) for step, error in told if step < history.step]
        atomic_write_text(out_path(folder.folder, folder.prefix), text + "".join(lines))
        report.progress(state)

    record, milliseconds = trainer.train(iteration, weights, masks, ratios, sorted(steps), report=progress)
    row = {
        "iteration": iteration,
        "unpruned_fraction": unpruned_fraction(layers, masks),
        "connected_fraction": connected_fraction(layers, masks),
        "best_validation_error": float(min(record.validation_errors)),
        "final_train_error": float(record.train_errors[-spec.validate_step :].mean()),
    }
    row |= {name: value for index, layer in enumerate(layers) for name, value in _layer_row(index, layer, masks)}
    row["ms_per_step"] = round(milliseconds, 3)
    folder.add_row("summary", row)
    write_iteration(path, record)
    report.end(row)
    return record


def _layer_row(index: int, layer: LayerSpec, masks: Masks) -> Iterator[tuple[str, float | int]]:
    """Density, units with any incoming weight, and inputs with any outgoing weight of a layer with a mask."""
    own = {path: masks[path] for path in (weight_path(index, name) for name in layer.masked)}
    if own:
        kernel = own[weight_path(index)]
        yield f"density_{index}", Masks(own).density
        yield f"live_units_{index}", live_units(kernel)
        yield f"live_inputs_{index}", live_inputs(kernel)


def _random_baseline(spec, trainer, folder, report, iteration, record: IterationRecord, rewinding: Weights) -> None:
    """Trains a random mask with as many kept weights in every array, from the same weights with the same batches."""
    done = folder.read_table("random_baseline")
    if len(done) and iteration in set(done["iteration"]):
        return
    layers = trainer.network.layers
    masks = shuffled_layerwise(record.masks, np.random.default_rng([spec.seed, 2, iteration]))
    report.start("random mask", iteration, layers, masks)
    random_record, _ = trainer.train(
        iteration, rewinding, masks, record.ratios, [], "random_checkpoint", lambda state, _: report.progress(state)
    )
    row = {
        "iteration": iteration,
        "unpruned_fraction": unpruned_fraction(layers, masks),
        "best_validation_error": float(min(random_record.validation_errors)),
    }
    folder.add_row("random_baseline", row)
    folder.drop_checkpoint("random_checkpoint")
    report.end(row)
