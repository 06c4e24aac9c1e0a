"""`python -m tfprune.main` from its flags to its files, told to the person who started it."""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import replace
from pathlib import Path

from tfprune.cli.early import loading_tensorflow
from tfprune.data.facts import prepared_facts
from tfprune.errors import InputError
from tfprune.experiments.one_shot.folder import FINAL, INITS, OneShotFolder, dense_file, is_unfinished, run_prefix
from tfprune.experiments.one_shot.settings import OneShotSpec, dense_spec, differing_flags, missing_dense, spec_record
from tfprune.records.atomic import atomic_write_text


def run(spec: OneShotSpec, save: bool, train_dense: bool, device: str, overwrite: bool) -> None:
    """Runs a spec, or what is left of it.

    Args:
        spec: the run.
        save: False leaves no files behind.
        train_dense: trains the dense network first where it is needed and missing.
        device: see `use_device`.
        overwrite: deletes the run that is there.

    Raises:
        InputError: the flags, the data or the folder cannot be used.
    """
    missing = spec.needs_dense and not all(dense_file(spec, name) for name in (INITS, FINAL))
    if missing and not train_dense:
        raise InputError(missing_dense(spec))
    # Killed after its weights were written, the dense run may still lack its last files.
    unfinished = spec.needs_dense and is_unfinished(spec.dense_folder, run_prefix(dense_spec(spec)))
    due = missing or (unfinished and train_dense and save)
    with contextlib.ExitStack() as stack:
        place = spec
        if not save:
            # The same way through files that nobody sees; dense weights that exist are still read where they are.
            place = replace(spec, out_path=stack.enter_context(tempfile.TemporaryDirectory(prefix="tfprune-")))
            spec = place if missing else spec
        if not Path(place.folder, f"{run_prefix(place)}_run.json").exists():
            prepared_facts(spec.dataset, spec.path_to_data)  # what is refused leaves no folder behind
        folder = _claimed(place, overwrite)
        if folder.finished or (folder.pruned and not spec.train):
            print(f"{folder.folder}: the run {folder.prefix!r} is finished; nothing to do (--overwrite starts anew)")
            return
        prepared_facts(spec.dataset, spec.path_to_data)
        with loading_tensorflow():
            from tfprune.experiments.one_shot.progress import OneShotProgress
            from tfprune.experiments.one_shot.recipe import OneShot
            from tfprune.training.devices import use_device

            name = use_device(device)
        progress = OneShotProgress()
        progress.say(f"reading {spec.dataset}")
        one_shot = OneShot(spec)
        images = one_shot.images
        progress.say(
            f"{images.train.size} training and {images.validation.size} test images of "
            f"{'x'.join(map(str, images.image_shape))}, {images.classes} classes, on {name}"
        )
        if due:
            dense = dense_spec(spec)
            progress.say(f"training the dense network first: {dense.command()}")
            _run(one_shot, dense, _claimed(dense, False), progress)
        print(_run(one_shot, spec, folder, progress))
        if save:
            print(f"files: {folder.path('*')}")


def run_claimed(one_shot, spec: OneShotSpec, progress) -> None:
    """Runs a spec in its folder unless it is finished there; for scripts that run many.

    Args:
        one_shot: `tfprune.experiments.one_shot.recipe.OneShot` of the spec's architecture and data.
        spec: the run.
        progress: `tfprune.experiments.one_shot.progress.OneShotProgress`.
    """
    folder = _claimed(spec, overwrite=False)
    if not folder.finished:
        _run(one_shot, spec, folder, progress)
    folder.release()


def _claimed(spec: OneShotSpec, overwrite: bool) -> OneShotFolder:
    folder = OneShotFolder(spec.folder, run_prefix(spec), spec.dense_folder)
    folder.claim(spec_record(spec), lambda recorded: differing_flags(spec, recorded), overwrite=overwrite)
    return folder


def _run(one_shot, spec: OneShotSpec, folder: OneShotFolder, progress) -> str:
    """Runs a spec in a claimed folder; gives the text for the end."""
    from tfprune.experiments.one_shot.figures import draw_densities, draw_training
    from tfprune.experiments.one_shot.progress import layer_table, layer_text
    from tfprune.plots.style import save_png

    found, history = one_shot.run(spec, folder, progress)
    table = layer_table(found)
    atomic_write_text(folder.path("layers.csv"), table.to_csv(index=False))
    save_png(draw_densities(table), folder.path("densities.png"))
    lines = [layer_text(table)]
    if history is None:
        folder.mark_pruned()
    else:
        save_png(draw_training(history.accuracies, history.losses, spec.steps), folder.path("training.png"))
        lines.append(f"test accuracy {history.accuracies[-1]:.4f} after {spec.steps} steps")
        folder.mark_finished()
    return "\n".join(lines)
