"""`python -m tfprune.imp` from an input file to its figures, told to the person who started it."""

from __future__ import annotations

import sys
from pathlib import Path

from tfprune.cli.early import check_readable, loading_tensorflow
from tfprune.data.facts import image_facts
from tfprune.data.reclass import class_count
from tfprune.errors import InputError
from tfprune.experiments.imp.arch import parse_arch
from tfprune.experiments.imp.files.iterations import ImpRun
from tfprune.experiments.imp.folder import ImpFolder
from tfprune.experiments.imp.settings import ImpSpec, differing_keys, spec_record


def train(spec: ImpSpec, overwrite: bool) -> None:
    """Runs the input file, or what is left of it, and draws its figures.

    Raises:
        InputError: the input, the data or the folder cannot be used.
    """
    for warning in spec.warnings:
        print(f"warning: {spec.source}: {warning}", file=sys.stderr)
    if not Path(spec.save_dir, f"{spec.prefix}_run.json").exists():
        _check(spec)  # what is refused leaves no folder behind
    folder = ImpFolder(spec.save_dir, spec.prefix)
    folder.claim(
        spec_record(spec),
        lambda recorded: differing_keys(spec, recorded),
        first_iteration=spec.rest_it if spec.restart else 0,
        overwrite=overwrite,
    )
    if folder.finished:
        print(f"{folder.folder}: the run {spec.prefix!r} is finished; nothing to do (--overwrite starts anew)")
        return
    _check(spec)
    # Only now: a refused or finished run should answer at once.
    with loading_tensorflow():
        from tfprune.experiments.imp.analysis import Reevaluation
        from tfprune.experiments.imp.progress import ImpProgress, summary_text
        from tfprune.experiments.imp.recipe import run_imp
        from tfprune.experiments.imp.training import images_of
        from tfprune.training.devices import use_device

        device = use_device(spec.device)
    progress = ImpProgress(spec.max_iterations)
    progress.say(f"reading {spec.dataset}")
    images = images_of(spec)
    progress.say(
        f"{images.train.size} training and {images.validation.size} validation images of "
        f"{'x'.join(map(str, images.image_shape))}, {images.classes} classes, on {device}"
    )
    run_imp(spec, images, folder, progress)
    summary = folder.read_table("summary")
    if len(summary):
        progress.say("evaluating and drawing")
        run = ImpRun(folder.folder, folder.prefix)
        again = Reevaluation(spec, images)
        folder.write_table("reevaluation", again.accuracies(run))
        best = int(summary.loc[summary["best_validation_error"].idxmin(), "iteration"])
        folder.write_table("silencing", again.silencing(run.iteration(best)))
        figures = draw(run)
        print(summary_text(summary))
        print(f"figures: {figures}")
    else:
        print(f"{spec.source}: max_iterations or stop_ratio leave no iteration to run")
    folder.mark_finished()


def _check(spec: ImpSpec) -> None:
    """Refuses data, a network and files to restart from that cannot be used, as far as is seen without TensorFlow."""
    facts = image_facts(
        spec.dataset, spec.dataloc, spec.data_ratio, spec.reclass, spec.val_size, search_folder=spec.source.parent
    )
    parse_arch(spec.arch, spec.prune, facts.image_shape, class_count(spec.reclass, facts.classes))
    if spec.restart:
        for name in ("rest_weights_file", "rest_mask_file"):
            check_readable(getattr(spec, name), f"[Network] {name}")


def plot(run_folder: str, prefix: str | None) -> None:
    """Draws the figures of a run again from its files.

    Raises:
        InputError: the folder holds no run, several, or damaged files.
    """
    if not Path(run_folder).is_dir():
        raise InputError(f"--plot must name the folder of a run. Received: {run_folder}, which is not a folder")
    run = ImpRun(run_folder, prefix)
    if run.missing:
        told = ", ".join(map(str, run.missing[:10])) + (", ..." if len(run.missing) > 10 else "")
        print(f"warning: {run.folder} has no iteration {told}; the figures show the others", file=sys.stderr)
    print(f"figures: {draw(run)}")


def draw(run: ImpRun) -> Path:
    """Draws every figure of a run into `<prefix>_figures` beside its files, from these alone.

    Tables that the run's folder lacks (the original code wrote none) leave their figures out, and a note says so.
    """
    from tfprune.experiments.imp.figures.report import draw_run
    from tfprune.experiments.imp.figures.tables import read_tables

    target = run.folder / f"{run.prefix}_figures"
    draw_run(run, target, **read_tables(run)._asdict())
    return target
