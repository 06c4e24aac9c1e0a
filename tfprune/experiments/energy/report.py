"""The end of a run of energy-based pruning: the final report, its files, and the small network of the best state."""

from __future__ import annotations

import json
from functools import cached_property

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from tfprune.connectivity.measured import measured
from tfprune.experiments.energy import files
from tfprune.experiments.energy.recipe import REPORT, TOP, EnergyPruning, random_state, rng_of
from tfprune.experiments.energy.training import take_over
from tfprune.layers.convert import masked
from tfprune.layers.files import save_model
from tfprune.layers.masks import save_masks
from tfprune.records.atomic import atomic_write_text
from tfprune.records.metric_log import MetricLog
from tfprune.records.run_folder import RunFolder
from tfprune.surgery.compact import compact
from tfprune.surgery.export_report import latencies
from tfprune.training.session import Trained

REPORTED = {"best": None, "all ones": 1.0, "random 25 %": 0.25, "random 50 %": 0.5, "random 75 %": 0.75}
"""States of the final report -> fraction of their bits that are on."""
_AVERAGED = 60  # batches; 0.9⁶⁰ of what the averages were is left
_LATENCY_BATCH, _LATENCY_REPEATS = 32, 20


class StateTests:
    """Tests of a trained network in several states, on the test images.

    Args:
        pruning: trained; is left as it is.

    Attributes:
        shown: bool (D,) variable: the state that is tested.
    """

    def __init__(self, pruning: EnergyPruning):
        self._pruning, self._model, self._space = pruning, pruning.model, pruning.space
        self.shown = tf.Variable(np.ones(pruning.space.size, bool), trainable=False)

    def table(self) -> pd.DataFrame:
        """The final report, on the test images: a row for the best state, for all ones, and for random states.

        Normalisation has running averages for the best state alone. Those of the others are made for the report, from
        training images; where their filters were off, the averages are of zeros and would blow everything up.
        """
        evaluator = self._pruning.evaluator(self._outputs, "energy", held_out=False)
        rng, rows, own = rng_of(self._pruning.settings, REPORT), [], self._model.get_weights()
        best = self._pruning.loop.best.numpy()
        normalises = any(isinstance(layer, keras.layers.BatchNormalization) for layer in self._model.layers)
        for name, fraction in REPORTED.items():
            state = best if fraction is None else random_state(self._space.size, fraction, rng)
            self.shown.assign(state)
            if fraction is not None and normalises:
                self.average()
            found = evaluator.metrics()
            tops = {f"top{k}": found["test_accuracy" if k == 1 else f"test_top{k}"] for k in TOP}
            more = {"loss": found["test_loss"], "energy": found["energy"], "kept": float(self._space.kept(state))}
            rows.append({"state": name.replace(" ", "_"), **tops, **more})
            self._model.set_weights(own)
        return pd.DataFrame(rows)

    def average(self) -> None:
        """Running averages of the state that is shown, from batches of the first epoch, over and over if it has few."""
        batches = self._pruning.batches
        feed, steps = batches.feed(), batches.steps_per_epoch
        feed.begin(0, 0)
        for step in range(_AVERAGED):
            inputs, _ = feed.batch(tf.constant(0), tf.constant(step % steps), feed.batch_size(step % steps))
            self._average_batch(inputs)

    @cached_property
    def _average_batch(self):
        def average(inputs):
            with keras.StatelessScope(self._space.masked(self.shown.read_value())) as scope:
                self._model(inputs, training=True)
            take_over(scope, self._model)

        return tf.function(average, autograph=False, reduce_retracing=True)

    def _outputs(self, images, training: bool):
        with keras.StatelessScope(self._space.masked(self.shown.read_value())):
            return self._model(images, training=training)


def finish(pruning: EnergyPruning, trained: Trained, folder: RunFolder, name: str) -> dict:
    """Tests, writes the run's files, and makes the small network of the best state.

    Args:
        pruning: trained.
        trained: what its training has left.
        folder: of the run.
        name: ends the names of files.

    Returns:
        Fields of a `Result`.
    """
    settings, space, model = pruning.settings, pruning.space, pruning.model
    best = pruning.loop.best.numpy()
    table = StateTests(pruning).table()
    states = [np.unpackbits(kept["state"], count=space.size) for _, kept in sorted(trained.kept.items())]
    stretches = [(each.name, each.size) for each in space.stretches]
    files.write_losses(folder.folder, name, trained.log)
    files.write_test(folder.folder, name, table)
    files.write_states(folder.path(f"states_{name}.npz"), np.array(states, bool), stretches)
    atomic_write_text(folder.path(f"args_{name}.json"), json.dumps(settings.record(), indent=1) + "\n")
    masks = space.masks(best)
    save_masks(folder.path(files.MASKS), masks)
    sparse = masked(model, masks)
    small = compact(sparse)
    sizes = {}
    for key, one, file in (("bytes", model, files.MODEL), ("bytes_compacted", small, files.COMPACTED)):
        save_model(one, folder.path(file))
        sizes[key] = folder.path(file).stat().st_size
    rows = {row["state"]: row for row in table.to_dict("records")}
    facts = rows["best"]
    return {
        **measured(sparse),
        "label": settings.model if settings.model != "ising" else f"{settings.model} {settings.cost}",
        "method": settings.model,
        "seed": settings.seed,
        "accuracy": facts["top1"],
        "loss": facts["loss"],
        "steps": settings.epochs * pruning.batches.steps_per_epoch,
        **trained.facts,
        "more": {
            "energy": facts["energy"],
            "top3": facts["top3"],
            "top5": facts["top5"],
            "bits": space.size,
            "bits_kept": int(best.sum()),
            "frozen": frozen_epoch(trained.log),
            **sizes,
            **_latency(model, small),
        },
    }


def frozen_epoch(log: MetricLog) -> int | None:
    """The epoch, from 0, in which the best state was frozen; None if it was not."""
    return next((epoch for epoch, share in enumerate(log.values("frozen")) if share > 0), None)


def _latency(model: keras.Model, small: keras.Model) -> dict[str, float]:
    """Milliseconds for a batch, of the network with all its filters and of the compacted one, timed in turn."""
    images = tf.random.stateless_normal([_LATENCY_BATCH, *model.input_shape[1:]], [0, 0])
    names = {"ms_per_batch": model, "ms_per_batch_compacted": small}

    def compiled(one):
        run = tf.function(lambda given: one(given, training=False), autograph=False)
        return lambda given: run(given).numpy()

    return {"latency_batch": _LATENCY_BATCH} | latencies(
        {name: (compiled(one), images) for name, one in names.items()}, _LATENCY_REPEATS
    )
