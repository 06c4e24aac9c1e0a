"""A sweep from its file to its results, in one process: what is run, what is not, and what is told."""

import errno
import json
import os
import re
from itertools import count

import pytest
from absl import flags
from faults import killed

import tfprune
from tfprune.cli import app
from tfprune.errors import InputError
from tfprune.sweeps.command import command
from tfprune.sweeps.state import OUTCOMES

SIX = "[cross]\nx = [1, 2, 3]\ny = [0.5, 1.5]\n"
ALL_SIX = {("a", x, y): x + y for x in (1, 2, 3) for y in (0.5, 1.5)}


@pytest.fixture
def told(capsys):
    """Exit code, stdout and stderr of a command line."""

    def run(*words):
        values, code = flags.FlagValues(), 0
        flags.DEFINE_bool("debug", False, "As that of every entry point.", flag_values=values)
        try:
            app.run_command([command()], "", values, [str(word) for word in words])
        except SystemExit as end:
            code = end.code
        return code, *capsys.readouterr()

    return run


def test_all_runs_are_carried_out_once(place):
    sweep = place.sweep(SIX)
    assert place.sums == ALL_SIX and place.trained == 6
    assert (sweep.done, sweep.left, sweep.failed) == (6, 0, {})
    assert len(sweep.results) == 6
    place.sweep(SIX)
    assert place.trained == 6


def test_a_shared_run_is_made_first_and_once(place):
    text = '[cross]\nx = [1, 2]\n[[part]]\nname = "a"\n[[part]]\nname = "b"\n[part.settings]\nword = "b"\nafter = "c"\n'
    sweep = place.sweep(text)
    assert place.trained == sweep.done == 5  # two of each part, and what both of the second need
    assert place.sums == {("a", 1, 1): 2, ("a", 2, 1): 3, ("c", 0, 1): 1, ("b", 1, 1): 3, ("b", 2, 1): 4}
    first, *_ = (place.out / "runs" / "trained.txt").read_text().split()
    assert (place.out / "runs" / first / "sum.txt").read_text() == "1.0"


def test_a_run_that_others_need_may_be_listed(place):
    text = '[[part]]\nsettings = {x = 5, word = "b", after = "c"}\n[[part]]\nsettings = {word = "c"}\n'
    place.sweep(text)
    assert place.trained == 2 and place.sums == {("b", 5, 1): 7, ("c", 0, 1): 1}


def test_a_failed_run_is_recorded_and_stops_no_other(place):
    text = '[cross]\nx = [1, 2, 3]\n[[part]]\n[[part]]\nsettings = {word = "b", fault = "error", x = 9}\n'
    sweep = place.sweep(text)
    assert sweep.done == 3 and place.trained == 4
    (error,) = sweep.failed.values()
    assert error == "RuntimeError: something went wrong"
    (log,) = (place.out / "logs").glob("*.log")
    assert "said before it went wrong" in log.read_text() and "Traceback" in log.read_text()
    assert place.sweep(text).failed == sweep.failed
    assert place.trained == 4  # it is not tried again unless
    place.sweep(text, retry_failed=True)
    assert place.trained == 5


def test_what_made_a_run_fail_may_be_gone_the_next_time(place):
    text = '[cross]\nword = ["b"]\n[settings]\nfault = "error"\n'
    assert place.sweep(text).failed
    sweep = place.sweep(text.replace("error", "none"), changed=True)
    assert sweep.done == 1 and not sweep.failed  # other settings are another run: nothing to retry


def test_what_needs_a_failed_run_is_not_started(place):
    text = (
        '[cross]\nx = [1, 2]\n[[part]]\nsettings = {word = "b", after = "c"}\n[[part]]\n[part.settings]\nword = "c"\n'
    )
    text += 'fault = "exit"\nx = 0\n'
    sweep = place.sweep(text)
    assert (sweep.done, sweep.left, place.trained) == (0, 0, 1)
    assert sweep.failed == {
        "part=1 x=1": "part=2 failed: SystemExit: no more",
        "part=1 x=2": "part=2 failed: SystemExit: no more",
        "part=2": "SystemExit: no more",
    }
    looked = place.sweep(text, dry_run=True)  # and the next start would leave them alone: none is left
    assert (looked.done, looked.left, looked.failed) == (0, 0, sweep.failed)
    states = [line.split()[1] for line in looked.text.splitlines()[1:-2]]
    assert states == ["failed"] * 3 and looked.text.endswith("0 done, 3 failed, 0 left\nnothing is left to do")


def test_a_run_without_results_is_no_finished_one(place):
    sweep = place.sweep('[settings]\nfault = "lies"\n')
    (error,) = sweep.failed.values()
    assert error.startswith("it ended without an error, but its files are not all there: ")


def test_files_that_are_gone_are_made_again_whatever_the_record_says(place):
    place.sweep(SIX)
    (gone, *_) = [path for path in (place.out / "runs").rglob("result.json") if "2.5" in path.read_text()]
    for path in gone.parent.iterdir():
        path.unlink()
    place.sweep(SIX)
    assert place.trained == 7 and place.sums == ALL_SIX


def test_finished_runs_need_no_record(place):
    place.sweep(SIX)
    (place.out / OUTCOMES).unlink()
    assert place.sweep(SIX).done == 6
    assert place.trained == 6


@pytest.mark.parametrize("cut", [1, 30])
def test_a_torn_last_line_costs_nothing_but_itself(place, cut):
    place.sweep(SIX)
    path = place.out / OUTCOMES
    path.write_bytes(path.read_bytes()[:-cut])
    more = f"{SIX}[[part]]\n[[part]]\nsettings = {{word = 'b'}}\n"
    place.sweep(more, changed=True)
    assert place.trained == 12
    lines = [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
    assert len(lines) == 12 if cut == 1 else 11
    assert path.read_bytes().endswith(b"\n")


@pytest.mark.parametrize(
    "line", ["[]", "{}", '{"run": 3, "error": null, "seconds": 1, "whole": true}', "\0", "[" * 9999]
)
def test_lines_that_are_none_are_left_out(place, line):
    place.sweep(SIX)
    with open(place.out / OUTCOMES, "a") as file:
        file.write(f"{line}\n")
    assert place.sweep(SIX).done == 6


def test_another_file_in_the_same_folder_is_refused_with_what_differs(place):
    place.sweep(SIX)
    more = SIX.replace("3]", "3, 4]")
    with pytest.raises(
        InputError, match=re.escape("cross.x: [1, 2, 3] -> [1, 2, 3, 4]. Give another --out, or --changed")
    ):
        place.sweep(more)
    assert place.trained == 6
    place.sweep(more, changed=True)
    assert place.trained == 8
    place.sweep(f"# the same, told otherwise\n{more}")
    assert place.trained == 8


def test_a_folder_that_is_no_sweeps_is_refused(place):
    (place.out / "runs" / "mine").mkdir(parents=True)
    with pytest.raises(InputError, match="out/runs is no sweep's"):
        place.sweep(SIX)


def test_two_sweeps_on_one_folder(place):
    from tfprune.sweeps.state import SweepFolder
    from tfprune.sweeps.sweep_file import SweepFile

    content = SweepFile(place.write(SIX)).content
    with (
        SweepFolder(place.out, content),
        pytest.raises(InputError, match="out: another process carries out a sweep there"),
    ):
        place.sweep(SIX)
    assert place.trained == 0
    place.sweep(SIX)
    assert place.trained == 6
    with SweepFolder(place.out, content):  # what is finished needs no lock: the disk may be read-only
        assert place.sweep(SIX).done == 6


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[settings]\nxx = 1\n", "no setting is called 'xx'; did you mean 'x'"),
        ("[cross]\nx = [1, -1]\n", "x=-1: --x must be a whole number at least 0. Received: -1"),
        ("[cross]\nword = ['a', 'b']\n[settings]\nx = 'many'\n", "word=a: --x must be a whole number"),
        ("[cross]\nfault = ['none', 'error']\n", "two runs would use the same folder .*: fault=none and fault=error"),
        ("[[part]]\n[[part]]\n", "two runs would use the same folder"),
        ("[settings]\nword = 'b'\nafter = 'b'\n[cross]\nx = [0, 1]\n", None),
        ("words = ['more']\n", "settings are given by name"),
    ],
)
def test_all_runs_are_checked_before_anything_starts(place, text, told):
    if told is None:
        assert place.sweep(text).done == 3
        return
    with pytest.raises(InputError, match=f"study.toml: .*{told}") as error:
        place.sweep(text)
    assert "\n" not in str(error.value) and not place.out.exists()


@pytest.mark.parametrize(
    ("study", "told"),
    [
        ("mian", "a command must be one of .* Received: 'mian'; did you mean 'main'?"),
        ("no_such_module:Study", "there is no module no_such_module"),
        ("trivial_system:FAULTS", "trivial_system:FAULTS must be a class derived from"),
        ("tfprune.cli.run:Study", "tfprune.cli.run:Study: the class lacks folder, report, train"),
        ("trivial_system:Stuty", "neither has nor registers 'Stuty'"),
    ],
)
def test_entry_points_that_are_none(place, study, told):
    with pytest.raises(InputError, match=told):
        tfprune.run_sweep(place.write(SIX, study=study), quiet=True)


def test_a_million_runs_are_asked_for_twice(place):
    numbers = ", ".join(map(str, range(1000)))
    with pytest.raises(InputError, match="asks for 1,000,000 runs before exclusions; --yes starts more than 10,000"):
        place.sweep(f"[cross]\nx = [{numbers}]\ny = [{numbers}]\n")
    assert not place.out.exists()


def test_a_full_disk_stops_the_sweep_in_one_line(place):
    text = '[cross]\nword = ["a", "b", "c"]\n[[part]]\n[[part]]\nsettings = {x = 1, fault = "full"}\n'
    with pytest.raises(InputError, match=r"No space left on device.*the same command continues it"):
        place.sweep(text)
    assert place.trained == 4  # the others were not tried
    with pytest.raises(InputError, match="No space left"):
        place.sweep(text)
    assert place.trained == 5  # nothing was recorded as failed, nothing finished repeated


def test_a_disk_that_is_full_for_the_record(place, monkeypatch):
    from tfprune.sweeps import state

    class Full:
        def __init__(self, file):
            self._file = file

        def write(self, data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def __getattr__(self, name):
            return getattr(self._file, name)

    opened = state.SweepFolder._opened
    with monkeypatch.context() as patch:
        patch.setattr(state.SweepFolder, "_opened", lambda self: Full(opened(self)))
        with pytest.raises(
            InputError, match=r"cannot write .*outcomes.jsonl: No space left on device; finished runs are"
        ):
            place.sweep(SIX)
    assert place.trained == 1
    place.sweep(SIX)
    assert place.trained == 6


def test_killed_at_any_write_it_repeats_nothing_finished(place):
    file, moments = place.write("[cross]\nx = [1, 2, 3]\n"), 0
    for moment in count(1):
        out = place.folder / f"out_{moment}"
        trained = out / "runs" / "trained.txt"

        def run(out=out):
            return tfprune.run_sweep(file, out=out, engine="inline", quiet=True)

        if not killed(run, moment, place.folder):
            break
        moments += 1
        before = trained.read_text().split() if trained.exists() else []
        finished = {path.parent.name for path in out.rglob("run.json") if '"finished": true' in path.read_text()}
        assert run().done == 3
        after = trained.read_text().split()[len(before) :]
        assert not finished & set(after) and len(before) + len(after) in (3, 4)
    assert moments > 12  # four for each run, and the sweep's own


def test_interrupted_it_continues(place, monkeypatch, told):
    import trivial_system

    usual, calls = trivial_system.TrivialStudy.train, []

    def train(self, folder, watch):
        calls.append(self)
        if len(calls) == 4:
            raise KeyboardInterrupt
        usual(self, folder, watch)

    monkeypatch.setattr(trivial_system.TrivialStudy, "train", train)
    words = [place.write(SIX), f"--out={place.out}", "--engine=inline"]
    code, _, errors = told(*words)
    assert code == 130 and errors.endswith("interrupted; the same command continues\n")
    code, out, _ = told(*words)
    assert code == 0 and "6 done, 0 failed" in out
    assert len(calls) == 7 and place.sums == ALL_SIX


def test_the_command_tells_what_came_of_it(place, told):
    text = '[cross]\nx = [1, 2]\nword = ["a", "b"]\n[settings]\nfault = "error"\n[[exclude]]\nx = 2\nword = "b"\n'
    code, out, errors = told(place.write(text), f"--out={place.out}", "--engine=inline")
    assert code == 1
    assert out.splitlines()[0] == f"{place.out}: 3 runs: 0 done, 3 failed"
    assert "failed: x=1 word=a: RuntimeError: something went wrong" in out
    assert f"results: python -m tfprune.results {place.out / 'runs'}" in out
    assert errors.splitlines()[0] == f"{place.out}: 3 runs, 0 of them done"
    quiet = told(place.write(text), f"--out={place.out}", "--engine=inline", "--quiet")
    assert quiet == (1, out, "")  # no progress, but what failed is told
    text = text.replace("error", "none")
    assert told(place.write(text), f"--out={place.out}", "--engine=inline", "--quiet", "--changed") == (0, "", "")


def test_warnings_of_studies_are_told_once(place, told):
    with pytest.warns(UserWarning, match=r"a word that is none \(2 runs\)"):
        told(place.write("[settings]\nword = '-'\n[cross]\nx = [1, 2]\n"), "--engine=inline")
    assert place.folder.joinpath("sweeps", "study", "sweep.json").exists()  # the default place


def test_a_dry_run_tells_and_does_nothing(place, told):
    text = f'{SIX}[[part]]\nname = "p"\n[[part]]\nname = "q"\n[part.settings]\nword = "b"\nafter = "c"\n'
    code, out, _ = told(place.write(text), f"--out={place.out}", "--dry_run")
    lines = out.splitlines()
    assert code == 0 and not place.out.exists()
    assert lines[0].split() == ["run", "state", "part", "x", "y", "seconds"]
    assert lines[1].split() == ["13", "-", "needed", "by", "7,", "8,", "9,", "10,", "11,", "12"]
    assert lines[2].split() == ["1", "-", "p", "1", "0.5"]
    assert lines[-3].split() == ["12", "-", "q", "3", "1.5", "after", "13"]
    assert lines[-2:] == [
        "13 runs (1 of them needed by others): 0 done, 0 failed, 13 left",
        "time left: not known before a run has finished",
    ]
    place.sweep(text)
    _, out, _ = told(place.write(text), f"--out={place.out}", "--dry_run")
    assert out.splitlines()[-2:] == [
        "13 runs (1 of them needed by others): 13 done, 0 failed, 0 left",
        "nothing is left to do",
    ]
    assert {line.split()[1] for line in out.splitlines()[1:-2]} == {"done"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give one sweep file.* Received: none"),
        (["a.toml", "b.toml"], "give one sweep file.* Received: a.toml b.toml"),
        (["missing.toml"], "cannot read missing.toml: No such file"),
        (["study.toml", "--jbos=2"], "unknown flag --jbos; the nearest is --jobs"),
        (["study.toml", "--jobs=0"], "--jobs must be a whole number in .1, 4096.. Received: 0"),
        (
            ["study.toml", "--engine=rai"],
            "--engine must be one of processes, inline, ray. Received: 'rai'; did you mean 'ray'",
        ),
        (["study.toml", "--address=auto"], "--address goes with --engine=ray. Received: --address=auto"),
        (
            ["study.toml", "--engine=inline", "--jobs=2"],
            "--jobs goes with --engine=processes. Received: --engine=inline",
        ),
        (["study.toml", "--out=study.toml"], "--out: cannot use the folder study.toml: "),
    ],
)
def test_flags_that_are_wrong(place, told, words, message):
    place.write(SIX)
    code, _, errors = told(*words)
    assert code == 2 and re.search(message, errors) and len(errors.splitlines()) == 1


def test_settings_from_python_that_there_are_not(place):
    with pytest.raises(InputError, match="no setting of a sweep is called 'job'; did you mean 'jobs'"):
        place.sweep(SIX, job=2)
