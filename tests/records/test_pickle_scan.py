import pickle
import pickletools

import numpy as np
import pytest

from tfprune.records.pickle_scan import scan


@pytest.mark.parametrize("protocol", range(6))
def test_reaches_the_end_of_every_opcode(protocol):
    value = [
        1,
        -1,
        2**20,
        2**40,
        -(2**3000),
        1.5,
        "a",
        "a" * 300,
        "\n",
        b"b",
        b"b" * 300,
        (),
        (1,),
        (1, 2, 3, 4),
        {},
        {1: 2},
        {"a": 1, "b": [1, 2]},
    ]
    data = pickle.dumps([value, value[:2], True, None, bytearray(b"x"), np.float32(1), np.zeros(3)], protocol)
    assert scan(data) == []
    for cut in range(len(data)):
        with pytest.raises((pickle.UnpicklingError, ValueError)):
            scan(data[:cut])


def test_finds_bytes_where_pickletools_does():
    data = pickle.dumps(["s" * 5000, b"b" * 100, b"c" * 3000, np.arange(70_000, dtype=np.uint8)], 4)
    expected = [
        (position, len(argument))
        for opcode, argument, position in pickletools.genops(data)
        if opcode.name == "BINBYTES" and len(argument) > 4000
    ]
    (buffer,) = scan(data, large=3000)  # the one of 3000 lies in a frame
    assert [(buffer.start, buffer.size)] == expected
    assert data[buffer.offset :][:3] == bytes([0, 1, 2])
