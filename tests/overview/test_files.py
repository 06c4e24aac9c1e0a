"""What is written is read back: the same table, whatever networks it is of."""

import json
import sys

import pandas as pd
import pytest

from tfprune.errors import InputError
from tfprune.overview.files import DICTS, write_csv, write_parquet
from tfprune.overview.table import overview_table


def _with_dicts(table):
    texts = {name: [None if pd.isna(text) else json.loads(text) for text in table[name]] for name in DICTS}
    return table.assign(**{name: pd.Series(values, table.index, object) for name, values in texts.items()})


@pytest.fixture(params=["study", "old", "none"])
def table(request, tmp_path):
    return overview_table(tmp_path if request.param == "none" else request.getfixturevalue(request.param))


def test_parquet(table, tmp_path):
    path = tmp_path / "all.parquet"
    write_parquet(path, table)
    found = pd.read_parquet(path)
    pd.testing.assert_frame_equal(_with_dicts(found), table.astype(dict.fromkeys(DICTS, object)), check_exact=True)


def test_csv(table, tmp_path):
    path = tmp_path / "all.csv"
    write_csv(path, table)
    found = pd.read_csv(path, dtype={name: str for name in table if str(table[name].dtype) in ("str", "object")})
    found = found.astype({name: table[name].dtype for name in table if name not in DICTS})
    pd.testing.assert_frame_equal(_with_dicts(found), table.astype(dict.fromkeys(DICTS, object)), check_exact=True)


def test_a_failed_write_leaves_the_file(study, tmp_path, monkeypatch):
    table, path = overview_table(study), tmp_path / "all.parquet"
    path.write_text("before")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", full)
    with pytest.raises(InputError, match=r"cannot write .*all\.parquet: No space left"):
        write_parquet(path, table)
    assert path.read_text() == "before" and [each.name for each in tmp_path.glob("*all*")] == ["all.parquet"]


def test_without_pyarrow_a_line_says_the_command(study, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(
        InputError, match=r"a Parquet file: the package pyarrow is missing; pip install .tfprune\[report\]"
    ):
        write_parquet(tmp_path / "a.parquet", overview_table(study))
