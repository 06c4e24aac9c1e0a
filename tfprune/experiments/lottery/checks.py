"""What can be wrong with a request, seen from files and from the descriptions of data sets. Loads no TensorFlow."""

from __future__ import annotations

from tfprune.data.facts import prepared_facts
from tfprune.errors import InputError
from tfprune.experiments.lottery.branches import RetrainArguments
from tfprune.experiments.lottery.files import is_finished, saved_steps
from tfprune.experiments.lottery.hparams import DatasetHparams
from tfprune.experiments.lottery.requests import BranchRequest, LotteryRequest, OneshotRequest, Request, RunOptions
from tfprune.experiments.lottery.steps import Step, iterations_per_epoch, parse_steps


def check_request(request: Request) -> None:
    """Refuses what would be refused later, after TensorFlow was loaded and the data were read.

    Raises:
        InputError: data that are not there, runs that are to be made first, or steps that do not go together.
    """
    options, description = request.options, request.description
    if isinstance(request, OneshotRequest):
        check_trained(request)
    if isinstance(request, BranchRequest):
        check_levels(request)
    arguments = getattr(request, "arguments", None)
    for other in (getattr(description, "pretrain_dataset", None), getattr(arguments, "retrain_d", None)):
        if other is not None:
            _steps_per_epoch(other, options)
    steps = _steps_per_epoch(description.dataset, options)
    if steps is None:
        return
    end = Step.parse(description.training.training_steps, steps)
    if isinstance(request, LotteryRequest):
        check_rewinding(description.start_step(steps), end)
    if isinstance(request, OneshotRequest):
        for name in ("prune_step", "state_step"):
            check_saved(request, name, Step.parse(getattr(request.arguments, name), steps))
    if not isinstance(arguments, RetrainArguments):  # which trains for steps of its own
        kept_steps(options, steps, end)


def check_trained(request: OneshotRequest) -> None:
    """Refuses a run that was not trained.

    Raises:
        InputError: says how to train it.
    """
    main = request.description.folder(request.options.root, request.options.replicate)
    if not is_finished(main):
        raise InputError(
            f"{main} is not trained; run first: python -m tfprune.lth train with the same hyperparameters "
            "(--weight_save_steps keeps the weights of more steps)"
        )


def check_saved(request: OneshotRequest, name: str, step: Step) -> None:
    """Refuses a step whose weights the trained run did not keep.

    Args:
        request: whose run.
        name: of the flag, `prune_step` or `state_step`.
        step: its value.

    Raises:
        InputError: names the steps that were kept.
    """
    main = request.description.folder(request.options.root, request.options.replicate)
    if str(step) not in saved_steps(main):
        raise InputError(
            f"--{name}={getattr(request.arguments, name)}: {main} holds no weights of {step}; kept steps: "
            f"{', '.join(saved_steps(main))} (train again with --weight_save_steps and --overwrite to keep more)"
        )


def check_levels(request: BranchRequest) -> None:
    """Refuses levels that have not been run.

    Raises:
        InputError: says which are there and how to make the others.
    """
    options, description = request.options, request.description

    def there(level: int) -> bool:
        return is_finished(description.folder(options.root, options.replicate, level))

    missing = [level for level in request.levels if not there(level)]
    if missing:
        run = [level for level in range(max(request.levels) + 1) if there(level)]
        replicate = description.replicate_folder(options.root, options.replicate)
        raise InputError(
            f"--levels: level {missing[0]} of {replicate} has not been run; finished levels: "
            f"{', '.join(map(str, run)) or 'none'}. Run first: python -m tfprune.lth lottery "
            f"--levels={max(request.levels)} with the same hyperparameters"
        )


def check_rewinding(start: Step, end: Step) -> None:
    """Refuses a rewinding point that is not before the end.

    Raises:
        InputError: names both.
    """
    if start >= end:
        raise InputError(f"--rewinding_steps must lie before --training_steps. Received: {start} and {end}")


def kept_steps(options: RunOptions, steps_per_epoch: int, end: Step | None = None) -> tuple[Step, ...]:
    """The steps at which weights are to be kept beside the first and the last.

    Raises:
        InputError: one of them lies after `end`.
    """
    keep = parse_steps(options.weight_save_steps, steps_per_epoch)
    late = [step for step in keep if end is not None and step > end]
    if late:
        raise InputError(
            f"--weight_save_steps={options.weight_save_steps}: {late[0]} lies after the end of training, {end}"
        )
    return keep


def data_words(error: InputError) -> InputError:
    """The error with the name that the flag of the data set has here."""
    return InputError(str(error).replace("--data=", "--dataset_name="))


def _steps_per_epoch(dataset: DatasetHparams, options: RunOptions) -> int | None:
    """Batches in an epoch; None where counting the images takes long."""
    try:
        facts = prepared_facts(dataset.dataset_name, options.path_to_data)
    except InputError as error:
        raise data_words(error) from None
    if facts.train is None:
        return None
    return iterations_per_epoch(facts.train, dataset.batch_size, dataset.subsample_fraction)
