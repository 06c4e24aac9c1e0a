"""What the README and the pages name exists: files, headings, commands and their flags, public names, pruners."""

import re
from pathlib import Path

import pytest
from shown import commands, shell_lines, shown_help

import tfprune
from tfprune.__main__ import NAMES

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "tfprune"
PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
}
HAVE_COMMANDS = [page for page, text in PAGES.items() if commands(text)]
# What needs no data set, or a file of one's own.
OFFLINE = r"digits|study\.toml|--help|inputs/main\.ini|runs/main|tfprune *$|tfprune[ .](demo|visualization|results)\b"


def _anchors(text):
    plain = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return {
        re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)", plain, re.MULTILINE)
    }


@pytest.mark.parametrize("page", PAGES)
def test_files_and_headings(page):
    text = PAGES[page]
    for path, anchor in re.findall(r"\]\((?!\w+:)([^)#]*)(?:#([^)]+))?\)", text):
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), path
        if anchor and target.suffix == ".md":
            assert anchor in _anchors(target.read_text()), (path, anchor)
    for path in re.findall(r"(?<![\w/])((?:inputs|flags|benchmarks|notebooks)/[\w./-]*\w)", text):
        assert (ROOT / path).exists(), path


def _exists(dotted):
    """Whether `tfprune.DOTTED` is a public name, a room, a module, or something that a module speaks of."""
    first, *rest = parts = dotted.split(".")
    if first in tfprune.__all__:
        return True
    place = PACKAGE
    while parts and (place / parts[0]).is_dir():
        place /= parts.pop(0)
    module = place / f"{parts[0]}.py" if parts else place
    if parts and module.exists():
        parts.pop(0)
    elif parts:
        module = place / "__init__.py"
    return not parts or (bool(rest) and re.search(rf"\b{parts[0]}\b", module.read_text()) is not None)


@pytest.mark.parametrize("page", PAGES)
def test_names_of_the_package(page):
    for dotted in re.findall(r"\btfprune\.(\w+(?:\.\w+)*)", PAGES[page]):
        assert _exists(dotted), dotted


@pytest.mark.parametrize("page", HAVE_COMMANDS)
def test_commands_and_their_flags(page):
    for words, line in commands(PAGES[page]):
        assert words[0] in NAMES, line
        end = next((at for at, word in enumerate(words) if not re.fullmatch(r"\w+", word)), len(words))
        flags = {re.match(r"--(\w+)", word)[1] for word in words if word.startswith("--")} - {"help", "flagfile"}
        shown = shown_help(*(words[:end] if words[0] == "lth" else words[:1])) if flags else ""
        for flag in flags:
            assert re.search(rf"--(\[no\])?{flag}\b", shown), (line, flag)
        for path in re.findall(r"\b(?:inputs|flags)/[\w./-]+", " ".join(words)):
            assert (ROOT / path).exists(), line


@pytest.mark.parametrize("page", PAGES)
def test_what_needs_data_says_so(page):
    told = False
    for line in shell_lines(PAGES[page]):
        command, _, comment = line.partition("#")
        if not command.strip():  # a comment of its own holds for the lines after it
            told = "need" in comment or "with data" in comment
        elif re.search(r"-m tfprune\.|(^|[/\s])tfprune\b|benchmarks/|notebooks/", command):
            assert told or re.search("needs|no download", comment) or re.search(OFFLINE, command), line


def test_pruners_of_the_table_are_those_there_are():
    from tfprune.pruning.specs import PRUNERS

    rows = re.findall(r"^\| (`.*?) \|", PAGES["docs/pruners.md"].split("## Targets")[0], re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`([\w/]+)`", row)}
    kinds, quotas = {"random/", "magnitude/"}, {"uniform", "uniform_plus", "erk", "igq"}
    assert kinds | quotas <= named
    assert named - kinds - quotas | {kind + quota for kind in kinds for quota in quotas} == set(PRUNERS)


def test_every_command_is_shown_and_every_public_name_is_in_the_overview():
    assert {words[0] for text in PAGES.values() for words, _ in commands(text)} == set(NAMES)
    linked = re.findall(r"\[`(\w+)`\]\[tfprune\.\1\]", PAGES["docs/api/index.md"].split("\nWhat is wrong")[0])
    assert sorted(linked) == sorted(tfprune.__all__)
