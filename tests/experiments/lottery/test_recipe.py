"""Training, lottery tickets and rewinding on digits: every number follows from the one before."""

import re
from dataclasses import replace

import numpy as np
import pytest

from tfprune.errors import InputError
from tfprune.experiments.lottery.files import read_log, read_mask, read_report, read_weights, saved_steps
from tfprune.experiments.lottery.replicate import Replicate
from tfprune.experiments.lottery.settings import PlaceSettings
from tfprune.experiments.lottery.studies import TicketStudy, TrainStudy
from tfprune.records.result import read_result, result_path


@pytest.fixture
def lottery(settings, place, trained):
    """`lottery(levels, **changes)`: trains its networks; gives the study."""

    def run(levels, watch=None, made=None, **changes):
        return trained(TicketStudy(made or settings(), place(**changes), levels), watch)

    return run


def _files(folder):
    """Contents by name, without what depends on the clock."""
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {name: re.sub(rb'"seconds": [0-9.e-]+', b"", content) for name, content in found.items()}


def _level(study, level):
    return study.folder_of(level)


def test_each_level_prunes_a_fifth_of_the_smallest_and_rewinds(lottery):
    study = lottery(2)
    kept = 64 * 20 + 20 * 12  # the output layer is left out
    before = None
    for level in range(3):
        folder = _level(study, level)
        mask, report = read_mask(folder), read_report(folder)
        hidden = ["fc_layers.0/kernel", "fc_layers.1/kernel"]
        assert sum(int(mask[path].sum()) for path in hidden) == kept
        assert mask["fc/kernel"].all()
        assert (report.unpruned, report.total) == (kept + 120, 64 * 20 + 20 * 12 + 120)
        result, log = read_result(result_path(folder)), read_log(folder)
        assert (result.kept, result.weights) == (report.unpruned, report.total)
        assert result.effective <= result.kept and result.parameters == result.weights + 20 + 12 + 10
        assert result.parameters_masked == result.kept + 42 and result.flops_masked == 2 * result.kept
        assert result.parameters_compacted <= result.parameters and result.flops == 2 * result.weights
        assert (result.accuracy, result.loss) == (log.last("test_accuracy"), log.last("test_loss"))
        told = (result.level, result.label, result.method, result.seed, result.steps, result.digest)
        assert told == (level, f"level {level}", "main", 1, 24, study.settings.digest)
        assert result.seconds > 0 and result.settings["pruning"]["pruning_fraction"] == 0.2
        start, end = (read_weights(folder, step) for step in ("ep0_it0", "ep2_it0"))
        if level:
            old_mask, old_start, old_end = before
            magnitudes = {path: np.abs(old_end[path][old_mask[path]]) for path in hidden}
            threshold = min(magnitudes[path][mask[path][old_mask[path]]].min() for path in hidden)
            for path in hidden:
                assert not (mask[path] & ~old_mask[path]).any()
                assert (magnitudes[path][~mask[path][old_mask[path]]] <= threshold).all()
                np.testing.assert_array_equal(start[path], old_start[path] * mask[path])
                assert not end[path][~mask[path]].any()
            np.testing.assert_array_equal(start["fc/bias"], old_start["fc/bias"])
        before = mask, start, end
        kept -= -(-kept // 5)


def test_logger_holds_every_epoch(lottery):
    log = read_log(_level(lottery(0), 0))
    assert [step for step, _ in log.get("test_accuracy")] == [0, 12, 24]
    assert [step for step, _ in log.get("train_loss")] == [12, 24]
    losses = [loss for _, loss in log.get("test_loss")]
    assert losses == sorted(losses, reverse=True)
    assert log.last("test_accuracy") > 0.4


def test_rewinding_goes_through_pretraining_as_one_training(lottery, settings, place, trained):
    made = settings().rewinding_to("1ep3it")
    study = lottery(1, made=made)
    pretrained = read_weights(study.folder_of("pretrain"), "ep1_it3")
    for path, array in read_weights(_level(study, 0), "ep1_it3").items():
        np.testing.assert_array_equal(array, pretrained[path])
    later, mask = read_weights(_level(study, 1), "ep1_it3"), read_mask(_level(study, 1))
    np.testing.assert_array_equal(
        later["fc_layers.0/kernel"], pretrained["fc_layers.0/kernel"] * mask["fc_layers.0/kernel"]
    )
    # Without momentum nothing is lost at the rewinding step: one training through it gives the same weights.
    plain = trained(TrainStudy(settings().plain(), place()))
    whole, parts = read_weights(plain.folder, "ep2_it0"), read_weights(_level(study, 0), "ep2_it0")
    assert all(np.array_equal(whole[path], parts[path]) for path in whole)


def test_rewinding_beyond_the_end(lottery, settings):
    with pytest.raises(InputError, match="--rewinding_steps must lie before --training_steps"):
        lottery(1, made=settings().rewinding_to("2ep"))


@pytest.fixture(scope="module")
def whole(settings, trained, tmp_path_factory):
    """Files of a run of two levels that was left in peace."""
    study = TicketStudy(settings(), PlaceSettings(root=str(tmp_path_factory.mktemp("whole"))), 1)
    return _files(_level(trained(study), 0).parents[2])


@pytest.mark.parametrize("stop_at", [5, 13, 24])
def test_interrupted_run_ends_with_the_same_bytes(lottery, whole, silent, settings, place, stop_at):
    study = TicketStudy(settings(), place(), 1)
    with pytest.raises(KeyboardInterrupt):
        lottery(1, silent(stop_at))
    assert _files(_level(study, 0).parents[2]) != whole
    lottery(1)
    again = _files(_level(study, 0).parents[2])
    assert sorted(again) == sorted(whole)
    assert [name for name in whole if again[name] != whole[name]] == []


def test_finished_levels_are_not_run_again(lottery, silent):
    lottery(1)
    watch = silent()
    lottery(2, watch)
    assert watch.started == ["level 2 of 2"]


def test_replicates_differ_and_repeat(lottery, tmp_path):
    first, second = (read_weights(_level(lottery(0, replicate=r), 0), "ep2_it0") for r in (1, 2))
    assert not np.array_equal(first["fc/kernel"], second["fc/kernel"])
    again = read_weights(_level(lottery(0, replicate=2, root=str(tmp_path / "again")), 0), "ep2_it0")
    assert all(np.array_equal(again[path], second[path]) for path in second)


def test_kept_steps_and_tests_at_the_end_only(lottery):
    folder = _level(lottery(0, weight_save_steps="5it,1ep2it", evaluate_only_at_end=True), 0)
    assert saved_steps(folder) == ["ep0_it0", "ep0_it5", "ep1_it2", "ep2_it0"]
    assert [step for step, _ in read_log(folder).get("test_accuracy")] == [24]


def test_another_process_is_told(lottery, settings, place):
    with Replicate(settings().replicate_folder(place())), pytest.raises(InputError, match="another process"):
        lottery(0)


def test_one_order_of_data_for_all_streams(workshop, settings):
    trainer = workshop.trainer(settings(data_order_seed=3).plain())
    same, own = [], []
    for seed, labels in ((3, same), (None, own)):
        feed = trainer.data.feed(seed)
        for stream in (1, 2):
            feed.begin(stream, 0)
            labels.append(np.array(feed.batch(stream, 0, 128)[1]))
    np.testing.assert_array_equal(*same)
    assert not np.array_equal(*own)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(settings, place, trained, precision):
    study = trained(TrainStudy(settings(precision=precision).plain(), place()))
    weights = read_weights(study.folder, "ep2_it0")
    assert {array.dtype for array in weights.values()} == {np.dtype("float32")}
    assert read_log(study.folder).last("test_accuracy") > 0.4


def test_batch_norm_and_decay_and_momentum(settings, place, trained):
    made = settings("cifar_resnet_8_4", training_steps="3it", milestone_steps="2it")
    study = trained(TrainStudy(made.plain(), place()))
    start, end = (read_weights(study.folder, step) for step in ("ep0_it0", "ep0_it3"))
    assert all(np.isfinite(array).all() for array in end.values())
    changed = [path for path in start if not np.array_equal(start[path], end[path])]
    assert len(changed) == len(start)


def test_published_count(lottery, settings):
    made = settings()
    made = replace(made, pruning=replace(made.pruning, pruning_count="published"))
    study = lottery(1, made=made)
    total = 64 * 20 + 20 * 12 + 120
    assert read_report(_level(study, 1)).unpruned == total - -(-total // 5) - 1


def test_runs_from_before_a_setting_existed_are_continued(lottery):
    """The record holds what names are made of: a new field at its default changes neither."""
    study = lottery(0)
    record = (_level(study, 0) / "run.json").read_text()
    assert "mnist_lenet_20_12" in record and "precision" not in record and "weight_decay" not in record
