"""The examples of the README do what it says."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()


def _blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


_NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]\d+)?")


def _words(text):
    """Lines without their numbers and without the room that these take."""
    return [_NUMBER.sub("#", line).split() for line in text.splitlines()]


def _numbers(text, start):
    """Numbers of the first line that starts so, its beginning left out."""
    line = next(line for line in text.splitlines() if line.startswith(start))
    return [float(number.replace(",", "")) for number in _NUMBER.findall(line.removeprefix(start))]


@pytest.mark.slow
def test_python_examples_print_what_is_shown(tmp_path):
    example = "\n".join(_blocks("python"))
    result = subprocess.run([sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    (shown,) = _blocks("text")
    assert _words(result.stdout) == _words(shown)
    # Accuracies, counts and bytes are those of the run; latencies would be another machine's.
    for start in ("test accuracy, dense:", "test accuracy, pruned and fine-tuned:"):
        assert _numbers(result.stdout, start) == pytest.approx(_numbers(shown, start), abs=0.02)
    for start in ("total", "parameters /", "small.tflite (litert, int8)"):
        assert _numbers(result.stdout, start)[:3] == pytest.approx(_numbers(shown, start)[:3], rel=0.1)
    assert (tmp_path / "pruned.keras").stat().st_size > 1000 and (tmp_path / "snip.npz").exists()


def test_pruners_of_the_table_are_those_there_are():
    from tfprune.pruning.specs import PRUNERS

    table = TEXT.split("### Pruners and targets")[1].split("`sparsity` is")[0]
    rows = [re.findall(r"`([\w/]+)`", row.split("|")[1]) for row in table.splitlines() if row.startswith("| `")]
    named = {name for row in rows for name in row}
    kinds, quotas = {"random/", "magnitude/"}, {"uniform", "uniform_plus", "erk", "igq"}
    assert kinds | quotas <= named
    assert named - kinds - quotas | {kind + quota for kind in kinds for quota in quotas} == set(PRUNERS)


def test_input_file_example(tmp_path):
    from tfprune.experiments.imp.settings import read_settings

    (example,) = _blocks("ini")
    (tmp_path / "mine.ini").write_text(example)
    settings = read_settings(tmp_path / "mine.ini")
    assert (settings.dataset, settings.warnings) == ("digits", ())


def test_files_and_modules_that_are_named_exist():
    headings = {
        re.sub(r"[^\w -]", "", line.lstrip("# ").lower()).replace(" ", "-") for line in re.findall("^#+ .*", TEXT, re.M)
    }
    for anchor in re.findall(r"\]\(#([^)]+)\)", TEXT):
        assert anchor in headings, anchor
    for path in re.findall(r"\]\(((?!http|#)[^)]+)\)|`((?:inputs|flags|benchmarks|notebooks)/[\w./-]+)`", TEXT):
        assert (ROOT / "".join(path)).exists(), path
    commands = [line.split("#")[0] for block in _blocks("sh") for line in block.splitlines() if "-m tfprune." in line]
    assert len(commands) >= 6
    for command in commands:
        words = shlex.split(command)
        module = words[words.index("-m") + 1]
        assert (ROOT / (module.replace(".", "/") + ".py")).exists(), command


def test_commands_that_need_data_say_so():
    offline = (
        "digits",
        "--help",
        "inputs/main.ini",
        "runs/main",
        "tfprune.demo",
        "tfprune.visualization",
        "imp_training",
    )
    told = False
    for line in "\n".join(_blocks("sh")).splitlines():
        command, _, comment = line.partition("#")
        if not command.strip():  # a comment of its own holds for the lines after it
            told = "need" in comment or "with data" in comment
        elif command.startswith(".venv") or "-m tfprune" in command:
            assert told or "needs" in comment or any(word in command for word in offline), line


def _shown(*words):
    """Text of `--help` after some words."""
    result = subprocess.run([sys.executable, "-m", *words, "--help"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("module", ["imp", "main", "filters", "demo", "visualization"])
def test_help_of_every_entry_point(module):
    shown = _shown(f"tfprune.{module}")
    commands = re.findall(rf"tfprune\.{module} ([^#`\n]*)", TEXT)
    for flag in {flag for command in commands for flag in re.findall(r"--(\w+)", command)} - {"help", "flagfile"}:
        assert re.search(rf"--(\[no\])?{flag}\b", shown), flag


def test_flags_of_lottery_commands():
    commands = re.findall(r"-m tfprune\.lth ([a-z_ ]*[a-z])([^#`\n]*)", TEXT)
    assert len(commands) >= 6
    shown = {words: _shown("tfprune.lth", *words.split()) for words in {words for words, _ in commands}}
    for words, rest in commands:
        for flag in set(re.findall(r"--(\w+)", rest)) - {"help", "flagfile"}:
            assert re.search(rf"--(\[no\])?{flag}\b", shown[words]), (words, flag)


@pytest.mark.slow
@pytest.mark.parametrize("place", range(3))
def test_examples_of_patterns_print_what_is_shown(place, tmp_path):
    page = (ROOT / "docs" / "patterns.md").read_text()
    example, shown = (
        re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)[place] for language in ("python", "text")
    )
    (tmp_path / "mine.py").write_text(example)
    ran = subprocess.run([sys.executable, "mine.py"], cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert _words(ran.stdout) == _words(shown)
    if place == 1:  # exact counts; elsewhere some depend on the last bit of a weight
        assert ran.stdout.splitlines()[:2] == shown.splitlines()[:2]


@pytest.mark.slow
@pytest.mark.parametrize("place", range(3))
def test_examples_of_any_model_print_what_is_shown(place, tmp_path):
    page = (ROOT / "docs" / "any_model.md").read_text()
    example, shown = (
        re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)[place] for language in ("python", "text")
    )
    if "keras_hub" in example:
        pytest.importorskip("keras_hub")
    (tmp_path / "example.py").write_text(example)  # classes are found by their module
    ran = subprocess.run([sys.executable, "example.py"], cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert _words(ran.stdout) == _words(shown)
    for start in ("test accuracy", "total", "parameters /"):
        if start in shown:
            assert _numbers(ran.stdout, start)[:3] == pytest.approx(_numbers(shown, start)[:3], rel=0.1)


@pytest.mark.slow
def test_examples_of_gradual_pruning_print_what_is_shown(tmp_path):
    page = (ROOT / "docs" / "gradual.md").read_text()
    example = "\n".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL))
    (shown,) = re.findall(r"```text\n(.*?)```", page, re.DOTALL)
    ran = subprocess.run([sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert _words(ran.stdout) == _words(shown)
    for start in ("dense:", "gradual:", "RigL:", "own loop:"):
        assert _numbers(ran.stdout, start) == pytest.approx(_numbers(shown, start), abs=0.03)
    assert _numbers(ran.stdout, "sparsity after") == _numbers(shown, "sparsity after")
    assert (tmp_path / "sparse.keras").exists()
