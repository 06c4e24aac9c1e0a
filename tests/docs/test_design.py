"""The page of the design tells of the rooms that there are, in their order, and of files that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "design.md").read_text()


def test_rooms_are_those_there_are_in_their_order():
    order = re.search(r"ORDER = \((.*?)\)", (ROOT / "tests" / "test_rooms.py").read_text(), re.DOTALL)[1]
    rooms = re.findall(r'"(\w+)"', order)[:-2]  # `quiet` and `errors` are modules
    table = TEXT.split("| room |")[1].split("\n\n")[0]
    told = [room for row in table.splitlines()[3:] for room in re.findall(r"`(\w+)/?`", row.split("|")[1])]
    assert told == rooms
    assert {path.name for path in (ROOT / "tfprune").iterdir() if (path / "__init__.py").exists()} <= set(told)


def test_files_that_are_named_exist():
    named = re.findall(r"`((?:tests|benchmarks|records|training|cli)/[\w./]*)`", TEXT)
    assert len(named) >= 12
    for name in named:
        assert (ROOT / name).exists() or (ROOT / "tfprune" / name).exists(), name


def test_studies_of_the_picture_are_those_there_are():
    picture = TEXT.split("```text")[1].split("```")[0]
    rooms = {path.parent.name for path in (ROOT / "tfprune" / "experiments").glob("*/study.py")}
    assert rooms == set(re.findall(r"(\w+)/", picture))
