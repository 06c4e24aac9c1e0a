"""What the files of a run say about its networks when these see data again: accuracies, and the worth of units."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tfprune.data.images import ImageSet
from tfprune.errors import InputError
from tfprune.experiments.imp.arch import weight_path
from tfprune.experiments.imp.files.iterations import ImpRun
from tfprune.experiments.imp.files.records import IterationRecord
from tfprune.experiments.imp.settings import ImpSettings
from tfprune.experiments.imp.training import network_of
from tfprune.layers.masks import Masks
from tfprune.training.evaluation import Evaluator

_RANDOM_DRAWS = 5


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
        rows = []
        for units in np.unique(np.linspace(0, len(live), points).round().astype(int)):
            for order, permutations in (("most", [least[::-1]]), ("least", [least]), ("random", draws)):
                accuracies = [self._silenced(record, index, chosen[:units]) for chosen in permutations]
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

    def _silenced(self, record: IterationRecord, index: int, units: np.ndarray) -> float:
        live = np.ones(record.layers[index].params[1], bool)
        live[units] = False
        paths = [weight_path(index, name) for name in record.layers[index].masked]
        self._network.masks = Masks({**record.masks, **{path: record.masks[path] & live for path in paths}})
        return self._evaluator.accuracies()[0]
