"""The flags of one-shot pruning as a checked value."""

import pytest

from tfprune.errors import InputError
from tfprune.experiments.one_shot.settings import (
    DENSE,
    GRADUAL,
    PRUNERS,
    PUBLISHED,
    OneShotSettings,
)


def test_published_settings():
    assert len(PRUNERS) == len(set(PRUNERS)) == 17
    lenet = PUBLISHED["lenet300100"]
    assert (lenet.data, lenet.learning_rate, lenet.batch_size, lenet.iterations) == ("mnist", 0.1, 100, 96_000)
    assert (lenet.weight_decay, lenet.drops, lenet.snip_batch_size) == (5e-4, (25_000, 50_000, 75_000, 100_000), 100)
    resnet = PUBLISHED["resnet18"]
    assert (resnet.data, resnet.learning_rate, resnet.snip_batch_size) == ("tinyimagenet", 0.2, 2560)
    assert {settings.momentum for settings in PUBLISHED.values()} == {0.9}


def test_pruners_are_registered():
    from tfprune.models.registry import ARCHITECTURES
    from tfprune.pruning.specs import PRUNERS as registered

    assert set(PRUNERS) - {DENSE, GRADUAL} <= set(registered)
    assert set(PUBLISHED) == set(ARCHITECTURES)


def test_shortened_run_scales_the_drops():
    assert OneShotSettings().drops == [25_000, 50_000, 75_000, 100_000]
    assert OneShotSettings(iterations=960).drops == [250, 500, 750, 1000]


def test_names_of_files():
    spec = OneShotSettings(pruner="random/igq", pruning_type="effective", com_exp=1.5, sample="7", out_path="out")
    assert str(spec.folder) == "out/lenet300100/random/igq/effective"
    assert spec.prefix == "7_31.6228"
    assert spec.sparsity == pytest.approx(1 - 10**-1.5)
    dense = OneShotSettings(pruner="dense", com_exp=2.0, out_path="out")
    assert (str(dense.folder), dense.prefix, dense.sparsity) == ("out/lenet300100/dense", "0_1", 0)
    assert OneShotSettings(target_sparsity=0.95).prefix == "0_20"


def test_seed():
    assert [OneShotSettings(sample=sample).seed for sample in ("0", "12")] == [0, 12]
    letters = OneShotSettings(sample="a").seed
    assert letters == OneShotSettings(sample="a").seed != OneShotSettings(sample="b").seed


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"pruner": "snipp"}, "--pruner must be one of dense, lamp, snip, snip/iterative, synflow, random/uniform"),
        ({"pruner": "synflw"}, "Received: 'synflw'; did you mean 'synflow'"),
        ({"target_sparsity": 90.0}, r"Received: 90.0; did you mean 0\.9\?"),
        ({"min_weights": -1}, "--min_weights must be a whole number at least 0. Received: -1"),
        ({"min_weights": 1, "pruner": DENSE}, "--min_weights is not for --pruner=dense"),
        ({"min_weights": 1, "pruner": GRADUAL}, "--min_weights is not for --pruner=tfmot/polynomial"),
        ({"architecture": "alexnet"}, "--architecture must be one of lenet300100, lenet5, vgg16, vgg19, resnet18"),
        ({"pruning_type": "both"}, "--pruning_type must be one of direct, effective"),
        ({"target_sparsity": 1.0}, r"--target_sparsity must be a number in \[0, 1\). Received: 1.0"),
        ({"target_sparsity": float("nan")}, "--target_sparsity"),
        ({"com_exp": -1.0}, "--com_exp"),
        ({"iterations": 0}, r"--iterations must be a whole number in \[1, .* Received: 0"),
        ({"sample": "a_b"}, "--sample"),
        ({"sample": "../x"}, "--sample"),
        ({"pruner": "random/uniform_plus"}, "lenet300100 has none"),
        ({"pruner": GRADUAL, "pruning_type": "effective"}, "--pruning_type must be direct. Received: 'effective'"),
        ({"pruner": GRADUAL, "train": False}, "prunes while it trains: --train must be true"),
        (
            {"pruner": GRADUAL, "end_step": 96_001},
            "end_step must be at most .* 96000. Received: 96001",
        ),
        ({"pruner": GRADUAL, "begin_step": -1}, "begin_step must be at least 0"),
        ({"pruner": "snip", "frequency": 10}, "--frequency is for --pruner=tfmot/polynomial alone. Received: .*snip"),
    ],
)
def test_refusals(flags, told):
    with pytest.raises(InputError, match=told):
        OneShotSettings(**flags)


def test_differences_are_told_by_flag():
    spec = OneShotSettings(iterations=10)
    assert spec.differing(spec.record()) == []
    assert spec.differing(OneShotSettings(iterations=20).record()) == ["--iterations: 20 -> 10"]
    assert "min_weights" not in spec.record()  # runs from before there were any go on
    with_one = OneShotSettings(iterations=10, min_weights=1)
    assert with_one.differing(spec.record()) == ["--min_weights: 0 -> 1"]
    assert spec.differing(with_one.record()) == ["--min_weights: 1 -> 0"]
    # A compression given as a sparsity or as an exponent is the same run.
    assert OneShotSettings(com_exp=1.0).differing(OneShotSettings(target_sparsity=0.9).record()) == []
    # Where it is stored, and how often it is checkpointed, changes no result.
    assert OneShotSettings(out_path="a", checkpoint_step=5).record() == OneShotSettings().record()


def test_command_of_the_dense_run():
    spec = OneShotSettings(
        pruner="lamp", com_exp=3.0, pruning_type="effective", sample="2", iterations=50, data="digits"
    )
    assert spec.dense.command() == ("python -m tfprune.main --pruner=dense --sample=2 --data=digits --iterations=50")


def test_only_gradual_pruning_has_a_schedule():
    spec = OneShotSettings(pruner=GRADUAL, iterations=1000)
    assert (spec.schedule.begin_step, spec.schedule.end_step, spec.schedule.frequency) == (0, 500, 50)
    assert spec.schedule.final == pytest.approx(0.9)
    # Written down as it is, so that a default that is given is the same run.
    assert OneShotSettings(pruner=GRADUAL, iterations=1000, end_step=500).differing(spec.record()) == []
    now = OneShotSettings(pruner=GRADUAL, iterations=1000, end_step=700)
    assert now.differing(spec.record()) == ["--end_step: 500 -> 700", "--frequency: 50 -> 70"]
    assert OneShotSettings().schedule is None and not {"end_step", "frequency"} & set(OneShotSettings().record())
