"""Any Keras model: what others make is pruned, counted, trained, saved and made smaller, with the same outputs."""

from pathlib import Path

import pytest
from zoo.capabilities import CAPABILITIES
from zoo.known_gaps import KNOWN
from zoo.networks import NETWORKS
from zoo.table import CAPABILITIES as COLUMNS
from zoo.table import MISSING, results, written
from zoo.trial import FAILED, NOT_APPLICABLE, OK, WRONG, Outcome, trial

PAGE = Path(__file__).parents[2] / "docs" / "zoo.md"


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_network(name):
    if name.startswith("hub/"):
        pytest.importorskip("keras_hub")
    outcomes = {one.capability: one for one in trial(name)}
    wrong = {capability: one.note for capability, one in outcomes.items() if one.result == WRONG}
    failed = {capability: one.note for capability, one in outcomes.items() if one.result == FAILED}
    known = KNOWN.get(name, {})
    assert wrong == {}
    assert {capability: note for capability, note in failed.items() if capability not in known} == {}
    assert set(known) <= set(failed), "a gap is closed: it is no longer known"


def test_the_page_has_every_network_and_fails_where_gaps_are_known():
    told = results(PAGE.read_text())
    assert list(told) == list(NETWORKS)
    failing = {
        name: {capability for capability, result in row.items() if result in (WRONG, FAILED, MISSING)}
        for name, row in told.items()
    }
    assert {name: found for name, found in failing.items() if found} == {
        name: set(gaps) for name, gaps in KNOWN.items()
    }


def test_the_counts_of_the_page_are_those_of_its_rows():
    page = PAGE.read_text()
    told = results(page)
    for column in COLUMNS:
        tried = [row[column] for row in told.values() if row[column] != NOT_APPLICABLE]
        assert f"| {column} | {tried.count(OK)} of {len(tried)} |" in page


def test_columns_are_the_capabilities():
    assert list(CAPABILITIES) == list(COLUMNS)


def test_a_page_of_two_networks_by_hand():
    """One that passes, and one whose process ended before the last capabilities."""
    good = [Outcome("user/good", name, OK, "", 1.0) for name in COLUMNS]
    bad = [Outcome("hub/bad", "as given", NOT_APPLICABLE, "", 1.0), Outcome("hub/bad", "direct", WRONG, "3 of 4", 1.0)]
    sizes = [
        Outcome("user/good", "network", OK, "200 0.9000", 0.0),
        Outcome("hub/bad", "network", OK, "10 0.5000", 0.0),
    ]
    page = written([sizes[0], *good, sizes[1], *bad])
    lines = page.splitlines()
    assert "| networks | 2 | 0 | 1 | 1 |" in lines
    assert "| as given | 1 of 1 | - | 1 of 1 | - |" in lines
    assert "| direct | 1 of 2, 1 wrong | - | 1 of 1 | 0 of 1, 1 wrong |" in lines
    assert "| compact | 1 of 2 | - | 1 of 1 | 0 of 1 |" in lines
    assert "| prunable share, median | 70.0 % | - | 90.0 % | 50.0 % |" in lines
    assert "- `hub/bad`, direct: WRONG: 3 of 4" in lines
    assert results(page)["hub/bad"] == dict(zip(COLUMNS, ["n/a", "WRONG", *[MISSING] * 6], strict=True))
