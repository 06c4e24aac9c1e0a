"""Small runs of gradual pruning on digits, in this process."""

import numpy as np
import pytest

from tfprune.experiments.one_shot.files import read_array
from tfprune.experiments.one_shot.settings import GRADUAL
from tfprune.layers.masks import load_masks

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def test_files_of_a_run(run):
    _, folder, found, *_ = run(pruner=GRADUAL, iterations=1300, com_exp=1.5)
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


def test_without_pruning_it_is_the_dense_training(run):
    """The same weights, batches, learning rates and decay: of the other pruners differs only what is pruned."""
    gradual, dense = (
        run(iterations=40, **flags)[3].log
        for flags in ({"pruner": GRADUAL, "target_sparsity": 0.0}, {"pruner": "dense"})
    )
    assert gradual.values("test_accuracy")[0] == dense.values("test_accuracy")[0]
    losses = gradual.values("test_objective")
    np.testing.assert_allclose(losses, dense.values("test_objective"), rtol=1e-3)
    assert losses[1] < losses[0] / 2


# In the middle of pruning, where masks and momentum of pruned weights count, behind it, and at the very end.
@pytest.mark.slow_beyond(1)
@pytest.mark.parametrize("moments", [(60,), (60, 200, 260)], ids=["once", "often"])
def test_an_interrupted_run_ends_with_the_same_files(run, watcher, moments):
    flags = {"pruner": GRADUAL, "iterations": 260, "checkpoint_step": 25, "com_exp": 1.5}
    _, whole, *_ = run("whole", **flags)
    for watcher.last in moments:
        watcher.steps.clear()
        with pytest.raises(KeyboardInterrupt):
            run("stopped", **flags)
    watcher.last = None
    watcher.steps.clear()
    settings, stopped, *_ = run("stopped", **flags)
    # Goes on behind the last checkpoint; once all steps were taken, the masks are those behind the last one.
    assert (watcher.steps == []) if moments[-1] == 260 else (watcher.steps[0] > 50)

    def files(folder):
        return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.endswith("checkpoint.npz")}

    assert files(whole.folder) == files(stopped.folder) and f"{settings.prefix}_masks.npz" in files(whole.folder)
