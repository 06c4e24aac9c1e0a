"""The README is short, names every command and every page that a newcomer needs, and its example does what it says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from shown import blocks, commands, numbers, words

from tfprune.__main__ import NAMES

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()


@pytest.mark.slow
def test_python_example_prints_what_is_shown(tmp_path):
    (example,), (shown,) = blocks(TEXT, "python"), blocks(TEXT, "text")
    result = subprocess.run([sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert words(result.stdout) == words(shown)
    # Accuracies, counts and bytes are those of the run; latencies would be another machine's.
    for start in ("test accuracy, dense:", "test accuracy, pruned and fine-tuned:"):
        assert numbers(result.stdout, start) == pytest.approx(numbers(shown, start), abs=0.02)
    for start in ("total", "parameters /", "small.tflite (litert, int8)"):
        assert numbers(result.stdout, start)[:3] == pytest.approx(numbers(shown, start)[:3], rel=0.1)
    assert (tmp_path / "small.tflite").stat().st_size > 1000


def test_it_is_short_and_shows_every_command_once():
    assert len(TEXT.splitlines()) < 200
    assert sorted(words[0] for words, _ in commands(TEXT)) == sorted(NAMES)


def test_it_leads_to_every_page_on_pruning_and_to_every_system():
    linked = set(re.findall(r"\]\(docs/([\w/]+\.md)", TEXT))
    pages = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    systems = {page for page in pages if page.startswith("systems/")}
    nav = (ROOT / "mkdocs.yml").read_text().split("- Prune your own model:")[1].split("- Studies:")[0]
    pruning = set(re.findall(r": ([\w/]+\.md)", nav))
    assert len(systems) == 5 and len(pruning) >= 13
    assert systems | pruning <= linked <= pages
