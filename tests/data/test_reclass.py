import numpy as np
import pytest

from tfprune.data.reclass import class_count, label_map
from tfprune.errors import InputError


def test_none_and_modulo():
    np.testing.assert_array_equal(label_map("n", 4), [0, 1, 2, 3])
    np.testing.assert_array_equal(label_map(" m, 3", 7), [0, 1, 2, 0, 1, 2, 0])
    assert label_map("m,3", 7).dtype == np.int32
    assert [class_count(text, 7) for text in (" n ", "m,3", "f, 4, x.txt")] == [7, 3, 4]


@pytest.mark.parametrize("text", ["2,0,1,1", " 2, 0,\n1 ,1\n", "2,0,1,1,\n", "2\n0\n1\n1"])
def test_file_forms(tmp_path, text):
    path = tmp_path / "a, b.txt"  # a comma in the name too
    path.write_text(text)
    np.testing.assert_array_equal(label_map(f"f,3,{path}", 4), [2, 0, 1, 1])


def test_file_is_looked_for_here_first_then_beside_the_input_file(tmp_path, monkeypatch):
    here, beside = tmp_path / "here", tmp_path / "beside"
    here.mkdir(), beside.mkdir()
    monkeypatch.chdir(here)
    (beside / "map.txt").write_text("1,1")
    np.testing.assert_array_equal(label_map("f,2,map.txt", 2, beside), [1, 1])
    (here / "map.txt").write_text("0,1")
    np.testing.assert_array_equal(label_map("f,2,map.txt", 2, beside), [0, 1])


@pytest.mark.parametrize("reclass", ["", "x", "n,2", "m", "m,", "m,0", "m,-3", "m,2.5", "m,2,3", "f,2", "f,2,", "f,,a"])
def test_malformed(reclass):
    with pytest.raises(InputError, match=r"^\[Data\] reclass = .*allowed are n \| m,X \| f,X,FILE") as caught:
        label_map(reclass, 10)
    assert f"reclass = {reclass}:" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (",".join(["1"] * 999), "has 999 entries, 1000 are needed"),
        (",".join(["1"] * 1001), "has 1001 entries, 1000 are needed"),
        ("", "has 0 entries"),
        (",".join(["1"] * 499 + ["5"] + ["1"] * 500), "has '5' as entry 500, whole numbers from 0 to 4 are allowed"),
        (",".join(["-1"] + ["1"] * 999), "has '-1' as entry 1,"),
        (",".join(["1"] * 999 + ["1.0"]), "has '1.0' as entry 1000,"),
    ],
)
def test_bad_file(tmp_path, content, message):
    path = tmp_path / "map.txt"
    path.write_text(content)
    with pytest.raises(InputError) as caught:
        label_map(f"f,5,{path}", 1000)
    assert message in str(caught.value) and str(path) in str(caught.value)


def test_missing_or_binary_file(tmp_path):
    with pytest.raises(InputError, match=r"cannot read .*none\.txt: No such file"):
        label_map("f,5,none.txt", 10, tmp_path)
    (tmp_path / "b").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="it is no text"):
        label_map("f,5,b", 10, tmp_path)
