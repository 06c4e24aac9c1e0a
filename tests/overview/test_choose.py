"""Which rows and columns words mean."""

import numpy as np
import pandas as pd
import pytest

from tfprune.errors import InputError
from tfprune.overview.choose import column, in_order, rows_where
from tfprune.overview.table import overview_table


@pytest.fixture
def table(study):
    return overview_table(study)


@pytest.mark.parametrize(
    "conditions, labels",
    [
        (["pruner=snip"], 4),  # no column: the rows do not differ in it
        (["settings.pruner=snip"], 4),
        (["method=sn*"], 4),
        (["method!=snip"], 1),
        (["method=random/*"], 0),
        (["compression=10"], 2),
        (["accuracy>0.75"], 2),
        (["accuracy >= 0.7", "compression=20"], 1),
        (["accuracy<=0.8"], 2),
        (["accuracy<0.8"], 1),
        (["accuracy!=0.8"], 4),
        (["accuracy=none"], 2),
        (["accuracy!=none"], 3),
        (["method=none"], 1),
        (["er=true"], 1),
        (["deep.er==TRUE"], 1),
        (["er!=true"], 4),
        (["effective_compression=inf"], 2),
        (["label=snip, direct compression 10"], 2),
        ([], 5),
    ],
)
def test_rows(table, conditions, labels):
    assert len(rows_where(table, conditions)) == labels


@pytest.mark.parametrize(
    "value, places",
    [
        ("31.623", [0]),  # as it is printed
        ("31.6228", [0]),  # as labels have it
        ("31.62", [0, 1]),
        ("31.622776601683793", [0]),
        ("31.6", []),  # too few digits for one that was printed
        ("3.1623e1", [0]),
        ("1000", [3, 4]),  # of those that are not whole, what rounds to it
        ("1001", [2]),
        ("inf", [5]),
    ],
)
def test_a_number_as_it_is_printed(value, places):
    compressions = [31.622776601683793, 31.62, 1001.0, 1000.0, 1000.4, np.inf, np.nan]
    table = pd.DataFrame({"compression": compressions})
    assert rows_where(table, [f"compression={value}"]).index.tolist() == places
    others = [place for place in range(7) if place not in places]
    assert rows_where(table, [f"compression!={value}"]).index.tolist() == others


@pytest.mark.parametrize(
    "condition, told",
    [
        ("accuracy", r"--where must be name=value, also with !=, <, <=, > or >=\. Received: 'accuracy'"),
        ("=3", "--where must be name=value"),
        ("acuracy=3", "--where must name columns or settings .* Received: 'acuracy'; did you mean 'accuracy'"),
        ("pruners=snip", "did you mean 'pruner'"),
        ("accuracy=high", "--where: accuracy is a number. Received: 'accuracy=high'"),
        ("method>snip", "--where: method is text"),
        ("er>0", "--where: settings.deep.er is true or false"),
        ("er=yes", "--where: settings.deep.er is true or false"),
    ],
)
def test_what_cannot_be_understood_is_refused(table, condition, told):
    with pytest.raises(InputError, match=told):
        rows_where(table, [condition])


def test_a_name_in_several_groups_is_to_be_written_out(old):
    table = overview_table(old / "lottery")
    with pytest.raises(InputError, match=r"--columns: lr may mean pretrain_training\.lr or training\.lr; write it out"):
        column(table, "lr", "--columns")
    found = column(table, "training.lr", "--columns")
    assert found.name == "settings.training.lr" and found.tolist() == [0.1] * 6


def test_order(table):
    ordered = in_order(table, ["target_compression", "-accuracy"])
    assert ordered["accuracy"].tolist()[:3] == [0.9, 0.8, 0.7] and ordered["target_compression"].isna().tolist()[-1]
    assert in_order(table, ["-settings.sample"])["settings.sample"].tolist()[:4] == ["1", "1", "0", "0"]
    with pytest.raises(InputError, match=r"--sort must name columns .* Received: '-acuracy'; did you mean"):
        in_order(table, ["-acuracy"])
    with pytest.raises(InputError, match=r"--sort must name columns of numbers or text\. Received: '-settings'"):
        in_order(table, ["-settings"])
