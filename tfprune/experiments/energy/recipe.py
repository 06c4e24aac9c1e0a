"""Energy-based pruning, as in Salehinejad & Valaee 2020 (arXiv 2006.04270) and 2021 (arXiv 2102.05437).

for every batch: make a child of every state; measure the energies; keep the better of child and parent; take a step of
descent with the filters of the best state; once that stays the same, keep it for good; remove what it leaves out
"""

from __future__ import annotations

import json
import warnings
from functools import cached_property
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from tfprune.connectivity.measured import measured
from tfprune.data.augment import composed
from tfprune.data.facts import named_set
from tfprune.data.images import ImageSet
from tfprune.data.prepared import load_prepared
from tfprune.errors import InputError
from tfprune.experiments.energy import files
from tfprune.experiments.energy.interactions import build as build_interactions
from tfprune.experiments.energy.networks import NETWORKS, build
from tfprune.experiments.energy.settings import EnergySettings, data_words
from tfprune.experiments.energy.states import layout
from tfprune.experiments.energy.training import SEARCHED, EnergyLoop, MaskedLoop, Refreshing, take_over
from tfprune.layers.convert import load_model, masked
from tfprune.layers.masks import save_masks
from tfprune.layers.weights import weight_variables, weights_of
from tfprune.models.torch_weights import load_torch_weights
from tfprune.pruning.energies import get_energy, margin_cost, passes
from tfprune.pruning.evolution import Population
from tfprune.pruning.filter_states import StateSpace
from tfprune.records.atomic import atomic_copy, atomic_write_text, temporary_folder
from tfprune.records.metric_log import MetricLog
from tfprune.records.run_folder import RunFolder
from tfprune.surgery.compact import compact
from tfprune.surgery.export_report import latencies
from tfprune.training.decay import AllDecay
from tfprune.training.image_batches import ImageBatches
from tfprune.training.momentum import MomentumSGD
from tfprune.training.optimizers import WarmupMilestones
from tfprune.training.session import Pauses, Session, Timetable, Trained, Watch

HELD_OUT = 0.1
TOP = (1, 3, 5)
REPORTED = {"best": None, "all ones": 1.0, "random 25 %": 0.25, "random 50 %": 0.5, "random 75 %": 0.75}
"""States of the final report -> fraction of their bits that are on."""
_STREAM, _STATES, _REPORTED = range(3)
_AVERAGED = 60  # batches; 0.9⁶⁰ of what the averages were is left
_LATENCY_BATCH, _LATENCY_REPEATS = 32, 20


def load_images(settings: EnergySettings) -> ImageSet:
    """The data, a tenth of the training images held out.

    Raises:
        InputError: they cannot be used; names the flag or file.
    """
    dataset, folder = named_set(settings.dataset, settings.path_to_data)
    statistics = {"fashion_mnist": "unit", "kmnist": "unit", "digits": None}.get(dataset, "imagenet")
    # 224 pixels are made of smaller images on the device: in memory they would be too many.
    side = settings.side if settings.side == 32 else None
    how = {"statistics": statistics, "side": side, "common_side": settings.side, "held_out": HELD_OUT}
    try:
        return load_prepared(dataset, folder, seed=settings.seed, **how)
    except InputError as error:
        raise data_words(error) from None


class EnergyPruning:
    """A network and its states, ready to be trained.

    Args:
        settings: what to do.
        images: from `load_images`.

    Attributes:
        model: the network.
        space: its states.
        batches: the images as the network sees them.

    Raises:
        InputError: weights or states to start from that cannot be used, or images that are too small.
    """

    def __init__(self, settings: EnergySettings, images: ImageSet):
        self.settings, self._images = settings, images
        fill = np.broadcast_to(
            np.asarray(images.mean).reshape(images.image_shape[0], -1).mean(1), images.image_shape[:1]
        )
        distort = composed(settings.distortions, fill)
        self.batches = ImageBatches(images, settings.batch_size, distort, side=settings.side)
        shape, classes = self.batches.input_shape, self.batches.classes
        self.model = build(settings.nnmodel, shape, classes, settings.seed, settings.width)
        if settings.pre_trained_f is not None:
            _load_weights(self.model, settings)
        self.space = layout(self.model, settings.nnmodel, settings.states)
        self._start = self.model.get_weights()
        self.loop = self._loop()
        self._shown = tf.Variable(np.ones(self.space.size, bool), trainable=False)

    def train(self, folder: RunFolder, watch: Watch) -> Trained:
        """Trains, or goes on where the folder's checkpoint stands; keeps the best state of each epoch."""
        settings, epoch = self.settings, self.batches.steps_per_epoch
        evaluator = self._evaluator(self.loop.masked_outputs, "valid_energy", held_out=True)

        def test() -> dict[str, float]:
            rate = float(self.loop.optimizer.learning_rate.numpy())
            kept = float(self.space.kept(self.loop.best))
            return {**evaluator.metrics("valid"), "best_kept": kept, "lr": rate}

        searches = settings.model == "ising"
        shown = ("train_loss", "valid_accuracy", *(SEARCHED[:-1] if searches else ()))
        epochs = Pauses(every=epoch, first=epoch)
        each = ("average_cost", "best_cost") if searches else ()
        watch.start(settings.model, f"{self.space.size:,} bits")
        trained = Session(self.loop, test, shown).run(
            folder,
            Timetable(tests=epochs, checkpoints=epochs, means=epochs, keeps=epochs, each=each),
            self._begin,
            watch,
            stream=int(_rng(settings, _STREAM).integers(2**31)),
            end=settings.epochs * epoch,
            keep=lambda step: {"state": np.packbits(self.loop.best.numpy())},
            on_log=lambda log: log.write(folder.path(files.LOG)),
        )
        watch.end(f"validation accuracy {trained.log.last('valid_accuracy'):.4f}")
        return trained

    def tested(self) -> pd.DataFrame:
        """The final report, on the test images: a row for the best state, for all ones, and for random states.

        Normalisation has running averages for the best state alone. Those of the others are made for the report, from
        training images; where their filters were off, the averages are of zeros and would blow everything up.
        """
        evaluator = self._evaluator(self._outputs_of_shown, "energy", held_out=False)
        rng, rows, own = _rng(self.settings, _REPORTED), [], self.model.get_weights()
        normalises = any(isinstance(layer, keras.layers.BatchNormalization) for layer in self.model.layers)
        for name, fraction in REPORTED.items():
            state = self.loop.best.numpy() if fraction is None else random_state(self.space.size, fraction, rng)
            self._shown.assign(state)
            if fraction is not None and normalises:
                self._average()
            found = evaluator.metrics()
            tops = {f"top{k}": found["test_accuracy" if k == 1 else f"test_top{k}"] for k in TOP}
            more = {"loss": found["test_loss"], "energy": found["energy"], "kept": float(self.space.kept(state))}
            rows.append({"state": name.replace(" ", "_"), **tops, **more})
            self.model.set_weights(own)
        return pd.DataFrame(rows)

    def _average(self) -> None:
        """Running averages of the state that is shown, from batches of the first epoch, over and over if it has few."""
        feed, steps = self.batches.feed(), self.batches.steps_per_epoch
        feed.begin(0, 0)
        for step in range(_AVERAGED):
            inputs, _ = feed.batch(tf.constant(0), tf.constant(step % steps), feed.batch_size(step % steps))
            self._average_batch(inputs)

    @cached_property
    def _average_batch(self):
        def average(inputs):
            with keras.StatelessScope(self.space.masked(self._shown.read_value())) as scope:
                self.model(inputs, training=True)
            take_over(scope, self.model)

        return tf.function(average, autograph=False, reduce_retracing=True)

    def _evaluator(self, outputs, energy: str, held_out: bool):
        def of_examples(labels, logits):
            return margin_cost(tf.one_hot(labels, logits.shape[1]), logits)

        how = {"top": TOP, "held_out": held_out, "batch_size": self.settings.test_batch_size}
        return self.batches.evaluator(outputs, more={energy: of_examples}, **how)

    def _outputs_of_shown(self, images, training: bool):
        with keras.StatelessScope(self.space.masked(self._shown.read_value())):
            return self.model(images, training=training)

    def _begin(self) -> None:
        """Weights and states to start with."""
        self.model.set_weights(self._start)
        if isinstance(self.loop, EnergyLoop):
            self.loop.population.begin(tf.constant(self._first_states()))

    def _first_states(self) -> np.ndarray:
        settings = self.settings
        drawn = _rng(settings, _STATES).random((settings.NS, self.space.size)) < settings.init_probability
        if settings.state_f is not None:
            drawn[0] = load_state(settings.state_f, self.space)
        return drawn

    def _loop(self) -> MaskedLoop:
        settings, epoch = self.settings, self.batches.steps_per_epoch
        drops = range(settings.lr_stepsize, settings.epochs, settings.lr_stepsize)
        milestones = [drop * epoch for drop in drops] if settings.scheduler_m == "StepLR" else []
        how = {"schedule": WarmupMilestones(settings.lr, milestones, settings.gamma), "loss": settings.loss}
        if settings.decay:
            how["decay"] = AllDecay(self.model, settings.decay)
        given = self.model, _optimizer(settings), self.batches.feed(), self.space
        if settings.model == "simple":
            return MaskedLoop(*given, **how)
        if settings.model == "random":
            state = random_state(self.space.size, settings.init_probability, _rng(settings, _STATES))
            return MaskedLoop(*given, load_state(settings.state_f, self.space) if settings.state_f else state, **how)
        # An Ising energy depends on no batch, but on interactions that change: all states have that of the last ones.
        rescore = settings.rescore == "all" or settings.cost == "ipruning"
        population = Population(
            settings.NS, self.space.size, settings.seed, settings.evolution, settings.stopcounter, rescore
        )
        how |= {"state_batch": settings.state_batch, "threshold": settings.threshold_early_state * epoch}
        if settings.cost == "edropout":
            costs = passes(self.model, self.space, get_energy("margin"), batch_statistics=True)
            return EnergyLoop(*given, population, costs, renew=settings.rescore == "best", **how)
        interactions, refresh = self._interactions()
        costs = self._ising(interactions)
        model, optimizer, feed, space = given
        return EnergyLoop(model, optimizer, Refreshing(feed, refresh), space, population, costs, **how)

    def _interactions(self):
        """Those of the network as it is, and what makes them anew."""
        count = min(self.settings.batch_size, self._images.train.size)
        examples, _ = self.batches.examples(np.arange(count))
        published = self.settings.cost_layout == "published"
        interactions = build_interactions(self.model, self.space, examples, published)

        def refresh() -> None:
            interactions.assign(build_interactions(self.model, self.space, examples, published))

        return interactions, refresh

    def _ising(self, interactions):
        def cost(population):
            kept = tf.map_fn(self.space.kept, population, fn_output_signature=tf.float32)
            return interactions.cost(population, kept, self.settings.keep_rate)

        def costs(states, inputs, labels):
            # One population at a time: in the published layout its members depend on each other.
            populations = tf.reshape(states, [-1, self.settings.NS, self.space.size])
            return tf.reshape(tf.map_fn(cost, populations, fn_output_signature=tf.float64), [-1])

        return costs


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
    table = pruning.tested()
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
        _save(one, folder.path(file))
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
        "seconds": trained.seconds,
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


def random_state(size: int, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """bool (size,): round(fraction · size) bits that are on, drawn without replacement."""
    state = np.zeros(size, bool)
    state[rng.permutation(size)[: round(fraction * size)]] = True
    return state


def load_state(path: str, space: StateSpace) -> np.ndarray:
    """The last state of a file that a run has left, for the same bits.

    Raises:
        InputError: a damaged file, or one of another network; names the first layer that differs.
    """
    states, stretches = files.read_states(path)
    own = [(each.name, each.size) for each in space.stretches]
    if stretches != own:
        odd = next((pair for pair in zip(stretches, own, strict=False) if pair[0] != pair[1]), None)
        what = f"{len(stretches)} layers" if odd is None else "{} with {} bits".format(*odd[0])
        need = f"{len(own)}" if odd is None else "{} with {}".format(*odd[1])
        raise InputError(f"--state_f={path}: states of another network: it has {what}, this network needs {need}")
    return states[-1]


def _rng(settings: EnergySettings, draw: int) -> np.random.Generator:
    return np.random.default_rng((settings.seed, draw))


def _optimizer(settings: EnergySettings) -> keras.optimizers.Optimizer:
    if settings.optimizer_m == "SGD":
        return MomentumSGD(settings.lr, 0.9, True, form="pytorch")
    return keras.optimizers.Adadelta(settings.lr, rho=0.9, epsilon=1e-6)


def _load_weights(model: keras.Model, settings: EnergySettings) -> None:
    path = settings.pre_trained_f
    if not path.endswith(".keras"):
        ends = NETWORKS[settings.nnmodel].ends
        if own := load_torch_weights(model, path, loose=ends, flag="--pre_trained_f"):
            warnings.warn(f"--pre_trained_f={path}: has none of this shape for {', '.join(own)}", stacklevel=2)
        return
    loaded = load_model(path, compile=False)
    given, own = weights_of(loaded), weights_of(model)
    odd = next((name for name in {**own, **given} if np.shape(given.get(name)) != np.shape(own.get(name))), None)
    if odd is not None:
        came, need = (str(np.shape(each[odd])) if odd in each else "not there" for each in (given, own))
        raise InputError(f"--pre_trained_f={path}: weights of another network: {odd} is {came}, needed is {need}")
    for name, variable in weight_variables(model).items():
        variable.assign(given[name])


def _save(model: keras.Model, path: Path) -> None:
    with temporary_folder() as place:
        model.save(place / path.name)
        atomic_copy(place / path.name, path)


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
