"""Energy-based pruning, as in Salehinejad & Valaee 2020 (arXiv 2006.04270) and 2021 (arXiv 2102.05437).

for every batch: make a child of every state; measure the energies; keep the better of child and parent; take a step of
descent with the filters of the best state; once that stays the same, keep it for good; remove what it leaves out
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from tfprune.data.augment import composed
from tfprune.data.facts import data_flag, named_set
from tfprune.data.images import ImageSet
from tfprune.data.prepared import load_prepared
from tfprune.errors import InputError
from tfprune.experiments.energy import files
from tfprune.experiments.energy.interactions import build as build_interactions
from tfprune.experiments.energy.networks import NETWORKS, build
from tfprune.experiments.energy.settings import EnergySettings
from tfprune.experiments.energy.states import layout
from tfprune.experiments.energy.training import SEARCHED, EnergyLoop, MaskedLoop, Refreshing
from tfprune.layers.convert import load_model
from tfprune.layers.weights import weight_variables, weights_of
from tfprune.models.torch_weights import load_torch_weights
from tfprune.pruning.energies import get_energy, margin_cost, passes
from tfprune.pruning.evolution import Population
from tfprune.pruning.filter_states import StateSpace
from tfprune.records.run_folder import RunFolder
from tfprune.training.decay import AllDecay
from tfprune.training.evaluation import Evaluator
from tfprune.training.image_batches import ImageBatches
from tfprune.training.momentum import MomentumSGD
from tfprune.training.optimizers import WarmupMilestones
from tfprune.training.session import Session, Trained, Watch
from tfprune.training.timetable import Pauses, Timetable

HELD_OUT = 0.1
TOP = (1, 3, 5)
_STREAM, _STATES, REPORT = range(3)  # keep their draws apart


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
    with data_flag("dataset"):
        return load_prepared(dataset, folder, seed=settings.seed, **how)


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
        # Cutouts get the mean of the channel.
        distort = composed(settings.distortions, images.mean.reshape(images.image_shape[0], -1).mean(axis=1))
        self.batches = ImageBatches(images, settings.batch_size, distort, side=settings.side)
        shape, classes = self.batches.input_shape, self.batches.classes
        self.model = build(settings.nnmodel, shape, classes, settings.seed, settings.width)
        if settings.pre_trained_f is not None:
            _load_weights(self.model, settings)
        self.space = layout(self.model, settings.nnmodel, settings.states)
        self._start = self.model.get_weights()
        self.loop = self._loop()

    def train(self, folder: RunFolder, watch: Watch) -> Trained:
        """Trains, or goes on where the folder's checkpoint stands; keeps the best state of each epoch."""
        settings, epoch = self.settings, self.batches.steps_per_epoch
        evaluator = self.evaluator(self.loop.masked_outputs, "valid_energy", held_out=True)

        def test() -> dict[str, float]:
            kept = float(self.space.kept(self.loop.best))
            return {**evaluator.metrics("valid"), "best_kept": kept, "lr": self.loop.rate}

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
            stream=int(rng_of(settings, _STREAM).integers(2**31)),
            end=settings.epochs * epoch,
            keep=lambda step: {"state": np.packbits(self.loop.best.numpy())},
            on_log=lambda log: log.write(folder.path(files.LOG)),
        )
        watch.end(f"validation accuracy {trained.log.last('valid_accuracy'):.4f}")
        return trained

    def evaluator(self, outputs: Callable, energy: str, held_out: bool) -> Evaluator:
        """Measures top-1, -3 and -5 accuracy, loss, and the mean energy by the name of `energy`.

        Args:
            outputs: as for `ImageBatches.evaluator`.
            energy: its name among the metrics.
            held_out: on the images that were held out, else on the test images.
        """

        def of_examples(labels, logits):
            return margin_cost(tf.one_hot(labels, logits.shape[1]), logits)

        how = {"top": TOP, "held_out": held_out, "batch_size": self.settings.test_batch_size}
        return self.batches.evaluator(outputs, more={energy: of_examples}, **how)

    def _begin(self) -> None:
        """Weights and states to start with."""
        self.model.set_weights(self._start)
        if isinstance(self.loop, EnergyLoop):
            self.loop.population.begin(tf.constant(self._first_states()))

    def _first_states(self) -> np.ndarray:
        settings = self.settings
        drawn = rng_of(settings, _STATES).random((settings.NS, self.space.size)) < settings.init_probability
        if settings.state_f is not None:
            drawn[0] = load_state(settings.state_f, self.space)
        return drawn

    def _loop(self) -> MaskedLoop:
        settings, epoch = self.settings, self.batches.steps_per_epoch
        drops = range(settings.lr_stepsize, settings.epochs, settings.lr_stepsize)
        milestones = [drop * epoch for drop in drops] if settings.scheduler_m == "StepLR" else []
        how = {"schedule": WarmupMilestones(settings.lr, milestones, settings.gamma), "loss": settings.loss}
        how["engine"] = settings.engine
        if settings.decay:
            how["decay"] = AllDecay(self.model, settings.decay)
        given = self.model, _optimizer(settings), self.batches.feed(), self.space
        if settings.model == "simple":
            return MaskedLoop(*given, **how)
        if settings.model == "random":
            state = random_state(self.space.size, settings.init_probability, rng_of(settings, _STATES))
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


def rng_of(settings: EnergySettings, draw: int) -> np.random.Generator:
    """What is drawn for a purpose, by the run's seed."""
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
