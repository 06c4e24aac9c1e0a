"""How a run of energy-based pruning is put together, and that its end can be killed at any write."""

import json
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from faults import killed_until_done, tree

from tfprune.errors import InputError
from tfprune.experiments.energy import files, recipe, report
from tfprune.experiments.energy.recipe import EnergyPruning, load_images, load_state, random_state
from tfprune.experiments.energy.report import StateTests, finish, frozen_epoch
from tfprune.experiments.energy.settings import EnergySettings
from tfprune.experiments.energy.training import EnergyLoop
from tfprune.layers.convert import masked
from tfprune.layers.masks import load_masks
from tfprune.layers.weights import weights_of
from tfprune.records.metric_log import MetricLog
from tfprune.records.run_folder import RunFolder

# Of 1293 training, 144 validation and 360 test images without a rest: another size is another trace.
BATCHES = {"batch_size": 431, "test_batch_size": 72}
SETTINGS = EnergySettings(
    dataset="digits", nnmodel="lenet", width=0.2, epochs=3, NS=6, lr_stepsize=1, gamma=0.5, **BATCHES
)


class Silent:
    quiet = True

    def start(self, what, details=""):
        self.details = details

    def say(self, text):
        pass

    progress = end = say


class Died(Exception):
    pass


class Dies(Silent):
    """Dies once it is shown a step behind this one."""

    def __init__(self, step):
        self._step = step

    def progress(self, progress):
        if progress.step > self._step:
            raise Died


@pytest.fixture(scope="module")
def images():
    return load_images(SETTINGS)


@pytest.fixture(scope="module")
def trained(images, tmp_path_factory):
    """A training and what it left; its folder is not to be changed."""
    pruning = EnergyPruning(SETTINGS, images)
    with RunFolder(tmp_path_factory.mktemp("trained"), files.LAYOUT) as folder:
        return pruning, pruning.train(folder, Silent())


def test_a_tenth_of_the_training_images_is_held_out(images):
    assert (images.train.size, images.held_out.size, images.validation.size) == (1293, 144, 360)
    assert (images.image_shape, images.classes) == ((1, 32, 32), 10)
    other = load_images(replace(SETTINGS, seed=2))
    taken = [sorted(each.held_out.fetch(np.arange(144))[0].numpy().sum(1)) for each in (images, other)]
    assert taken[0] != taken[1]


def test_a_random_state_has_exactly_its_fraction_of_ones():
    drawn = [random_state(40, 0.3, np.random.default_rng(seed)) for seed in range(400)]
    assert {state.sum() for state in drawn} == {12} and drawn[0].dtype == bool
    often = np.mean(drawn, axis=0)  # each bit with probability 0.3, four standard deviations
    assert abs(often - 0.3).max() < 4 * np.sqrt(0.3 * 0.7 / 400)
    assert random_state(5, 1.0, np.random.default_rng(0)).all()


def test_first_states_have_each_bit_with_its_probability(images):
    pruning = EnergyPruning(replace(SETTINGS, NS=50, init_probability=0.2, seed=9), images)
    pruning._begin()
    states, again = pruning.loop.population.states.numpy(), pruning._first_states()
    np.testing.assert_array_equal(states, again)
    assert abs(states.mean() - 0.2) < 4 * np.sqrt(0.16 / states.size)
    assert len({tuple(state) for state in states}) == 50
    assert len({state.sum() for state in states}) > 5  # not exactly


def test_a_given_state_is_among_the_first_ones(images, trained, tmp_path):
    space = trained[0].space
    given = np.random.default_rng(0).random((2, space.size)) < 0.7
    path = tmp_path / "states_x.npz"
    files.write_states(path, given, [(each.name, each.size) for each in space.stretches])
    states = EnergyPruning(replace(SETTINGS, state_f=str(path)), images)._first_states()
    np.testing.assert_array_equal(states[0], given[1])
    np.testing.assert_array_equal(states[1:], trained[0]._first_states()[1:])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda own: own[:-1], "it has 4 layers, this network needs 5"),
        (
            lambda own: [(own[0][0], own[0][1] + 1), *own[1:]],
            "it has conv1 with 2 bits, this network needs conv1 with 1",
        ),
        (lambda own: [*own[:-1], ("fc", own[-1][1])], r"it has fc with \d+ bits, this network needs fc3 with"),
    ],
    ids=["fewer layers", "another width", "another name"],
)
def test_a_state_of_another_network_is_refused(trained, tmp_path, change, told):
    space = trained[0].space
    stretches = change([(each.name, each.size) for each in space.stretches])
    path = tmp_path / "states_x.npz"
    files.write_states(path, np.ones((1, sum(size for _, size in stretches)), bool), stretches)
    with pytest.raises(InputError, match=rf"--state_f=.*states_x\.npz: states of another network: {told}"):
        load_state(str(path), space)


def test_the_rate_falls_at_the_ends_of_epochs(trained):
    log = trained[1].log
    assert [step for step, _ in log.get("lr")] == [3, 6, 9]
    assert log.values("lr") == pytest.approx([1, 0.5, 0.25])
    schedule = trained[0].loop._schedule
    assert [float(schedule(tf.constant(step))) for step in (2, 3, 5, 6)] == [1, 0.5, 0.5, 0.25]


def test_the_epoch_of_freezing():
    log = MetricLog()
    for epoch, share in enumerate((0, 0, 0.3, 1)):
        log.add("frozen", epoch, share)
    assert frozen_epoch(log) == 2 and frozen_epoch(MetricLog()) is None


def test_states_are_kept_as_they_were_after_each_epoch(trained):
    pruning, training = trained
    kept = [np.unpackbits(kept["state"], count=pruning.space.size) for _, kept in sorted(training.kept.items())]
    assert sorted(training.kept) == [3, 6, 9]
    np.testing.assert_array_equal(kept[-1], pruning.loop.best.numpy())
    fractions = [float(pruning.space.kept(state.astype(bool))) for state in kept]
    assert training.log.values("best_kept") == pytest.approx(fractions)


def test_validation_images_are_measured_in_the_best_state(images, trained):
    pruning, training = trained
    rows, labels = (array.numpy() for array in images.held_out.fetch(np.arange(144)))
    inputs = ((rows - images.mean) * images.scale).reshape(-1, 32, 32, 1).astype(np.float32)
    logits = masked(pruning.model, pruning.space.masks(pruning.loop.best.numpy())).predict(inputs, verbose=0)
    order = np.argsort(-logits, axis=1)
    for k, name in ((1, "valid_accuracy"), (3, "valid_top3"), (5, "valid_top5")):
        share = np.mean([label in found[:k] for label, found in zip(labels, order, strict=True)])
        assert training.log.last(name) == pytest.approx(share)
    target = logits[np.arange(144), labels].copy()
    logits[np.arange(144), labels] = -np.inf
    assert training.log.last("valid_energy") == pytest.approx(-10 * np.mean(target - logits.max(1)), rel=1e-4)


def test_the_report_leaves_the_network_as_it_is(trained):
    pruning = trained[0]
    before, first = pruning.model.get_weights(), StateTests(pruning).table()
    for came, expected in zip(pruning.model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(came, expected)
    assert first.equals(StateTests(pruning).table())  # the same random states again


def test_running_averages_of_other_states_are_their_own(images):
    """Of all ones, those of training images; the network itself keeps its own."""
    pruning = EnergyPruning(replace(SETTINGS, nnmodel="resnet18", width=0.02, epochs=1), images)
    own, feed = weights_of(pruning.model), pruning.batches.feed()
    feed.begin(0, 0)
    StateTests(pruning).average()
    after = weights_of(pruning.model)
    changed = {path for path in own if not np.array_equal(own[path], after[path])}
    assert changed == {path for path in own if path.endswith(("moving_mean", "moving_variance"))}
    first = keras.Model(pruning.model.input, pruning.model.get_layer("conv1").output)
    means = []
    for step in range(pruning.batches.steps_per_epoch):
        inputs, _ = feed.batch(tf.constant(0), tf.constant(step), feed.batch_size(step))
        means.append(first(inputs).numpy().mean((0, 1, 2)))
    # Averages over time lie between the least and the largest; what they were before, 0, has all but gone.
    least, most = np.min(means, axis=0), np.max(means, axis=0)
    room = 0.01 * np.abs(means).max()
    assert ((least - room <= after["bn1/moving_mean"]) & (after["bn1/moving_mean"] <= most + room)).all()
    assert np.abs(means).max() > 0.01


@pytest.mark.parametrize(("dies", "begun", "left"), [(None, 0, 2), (0, 1, 2), (2, 1, 1)])
def test_interactions_are_made_anew_for_each_epoch(images, tmp_path, monkeypatch, dies, begun, left):
    """Killed in its first epoch it starts anew, killed at the end of that it goes on with the second."""
    made, usual = [], recipe.build_interactions

    def build(model, *rest):
        made.append(float(np.abs(weights_of(model)["conv1/kernel"]).sum()))
        return usual(model, *rest)

    monkeypatch.setattr(recipe, "build_interactions", build)
    settings = replace(SETTINGS, cost="ipruning", epochs=2)
    with RunFolder(tmp_path, files.LAYOUT) as folder:
        pruning = EnergyPruning(settings, images)
        assert isinstance(pruning.loop, EnergyLoop) and len(made) == 1
        if dies is not None:
            with pytest.raises(Died):
                pruning.train(folder, Dies(dies))
            assert len(made) == 1 + begun
        pruning.train(folder, Silent())
    assert len(made) == 1 + begun + left
    assert made[-1] != made[0]  # of the weights as they have become


def test_its_end_can_be_killed_at_any_write(trained, tmp_path, monkeypatch):
    pruning, training = trained
    monkeypatch.setattr(report, "_latency", lambda model, small: {"latency_batch": 32})
    facts = []

    def ends(place):
        with RunFolder(place, files.LAYOUT) as folder:
            facts.append(finish(pruning, training, folder, "run"))

    ends(tmp_path / "whole")
    assert killed_until_done(lambda: ends(tmp_path / "killed"), tmp_path / "killed") >= 8
    came, expected = tree(tmp_path / "killed"), tree(tmp_path / "whole")
    assert sorted(came) == sorted(expected)
    assert [name for name in came if not name.endswith(".keras") and came[name] != expected[name]] == []
    plain = [{**each, "more": {k: v for k, v in each["more"].items() if "bytes" not in k}} for each in facts]
    assert plain[-1] == plain[0] and facts[0]["method"] == "ising" and facts[0]["steps"] == 9
    masks = load_masks(tmp_path / "killed" / files.MASKS)
    assert sum(int(mask.sum()) for mask in masks.values()) == facts[-1]["kept"]
    assert json.loads(came["args_run.json"]) == SETTINGS.record()


def test_weights_with_masks_are_taken_without_them(images, trained, tmp_path):
    """A file of a masked network: the stored weights count."""
    pruning = trained[0]
    path = tmp_path / "masked.keras"
    masked(pruning.model, pruning.space.masks(pruning.loop.best.numpy())).save(path)
    came = weights_of(EnergyPruning(replace(SETTINGS, pre_trained_f=str(path)), images).model)
    saved = weights_of(keras.saving.load_model(path, compile=False))
    assert all(np.array_equal(came[name], saved[name]) for name in came)
