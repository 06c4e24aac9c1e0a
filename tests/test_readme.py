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


def test_python_example(tmp_path):
    (example,) = _blocks("python")
    result = subprocess.run([sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "effective" in result.stdout
    assert (tmp_path / "pruned.keras").stat().st_size > 1000


def test_input_file_example(tmp_path):
    from tfprune.experiments.imp_spec import read_spec

    (example,) = _blocks("ini")
    (tmp_path / "mine.ini").write_text(example)
    spec = read_spec(tmp_path / "mine.ini")
    assert (spec.dataset, spec.warnings) == ("digits", ())


def test_files_and_modules_that_are_named_exist():
    for path in re.findall(r"\]\(((?!http)[^)]+)\)|`((?:inputs|flags|benchmarks|notebooks)/[\w./-]+)`", TEXT):
        assert (ROOT / "".join(path)).exists(), path
    commands = [line.split("#")[0] for block in _blocks("sh") for line in block.splitlines() if "-m tfprune." in line]
    assert len(commands) >= 6
    for command in commands:
        words = shlex.split(command)
        module = words[words.index("-m") + 1]
        assert (ROOT / (module.replace(".", "/") + ".py")).exists(), command


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
