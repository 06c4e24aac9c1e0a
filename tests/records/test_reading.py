"""Text and JSON from others."""

import json

import pytest

from tfprune.errors import InputError
from tfprune.records.reading import first_line, one_line, read_json, read_text


def test_a_byte_order_mark_is_no_text(tmp_path):
    (tmp_path / "a").write_bytes("\ufeffä\r\n".encode())
    assert read_text(tmp_path / "a") == "ä\r\n"


@pytest.mark.parametrize("data", [b"\xff\xfe\x00\x01", b"a\x00b", "ä".encode("latin1")])
def test_what_is_no_text(tmp_path, data):
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(InputError, match="it is no text in UTF-8"):
        read_text(tmp_path / "a")


def test_text_without_end(tmp_path):
    (tmp_path / "a").write_text("x" * 11)
    with pytest.raises(InputError, match="larger than 10 bytes"):
        read_text(tmp_path / "a", most=10)
    assert len(read_text(tmp_path / "a", most=11)) == 11


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[" * 100_000, "RecursionError"),
        ('{"a":' * 100_000, "RecursionError"),
        (f'{{"a": {"[" * 50}{"]" * 50}}}', "nested more than 50 deep"),
        ("[]", "must be an object"),
        ("{", "Expecting property name"),
        (f'{{"a": {"1" * 5000}}}', "Exceeds the limit"),
    ],
)
def test_json_that_is_refused(tmp_path, text, told):
    (tmp_path / "a").write_text(text)
    with pytest.raises(InputError, match=told) as caught:
        read_json(tmp_path / "a", "the record of a run")
    assert "a: not the record of a run, or a damaged one (" in str(caught.value)


def test_json(tmp_path):
    content = {"a": [1, {"b": None}], "c": "ä"}
    (tmp_path / "a").write_text(json.dumps(content))
    assert read_json(tmp_path / "a", "x") == content


def test_a_message_is_one_line_of_bounded_length():
    assert str(InputError("arch = f8\n:x\u2028 is\r\nwrong")) == "arch = f8 :x is wrong"
    told = str(InputError("\x1b[31mred \u202eleft\tü日 \udc80"))
    assert told == r"\x1b[31mred \u202eleft ü日 \udc80"
    assert str(InputError(told)) == told
    long = str(InputError("start " + "x" * 10_000 + " end"))
    assert len(long) < 2100 and long.startswith("start x") and long.endswith("x end")


@pytest.mark.parametrize(
    ("error", "line", "first"),
    [
        (ValueError("one\n  two"), "one two", "one"),
        (ValueError(), "ValueError", "ValueError"),
        (KeyError("a"), "KeyError: 'a'", "'a'"),
        (MemoryError(), "MemoryError", "MemoryError"),
        (ValueError("\n \n deep"), "deep", "deep"),
    ],
)
def test_what_an_exception_says(error, line, first):
    assert (one_line(error), first_line(error)) == (line, first)


@pytest.mark.parametrize("path", [5, None, 0.5, ["a"]])
def test_what_is_no_name_of_a_file(path):
    with pytest.raises(InputError, match=r"^cannot read .*: .*should be string, bytes"):
        read_text(path)
