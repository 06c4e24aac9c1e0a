"""`python -m tfprune.lth` from its flags to its files, told to the person who started it."""

from __future__ import annotations

from pathlib import Path

from tfprune.cli.early import check_output, loading_tensorflow
from tfprune.experiments.lottery.checks import check_request
from tfprune.experiments.lottery.files import is_finished
from tfprune.experiments.lottery.names import MAIN
from tfprune.experiments.lottery.requests import BranchRequest, LotteryRequest, OneshotRequest, Request, TrainRequest


def run(request: Request) -> None:
    """Runs a request, or what is left of it, and draws the figures of all finished runs of that name.

    Raises:
        InputError: the request, the data or a folder cannot be used.
    """
    options = request.options
    if options.display_output_location:
        print(request.folder)
        return
    top = request.description.replicate_folder(options.root, options.replicate).parent
    if not options.overwrite and all(is_finished(folder) for folder in _folders(request)):
        print(f"{request.folder}: finished; nothing to do (--overwrite starts anew)")
        return
    check_request(request)
    check_output(top, "--root")
    # Only now: a refused or finished run should answer at once.
    with loading_tensorflow(options.quiet):
        from tfprune.experiments.lottery.progress import LotteryProgress
        from tfprune.experiments.lottery.recipe import Workshop
        from tfprune.training.devices import use_device

        device = use_device(options.device)
    progress = LotteryProgress(quiet=options.quiet)
    dataset = request.description.dataset.dataset_name
    progress.say(f"{request.description.model.model_name} on {dataset}, {device}; files: {request.folder}")
    _recipe(request)(request, Workshop(options), progress)
    text = report(top, f"{request.description.model.model_name} on {dataset}")
    if not options.quiet:
        print(text)


def report(top: Path, title: str) -> str:
    """Writes the summary and the figures of all finished runs below a folder, from their files alone.

    Args:
        top: `<root>/<name>`.
        title: of the figures.

    Returns:
        The summary as text, and where the figures are.
    """
    from tfprune.experiments.lottery.figures import draw_accuracy, draw_training
    from tfprune.experiments.lottery.progress import summary_text
    from tfprune.experiments.lottery.results import read_curves, read_results, summary, write_summary
    from tfprune.plots.style import save_png

    table = summary(read_results(top))
    path = write_summary(top)
    curves = read_curves(top)
    save_png(draw_accuracy(table, title), top / "accuracy.png")
    save_png(draw_training(curves[curves["branch"] == MAIN], title), top / "training.png")
    return f"{summary_text(table)}\nfiles: {path}, accuracy.png and training.png beside it"


def _recipe(request: Request):
    if isinstance(request, BranchRequest):
        from tfprune.experiments.lottery.levels import run_branch

        return run_branch
    if isinstance(request, OneshotRequest):
        from tfprune.experiments.lottery.oneshot import run_oneshot

        return run_oneshot
    from tfprune.experiments.lottery.recipe import run_lottery, run_training

    return run_training if isinstance(request, TrainRequest) else run_lottery


def _folders(request: Request) -> list[Path]:
    """Where trainings of a request end."""
    if isinstance(request, BranchRequest):
        return [request.folder_of(level) for level in request.levels]
    if isinstance(request, LotteryRequest):
        options, levels = request.options, range(request.levels + 1)
        return [request.description.folder(options.root, options.replicate, level) for level in levels]
    return [request.folder]
