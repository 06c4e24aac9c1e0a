"""Iterative magnitude pruning with rewinding, as in Pellegrini & Biroli 2021 (arXiv 2104.13343).

train the dense network, remember its weights at an early step
repeat: prune each layer by magnitude; rewind what is left to the remembered weights; train
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from tfprune.data.images import ImageSet
from tfprune.errors import InputError
from tfprune.experiments.imp.analysis import Reevaluation
from tfprune.experiments.imp.arch import LayerSpec, weight_path
from tfprune.experiments.imp.files.iterations import (
    ImpRun,
    iteration_path,
    read_iteration,
    write_findata,
    write_iteration,
)
from tfprune.experiments.imp.files.out_text import iteration_text
from tfprune.experiments.imp.files.records import IterationRecord, Weights
from tfprune.experiments.imp.files.tables import add_row, read_rows, write_table
from tfprune.experiments.imp.masks import (
    connected_fraction,
    live_inputs,
    live_units,
    prune_layerwise,
    random_masks,
    unpruned_fraction,
)
from tfprune.experiments.imp.network import initial_weights
from tfprune.experiments.imp.results import write_iteration_result
from tfprune.experiments.imp.settings import ImpSettings
from tfprune.experiments.imp.training import IterationTrainer, Start
from tfprune.layers.masks import Masks
from tfprune.pruning.iterative import iterative_pruning
from tfprune.pruning.shuffle import shuffled_layerwise
from tfprune.records.atomic import atomic_write_text
from tfprune.records.run_folder import RunFolder
from tfprune.training.samplers import Draw
from tfprune.training.session import Watch

_NO_PLAN = 1000  # the default of max_iterations, which is not worth telling


def run_imp(
    settings: ImpSettings, images: ImageSet, folder: RunFolder, watch: Watch, sample: Draw | None = None
) -> None:
    """Runs an input file to its end, skipping what the folder already holds.

    Args:
        settings: the input.
        images: its data.
        folder: claimed for this input.
        watch: is told how it goes.
        sample: replaces the batches drawn from the seed.

    Raises:
        InputError: a restart file does not fit, the training diverges, or a file cannot be written.
    """
    run = _Run(settings, folder, IterationTrainer(settings, images, folder, watch, sample))
    layers = run.layers
    first = run.beginning()
    all_ratios, best = [], []

    def prune(iteration: int, record: IterationRecord, plan: _Plan) -> _Plan:
        return run.pruned(record, record.recorded_steps.index(settings.prune_step))

    def done(plan: _Plan) -> bool:
        return connected_fraction(layers, plan.masks) <= settings.stop_ratio

    iterations = range(settings.first_iteration, settings.max_iterations)
    for iteration, record in iterative_pruning(iterations, first, run.iteration, prune, done):
        if run.rewinding is None:
            run.rewinding = record.weights[record.recorded_steps.index(settings.weights_step)]
        elif settings.random_baseline:
            run.random_baseline(iteration, record)
        run.text += iteration_text(record)
        all_ratios.append(record.ratios)
        best.append(min(record.validation_errors))
        atomic_write_text(folder.path("out.dat"), run.text)
        write_findata(folder.path("findata.pkl"), layers, all_ratios, best)
        folder.drop_checkpoint("checkpoint")
    if not best:
        write_findata(folder.path("findata.pkl"), layers, [], [])


def reevaluate(settings: ImpSettings, images: ImageSet, folder: RunFolder) -> None:
    """Writes what the networks of a run are worth when they see the validation images again, as two tables.

    Raises:
        InputError: a file of the run cannot be read.
    """
    summary = read_rows(folder.path("summary.csv"))
    if not len(summary):
        return
    run, again = ImpRun(folder.folder, folder.prefix), Reevaluation(settings, images)
    write_table(folder.path("reevaluation.csv"), again.accuracies(run))
    best = int(summary.loc[summary["best_validation_error"].idxmin(), "iteration"])
    write_table(folder.path("silencing.csv"), again.silencing(run.iteration(best)))


@dataclass(frozen=True)
class _Plan:
    """What an iteration trains: one sparsity per prunable layer, and masks."""

    ratios: np.ndarray
    masks: Masks


@dataclass
class _Run:
    """What the iterations of a run share.

    Attributes:
        rewinding: the weights that every iteration starts from; None until iteration 0 has made them.
        text: of `<prefix>_out.dat`, for the iterations that are over.
    """

    settings: ImpSettings
    folder: RunFolder
    trainer: IterationTrainer
    rewinding: Weights | None = None
    text: str = ""
    layers: tuple[LayerSpec, ...] = field(init=False)

    def __post_init__(self):
        self.layers = self.trainer.network.layers

    def beginning(self) -> _Plan:
        """Ratios and masks of the first iteration; after a restart the weights to rewind to are known, too."""
        settings, layers = self.settings, self.layers
        if not settings.restart:
            ratios = np.full(sum(layer.prunable for layer in layers), settings.init_sparsity)
            rng = np.random.default_rng([settings.seed, 1])
            return _Plan(ratios, random_masks(layers, settings.init_sparsity, rng))
        self.rewinding = self._restart_record("rest_weights_file").weights[0]
        record, step = self._restart_record("rest_mask_file"), settings.rest_file_step
        if not -len(record.weights) <= step < len(record.weights):
            raise InputError(
                f"[Network] rest_file_step must be an index into the {len(record.weights)} recorded steps "
                f"{record.recorded_steps} of {settings.rest_mask_file}. Received: {step}"
            )
        return self.pruned(record, step)

    def pruned(self, record: IterationRecord, index: int) -> _Plan:
        """Ratios and masks of the iteration after a record, by its weights at a recorded step."""
        ratios = record.ratios + self.settings.prune_ratio * (1 - record.ratios)
        weights = record.weights[index]
        return _Plan(ratios, prune_layerwise(self.layers, weights, record.masks, ratios, self.settings.regrow))

    def iteration(self, iteration: int, plan: _Plan) -> IterationRecord:
        """One training of the pruned network, or its record if the folder has it."""
        settings, layers, folder = self.settings, self.layers, self.folder
        path = iteration_path(folder.folder, folder.prefix, iteration)
        if path.exists():
            record = read_iteration(path)
            if record.layers != layers:
                raise InputError(f"{path}: its network is not that of {settings.source}")
            return record
        steps = {settings.prune_step, settings.steps}
        if self.rewinding is None:
            steps.add(settings.weights_step)
        weights = self.rewinding or initial_weights(layers, np.random.default_rng([settings.seed, 0]))
        self._say_start("IMP", iteration, plan.masks)
        record, trained = self.trainer.train(
            iteration,
            Start(weights, plan.masks, plan.ratios),
            steps,
            on_text=lambda lines: atomic_write_text(folder.path("out.dat"), self.text + lines),
        )
        row = {
            "iteration": iteration,
            "unpruned_fraction": unpruned_fraction(layers, plan.masks),
            "connected_fraction": connected_fraction(layers, plan.masks),
            "best_validation_error": float(min(record.validation_errors)),
            "final_train_error": float(record.train_errors[-settings.validate_step :].mean()),
        }
        row |= {name: value for index in range(len(layers)) for name, value in self._layer_row(index, plan.masks)}
        row["ms_per_step"] = round(trained.milliseconds_per_step, 3)
        add_row(folder.path("summary.csv"), row)
        write_iteration_result(settings, folder, iteration, record, trained.facts)
        write_iteration(path, record)  # last: with this file the iteration is finished
        self.trainer.watch.end(_best(row))
        return record

    def random_baseline(self, iteration: int, record: IterationRecord) -> None:
        """Trains a random mask with as many kept weights in every array, from the same weights, on the same batches."""
        table = self.folder.path("random_baseline.csv")
        done = read_rows(table)
        if len(done) and iteration in set(done["iteration"]):
            return
        masks = shuffled_layerwise(record.masks, np.random.default_rng([self.settings.seed, 2, iteration]))
        self._say_start("random mask", iteration, masks)
        start = Start(self.rewinding, masks, record.ratios)
        last = self.settings.steps
        random_record, trained = self.trainer.train(iteration, start, {last}, "random_checkpoint")
        row = {
            "iteration": iteration,
            "unpruned_fraction": unpruned_fraction(self.layers, masks),
            "best_validation_error": float(min(random_record.validation_errors)),
        }
        write_iteration_result(self.settings, self.folder, iteration, random_record, trained.facts, is_random=True)
        add_row(table, row)
        self.folder.drop_checkpoint("random_checkpoint")
        self.trainer.watch.end(_best(row))

    def _restart_record(self, key: str) -> IterationRecord:
        path = getattr(self.settings, key)
        record = read_iteration(path)
        if record.layers != self.layers:
            told = [
                ":".join(f"{kind}{list(params)}{'T' if flag else 'F'}" for kind, params, flag in each)
                for each in (self.layers, record.layers)
            ]
            raise InputError(f"[Network] {key} = {path}: its network is {told[1]}, the input file's is {told[0]}")
        if not record.weights:
            raise InputError(f"[Network] {key} = {path}: holds no weights")
        return record

    def _say_start(self, what: str, iteration: int, masks: Masks) -> None:
        last = self.settings.max_iterations
        units = "/".join(str(live_units(mask)) for path, mask in masks.items() if path.endswith("/kernel"))
        self.trainer.watch.start(
            f"{what} iteration {iteration}" + (f" of {last}" if last < _NO_PLAN else ""),
            f"unpruned {unpruned_fraction(self.layers, masks):.3%}, connected units {units}",
        )

    def _layer_row(self, index: int, masks: Masks) -> Iterator[tuple[str, float | int]]:
        """Density, units with any incoming weight, and inputs with any outgoing weight of a layer with a mask."""
        own = {path: masks[path] for path in (weight_path(index, name) for name in self.layers[index].masked)}
        if own:
            kernel = own[weight_path(index)]
            yield f"density_{index}", Masks(own).density
            yield f"live_units_{index}", live_units(kernel)
            yield f"live_inputs_{index}", live_inputs(kernel)


def _best(row: dict) -> str:
    return f"best validation error {row['best_validation_error']:.4f}"
