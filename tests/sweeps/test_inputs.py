"""The sweep files that come with the package: each can be carried out, and asks for what it says."""

import re
from pathlib import Path

import pytest

import tfprune
from tfprune.errors import InputError
from tfprune.sweeps.engine import Job
from tfprune.sweeps.plan import make_plan
from tfprune.sweeps.sweep_file import SweepFile

ROOT = Path(__file__).parents[2]
COUNTS = {  # runs of the file, and those that they need besides
    "effective_sparsity": (4380, 15),
    "effective_sparsity-digits": (36, 2),
    "energy": (150, 0),
    "energy-digits": (8, 0),
    "filters": (177, 3),
    "filters-digits": (4, 1),
    "imp": (4, 0),
    "imp-digits": (4, 0),
    "lottery": (36, 0),
    "lottery-digits": (6, 0),
    "oneshot": (1260, 9),
    "oneshot-digits": (24, 2),
}
SLOW = {"effective_sparsity", "oneshot"}  # thousands of settings
FILES = sorted((ROOT / "inputs" / "sweeps").glob("*.toml"))


def test_every_file_is_known():
    assert {path.stem for path in FILES} == set(COUNTS)
    assert {f"{name}-digits" for name in COUNTS if "-" not in name} == {name for name in COUNTS if "-" in name}


@pytest.mark.parametrize(
    "path", [pytest.param(path, id=path.stem, marks=[pytest.mark.slow] * (path.stem in SLOW)) for path in FILES]
)
def test_all_settings_are_allowed(path, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)  # words of imp name input files
    plan = make_plan(SweepFile(path).runs(), Job(0, "", root=str(tmp_path)))
    listed = sum(run.listed for run in plan.runs)
    assert (listed, len(plan.runs) - listed) == COUNTS[path.stem]
    if path.stem.endswith("-digits"):  # their data are there
        plan.look()
        plan.check()


@pytest.mark.parametrize("path", [path for path in FILES if path.stem in SLOW], ids=lambda path: path.stem)
def test_a_sample_of_the_large_ones(path, tmp_path):
    """Every 29th run, which takes every value of every list in."""
    wanted = list(SweepFile(path).runs())
    assert len(wanted) == COUNTS[path.stem][0]
    some = wanted[::29]
    for name in ("pruner", "sample", "com_exp", "strategy", "default_hparams"):
        assert {str(each.settings.get(name)) for each in some} == {str(each.settings.get(name)) for each in wanted}
    assert len(make_plan(some, Job(0, "", root=str(tmp_path))).runs) > len(some)


def test_what_the_page_lists_is_what_its_file_gives(tmp_path, monkeypatch):
    page = (ROOT / "docs" / "sweeps.md").read_text()
    (text,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (told,) = re.findall(r"```\n(run  state .*?)```", page, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    Path("study.toml").write_text(text)
    lines = tfprune.run_sweep("study.toml", dry_run=True).text.splitlines()
    assert "..." in told and {*told.splitlines()} - {"..."} <= {*lines}


def test_what_keeps_a_sweep_from_starting_is_told_by_a_dry_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("s.toml").write_text('entry_point = "main"\n[settings]\ndata = "digits"\npruner = "no_module:mine"\n')
    sweep = tfprune.run_sweep("s.toml", dry_run=True)
    told = "the run: --pruner=no_module:mine: there is no module no_module"
    assert sweep.left == 1 and sweep.text.splitlines()[-1].startswith(f"it cannot be started here: {told}")
    with pytest.raises(InputError, match=told):
        tfprune.run_sweep("s.toml")


def test_branches_of_a_lottery_wait_for_the_run_that_the_file_names():
    path = ROOT / "inputs" / "sweeps" / "lottery-digits.toml"
    plan = make_plan(SweepFile(path).runs(), Job(0, "", root="/nowhere"))
    assert [run.needs for run in plan.runs] == [None, None, 0, 1, 0, 1]


def test_a_branch_needs_no_more_than_the_file_makes(tmp_path):
    path = tmp_path / "s.toml"
    text = (ROOT / "inputs" / "sweeps" / "lottery-digits.toml").read_text()
    path.write_text(text.replace("settings = {levels = 4}", "settings = {levels = 2}"))
    with pytest.raises(
        InputError, match="part=reinitialized replicate=1 needs more of a run than part=tickets replicate=1"
    ):
        make_plan(SweepFile(path).runs(), Job(0, "", root="/nowhere"))


def test_weights_that_one_shot_pruning_starts_from_are_kept(tmp_path):
    path = tmp_path / "s.toml"
    text = (ROOT / "inputs" / "sweeps" / "oneshot-digits.toml").read_text()
    path.write_text(text.replace('weight_save_steps = "20it"', 'weight_save_steps = "10it"'))
    with pytest.raises(InputError, match=r"part=rewound .*--state_step=20it: --weight_save_steps must hold it"):
        make_plan(SweepFile(path).runs(), Job(0, "", root="/nowhere"))


@pytest.mark.parametrize(("command", "key"), [("main", "save"), ("imp", "save_dir")])
def test_where_runs_write(command, key, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    words = 'words = ["inputs/main.ini"]\n' if command == "imp" else ""
    path = tmp_path / "s.toml"
    path.write_text(f'entry_point = "{command}"\n{words}[settings]\n{key} = false\n')
    with pytest.raises(InputError, match="--save must be true here" if command == "main" else "save_dir must be text"):
        make_plan(SweepFile(path).runs(), Job(0, "", root=str(tmp_path)))
