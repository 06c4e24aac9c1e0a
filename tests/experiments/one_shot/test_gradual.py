"""Small runs of gradual pruning on digits, in this process."""

import numpy as np
import pytest

from tfprune.experiments.one_shot.folder import OneShotFolder, read_array
from tfprune.experiments.one_shot.recipe import OneShot
from tfprune.experiments.one_shot.settings import GRADUAL, OneShotSpec, spec_record
from tfprune.layers.masks import load_masks

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


class Watcher:
    """A `Report` that interrupts the run behind a step."""

    def __init__(self, last=None):
        self.last, self.steps = last, []

    def pruned(self, spec, found):
        pass

    def progress(self, progress):
        self.steps.append(progress.step)
        if self.last is not None and progress.step >= self.last:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def digits():
    return OneShot(OneShotSpec(data="digits"))


@pytest.fixture
def run(digits, tmp_path):
    def start(out="out", last=None, **flags):
        spec = OneShotSpec(**{"data": "digits", "pruner": GRADUAL, "out_path": str(tmp_path / out), **flags})
        folder = OneShotFolder(spec.folder, spec.prefix, spec.dense_folder)
        folder.claim(spec_record(spec), lambda _: [])
        watcher = Watcher(last)
        try:
            return folder, watcher, digits.run(spec, folder, watcher)
        finally:
            folder.release()

    return start


def test_files_of_a_run(run):
    folder, _, (found, _) = run(iterations=1300, com_exp=1.5)
    assert folder.folder.parts[-3:] == ("tfmot", "polynomial", "direct")
    masks = load_masks(folder.path("masks.npz"))
    # Each layer for itself: 19200, 30000 and 1000 weights over 31.6.
    assert list(masks.counts.values()) == [607, 949, 32]
    direct = read_array(folder.path("sparsities_direct.npy"))
    assert direct == pytest.approx(list(masks.sparsities.values()))
    effective = read_array(folder.path("sparsities_effective_custom.npy"))
    assert (effective >= direct).all() and found.weights.kept == masks.kept
    accuracies, losses = read_array(folder.path("accuracies.npy")), read_array(folder.path("losses.npy"))
    assert len(accuracies) == len(losses) == 3  # before step 0, before step 1000, and after the last one
    assert accuracies[0] < 0.3 and accuracies[2] > 0.85
    assert "[pruner: tfmot/polynomial]" in folder.path("info.log").read_text()
    assert not folder.path("checkpoint.npz").exists()


def test_without_pruning_it_is_the_dense_training(run):
    """The same weights, batches, learning rates and decay: of the other pruners differs only what is pruned."""
    _, _, (_, gradual) = run(iterations=40, target_sparsity=0.0)
    _, _, (_, dense) = run(iterations=40, pruner="dense")
    assert gradual.accuracies[0] == dense.accuracies[0]
    np.testing.assert_allclose(gradual.losses, dense.losses, rtol=1e-3)
    assert gradual.losses[1] < gradual.losses[0] / 2


def test_an_interrupted_run_ends_with_the_same_files(run):
    flags = {"iterations": 260, "checkpoint_step": 25, "com_exp": 1.5}
    whole, *_ = run("whole", **flags)
    # In the middle of pruning, where masks and momentum of pruned weights count, and behind it.
    for last in (60, 200):
        with pytest.raises(KeyboardInterrupt):
            run("stopped", last, **flags)
    stopped, watcher, _ = run("stopped", **flags)
    assert watcher.steps[0] > 175
    names = {path.name for path in whole.folder.iterdir()}
    assert names == {path.name for path in stopped.folder.iterdir()} and "0_32_masks.npz" in names
    assert [n for n in names if (whole.folder / n).read_bytes() != (stopped.folder / n).read_bytes()] == []
