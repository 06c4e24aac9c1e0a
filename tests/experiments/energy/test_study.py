"""Runs of energy-based pruning on digits: their files, the networks they leave, and what they refuse."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from faults import kill_when_new, killed, killed_until_done, tree
from PIL import Image

import tfprune
from tfprune.cli.run import FINISHED, TRAINED
from tfprune.errors import InputError
from tfprune.experiments.energy import files
from tfprune.experiments.energy.networks import build
from tfprune.experiments.energy.recipe import load_images
from tfprune.experiments.energy.states import layout
from tfprune.experiments.energy.study import EnergyStudy
from tfprune.layers.masks import load_masks
from tfprune.layers.weights import weights_of
from tfprune.records.metric_log import MetricLog
from tfprune.records.result import read_result, result_path
from tfprune.records.run_folder import RunFolder

FLAGS = {"dataset": "digits", "nnmodel": "lenet", "width": 0.5, "epochs": 3, "lr_stepsize": 2, "seed": 4}
# Of 1293 training, 144 validation and 360 test images without a rest: another size is another trace.
FLAGS |= {"batch_size": 431, "test_batch_size": 72}
SEARCH = {"threshold_early_state": 1, "stopcounter": 2}
STATES = ["best", "all_ones", "random_25_%", "random_50_%", "random_75_%"]
EPOCH = 3  # steps
NARROW = {"nnmodel": "resnet18", "width": 0.02, "epochs": 1, "batch_size": 512}
TIMES = ("seconds", "ms_per_batch", "ms_per_batch_compacted", "bytes", "bytes_compacted")


def _run(place, **changed):
    return tfprune.run("energy", **{**FLAGS, **SEARCH, **changed}, out_path=str(place), quiet=True)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run; its folder is not to be changed."""
    return _run(tmp_path_factory.mktemp("finished"))


@pytest.fixture
def done(finished, tmp_path):
    """A copy of it: the settings, and the folder of all runs."""
    shutil.copytree(finished.settings.out_path, tmp_path, dirs_exist_ok=True)
    return replace(finished.settings, out_path=str(tmp_path))


def _file(run, start):
    (path,) = Path(run.folder).glob(f"{start}_{run.settings.name}.*")
    return path


def _table(run, start="test"):
    return files.read_table(_file(run, start))


def _model(run, name=files.MODEL):
    return keras.saving.load_model(Path(run.folder, name), compile=False)


def _test_images(run):
    """Test images as the network sees them, without the code that tests it."""
    images = load_images(run.settings)
    rows, labels = (array.numpy() for array in images.validation.fetch(np.arange(images.validation.size)))
    shaped = ((rows - images.mean) * images.scale).astype(np.float32).reshape(-1, *images.image_shape)
    return shaped.transpose(0, 2, 3, 1), labels


def _assert_whole(run):
    """What is true of every finished run, from its files and Keras alone."""
    folder, settings = Path(run.folder), run.settings
    epochs, searched = settings.epochs, settings.model == "ising"
    named = {"loss": ".txt", "test": ".txt", "args": ".json", "states": ".npz"}
    named |= {"evolutionaryCost": ".txt"} if searched else {}
    expected = {f"{start}_{settings.name}{end}" for start, end in named.items()}
    expected |= {files.LOG, files.MODEL, files.MASKS, files.COMPACTED, "result.json", "run.json", "run.lock"}
    assert {path.name for path in folder.iterdir() if path.suffix != ".png"} == expected
    assert list(folder.glob("*.png")) and folder.name == settings.name
    record = json.loads((folder / "run.json").read_text())
    assert record == {"input": json.loads(_file(run, "args").read_text()), "finished": True}

    losses, result = _table(run, "loss"), read_result(result_path(folder))
    assert losses.shape == (epochs, 11) and result.steps % epochs == 0
    assert np.isfinite(losses.drop(columns=["average_cost", "best_cost"])).all(axis=None)
    if searched:
        costs = _table(run, "evolutionaryCost")
        assert costs.shape == (result.steps, 2) and (costs["best_cost"] <= costs["average_cost"]).all()
        means = costs.to_numpy().reshape(epochs, -1, 2).mean(1)
        np.testing.assert_allclose(losses[["average_cost", "best_cost"]], means, rtol=1e-9)
    else:
        assert losses[["average_cost", "best_cost"]].isna().all(axis=None)

    # Networks: masks of the last state, and the compacted one gives the same outputs without what they remove.
    model, small, masks = _model(run), _model(run, files.COMPACTED), load_masks(folder / files.MASKS)
    states, stretches = files.read_states(_file(run, "states"))
    space = layout(model, settings.nnmodel, settings.states)
    assert states.shape == (epochs, space.size) and stretches == [(each.name, each.size) for each in space.stretches]
    of_state = space.masks(states[-1])
    assert masks.keys() == of_state.keys() and all(np.array_equal(masks[path], of_state[path]) for path in masks)
    sparse, (images, labels) = tfprune.masked(model, masks), _test_images(run)
    outputs = sparse(images).numpy()
    np.testing.assert_allclose(small(images), outputs, rtol=1e-4, atol=1e-4)

    # The final report, by Keras's own metrics and by hand.
    table = _table(run)
    assert list(table["state"]) == STATES and list(table.columns) == [
        *("state", "top1", "top3", "top5", "loss", "energy", "kept"),
    ]
    best = table.iloc[0]
    tops = [keras.metrics.SparseTopKCategoricalAccuracy(k, name=f"top{k}") for k in (3, 5)]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    sparse.compile(loss=loss, metrics=["accuracy", *tops], run_eagerly=True)  # for one batch nothing is traced
    told = sparse.evaluate(images, labels, batch_size=len(labels), return_dict=True, verbose=0)
    found = {name: told[name] for name in ("accuracy", "top3", "top5", "loss")}
    expected = dict(zip(found, best[["top1", "top3", "top5", "loss"]], strict=True))
    assert found == pytest.approx(expected, rel=1e-4)
    at = np.arange(len(labels)), labels
    target = outputs[at]
    others = outputs.copy()
    others[at] = -np.inf
    assert best["energy"] == pytest.approx(-10 * np.mean(target - others.max(1)), rel=1e-3, abs=1e-3)
    kept, sizes = sum(int(mask.sum()) for mask in masks.values()), sum(mask.size for mask in masks.values())
    assert best["kept"] == pytest.approx(kept / sizes, rel=1e-5) == losses["kept"].iloc[-1]

    # The result, as one of any system.
    row = run.results.to_dict("records")
    assert len(row) == 1 and row[0]["source"] == "tfprune" and row[0]["family"] == "energy"
    assert (result.accuracy, result.loss) == (best["top1"], best["loss"])
    assert (result.weights, result.kept, result.seed) == (sizes, kept, settings.seed)
    assert result.parameters == sum(int(np.prod(each.shape)) for each in model.trainable_variables)
    assert result.parameters_compacted == sum(int(np.prod(each.shape)) for each in small.trainable_variables)
    assert result.settings == record["input"] and result.digest == EnergyStudy(settings).digest
    more = result.more
    assert (more["bits"], more["bits_kept"]) == (space.size, states[-1].sum())
    assert more["energy"] == best["energy"] and more["top3"] == best["top3"] and more["top5"] == best["top5"]
    for key, name in (("bytes", files.MODEL), ("bytes_compacted", files.COMPACTED)):
        assert more[key] == (folder / name).stat().st_size
    assert more["latency_batch"] > 0 and min(more["ms_per_batch"], more["ms_per_batch_compacted"]) > 0
    assert f"{best['top1']:.4f}" in run.text


def test_a_search(finished):
    _assert_whole(finished)
    losses, log = _table(finished, "loss"), MetricLog.read(finished.folder / files.LOG)
    assert losses["lr"].to_numpy() == pytest.approx([1, 1, 0.1])
    assert losses["train_loss"].iloc[-1] < losses["train_loss"].iloc[0]
    assert list(losses["valid_top1"]) == log.values("valid_accuracy")
    assert [step for step, _ in log.get("valid_loss")] == [EPOCH, 2 * EPOCH, 3 * EPOCH]
    states, _ = files.read_states(_file(finished, "states"))
    assert 0 < states.sum() < states.size
    # Random states have exactly their fraction of the bits; of all ones it is the whole network.
    table, (images, labels) = _table(finished), _test_images(finished)
    whole = _model(finished).predict(images, verbose=0)
    assert table["kept"][1] == 1 and table["top1"][1] == pytest.approx((whole.argmax(1) == labels).mean())
    assert table["kept"][2] < table["kept"][3] < table["kept"][4]


def test_a_frozen_state_is_told(finished):
    epoch = read_result(result_path(finished.folder)).more["frozen"]
    log, (states, _) = MetricLog.read(finished.folder / files.LOG), files.read_states(_file(finished, "states"))
    shares = log.values("frozen")
    assert epoch >= SEARCH["threshold_early_state"] and shares[epoch] > 0 and not any(shares[:epoch])
    assert all(share == 1 for share in shares[epoch + 1 :])
    assert all(np.array_equal(state, states[epoch]) for state in states[epoch:])
    costs = _table(finished, "evolutionaryCost").to_numpy()[EPOCH * (epoch + 1) :]
    assert (costs == costs[:1]).all()


def test_a_finished_run_has_nothing_to_do(done, monkeypatch):
    before = tree(done.out_path)
    assert EnergyStudy(done).stage() == FINISHED
    monkeypatch.setattr("tfprune.experiments.energy.recipe.load_images", None)
    assert "nothing to do" in _run(done.out_path).text
    assert tree(done.out_path) == before


def test_figures_that_are_missing_are_made_without_training(done, monkeypatch):
    folder = EnergyStudy(done).folder
    figures = {path: path.read_bytes() for path in folder.glob("*.png")}
    (folder / "run.json").write_text((folder / "run.json").read_text().replace("true", '"trained"'))
    for path in figures:
        path.unlink()
    assert EnergyStudy(done).stage() == TRAINED
    monkeypatch.setattr("tfprune.experiments.energy.recipe.load_images", None)
    _run(done.out_path)
    assert {path: path.read_bytes() for path in folder.glob("*.png")} == figures
    assert EnergyStudy(done).stage() == FINISHED


def _assert_same(came, expected):
    """Two folders of runs: the same files; networks have the same weights, results the same but for times."""
    one, other = tree(came), tree(expected)
    assert sorted(one) == sorted(other)
    assert not [name for name in one if "checkpoint" in name or "tmp" in name]
    for name in one:
        if name.endswith(".keras"):
            models = [keras.saving.load_model(Path(root, name), compile=False) for root in (came, expected)]
            arrays = [weights_of(model) for model in models]
            assert list(arrays[0]) == list(arrays[1])
            assert all(np.array_equal(arrays[0][path], arrays[1][path]) for path in arrays[0]), name
        elif name.endswith("result.json"):
            contents = [json.loads(files[name]) for files in (one, other)]
            assert all(content.pop(key) > 0 for key in TIMES for content in contents)
            assert contents[0] == contents[1]
        else:
            assert one[name] == other[name], name


@pytest.mark.slow
def test_overwrite_and_other_settings(done, finished, tmp_path):
    folder = EnergyStudy(done).folder
    (folder / files.MASKS).write_bytes(b"")
    _run(tmp_path, overwrite=True)
    _assert_same(tmp_path, finished.settings.out_path)
    others = [replace(done, **changed) for changed in ({"epochs": 4}, {"seed": 5}, {"cost": "ipruning"})]
    assert len({EnergyStudy(each).folder for each in (done, *others)}) == 4


def test_two_processes_on_one_folder(done):
    before = tree(done.out_path)
    told = pytest.raises(InputError, match="another process is writing this run there")
    with RunFolder(EnergyStudy(done).folder, files.LAYOUT), told:
        _run(done.out_path, overwrite=True)
    assert tree(done.out_path) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"cost": "ipruning", "keep_rate": 0.3, "cost_layout": "published"}, id="ipruning"),
        pytest.param({"model": "simple", "loss": "log"}, id="simple"),
        pytest.param(
            {
                **{"evolution": "binary_de", "rescore": "all", "state_batch": 32, "NS": 5, "optimizer_m": "SGD"},
                **{"lr": 0.05, "augmentation": ["flip", "crop", "rotate", "cutout"], "scheduler_m": "none"},
            },
            id="other rules",
        ),
        pytest.param({"rescore": "best"}, id="best anew"),
        pytest.param({**NARROW, "states": "current"}, id="current"),
        pytest.param(NARROW, id="resnet18"),
    ],
)
def test_other_searches(changed, tmp_path):
    run = _run(tmp_path, **changed)
    _assert_whole(run)
    result, losses = read_result(result_path(run.folder)), _table(run, "loss")
    if changed.get("model") == "simple":
        assert (result.density, result.parameters_compacted, result.label) == (1, result.parameters, "simple")
    if "scheduler_m" in changed:
        assert losses["lr"].to_numpy() == pytest.approx([0.05] * 3)
    if changed.get("cost") == "ipruning":
        assert result.label == "ising ipruning" and losses["kept"].iloc[-1] > 0.25


def test_states_and_weights_of_another_run_are_where_a_random_network_starts(finished, tmp_path):
    given = {"state_f": str(_file(finished, "states")), "pre_trained_f": str(finished.folder / files.MODEL)}
    run = _run(tmp_path, model="random", epochs=1, **given)
    _assert_whole(run)
    states, _ = files.read_states(_file(finished, "states"))
    np.testing.assert_array_equal(files.read_states(_file(run, "states"))[0], states[-1:])
    # What the state leaves out keeps the values that it was given.
    before, after = weights_of(_model(finished)), weights_of(_model(run))
    for path, mask in load_masks(run.folder / files.MASKS).items():
        np.testing.assert_array_equal(after[path][~mask], before[path][~mask])
        assert (after[path][mask] != before[path][mask]).any()


@pytest.mark.slow
def test_a_random_state_has_its_fraction_of_bits(tmp_path):
    run = _run(tmp_path, model="random", epochs=1, init_probability=0.3)
    states, stretches = files.read_states(_file(run, "states"))
    assert states.sum() == round(0.3 * sum(size for _, size in stretches))
    _assert_whole(run)


@pytest.mark.slow
@pytest.mark.parametrize("changed", [{}, {"cost": "ipruning"}], ids=["edropout", "ipruning"])
def test_killed_in_its_second_epoch_a_run_ends_with_the_same_files(changed, finished, tmp_path):
    """The kill is in place of the log of the second epoch, the fourth write: run.json, log, checkpoint, log."""
    expected = _run(tmp_path / "whole", **changed) if changed else finished
    place = tmp_path / "killed"
    assert killed(lambda: _run(place, **changed), 5, place)
    (folder,) = place.iterdir()
    assert (folder / "checkpoint.npz").exists() and not (folder / files.MODEL).exists()
    _run(place, **changed)
    _assert_same(place, expected.settings.out_path)


@pytest.mark.slow
def test_killed_at_one_write_after_the_other(finished, tmp_path):
    place = tmp_path / "killed"
    assert killed_until_done(lambda: _run(place), place, step=2) > 6
    _assert_same(place, finished.settings.out_path)


@pytest.mark.slow
@pytest.mark.parametrize("changed", [{}, {"cost": "ipruning"}], ids=["edropout", "ipruning"])
def test_a_killed_process_ends_with_the_same_files(changed, tmp_path):
    expected, place = _run(tmp_path / "whole", **changed), tmp_path / "killed"
    words = [f"--{name}={value}" for name, value in {**FLAGS, **SEARCH, **changed, "out_path": place}.items()]
    assert kill_when_new(["tfprune.energy", *words], place, "*/checkpoint.npz")
    _run(place, **changed)
    _assert_same(place, expected.settings.out_path)


def _refused(command, refused, place, told, *words):
    """The run is refused in one line, and leaves nothing but the record of what was asked."""
    given = [f"--{name}={value}" for name, value in {**FLAGS, **SEARCH, "out_path": place}.items()]
    refused(command("energy", *given, *words), told)
    assert {path.name for path in Path(place).rglob("*") if path.is_file()} <= {"run.json", "run.lock"}


def test_states_of_another_network(command, refused, finished, tmp_path):
    told = "states of another network: it has conv1 with 3 bits, this network needs conv1 with 6"
    _refused(command, refused, tmp_path, told, "--width=1", f"--state_f={_file(finished, 'states')}")


def test_weights_of_another_network(command, refused, finished, tmp_path):
    told = "weights of another network: conv1/kernel is (5, 5, 1, 3), needed is (5, 5, 1, 6)"
    _refused(command, refused, tmp_path, told, "--width=1", f"--pre_trained_f={finished.folder / files.MODEL}")


def test_damaged_weights(command, refused, finished, tmp_path):
    path = tmp_path / "broken.keras"
    path.write_bytes((finished.folder / files.MODEL).read_bytes()[:5000])
    _refused(command, refused, tmp_path / "runs", str(path), f"--pre_trained_f={path}")
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04")
    _refused(command, refused, tmp_path / "runs", "broken.npz", f"--pre_trained_f={tmp_path / 'broken.npz'}")


def test_a_corrupt_image_is_named_skipped_and_counted(tmp_path):
    rng = np.random.default_rng(0)
    for part, count in (("train", 20), ("test", 4)):
        for name in ("dark", "light"):
            (tmp_path / "set" / part / name).mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, 128, (9, 9), np.uint8) + (128 if name == "light" else 0)
                Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "set" / part / name / f"{index}.png")
    broken = tmp_path / "set" / "train" / "light" / "7.png"
    broken.write_bytes(broken.read_bytes()[:40])
    with pytest.warns(UserWarning, match=rf"1 of 48 images of .*set could not be read, the first: .*{broken.name}"):
        run = _run(tmp_path / "runs", dataset=str(tmp_path / "set"), epochs=1, width=0.2, model="simple")
    assert run.folder.name.startswith("set_lenet_simple_")
    result = read_result(result_path(run.folder))
    assert result.steps == 1 and result.parameters_compacted == result.parameters


def test_a_network_without_filters_has_no_states():
    model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Activation("relu")])
    with pytest.raises(InputError, match="has no filters that could be pruned"):
        layout(model, "lenet")


@pytest.mark.slow
def test_a_cost_that_is_infinite_at_first_is_written_and_read(tmp_path):
    """With few bits on nothing leads to the classes in most of the first states."""
    run = _run(tmp_path, epochs=2, init_probability=0.02)
    costs, losses = _table(run, "evolutionaryCost"), _table(run, "loss")
    assert costs.shape == (2 * EPOCH, 2) and np.isinf(costs["average_cost"][0]) and not costs.isna().any(axis=None)
    assert np.isinf(losses["average_cost"][0])


def test_images_that_are_too_small():
    with pytest.raises(InputError, match=r"alexnet .*\(32, 32, 1\)"):
        build("alexnet", (32, 32, 1), 10, 0)
