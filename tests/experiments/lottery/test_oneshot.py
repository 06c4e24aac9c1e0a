"""One-shot pruning of a trained run on digits."""

import shutil

import numpy as np
import pytest

from tfprune.errors import InputError
from tfprune.experiments.lottery.files import read_mask, read_weights, saved_steps
from tfprune.experiments.lottery.settings import OneshotSettings, PlaceSettings
from tfprune.experiments.lottery.studies import OneshotStudy, TrainStudy
from tfprune.layers.masks import Masks
from tfprune.layers.weights import set_weights
from tfprune.pruning.pruner import prune
from tfprune.records.result import read_result, result_path

KERNELS = ("fc_layers.0/kernel", "fc_layers.1/kernel", "fc/kernel")


@pytest.fixture(scope="module")
def plain(settings, trained, tmp_path_factory):
    """A run trained with weights of step 5 kept; its root is to be copied."""
    place = PlaceSettings(root=str(tmp_path_factory.mktemp("plain")), weight_save_steps="5it")
    return trained(TrainStudy(settings().plain(), place))


@pytest.fixture
def oneshot(plain, place, trained):
    """`oneshot(strategy=..., ...)`: prunes a copy of that run; gives masks and folder."""
    shutil.copytree(plain.place.root, place().root, dirs_exist_ok=True)

    def run(strategy, fraction=0.6, **changes):
        study = trained(OneshotStudy(plain.settings, place(), OneshotSettings(strategy, fraction, **changes)))
        return Masks(read_mask(study.folder)), study.folder

    return run


@pytest.mark.parametrize("strategy", ["random", "magnitude", "snip3", "grasp3", "graspabs3", "synflow"])
def test_every_strategy_prunes_the_fraction(oneshot, strategy):
    masks, folder = oneshot(strategy, prune_highest=strategy == "grasp3")
    size = 64 * 20 + 20 * 12 + 120
    assert masks.kept == size - int(0.6 * size)
    assert saved_steps(folder) == ["ep0_it0", "ep2_it0"]
    start = read_weights(folder, "ep0_it0")
    assert all(not start[path][~masks[path]].any() for path in KERNELS)


def test_scores_are_of_the_step_asked_for(oneshot, workshop, settings):
    trainer = workshop.trainer(settings().plain())
    for step, name in (("0it", "ep0_it0"), ("5it", "ep0_it5"), ("2ep", "ep2_it0")):
        masks, folder = oneshot("magnitude", prune_step=step)
        set_weights(trainer.model, read_weights(folder.parent / "main", name))
        expected = prune(trainer.model, "magnitude", 0.6)
        assert {path: mask.tolist() for path, mask in masks.items()} == {
            path: mask.tolist() for path, mask in expected.items()
        }


def test_training_goes_on_from_the_state_step(oneshot):
    masks, folder = oneshot("magnitude", prune_step="2ep", state_step="5it")
    assert saved_steps(folder) == ["ep0_it5", "ep2_it0"]
    result = read_result(result_path(folder))
    assert (result.kept, result.weights, result.level, result.steps) == (masks.kept, masks.size, None, 24 - 5)
    start, source = (read_weights(place, "ep0_it5") for place in (folder, folder.parent / "main"))
    for path in KERNELS:
        np.testing.assert_array_equal(start[path], source[path] * masks[path])


def test_shuffling_keeps_each_layers_count(oneshot):
    plain, shuffled = oneshot("magnitude")[0], oneshot("magnitude", randomize_layerwise=True)[0]
    assert shuffled.counts == plain.counts and shuffled != plain


def test_highest_scores(oneshot, workshop):
    lowest, highest = oneshot("magnitude", 0.5)[0], oneshot("magnitude", 0.5, prune_highest=True)[0]
    assert not any((lowest[path] & highest[path]).any() for path in KERNELS)


def test_published_grasp_needs_the_highest(oneshot):
    told = [
        OneshotStudy(None, None, OneshotSettings("grasp3", 0.5, prune_highest=highest)).warnings
        for highest in (False, True)
    ]
    assert "--prune_highest" in told[0][0] and not told[1]
    opposite = oneshot("grasp3", 0.5)[0]
    right = oneshot("grasp3", 0.5, prune_highest=True)[0]
    assert not any((opposite[path] & right[path]).any() for path in KERNELS)


def test_new_weights(oneshot):
    masks, folder = oneshot("magnitude", reinitialize=True)
    start, source = (read_weights(place, "ep0_it0") for place in (folder, folder.parent / "main"))
    for path in KERNELS:
        assert not (start[path] == source[path])[masks[path]].any()


def test_rounds_and_ignored_layers(oneshot):
    once, often = oneshot("synflow")[0], oneshot("synflow", prune_iterations=10)[0]
    assert once.kept == often.kept and once != often
    masks = oneshot("magnitude", layers_to_ignore="fc.weight")[0]
    assert masks["fc/kernel"].all()
    with pytest.raises(InputError, match="--layers_to_ignore must name kernels"):
        oneshot("magnitude", layers_to_ignore="conv.weight")


def test_step_that_was_not_kept(oneshot):
    with pytest.raises(InputError, match=r"--prune_step=6it: .* kept steps: ep0_it0, ep0_it5, ep2_it0"):
        oneshot("magnitude", prune_step="6it")


def test_run_that_was_not_trained(settings, place, trained):
    with pytest.raises(InputError, match="is not trained; run first: python -m"):
        trained(OneshotStudy(settings().plain(), place(), OneshotSettings("magnitude", 0.5)))
