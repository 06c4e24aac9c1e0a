"""`python -m tfprune.lth` as a person meets it: wrong wishes, damaged files, folders of pictures."""

import re
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfprune.experiments.lottery.files import read_log, read_weights

HPARAMS = ["--default_hparams=mnist_lenet_20_12", "--dataset_name=digits", "--training_steps=2ep"]
TRAIN = ["train", *HPARAMS]
LOTTERY = ["lottery", *HPARAMS, "--rewinding_steps=3it", "--levels=2"]
BRANCH = ["lottery_branch", "randomly_prune", *HPARAMS, "--rewinding_steps=3it", "--levels=1", "--seed=1"]
ONESHOT = ["branch", "train", "oneshot", *HPARAMS, "--strategy=snip3", "--prune_fraction=0.5"]
LEVEL = "lottery_*/replicate_1/level_{}/main/{}"
MAIN = "train_*/replicate_1/main/{}"
NO_GPU = "distribute = mirrored needs a GPU", "device = gpu, but TensorFlow finds no GPU"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Root with a training and a lottery run; to be copied."""
    return tmp_path_factory.mktemp("finished")


@pytest.fixture
def root(finished, lth, tmp_path):
    """A copy of those runs."""
    if not any(finished.iterdir()):
        for words in (TRAIN, LOTTERY):
            assert lth(*words, f"--root={finished}", "--quiet").returncode == 0
    return shutil.copytree(finished, tmp_path / "root")


def _files(root):
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def _cut(root, pattern, size):
    (path,) = root.glob(pattern)
    path.write_bytes(path.read_bytes()[:size])


def _unfinish(root, level):
    (path,) = root.glob(LEVEL.format(level, "run.json"))
    path.write_text(path.read_text().replace('"finished": true', '"finished": false'))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([*ONESHOT, "--prune_step=7it"], "--prune_step=7it: .* kept steps: ep0_it0, ep2_it0"),
        ([*ONESHOT, "--state_step=70it", "--overwrite"], "--state_step=70it: .* holds no weights of ep5_it10"),
        ([*ONESHOT, "--lr=0.5"], "is not trained; run first: python -m tfprune.lth train"),
        ([*ONESHOT, "--layers_to_ignore=conv.weight"], "--layers_to_ignore must name kernels of"),
        ([*BRANCH, "--levels=0-5"], "level 3 of .* has not been run; finished levels: 0, 1, 2"),
        ([*BRANCH, "--lr=0.5"], "finished levels: none"),
        ([*TRAIN, "--weight_save_steps=5it,3ep", "--overwrite"], "--weight_save_steps=5it,3ep: ep3_it0 lies after"),
        ([*LOTTERY, "--weight_save_steps=30it", "--levels=3"], "--weight_save_steps=30it: ep2_it6 lies after the end"),
        ([*LOTTERY, "--rewinding_steps=2ep"], "--rewinding_steps must lie before --training_steps"),
        (
            [*LOTTERY, "--levels=40", "--overwrite"],
            "--levels=40: level 29 would prune 1 of the 1 weights that are left; at most --levels=28",
        ),
        ([*LOTTERY, "--pruning_layers_to_ignore=conv.weight"], "--pruning_layers_to_ignore must name kernels of"),
        (
            [*LOTTERY, "--pruning_layers_to_ignore=fc_layers.0.weight,fc_layers.1.weight,fc.weight"],
            "--pruning_layers_to_ignore leaves no kernel to prune",
        ),
        ([*TRAIN, "--lr=1e30"], "training diverged: the loss is not finite at step 1"),
        ([*TRAIN, "--distribute=mirrored", "--overwrite"], NO_GPU[0]),
        ([*TRAIN, "--device=gpu", "--overwrite"], NO_GPU[1]),
        (["train", "--default_hparams=mnist_lenet_20_12", "--path_to_data=nowhere"], "not in nowhere/mnist"),
        (["train", "--default_hparams=imagenet_resnet_18"], "--dataset_name=imagenet needs --path_to_data"),
        (["train", "--default_hparams=imagenet_resnet_18", "--path_to_data=nowhere"], "nowhere/train: no such folder"),
        (["train", "--default_hparams=tinyimagenet_resnet_18"], "needs --path_to_data"),
        (["train", "--default_hparams=cifar_resnet_21"], "the nearest: 20, 26"),
    ],
)
def test_wishes_that_cannot_be_fulfilled(root, lth, refused, words, told):
    if told in NO_GPU and tf.config.list_physical_devices("GPU"):
        pytest.skip("there is a GPU")
    before = _files(root)
    result = lth(*words, f"--root={root}")
    refused(result, "")
    assert re.search(told, result.stderr)
    after = _files(root)
    assert [path for path in before if after.get(path) != before[path]] == []  # nothing finished was lost


@pytest.mark.parametrize("folder", ["/proc/none", "a_file"])
def test_roots_that_cannot_be_written(lth, refused, tmp_path, folder):
    (tmp_path / "a_file").write_text("")
    refused(lth(*TRAIN, f"--root={tmp_path / folder}"), "--root: ")


@pytest.mark.parametrize(
    ("words", "unfinished", "pattern", "told"),
    [
        (LOTTERY, 2, LEVEL.format(2, "mask.npz"), "level_2/main/mask.npz: not a mask file, or a damaged one"),
        (
            LOTTERY,
            2,
            LEVEL.format(1, "model_ep0_it3.npz"),
            "model_ep0_it3.npz: not a file of weights",
        ),
        (LOTTERY, 2, LEVEL.format(1, "logger"), "level_1/main/logger: its last line is cut off"),
        (LOTTERY, 2, LEVEL.format(1, "sparsity_report.json"), "sparsity_report.json: not a sparsity report"),
        (LOTTERY, None, LEVEL.format(1, "run.json"), "run.json: not the record of a run"),
        (BRANCH, None, LEVEL.format(1, "mask.npz"), "level_1/main/mask.npz: not a mask file, or a damaged one"),
        (
            BRANCH,
            None,
            LEVEL.format(0, "model_ep0_it3.npz"),
            "level_0/main/model_ep0_it3.npz: not a file of weights",
        ),
        (
            ONESHOT,
            None,
            MAIN.format("model_ep0_it0.npz"),
            "main/model_ep0_it0.npz: not a file of weights",
        ),
        (ONESHOT, None, MAIN.format("run.json"), "main/run.json: not the record of a run"),
    ],
)
def test_damaged_files_are_named(root, lth, refused, words, unfinished, pattern, told):
    if unfinished is not None:
        _unfinish(root, unfinished)
    _cut(root, pattern, 20)
    refused(lth(*words, f"--root={root}"), told)


@pytest.mark.slow_beyond(1)
@pytest.mark.parametrize("content", [b"PK\x03\x04abc", b""])
def test_a_damaged_checkpoint_is_named(root, lth, refused, content):
    _unfinish(root, 2)
    (folder,) = root.glob(LEVEL.format(2, ""))
    (folder / "checkpoint.npz").write_bytes(content)
    refused(lth(*LOTTERY, f"--root={root}"), "level_2/main/checkpoint.npz: not a checkpoint, or a damaged one")
    (folder / "checkpoint.npz").unlink()  # as it says
    assert lth(*LOTTERY, f"--root={root}").returncode == 0


def test_files_of_another_version(root, lth, refused):
    (path,) = root.glob(LEVEL.format(1, "run.json"))
    path.write_text(path.read_text().replace('"version": 1', '"version": 7'))
    refused(lth(*LOTTERY, f"--root={root}"), "files of version 7, this package reads 1")


@pytest.fixture
def pictures(tmp_path):
    """A folder as ImageNet's: two classes, 6 images to train on and 4 to test on."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 3), ("val", 2)):
        for name in ("n01", "n02"):
            (tmp_path / "images" / part / name).mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, 256, (70, 60 + index, 3), np.uint8)
                Image.fromarray(pixels).save(tmp_path / "images" / part / name / f"{index}.JPEG")
    return tmp_path / "images"


@pytest.mark.slow
def test_a_folder_of_pictures(pictures, lth, refused, tmp_path, monkeypatch):
    words = ["train", "--default_hparams=imagenet_resnet_18_4", "--batch_size=4", "--training_steps=2ep"]
    words += ["--milestone_steps=none", "--gamma=none", "--warmup_steps=none", f"--path_to_data={pictures}"]
    whole, stopped = f"--root={tmp_path / 'whole'}", f"--root={tmp_path / 'stopped'}"
    assert lth(*words, whole).returncode == 0
    (main,) = tmp_path.glob("whole/train_*/replicate_1/main")
    assert [step for step, _ in read_log(main).get("test_accuracy")] == [0, 2, 4]

    def stop(self, progress):
        if progress.step == 2:  # the end of an epoch, whose checkpoint is written
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("tfprune.cli.progress.ProgressBar.progress", stop)
        assert lth(*words, stopped).returncode == 130
    assert lth(*words, stopped).returncode == 0
    (again,) = tmp_path.glob("stopped/train_*/replicate_1/main")
    weights, expected = read_weights(again, "ep2_it0"), read_weights(main, "ep2_it0")
    assert all(np.array_equal(weights[path], expected[path]) for path in expected)
    assert (again / "logger").read_bytes() == (main / "logger").read_bytes()

    damaged = pictures / "train" / "n02" / "1.JPEG"
    damaged.write_bytes(damaged.read_bytes()[:100])
    refused(lth(*words, f"--root={tmp_path / 'damaged'}"), f"cannot read {damaged}: ")
