"""Names of runs: published where they were unambiguous, of their own elsewhere, and never of two different runs."""

import json
import random
from dataclasses import replace

import numpy as np
import pytest

from tfprune.errors import InputError
from tfprune.experiments.one_shot.files import FINAL, dense_file, run_prefix
from tfprune.experiments.one_shot.names import NAME
from tfprune.experiments.one_shot.settings import (
    DENSE,
    GRADUAL,
    OneShotSettings,
    changed_settings,
)


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        ({}, "0_10"),
        ({"target_sparsity": 0.95, "sample": "7"}, "7_20"),
        ({"com_exp": 1.0}, "0_10"),
        ({"com_exp": 5.0}, "0_100000"),
        ({"target_sparsity": 0.99999}, "0_100000"),
        ({"target_sparsity": 1 - 1e-7}, "0_10000000"),  # 1 / (1 - 0.9999999) is 10000000.00533867
        ({"data": "mnist", "iterations": 96_000}, "0_10"),
        ({"out_path": "x", "path_to_data": "y", "checkpoint_step": 7, "train": False}, "0_10"),
        ({"pruner": DENSE, "com_exp": 2.0, "quota_rule": "published", "snip_loss": "published"}, "0_1"),
        ({"target_sparsity": 0.1}, "0_1.11111"),
        ({"target_sparsity": 0.25}, "0_1.33333"),
        ({"target_sparsity": 0.3}, "0_1.42857"),
        ({"com_exp": 0.2}, "0_1.58489"),
        ({"com_exp": 1.5}, "0_31.6228"),
        ({"com_exp": 6.2}, "0_1.58489e+06"),
        # What six digits would not tell from another compression has twelve.
        ({"target_sparsity": 0.2500001}, "0_1.33333351111"),
        ({"target_sparsity": 0.36904}, "0_1.58488652213"),
        ({"com_exp": 0.30103}, "0_2.00000001997"),
        ({"com_exp": 5.2}, "0_158489.319246"),
        ({"data": "digits", "iterations": 60}, "0_10_c98adb7e"),
        ({"data": "digits", "iterations": 60, "pruner": "synflow", "target_sparsity": 0.25}, "0_1.33333_c98adb7e"),
        ({"data": "digits", "iterations": 60, "pruner": DENSE, "snip_loss": "published"}, "0_1_c98adb7e"),
        ({"min_weights": 1}, "0_10_8f51c992"),
    ],
)
def test_names(flags, name):
    spec = OneShotSettings(**flags)
    assert spec.prefix == name
    match = NAME.fullmatch(name)
    assert match["sample"] == spec.sample
    assert float(match["compression"]) == pytest.approx(spec.compression, rel=1e-5)


_VALUES = {
    "architecture": ("lenet300100", "lenet5", "vgg16"),
    "pruner": ("snip", "synflow", "random/erk", "lamp", DENSE, GRADUAL),
    "sample": ("0", "1", "a-b", "1e-3"),
    "pruning_type": ("direct", "effective"),
    "target_sparsity": (0.0, 0.1, 0.25, 0.2500001, 0.3, 0.36904, 0.5, 0.9, 0.90000001, 0.99, 0.99999, 1 - 1e-7, 0.75),
    "com_exp": (None, None, *(round(0.2 * step, 1) for step in range(36)), 0.30103, 0.12493874, 5.0 + 1e-9),
    "data": (None, None, "mnist", "cifar10", "digits"),
    "iterations": (None, None, 60, 96_000, 120_000),
    "snip_loss": ("standard", "standard", "published"),
    "eval_batchnorm": ("moving", "moving", "batch"),
    "quota_rule": ("valid", "valid", "published"),
    "min_weights": (0, 0, 1, 2),
    "begin_step": (None, None, 0, 5),
    "end_step": (None, None, 30, 25),
    "frequency": (None, None, 5, 1),
    "checkpoint_step": (1000, 10),
    "train": (True, False),
}


def _some(rng):
    """A random spec; most keep most defaults, so that equal ones come up."""
    while True:
        few = rng.sample(sorted(_VALUES), rng.choice((1, 2, 3, 5, len(_VALUES))))
        try:
            return OneShotSettings(**{name: rng.choice(_VALUES[name]) for name in few})
        except InputError:
            continue


def test_two_different_runs_never_share_a_name_and_equal_ones_always_do():
    rng = random.Random(0)
    by_name, equal = {}, 0
    for _ in range(8_000):
        spec = _some(rng)
        assert NAME.fullmatch(spec.prefix)
        other = by_name.setdefault((spec.folder, spec.prefix), spec)
        assert spec.differing(other.record()) == []
        equal += other is not spec
    assert len(by_name) > 1000 and equal > 4_000
    by_record = {}
    for (folder, prefix), spec in by_name.items():
        record = spec.record()
        key = folder, record["sample"], record["compression"], json.dumps(changed_settings(record), sort_keys=True)
        assert by_record.setdefault(key, prefix) == prefix
    assert len(by_record) == len(by_name)


def test_compressions_are_told_apart():
    rng = random.Random(1)
    names = {}
    for _ in range(8_000):
        if rng.random() < 0.5:
            spec = OneShotSettings(target_sparsity=min(round(rng.random(), rng.randint(1, 8)), 1 - 1e-8))
        else:
            spec = OneShotSettings(com_exp=round(rng.uniform(0, 8), rng.randint(1, 8)))
        compression = spec.record()["compression"]
        assert names.setdefault(spec.prefix, compression) == compression
    assert len(names) > 4_000


def _record(spec, prefix, finished=True, **changed):
    spec.folder.mkdir(parents=True, exist_ok=True)
    path = spec.folder / f"{prefix}_run.json"
    path.write_text(json.dumps({"input": spec.record() | changed, "finished": finished}))


def test_a_run_of_an_earlier_version_goes_on_where_it_lies(tmp_path):
    spec = OneShotSettings(data="digits", iterations=60, com_exp=1.5, out_path=str(tmp_path))
    assert spec.prefix.startswith("0_31.6228_") and run_prefix(spec) == spec.prefix
    _record(spec, "0_32")
    assert run_prefix(spec) == "0_32"
    # Other settings: somebody else's.
    assert run_prefix(replace(spec, iterations=50)) == replace(spec, iterations=50).prefix
    assert run_prefix(replace(spec, com_exp=1.499)) == replace(spec, com_exp=1.499).prefix
    # One that has the new name is the newer one.
    _record(spec, spec.prefix)
    assert run_prefix(spec) == spec.prefix


def test_compressions_that_earlier_versions_wrote_down_with_the_rounding_of_one_minus_the_sparsity(tmp_path):
    spec = OneShotSettings(target_sparsity=1 - 1e-7, out_path=str(tmp_path))
    recorded = spec.record() | {"compression": 10000000.0053}
    assert spec.differing(recorded) == []
    other = replace(spec, target_sparsity=0.99998)
    assert other.differing(recorded) == ["--compression: 10000000.0053 -> 50000.0"]


def test_a_damaged_record_under_the_rounded_name_is_named(tmp_path):
    spec = OneShotSettings(com_exp=1.5, out_path=str(tmp_path))
    spec.folder.mkdir(parents=True)
    (spec.folder / "0_32_run.json").write_text("{")
    with pytest.raises(InputError, match=r"0_32_run\.json.*delete it to start anew"):
        run_prefix(spec)


def test_dense_runs_are_found_by_their_own_settings(tmp_path):
    spec = OneShotSettings(pruner="lamp", com_exp=2.0, iterations=60, data="digits", out_path=str(tmp_path))
    dense = spec.dense
    assert dense.prefix == "0_1_c98adb7e" and dense.folder == tmp_path / "lenet300100" / "dense"
    # Weights of another training are not these, whoever left them under the published name.
    dense.folder.mkdir(parents=True)
    for name in ("0_1_final_weights.npy", "0_1_final_weights.npz"):
        np.savez(dense.folder / name, a=np.zeros(1))
    assert dense_file(spec.dense, FINAL) is None
    _record(dense, "0_1", finished=False)
    assert dense_file(spec.dense, FINAL) == dense.folder / "0_1_final_weights.npz"
    plain = replace(spec, iterations=None, data=None)
    assert dense_file(plain.dense, FINAL) is None  # the record is of another training
    (dense.folder / "0_1_run.json").unlink()
    assert dense_file(plain.dense, FINAL) == dense.folder / "0_1_final_weights.npz"
    np.savez(dense.folder / f"{dense.prefix}_final_weights.npz", a=np.zeros(1))
    assert dense_file(spec.dense, FINAL) == dense.folder / f"{dense.prefix}_final_weights.npz"
