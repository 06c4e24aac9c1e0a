"""A complete run of the original code, replayed from its recorded weights and its own random batches."""

import hashlib
import pickle
import shutil

import numpy as np
import pytest
import tensorflow as tf

from tfprune.data.load import load_images
from tfprune.experiments.imp.files.iterations import read_findata, read_iteration
from tfprune.experiments.imp.recipe import run_imp
from tfprune.experiments.imp.settings import read_settings
from tfprune.experiments.imp.study import layout_of
from tfprune.experiments.imp.training import images_of
from tfprune.records.run_folder import RunFolder

SIZES = {"train": 4000, "test": 500}
DIGESTS = {
    "train": "321d82120a72d58f28bb13025cc10701748adcd2d8f3dcf22e5c3b1c15f641a1",
    "test": "034c2391b3e59af741b2079096a207f0df2b182884442b95a545bf1e6c1ce635",
}


@pytest.fixture
def batches_folder(tfds_dir, tmp_path):
    """The run's data in the format of downsampled ImageNet: the first images of CIFAR-10."""
    cifar = load_images("cifar10", tfds_dir, val_size=SIZES["test"])
    for split, images in (("train", cifar.train), ("test", cifar.validation)):
        data, labels = next(images.chunks(SIZES[split]))
        assert hashlib.sha256(np.ascontiguousarray(data).tobytes()).hexdigest() == DIGESTS[split]
        batch = {"data": data, "labels": (labels + 1).tolist()}
        if split == "train":
            batch["mean"] = data.astype("f8").mean(axis=0)
        name = {"train": "train_data_batch_1", "test": "val_data"}[split]
        (tmp_path / name).write_bytes(pickle.dumps(batch))
    return tmp_path


class _Silent:
    def start(self, *_):
        pass

    say = progress = end = start


def test_replay_of_iterations_1_and_2(golden, batches_folder, tmp_path):
    """Restarting after the original's iteration 0 gives its iterations 1 and 2: masks, errors, weights, averages."""
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(golden / "imp/original_run/IMP_itdata_0.pkl", run)
    text = (golden / "imp/original_run/IMP.ini").read_text()
    text = text.replace("save_dir = .", f"save_dir = {run}").replace("./data", str(batches_folder))
    text = text.replace("[IMP]", "restart = yes\nrest_it = 1\n[IMP]")
    (tmp_path / "imp.ini").write_text(text)
    settings = read_settings(tmp_path / "imp.ini", engine="dense")
    images = images_of(settings)

    stream = np.random.RandomState(1700000000)
    stream.uniform(0, 1, (3072, 12))
    stream.uniform(0, 1, (12, 16))
    table = tf.constant(np.array([stream.choice(4000, 100) for _ in range(3 * 61)]))
    folder = RunFolder(run, layout_of(first_iteration=1), "IMP")
    folder.claim({})
    run_imp(settings, images, folder, _Silent(), sample=lambda iteration, step: table[61 * iteration + step])

    for k in (1, 2):
        ours, theirs = (read_iteration(f / f"IMP_itdata_{k}.pkl") for f in (run, golden / "imp/original_run"))
        assert ours.layers == theirs.layers
        assert (ours.steps, ours.validation_steps) == (theirs.steps, theirs.validation_steps)
        assert ours.recorded_steps == theirs.recorded_steps
        np.testing.assert_array_equal(ours.ratios, theirs.ratios)
        np.testing.assert_array_equal(ours.train_errors, theirs.train_errors)
        np.testing.assert_array_equal(ours.validation_errors, theirs.validation_errors)
        assert ours.masks == theirs.masks
        assert list(ours.weights[-1]) == list(theirs.weights[-1])
        for path, array in theirs.weights[-1].items():
            np.testing.assert_allclose(ours.weights[-1][path], array, rtol=0, atol=1e-5)
        assert list(ours.running_averages[-1]) == list(theirs.running_averages[-1])
        for path, array in theirs.running_averages[-1].items():
            np.testing.assert_allclose(ours.running_averages[-1][path], array, rtol=0, atol=2e-5)
    theirs = read_findata(golden / "imp/original_run/IMP_findata.pkl")
    ours = read_findata(run / "IMP_findata.pkl")
    assert list(ours.best_validation_errors) == list(theirs.best_validation_errors)[1:]
    # A carriage return ends a step's line; the first iteration's part is the original's own and not ours to repeat.
    expected = (golden / "imp/original_run/IMP_out.dat").read_bytes()
    assert expected.endswith((run / "IMP_out.dat").read_bytes())
    assert (run / "IMP_out.dat").read_bytes().count(b"Ratios") == 2
