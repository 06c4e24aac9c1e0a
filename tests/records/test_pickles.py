import copy
import gc
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from tfprune.errors import InputError
from tfprune.records.pickles import is_mapped, load_pickle, save_pickle


def values():
    return {
        "plain": [None, True, 0, -(2**70), 0.5, "text", b"bytes", (), (1, (2, [3]))],
        "arrays": [
            np.arange(6, dtype=np.float32).reshape(2, 3),
            np.asfortranarray(np.arange(6.0).reshape(2, 3)),
            np.arange(4, dtype=">i4"),
            np.zeros((0, 5), np.uint8),
            np.array([[True, False]]),
            np.array(3j),
            np.arange(20, dtype=np.int64)[::3],
        ],
        "scalars": (np.float32(0.72), np.float64(-0.0), np.int8(-3), np.bool_(True)),
    }


def assert_same(a, b):
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert list(a) == list(b)
        a, b = list(a.values()), list(b.values())
    if isinstance(a, list | tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    elif isinstance(a, np.ndarray | np.generic):
        assert a.dtype == b.dtype and a.shape == b.shape
        np.testing.assert_array_equal(a, b)
    else:
        assert a == b


@pytest.mark.parametrize("protocol", range(6))
def test_reads_every_protocol(tmp_path, protocol):
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(values(), protocol))
    assert_same(load_pickle(path), values())


def test_reads_names_of_numpy_1(tmp_path):
    path = tmp_path / "a.pkl"
    array = np.arange(5, dtype=np.float32)
    old = pickle.dumps(array, 2).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert b"numpy.core" in old
    path.write_bytes(old)
    assert_same(load_pickle(path), array)


def test_reads_python_2(tmp_path):
    # dict(data=uint8 array [200, 7]) as Python 2 wrote it: byte strings are SHORT_BINSTRING.
    stream = (
        b"\x80\x02}U\x04data"
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89U\x02\xc8\x07tbs."
    )
    path = tmp_path / "a.pkl"
    path.write_bytes(stream)
    assert_same(load_pickle(path, encoding="bytes"), {b"data": np.array([200, 7], np.uint8)})
    assert_same(load_pickle(path, encoding="latin1"), {"data": np.array([200, 7], np.uint8)})


def test_arrays_are_read_only(tmp_path):
    save_pickle(tmp_path / "a", np.zeros(3))
    with pytest.raises(ValueError, match="read-only"):
        load_pickle(tmp_path / "a")[0] = 1


def test_shared_and_cyclic_parts_take_linear_time(tmp_path):
    value = [np.zeros(1)]
    for _ in range(60):  # 2**60 paths
        value = [value, value]
    cycle = []
    cycle.append((cycle, np.ones(1)))
    (tmp_path / "a").write_bytes(pickle.dumps([value, cycle]))
    shared, cyclic = load_pickle(tmp_path / "a")
    assert shared[0] is shared[1]
    assert cyclic[0][0] is cyclic and cyclic[0][1] == 1


# Writing


def test_save_keeps_values_and_types_for_plain_pickle(tmp_path):
    save_pickle(tmp_path / "a", values())
    data = (tmp_path / "a").read_bytes()
    assert data[:2] == b"\x80\x04"
    expected = values()
    expected["arrays"][2] = expected["arrays"][2].astype("<i4")  # written in native order
    assert_same(pickle.loads(data), expected)


def test_bytes_depend_on_values_only(tmp_path):
    def bytes_of(value):
        save_pickle(tmp_path / "a", value)
        return (tmp_path / "a").read_bytes()

    row, name, error, array = [1, 2], "layer name", np.float32(0.5), np.zeros(2000, np.float32)
    shared = [row, row, name, name, error, error, array, array, ("x", row), ("x", row), b"ab" * 5, "numpy", "f4"]
    separate = [
        *([1, 2], [1, 2], "layer name", "".join(["layer", " name"]), np.float32(0.5), np.float32(0.5)),
        *(np.zeros(2000, np.float32), np.zeros((2000, 2), np.float32, order="F")[:, 1], ("x", [1, 2]), ("x", [1, 2])),
        *(bytes(bytearray(b"ababababab")), "".join(["num", "py"]), "".join(["f", "4"])),
    ]
    expected = bytes_of(shared)
    assert bytes_of(separate) == expected
    assert bytes_of(copy.deepcopy(separate)) == expected
    assert bytes_of(pickle.loads(expected)) == expected
    assert bytes_of(load_pickle(tmp_path / "a")) == expected
    # pickle itself fails this, or the test would be empty
    assert pickle.dumps(shared, 4) != pickle.dumps(separate, 4)


def test_equal_integer_types_give_equal_bytes(tmp_path):
    save_pickle(tmp_path / "a", [np.zeros(2, np.dtype("l")), np.zeros(2, np.dtype("q"))])
    save_pickle(tmp_path / "b", [np.zeros(2, np.dtype("q")), np.zeros(2, np.dtype("q"))])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("value", [{1, 2}, object(), np.array([None]), np.array(["a"]), [np.zeros(1, "i4,f4")]])
def test_save_refuses_what_load_would(tmp_path, value):
    with pytest.raises(TypeError, match="can't save"):
        save_pickle(tmp_path / "a", value)
    assert os.listdir(tmp_path) == []


# Hostile and broken files


class _Call:
    def __init__(self, function, *args, state=None):
        self.function, self.args, self.state = function, args, state

    def __reduce__(self):
        return (self.function, self.args) if self.state is None else (self.function, self.args, self.state)


def refusal(tmp_path, data):
    path = tmp_path / "bad.pkl"
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        load_pickle(path)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message and len(message) < len(str(path)) + 400
    return message


def test_nothing_runs(tmp_path):
    sentinel = tmp_path / "sentinel"
    command = f"touch {sentinel}"
    assert pickle.loads(pickle.dumps(_Call(os.system, command))) == 0 and sentinel.exists()  # the attack works
    sentinel.unlink()
    for function, args in [
        (os.system, (command,)),
        (eval, (f"open({str(sentinel)!r}, 'w')",)),
        (open, (str(sentinel), "w")),
        (np.load, (str(sentinel),)),
        (np.memmap, (str(sentinel), "u1", "w+", 0, (4,))),
        (getattr, (os, "system")),
    ]:
        for protocol in range(5):
            if function is getattr:
                data = b"cbuiltins\ngetattr\n(cos\nsystem\nS'x'\ntR."
            else:
                data = pickle.dumps([_Call(function, *args)], protocol)
            assert "it asks for" in refusal(tmp_path, data)
            assert not sentinel.exists()


def test_names_what_it_refuses(tmp_path):
    assert "'posix.system'" in refusal(tmp_path, b"cposix\nsystem\n(S'true'\ntR.")
    assert "'numpy.matrix'" in refusal(tmp_path, b"cnumpy\nmatrix\n.")
    assert "'collections.OrderedDict'" in refusal(tmp_path, b"ccollections\nOrderedDict\n)R.")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x80\x04Pid\n.", "persistent id"),
        (b"\x80\x04K\x01Q.", "persistent id"),
        (b"\x80\x04\x82\x01.", "extension code"),
        (b"\x80\x05\x97.", "out-of-band buffer"),
        (b"\x80\x02Nr\xff\xff\xff\xff.", "memo index"),
        (b"Np4000000000\n.", "memo index"),
        (b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7fab.", "cut short"),
        (b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7fN.", "cut short"),
        (b"\x80\x04cnumpy\nndarray\n(K\x05tR.", "calls numpy.ndarray"),
        (b"\x80\x04cnumpy\nndarray\nK\x05\x85\x81.", "an instance of a class"),
        (b"\x80\x04cnumpy\ndtype\n.", "a type instead of data"),
        (b"\x80\x04cnumpy\ndtype\n}X\x01\x00\x00\x00aK\x01sb.", "changes a global"),
        (b"\x80\x04cnumpy\ndtype\nN}X\x09\x00\x00\x00_functionNs\x86b.", "changes a global"),
        (b"\x80\x04cbuiltins\nbytes\nJ\xff\xff\xff\x7f\x85R.", "calls bytes"),
        (b"\x80\x04c_codecs\nencode\nX\x01\x00\x00\x00aX\x03\x00\x00\x00zip\x86R.", "encodes text"),
        (b"\x80\x04]K\x01b.", "state is not"),
        (b"\x80\x04.", ""),
        (b"\x80\x09N.", ""),
    ],
)
def test_hostile_streams(tmp_path, data, reason):
    assert reason in refusal(tmp_path, data)


def array_stream(code="u1", order="|", shape=(2,), raw=b"ab", fields=None, names=None, made_as=(0,)):
    """An array as protocol 3 holds it, with any part replaced."""
    reconstruct = np.zeros(1).__reduce__()[0]
    dtype = _Call(np.dtype, code, False, True, state=(3, order, None, names, fields, -1, -1, 0))
    data = pickle.dumps(_Call(reconstruct, np.ndarray, made_as, b"b", state=(1, shape, dtype, False, raw)), 3)
    return data


def test_array_stream_is_what_numpy_writes(tmp_path):
    (tmp_path / "a").write_bytes(array_stream())
    assert_same(load_pickle(tmp_path / "a"), np.frombuffer(b"ab", np.uint8))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"code": "O8"}, "'O8', only numbers"),
        ({"code": "O8", "raw": [1, 2]}, "'O8', only numbers"),
        ({"code": "V2"}, "'V2', only numbers"),
        ({"code": "u1,u1"}, "only numbers"),
        ({"code": "f1"}, "TypeError"),
        ({"fields": {"a": 1}}, "structured type"),
        ({"names": ("a",)}, "structured type"),
        ({"order": "x"}, "structured type"),
        ({"shape": (3,)}, "shape (3,) in 2 bytes"),
        ({"shape": (10**12,)}, "in 2 bytes"),
        ({"shape": (-1, -2)}, "no tuple of sizes"),
        ({"shape": [2]}, "no tuple of sizes"),
        ({"shape": (1,) * 100 + (2,)}, "not held as bytes"),
        ({"shape": (0, 10**30), "raw": b""}, ""),
        ({"raw": [97, 98]}, "not held as bytes"),
        ({"made_as": (10**10,)}, "made in an unknown way"),
    ],
)
def test_hostile_arrays(tmp_path, change, reason):
    assert reason in refusal(tmp_path, array_stream(**change))


def test_text_encoded_again_and_again_is_refused(tmp_path):
    text = b"X" + struct.pack("<I", 1000) + b"a" * 1000
    one = b"hq\x00h\x01X\x06\x00\x00\x00latin1\x86R".replace(b"hq", b"h")
    data = b"\x80\x02c_codecs\nencode\nq\x00" + text + b"q\x01(" + one * 500 + b"t."
    assert "encodes more than it holds" in refusal(tmp_path, data)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x80\x04}" + b"N" + b"\x85" * 1_000_000 + b"Ns.", "nested more than 100 deep"),  # its hash would crash
        (b"\x80\x04}" + b")" + b"\x942\x86" * 60 + b"Ns.", "keys that are containers"),  # its hash would not end
        (b"\x80\x04}(K\x01\x85Nu.", "keys that are containers"),
        (b"\x80\x04(K\x01\x85Nd.", "keys that are containers"),
        (b"\x80\x04\x8f(K\x01\x90.", "it uses a set"),
        (b"\x80\x04(K\x01\x91.", "it uses a set"),
        (pickle.dumps(dict.fromkeys(range(1001)), 4), "too many that are not text"),
        (b"\x80\x04" + b"]" * 200_000 + b".", "more than 131072 lists and dicts"),
        (b"\x80\x04h\x00.", "what it has not stored"),
        (b"\x80\x04(K\x01a.", "more than there is"),
        (b"\x80\x04K\x01K\x02a.", "no list or dict"),
    ],
)
def test_streams_that_would_stop_an_unpickler(tmp_path, data, reason):
    assert reason in refusal(tmp_path, data)


def test_numbers_as_keys(tmp_path):
    value = {1: "a", None: 2, 0.5: 3, b"b": 4, "c": 5, **dict.fromkeys(map(str, range(5000)))}
    for protocol in range(6):
        (tmp_path / "a").write_bytes(pickle.dumps(value, protocol))
        assert load_pickle(tmp_path / "a") == value


def test_sizes_that_take_for_ever_to_multiply(tmp_path):
    # In protocol 4 numbers of any length are a few opcodes.
    assert "no tuple of sizes" in refusal(tmp_path, array_stream(shape=(2 ** (1 << 20),) * 3))


def test_text_that_several_arrays_take_is_counted(tmp_path):
    raw, reconstruct = "a" * 10_000, np.zeros(1).__reduce__()[0]  # as Python 2's bytes come with encoding="latin1"
    dtype = _Call(np.dtype, "u1", False, True, state=(3, "|", None, None, None, -1, -1, 0))

    def arrays(count):
        state = (1, (10_000,), dtype, False, raw)
        return pickle.dumps([_Call(reconstruct, np.ndarray, (0,), b"b", state=state) for _ in range(count)], 3)

    (tmp_path / "a").write_bytes(arrays(1))
    assert load_pickle(tmp_path / "a")[0].tobytes() == raw.encode()
    assert len(arrays(50)) < 20_000
    assert "encodes more than it holds" in refusal(tmp_path, arrays(50))


def test_truncated_files(tmp_path):
    for protocol in (0, 2, 4):
        data = pickle.dumps(values(), protocol)
        for cut in {1, 2, 20, len(data) // 3, len(data) // 2, len(data) - 1}:
            refusal(tmp_path, data[:cut])


@pytest.mark.parametrize(
    "data",
    [b"", b"some text\n", b'{"a": [1, 2]}', b"\x89PNG\r\n\x1a\n\x00\x00", b"PK\x03\x04", bytes(100), b"\xff" * 50],
)
def test_foreign_files(tmp_path, data):
    refusal(tmp_path, data)


def test_random_bytes_never_raise_anything_else(tmp_path):
    rng = np.random.default_rng(0)
    good = bytearray(pickle.dumps(values(), 4))
    path = tmp_path / "a"
    for _ in range(300):
        data = bytearray(good)
        for position in rng.integers(0, len(data), 3):
            data[position] = rng.integers(256)
        path.write_bytes(data)
        try:
            load_pickle(path)
        except InputError as error:
            assert "\n" not in str(error)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(InputError, match=r"cannot read .*none\.pkl: No such file"):
        load_pickle(tmp_path / "none.pkl")
    with pytest.raises(InputError, match="cannot read"):
        load_pickle(tmp_path)


# Mapping


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_large_arrays_are_mapped(tmp_path, protocol):
    path = tmp_path / "a.pkl"
    rows = np.random.default_rng(0).integers(0, 256, (1000, 300), dtype=np.uint8)
    value = {
        "data": rows,
        "again": rows,
        "small": np.arange(3),
        "turned": np.asfortranarray(rows),
        "raw": bytes(200_000),
    }
    path.write_bytes(pickle.dumps(value, protocol))
    loaded = load_pickle(path, map_from=100_000)
    assert_same(loaded, value)
    assert {name: is_mapped(array) for name, array in loaded.items() if name != "raw"} == {
        "data": True,
        "again": True,
        "small": False,
        "turned": True,
    }
    assert is_mapped(loaded["data"][10:20]) and not is_mapped(rows)
    assert not is_mapped(load_pickle(path)["data"])
    path.write_bytes(path.read_bytes()[:-50_000])
    with pytest.raises(InputError, match="cut short"):
        load_pickle(path, map_from=100_000)


def test_a_mapped_file_is_closed_with_its_array(tmp_path):
    (tmp_path / "a").write_bytes(pickle.dumps(np.zeros(200_000), 4))
    gc.disable()
    try:
        array = load_pickle(tmp_path / "a", map_from=100_000)
        maps = Path("/proc/self/maps")
        assert str(tmp_path / "a") in maps.read_text()
        del array
        assert str(tmp_path / "a") not in maps.read_text()
    finally:
        gc.enable()


def test_python_2_arrays_are_mapped_as_bytes(tmp_path):
    raw = np.random.default_rng(0).bytes(100_000)
    stream = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01J\xa0\x86\x01\x00\x85cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xff"
        b"K\x00tb\x89T\xa0\x86\x01\x00" + raw + b"tb."
    )
    (tmp_path / "a").write_bytes(stream)
    array = load_pickle(tmp_path / "a", "bytes", map_from=100_000)
    assert is_mapped(array) and array.tobytes() == raw


def test_text_of_protocol_2_is_read_instead(tmp_path):
    array = np.arange(200_000, dtype=np.uint8)
    (tmp_path / "a").write_bytes(pickle.dumps(array, 2))
    loaded = load_pickle(tmp_path / "a", map_from=100_000)
    assert_same(loaded, array)
    assert not is_mapped(loaded)
