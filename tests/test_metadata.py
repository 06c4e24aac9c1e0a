"""What an index of packages and a citation manager read: setup.cfg, CITATION.cff, CHANGELOG.md and LICENSE agree."""

import configparser
import re
from hashlib import sha256
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def metadata():
    known = configparser.ConfigParser()
    known.read(ROOT / "setup.cfg")
    return known["metadata"]


def test_the_license_is_the_whole_text(metadata):
    assert (metadata["license"], metadata["license_files"]) == ("Apache-2.0", "LICENSE")
    # of https://www.apache.org/licenses/LICENSE-2.0.txt
    whole = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"
    assert sha256((ROOT / "LICENSE").read_bytes()).hexdigest() == whole


def test_the_changelog_begins_with_this_version(metadata):
    headings = re.findall(r"^## \[(.+)\] - (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    version, day = headings[0]
    assert version == metadata["version"] and re.fullmatch(r"unreleased|\d{4}-\d\d-\d\d", day)


def test_the_citation_names_the_paper_of_every_system(metadata):
    yaml = pytest.importorskip("yaml")
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    # What the Citation File Format 1.2.0 requires, and the names that it allows of what is here.
    assert {"cff-version", "message", "title", "authors"} <= set(cited)
    assert cited["cff-version"] == "1.2.0" and cited["type"] == "software"
    assert (cited["version"], cited["license"]) == (metadata["version"], metadata["license"])
    people = {"family-names", "given-names", "name"}
    named = set()
    for work in cited["references"]:
        assert {"type", "title", "authors"} <= set(work) and work["type"] in ("article", "conference-paper")
        allowed = {"type", "title", "authors", "year", "url", "identifiers", "notes", "collection-title"}
        assert set(work) <= allowed and isinstance(work["year"], int)
        assert all(person and set(person) <= people for person in work["authors"])
        for identifier in work.get("identifiers", []):
            assert identifier["type"] == "other" and identifier["value"].removeprefix("arXiv:") in work["url"]
        named.add(work["notes"].removeprefix("tfprune "))
        pages = "".join(page.read_text() for page in (ROOT / "docs" / "systems").glob("*.md"))
        assert all(person["family-names"] in pages for person in work["authors"])
    assert named == {"imp", "main", "lth", "filters", "energy"}
