"""What the files of a run say about its networks when these see data again: accuracies, and the worth of units."""

from __future__ import annotations

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from tfprune.data.images import Images, ImageSet
from tfprune.errors import InputError
from tfprune.experiments.imp.arch import weight_path
from tfprune.experiments.imp.files.iterations import ImpRun
from tfprune.experiments.imp.files.records import IterationRecord
from tfprune.experiments.imp.settings import ImpSettings
from tfprune.experiments.imp.training import network_of
from tfprune.training.evaluation import Evaluator
from tfprune.training.feeds import normalise

_RANDOM_DRAWS = 5
_IMAGES_AT_ONCE = 1000


class Reevaluation:
    """The networks of a run, rebuilt from its files and evaluated on the validation images.

    Weights, running averages and masks are those of each iteration's last recorded step.

    Args:
        settings: the run's input.
        images: its data.

    Raises:
        InputError: the network of the files is not that of the input.
    """

    def __init__(self, settings: ImpSettings, images: ImageSet):
        self._network = network_of(settings, images.image_shape, images.classes)
        self._seed = settings.seed
        self._images = images
        self._evaluator = Evaluator(self._network.model, images.validation, images.mean, images.scale, top=(1, 5))

    def accuracies(self, run: ImpRun) -> pd.DataFrame:
        """One row per iteration: `iteration`, `top1`, `top5`, in [0, 1]."""
        rows = []
        for k in run.iterations:
            self._load(run.iteration(k))
            top1, top5 = self._evaluator.accuracies()
            rows.append({"iteration": k, "top1": top1, "top5": top5})
        return pd.DataFrame(rows)

    def silencing(self, record: IterationRecord, points: int = 12) -> pd.DataFrame:
        """Accuracy after silencing connected units of the first dense hidden layer.

        A silenced unit's output is 0: all its weights and its bias are masked. Units are silenced in order of their
        number of connections, most or least first, or at random.

        Args:
            record: the iteration.
            points: about how many numbers of units to try, from none to all.

        Returns:
            Rows `order` ("most", "least", "random"), `units` silenced, `accuracy` (top 1, the mean over 5 draws for
            "random") and `std` over the draws; empty if the network has no dense hidden layer.
        """
        index = next((i for i, layer in enumerate(record.layers) if layer.kind == "f"), None)
        if index is None:
            return pd.DataFrame(columns=["order", "units", "accuracy", "std"])
        self._load(record)
        connections = record.masks[weight_path(index)].sum(axis=0)
        live = np.flatnonzero(connections)
        least = live[np.argsort(connections[live], kind="stable")]
        rng = np.random.default_rng([self._seed, 3])
        draws = [rng.permutation(live) for _ in range(_RANDOM_DRAWS)]
        silenced = _Silenced(self._network.model, index, self._images)
        rows = []
        for units in np.unique(np.linspace(0, len(live), points).round().astype(int)):
            for order, permutations in (("most", [least[::-1]]), ("least", [least]), ("random", draws)):
                accuracies = [silenced.accuracy(chosen[:units]) for chosen in permutations]
                rows.append(
                    {
                        "order": order,
                        "units": int(units),
                        "accuracy": float(np.mean(accuracies)),
                        "std": float(np.std(accuracies)),
                    }
                )
        return pd.DataFrame(rows)

    def _load(self, record: IterationRecord) -> None:
        if record.layers != self._network.layers:
            raise InputError("the network of the run's files is not that of its input file")
        self._network.weights = record.weights[-1]
        self._network.running_averages = record.running_averages[-1]
        self._network.masks = record.masks


class _Silenced:
    """Accuracies of a network on the validation images, without some units of its first dense layer.

    The weights and the bias of a silenced unit are masked, so that its output is relu(0) = 0, and nothing else up to
    the layer's outputs depends on it: these are computed once.

    Args:
        model: of an `ImpNetwork`, with the weights, averages and masks to be tried.
        index: of the dense layer among the network's layers.
        images: the data.
    """

    def __init__(self, model: keras.Model, index: int, images: ImageSet):
        layer = model.get_layer(f"layer_{index}")
        first, rest = keras.Model(model.input, layer.output), keras.Model(layer.output, model.output)
        outputs = [
            first(normalise(rows, images.mean, images.scale), training=False)
            for rows, _ in images.validation.chunks(_IMAGES_AT_ONCE)
        ]
        self._live = tf.Variable(tf.ones([layer.units], tf.bool), trainable=False)

        def logits(outputs, training):
            return rest(tf.where(self._live, outputs, 0.0), training=training)

        self._evaluator = Evaluator(logits, _Outputs(tf.concat(outputs, 0), images.validation), mean=0.0, scale=1.0)
        self._known: dict[frozenset[int], float] = {}

    def accuracy(self, units: np.ndarray) -> float:
        """Without these units; what was asked for before, in whatever order, is known."""
        key = frozenset(units.tolist())
        if key not in self._known:
            self._live.assign(~np.isin(np.arange(self._live.shape[0]), units))
            (self._known[key],) = self._evaluator.accuracies()
        return self._known[key]


class _Outputs:
    """What a layer makes of images, as rows in their place."""

    def __init__(self, outputs: tf.Tensor, images: Images):
        self._outputs, self._labels_of, self.size = outputs, images.labels_of, images.size

    def fetch(self, indices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.gather(self._outputs, indices), self._labels_of(indices)
