"""Killed without warning again and again, a run ends with the files of one that was left in peace."""

import pytest
from faults import kill_when_new, killed_until_done

INPUT = """
[IO]
save_dir = {folder}
[Data]
dataset = digits
[Network]
arch = f{width}:f24:x
steps = {steps}
batch_size = 60
val_size = 200
minimizer = Adam
learning_rate = 0.01
validate_step = {part}
[IMP]
prune = T:T:F
prune_ratio = 0.4
weights_step = {part}
prune_step = {late}
max_iterations = 3
[Run]
checkpoint_step = {part}
random_baseline = yes
"""


@pytest.fixture
def imp(command, tmp_path):
    """`imp(name)`: the run in the folder of that name to its end, in this process; gives what it prints."""

    def run(name):
        result = command("imp", tmp_path / f"{name}.ini")
        assert result.returncode == 0, result.stderr
        return result.stdout

    return run


def _inputs(place, **numbers):
    for name in ("whole", "killed"):
        (place / f"{name}.ini").write_text(INPUT.format(folder=place / name, **numbers))
    return place / "whole", place / "killed"


def _assert_same(whole, killed):
    names = {path.name for path in whole.iterdir()}
    assert names == {path.name for path in killed.iterdir()}
    assert len([name for name in names if "itdata" in name]) == 3
    same = [name for name in names if name.endswith((".pkl", ".dat", ".csv")) and name != "IMP_summary.csv"]
    assert len(same) == 8
    for name in same:
        assert (whole / name).read_bytes() == (killed / name).read_bytes(), name
    # The summary differs in the milliseconds per step alone, its last column.
    summaries = [(folder / "IMP_summary.csv").read_text().splitlines() for folder in (whole, killed)]
    assert summaries[0][0].endswith(",ms_per_step")
    without_time = [[line.rsplit(",", 1)[0] for line in lines] for lines in summaries]
    assert without_time[0] == without_time[1]


@pytest.mark.slow
def test_killed_at_one_write_after_the_other(tmp_path, imp):
    whole, killed = _inputs(tmp_path, width=9, steps=30, part=10, late=25)
    imp("whole")
    assert killed_until_done(lambda: imp("killed"), killed, step=4) > 5
    _assert_same(whole, killed)
    assert "is finished; nothing to do" in imp("killed")


@pytest.mark.slow
def test_a_killed_process_ends_with_the_same_files(tmp_path, imp):
    whole, killed = _inputs(tmp_path, width=48, steps=900, part=50, late=700)
    imp("whole")
    assert kill_when_new(["tfprune.imp", str(tmp_path / "killed.ini")], killed, "IMP_itdata_1.pkl")
    imp("killed")
    _assert_same(whole, killed)
