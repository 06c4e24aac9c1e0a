"""The result file of an iteration, from the iteration's own file."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

import keras

from tfprune.connectivity.measured import measured
from tfprune.errors import InputError
from tfprune.experiments.imp.files.records import IterationRecord
from tfprune.experiments.imp.network import ImpNetwork
from tfprune.experiments.imp.originals import counted
from tfprune.experiments.imp.settings import ImpSettings, defining, facts_of, study_digest
from tfprune.records.result import Result, result_path, write_result
from tfprune.records.run_folder import RunFolder


def write_iteration_result(
    settings: ImpSettings,
    folder: RunFolder,
    iteration: int,
    record: IterationRecord,
    trained: Mapping[str, object] = MappingProxyType({}),
    is_random: bool = False,
) -> None:
    """Writes `<prefix>_result_<k>.json`, or `<prefix>_random_result_<k>.json`.

    Its accuracy is that at the last validation; the best one, which the publication shows, stands beside it.

    Args:
        settings: the run's input.
        folder: the run's.
        iteration: its number.
        record: what its file holds.
        trained: how it was (`Trained.facts`); empty if it is not known any more.
        is_random: the network is the one with a random mask of the iteration's densities.
    """
    recorded = settings.record()
    result = Result(
        family="imp",
        label=f"level {iteration}{', random mask' if is_random else ''}",
        settings=defining(recorded),
        digest=study_digest(recorded),
        seed=settings.seed,
        level=iteration,
        method="random" if is_random else "magnitude",
        accuracy=1 - float(record.validation_errors[-1]),
        steps=record.steps[-1],
        more={
            "best_accuracy": 1 - float(min(record.validation_errors)),
            "ratios": [float(ratio) for ratio in record.ratios],
        },
        **trained,
        **_counts(settings, record),
    )
    write_result(
        result_path(folder.folder, f"{folder.prefix}_random" if is_random else folder.prefix, iteration), result
    )


def _counts(settings: ImpSettings, record: IterationRecord) -> dict[str, int | None]:
    """What the iteration's network counts, as it is at its last recorded step."""
    try:
        shape = _image_shape(settings, record)
    except InputError as error:  # of a run that is long over
        warnings.warn(f"not counted: what depends on the size of the images ({error})", stacklevel=2)
        return counted(record)
    network, plain = _networks(
        settings.arch, settings.prune, shape, record.layers[-1].params[1], settings.batch_norm_epsilon
    )
    network.weights, network.masks = record.weights[-1], record.masks
    network.running_averages = record.running_averages[-1]
    network.fill(plain)
    return measured(network.model, plain=plain)


@lru_cache(maxsize=1)  # iterations differ in values alone, and making networks and tracing them takes most of the time
def _networks(
    arch: str, prune: str, image_shape: tuple[int, int, int], classes: int, epsilon: float
) -> tuple[ImpNetwork, keras.Model]:
    """A network without values of its own, and the same in plain Keras."""
    network = ImpNetwork(arch, prune, image_shape, classes, epsilon=epsilon)
    return network, network.plain()


def _image_shape(settings: ImpSettings, record: IterationRecord) -> tuple[int, int, int]:
    if record.layers[0].kind in "fx":
        return 1, 1, record.layers[0].params[0]  # all that a dense layer knows of its images
    return facts_of(settings).image_shape
