"""Runs of different settings in one folder: read apart, never taken together."""

import json

import numpy as np
import pandas as pd
import pytest

from tfprune.errors import InputError
from tfprune.experiments.one_shot import visualization
from tfprune.experiments.one_shot.results import find_runs, name_of, read_dense_accuracies, read_run, run_of
from tfprune.experiments.one_shot.settings import OneShotSettings
from tfprune.experiments.one_shot.visualization import FigureSettings, draw

_COUNTS = np.array([235_200, 30_000, 1_000])


def _files(spec, accuracy, prefix=None, record=True, counts=_COUNTS):
    """The files of a finished run."""
    folder = spec.folder
    folder.mkdir(parents=True, exist_ok=True)
    start = f"{prefix or spec.prefix}_"
    for name in ("sparsities_direct", "sparsities_effective_synflow", "sparsities_effective_custom"):
        np.save(folder / f"{start}{name}.npy", 1 - np.maximum(counts / spec.compression, 1).round() / counts)
    np.save(folder / f"{start}accuracies.npy", [0.1, accuracy])
    if record:
        (folder / f"{start}run.json").write_text(json.dumps({"input": spec.record(), "finished": True}))
    spec.dense.folder.mkdir(exist_ok=True)
    np.save(spec.dense.folder / "counts.npy", _COUNTS)


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """`drawn(*pruners, **changed)`: tables, dense accuracies and title that the figure is given."""
    given = []

    def keep(tables, dense, title):
        given.append((tables, dense, title))
        return pd.DataFrame()

    monkeypatch.setattr(visualization, "draw_accuracies", keep)
    monkeypatch.setattr(visualization, "save_png", lambda figure, path: path)

    def run(*pruners, samples=1, variants=()):
        about = {"num_samples": samples, "variant": tuple(variants), "pruning_type": "direct"}
        draw(FigureSettings(out_path=str(tmp_path), pruners_to_display=pruners, **about))
        return given.pop()

    return run


@pytest.fixture
def spec(tmp_path):
    return lambda **flags: OneShotSettings(**{"out_path": str(tmp_path), **flags})


def test_published_settings_are_drawn_where_there_are_any(drawn, spec):
    _files(spec(), 0.9)
    _files(spec(iterations=60), 0.5)
    _files(spec(pruner="dense"), 0.95)
    _files(spec(pruner="dense", iterations=60), 0.6)
    tables, dense, title = drawn("snip")
    assert tables["snip"]["accuracy"].tolist() == [0.9] and tables["snip"]["target"].tolist() == [10]
    assert dense.tolist() == [0.95] and title == "LeNet-300-100"


def test_the_only_variant_is_drawn_with_its_own_dense_runs(drawn, spec):
    short = spec(iterations=60, snip_loss="published")
    _files(short, 0.5)
    _files(spec(pruner="dense"), 0.95)
    _files(spec(pruner="dense", iterations=60), 0.6)
    tables, dense, title = drawn("snip")
    assert tables["snip"]["accuracy"].tolist() == [0.5] and dense.tolist() == [0.6]
    assert title == f"LeNet-300-100, {short.prefix[-8:]} (--iterations=60 --snip_loss=published)"


def test_several_variants_are_refused_until_one_is_chosen(drawn, spec, tmp_path):
    specs = [spec(iterations=60), spec(iterations=70, sample="1"), spec(iterations=70)]
    for each, accuracy in zip(specs, (0.5, 0.6, 0.7), strict=True):
        _files(each, accuracy)
    one, other, _ = (each.prefix[-8:] for each in specs)
    with pytest.raises(InputError) as refused:
        drawn("snip", samples=2)
    _, listed = str(refused.value).split("snip holds runs with different settings, choose with --variant: ")
    assert sorted(listed.split("; ")) == sorted([f"{one} (--iterations=60)", f"{other} (--iterations=70)"])
    tables, *_ = drawn("snip", samples=2, variants=[other])
    assert sorted(tables["snip"]["accuracy"]) == [0.6, 0.7]
    # Sample 1 alone is no choice to make.
    with pytest.warns(UserWarning, match="no samples 1 of snip"):
        tables, *_ = drawn("snip", samples=2, variants=[one])
    assert tables["snip"]["accuracy"].tolist() == [0.5]
    with pytest.raises(InputError, match=f"--variant must be among .*{one} .* Received: 'default'"):
        drawn("snip", variants=["default"])
    _files(spec(), 0.9)
    assert drawn("snip", variants=["default"])[0]["snip"]["accuracy"].tolist() == [0.9]
    with pytest.raises(InputError, match=rf"choose with --variant: {one} \(--iterations=60\); default$"):
        drawn("snip", variants=["default", one])


def test_pruners_of_different_settings_are_told(drawn, spec):
    _files(spec(), 0.9)
    _files(spec(pruner="synflow", iterations=60), 0.5)
    _files(spec(pruner="lamp", min_weights=1), 0.8)
    _files(spec(pruner="dense"), 0.95)
    with pytest.warns(UserWarning) as told:
        tables, dense, title = drawn("snip", "synflow")
    variant = spec(iterations=60).prefix[-8:]
    line = f"the pruners' settings differ: snip default; synflow {variant} (--iterations=60)"
    assert [str(each.message).partition(": ")[2] for each in told] == [line]
    assert set(tables) == {"snip", "synflow"} and title == "LeNet-300-100" and not len(dense)
    # All were trained alike: the dense runs are theirs.
    with pytest.warns(UserWarning, match="the pruners' settings differ: snip default; lamp"):
        assert drawn("snip", "lamp")[1].tolist() == [0.95]


def test_runs_of_an_earlier_version_are_what_their_records_say(drawn, spec):
    """Under a rounded name, settings and compression are those of the record."""
    quarter, third = spec(target_sparsity=0.25), spec(target_sparsity=0.3, sample="1")
    _files(quarter, 0.9, prefix="0_1")
    _files(third, 0.8, prefix="1_1")
    _files(spec(iterations=60, com_exp=2.0), 0.1, prefix="0_100")
    _files(spec(iterations=60, pruner="dense"), 0.2, prefix="0_1")
    _files(spec(pruner="dense", sample="1"), 0.95, prefix="1_1")
    tables, dense, _ = drawn("snip", samples=2)
    assert tables["snip"]["target"].tolist() == [1.33333333333, 1.42857142857]
    assert tables["snip"]["direct"].tolist() == pytest.approx([4 / 3, 10 / 7], rel=1e-4)
    assert dense.tolist() == [0.95]
    variant = spec(iterations=60).prefix[-8:]
    tables, dense, _ = drawn("snip", variants=[variant])
    assert tables["snip"]["target"].tolist() == [100] and dense.tolist() == [0.2]
    assert run_of(quarter).target == 1.33333333333 and run_of(quarter).accuracies[-1] == 0.9


def test_names_alone_say_what_the_published_code_left(spec, tmp_path):
    _files(spec(com_exp=1.5), 0.9, prefix="0_32", record=False)
    _files(spec(com_exp=1.5, data="digits"), 0.9, record=False)
    (tmp_path / "lenet300100/snip/direct/notes_sparsities_direct.npy").write_bytes(b"of somebody else")
    found = find_runs(tmp_path / "lenet300100")["snip", "direct"]
    assert [(name.target, name.changed) for name in found] == [(31.6228, None), (32, {})]
    assert found[0].variant == spec(data="digits").prefix[-8:] and found[1].variant == ""
    # Without its record nobody knows how the first was trained.
    assert read_dense_accuracies(tmp_path / "lenet300100/dense", ["0"], {}).tolist() == []


def test_other_data_have_counts_of_their_own(spec):
    digits = np.array([19_200, 30_000, 1_000])
    one = spec(data="digits")
    _files(one, 0.9, counts=digits)
    with pytest.raises(InputError, match="counts"):
        np.save(one.folder / f"{one.prefix}_counts.npy", digits[:2])
        run_of(one)
    np.save(one.folder / f"{one.prefix}_counts.npy", digits)
    _files(spec(), 0.9)
    assert run_of(one).counts.tolist() == digits.tolist()
    assert run_of(spec()).counts.tolist() == _COUNTS.tolist()
    assert run_of(one).direct_compression == pytest.approx(10)


@pytest.mark.parametrize(
    "record",
    [{}, {"compression": "x"}, {"architecture": "alexnet"}, {"iterations": "many"}, {"iterations": [1]}, {"pruner": 3}],
)
def test_a_record_of_something_else_is_named(record, spec):
    one = spec()
    _files(one, 0.9)
    whole = one.record()
    for content in (record, {**whole, **record} if record else [whole]):
        path = one.folder / f"{one.prefix}_run.json"
        path.write_text(json.dumps({"input": content, "finished": True}))
        with pytest.raises(InputError, match=r"0_10_run\.json: not the record"):
            name_of(one.folder, one.prefix)


def test_settings_that_only_a_later_version_has_are_a_variant(spec):
    one = spec()
    _files(one, 0.9)
    path = one.folder / f"{one.prefix}_run.json"
    path.write_text(json.dumps({"input": one.record() | {"dropout": 0.5}, "finished": True}))
    name = name_of(one.folder, one.prefix)
    assert name.changed == {"dropout": 0.5} and len(name.variant) == 8
    assert read_run(name, one.dense.folder).target == 10
