"""`python -m tfprune.filters` from its spec to its files, told to the person who started it."""

from __future__ import annotations

from pathlib import Path

from tfprune.cli.early import check_output, check_readable, loading_tensorflow
from tfprune.data.facts import prepared_facts
from tfprune.errors import InputError
from tfprune.experiments.filters.settings import FilterSpec
from tfprune.records.network_folder import is_finished


def run(spec: FilterSpec, device: str = "auto", overwrite: bool = False) -> None:
    """Runs a spec, or what is left of it, and draws the figures of all networks with that fine-tuning.

    Raises:
        InputError: the spec, the data or a folder cannot be used.
    """
    folders = [spec.version_folder(scoring, version) for scoring in spec.scoring for version in spec.vectors]
    if not overwrite and all(is_finished(folder) for folder in folders):
        print(f"{spec.results_folder}: finished; nothing to do (--overwrite starts anew)")
        return
    _check(spec)
    # Only now: a refused or finished run should answer at once.
    with loading_tensorflow():
        from tfprune.experiments.filters.progress import FiltersProgress
        from tfprune.experiments.filters.recipe import run_filters
        from tfprune.training.devices import use_device

        used = use_device(device)
    progress = FiltersProgress()
    progress.say(f"{spec.model} on {spec.data}, {used}; files: {spec.results_folder}")
    try:
        run_filters(spec, progress, overwrite)
    finally:
        # Networks that are finished have their place in the figures even if a later one fails.
        if any(is_finished(folder) for folder in folders):
            print(report(spec.results_folder, f"{spec.model} on {spec.data}"))


def _check(spec: FilterSpec) -> None:
    """Refuses data, weights and folders that cannot be used, as far as can be seen without TensorFlow."""
    channels = prepared_facts(spec.data, spec.path_to_data).image_shape[0]
    if channels not in (1, 3):
        raise InputError(f"--data={spec.data}: images with 3 channels are needed, or grey ones. Received: {channels}")
    if spec.weights is not None and not is_finished(spec.unpruned_folder):
        check_readable(spec.weights, "--weights")
    check_output(spec.results_folder, "--out_path")


def report(folder: Path, title: str) -> str:
    """Writes the table and the figures of all finished networks, from their files alone.

    Args:
        folder: `results_folder` of a spec.
        title: of the figures.

    Returns:
        The table as text, and where the figures are.
    """
    from tfprune.experiments.filters.figures import draw_accuracy, draw_training
    from tfprune.experiments.filters.progress import results_text
    from tfprune.experiments.filters.results import RESULTS, read_curves, write_results
    from tfprune.plots.style import save_png

    table = write_results(folder)
    save_png(draw_accuracy(table, title), folder / "accuracy.png")
    save_png(draw_training(read_curves(folder), title), folder / "training.png")
    return f"{results_text(table)}\nfiles: {folder / RESULTS}, results.csv, accuracy.png and training.png beside it"
