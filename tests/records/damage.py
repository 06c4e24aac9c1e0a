"""Ways to damage a file: at random, and as someone would who knows its format. Every generator is a pure function."""

import io
import pickle
import pickletools
import re
import struct
import zipfile
import zlib
from functools import lru_cache

import numpy as np

HUGE = (0, 1, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1)
NUMBERS = (*HUGE, -1, 2**70, 10**15, 10**30, 10**400, 0.5, "1e20", "1e400", "nan", "inf", "-0", "0x10", "1_0", "")
NASTY_TEXT = (
    *("\0", "\ufeff", "\n", "\r", "\u2028", "%", "%%", "%(x)s", "[", "]", "{", "}", '"', "'", ",", ":", "=", "#", ";"),
    *("null", "true", "[" * 200, '{"a":' * 200, "x" * 5000, "../", "/dev/null", "٣", "\ud7ff", "\U0010ffff"),
)


def cut(data, rng, _):
    return data[: rng.integers(len(data) + 1)]


def flipped(data, rng, _):
    damaged = bytearray(data)
    for position in rng.integers(len(data), size=rng.integers(1, 5)):
        damaged[position] ^= 1 << rng.integers(8)
    return bytes(damaged)


def overwritten(data, rng, _):
    start, size = rng.integers(len(data)), rng.integers(1, 40)
    fill = (bytes(size), b"\xff" * size, rng.bytes(size))[rng.integers(3)]
    return data[:start] + fill + data[start + size :]


def longer(data, rng, _):
    start, size = rng.integers(len(data) + 1), rng.integers(1, 40)
    more = (rng.bytes(size), data[start : start + size], data[:size])[rng.integers(3)]
    return data[:start] + more + data[start:]


def shorter(data, rng, _):
    start = rng.integers(len(data))
    return data[:start] + data[start + rng.integers(1, 40) :]


def spliced(data, rng, samples):
    other = samples[rng.integers(len(samples))]
    return data[: rng.integers(len(data) + 1)] + other[rng.integers(len(other) + 1) :]


def with_numbers(data, rng, _):
    start, width = rng.integers(len(data)), (1, 2, 4, 8)[rng.integers(4)]
    number = HUGE[rng.integers(len(HUGE))] % 256**width
    return data[:start] + number.to_bytes(width, "little") + data[start + width :]


ANY = (cut, flipped, overwritten, longer, shorter, spliced, with_numbers)


# Text


def other_number(data, rng, _):
    found = list(re.finditer(rb"[0-9][0-9.e+-]*", data))
    if not found:
        return flipped(data, rng, _)
    match = found[rng.integers(len(found))]
    return data[: match.start()] + str(NUMBERS[rng.integers(len(NUMBERS))]).encode() + data[match.end() :]


def other_word(data, rng, _):
    found = list(re.finditer(rb"\w+|[^\w]", data))
    match = found[rng.integers(len(found))]
    return data[: match.start()] + NASTY_TEXT[rng.integers(len(NASTY_TEXT))].encode() + data[match.end() :]


def other_line(data, rng, _):
    lines = data.split(b"\n")
    one, other = rng.integers(len(lines), size=2)
    if rng.integers(2):
        lines[one] = lines[other]
    else:
        lines[one], lines[other] = lines[other], lines[one]
    return b"\n".join(lines)


TEXT = (*ANY, other_number, other_number, other_word, other_word, other_line)


# Archives


_LOCAL, _CENTRAL, _END = b"PK\3\4", b"PK\1\2", b"PK\5\6"
_FIELDS = {  # offset and width of what stands behind a signature
    _LOCAL: ((4, 2), (6, 2), (8, 2), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2)),
    _CENTRAL: ((6, 2), (8, 2), (10, 2), (16, 4), (20, 4), (24, 4), (28, 2), (30, 2), (34, 2), (42, 4)),
    _END: ((4, 2), (8, 2), (10, 2), (12, 4), (16, 4), (20, 2)),
}


def other_zip_field(data, rng, _):
    signature = list(_FIELDS)[rng.integers(3)]
    starts = [match.start() for match in re.finditer(re.escape(signature), data)]
    if not starts:
        return flipped(data, rng, _)
    offset, width = _FIELDS[signature][rng.integers(len(_FIELDS[signature]))]
    at = starts[rng.integers(len(starts))] + offset
    number = (rng.integers(20), *HUGE)[rng.integers(len(HUGE) + 1)]
    return data[:at] + (int(number) % 256**width).to_bytes(width, "little") + data[at + width :]


def other_member(data, rng, samples):
    """An archive that is right by itself, with one array damaged, left out, there twice or under another name."""
    members = _members(data)
    if not members:
        return flipped(data, rng, samples)
    name = list(members)[rng.integers(len(members))]
    content, how = members[name], rng.integers(6)
    if how == 0:
        del members[name]
    elif how == 1:
        members[name] = list(members.values())[rng.integers(len(members))]
    elif how == 2:
        members[(name[:-4], f"{name}.npy", "\u202e.npy", "/../" + name)[rng.integers(4)]] = members.pop(name)
    else:
        members[name] = (other_npy_header if how < 5 else ANY[rng.integers(len(ANY))])(content, rng, [content])
    return archive(members, (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)[rng.integers(3)])


def other_npy_header(data, rng, _):
    if data[:6] != b"\x93NUMPY":
        return flipped(data, rng, _)
    width = 2 if data[6:7] == b"\1" else 4
    length = int.from_bytes(data[8 : 8 + width], "little")
    start = 8 + width
    header = other_number if rng.integers(2) else other_word
    text, how = header(data[start : start + length], rng, _), rng.integers(4)
    if how == 0:
        kind = ("<U9", "|O", "<f8", ">f4", "|V3", "<M8[s]", "|b1", "<c16", "<f2", "|S0")[rng.integers(10)]
        text = re.sub(rb"'descr': '[^']*'", f"'descr': '{kind}'".encode(), data[start : start + length])
    size = len(text) if how < 3 else HUGE[rng.integers(len(HUGE))] % 256**width
    return data[:8] + size.to_bytes(width, "little") + text + data[start + length :]


def archive(members, method=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as made:
        for name, content in members.items():
            made.writestr(name, content)
    return buffer.getvalue()


def _members(data):
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as found:
            return {name: found.read(name) for name in found.namelist()}
    except Exception:
        return {}


ARCHIVE = (*ANY, other_zip_field, other_zip_field, other_zip_field, other_member, other_member, other_member)
ARRAY = (*ANY, other_npy_header, other_npy_header, other_npy_header)


def npy(shape, descr="<f4", content=b"", version=1):
    """The bytes of a `.npy` file that declares anything."""
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(text)) + text + content


def bombs(name):
    """Archives with an array `name` that nobody should unpack."""
    yield raw_zip(f"{name}.npy", *_gigabytes())
    for shape in ("(1000000000000000,)", "(2**60, 2)", "(4611686018427387904,)", "(99999999999, 99999999999)", "(-1,)"):
        yield archive({f"{name}.npy": npy(shape)})
        yield archive({f"{name}.npy": npy(shape, content=bytes(4000))}, zipfile.ZIP_DEFLATED)
    for header in ("(" * 5000, "(3, ", "{" * 300, "-" * 9000 + "1,", "[0]*10**9,", "1e400,"):
        yield archive({f"{name}.npy": npy(header)})
    yield archive({f"{name}.npy": npy((1,), "|O", b"cos\nsystem\n(S'false'\ntR.")})
    yield archive({f"{name}.txt": b"text"})
    yield archive({name: npy((1,), content=b"1234")})
    yield archive({f"{name}.npy": npy((1,), "<U100000000")})
    yield archive({f"{i}.npy": npy((1,), content=b"1234") for i in range(5000)})


@lru_cache
def _gigabytes(size=3 << 30):
    """An array of zeros, compressed to a thousandth; its size and checksum."""
    header, block = npy((size // 4,)), bytes(1 << 20)
    zeros = zlib.compressobj(9, zlib.DEFLATED, -15)
    start = zeros.compress(header) + zeros.flush(zlib.Z_FULL_FLUSH)
    again, crc = zeros.compress(block) + zeros.flush(zlib.Z_FULL_FLUSH), zlib.crc32(header)
    for _ in range(size >> 20):
        crc = zlib.crc32(block, crc)
    return start + again * (size >> 20) + zeros.flush(), size + len(header), crc


def raw_zip(name, content, size, crc, method=8, flags=0):
    """An archive of one member whose fields are as given."""
    fields = struct.pack("<HHHHIIIHH", flags, method, 0, 33, crc, len(content), size, len(name), 0)
    local = _LOCAL + struct.pack("<H", 20) + fields + name.encode() + content
    central = _CENTRAL + struct.pack("<HH", 20, 20) + fields + struct.pack("<HHHII", 0, 0, 0, 0, 0) + name.encode()
    return local + central + _END + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), len(local), 0)


# Pickles


def other_opcode(data, rng, _):
    try:
        starts = [position for _, _, position in pickletools.genops(data)]
    except Exception:
        return flipped(data, rng, _)
    start = starts[rng.integers(len(starts))]
    how = rng.integers(3)
    if how == 0:  # one left out
        end = next((other for other in starts if other > start), len(data))
        return data[:start] + data[end:]
    if how == 1:
        return data[:start] + bytes([_OPCODES[rng.integers(len(_OPCODES))]]) + data[start + 1 :]
    return data[:start] + _PIECES[rng.integers(len(_PIECES))] + data[start:]


_OPCODES = [ord(opcode.code) for opcode in pickletools.opcodes]
_PIECES = [
    *(b"2", b"0", b"1", b"(", b"t", b"l", b"d", b"a", b"e", b"s", b"u", b"b", b"R", b"]", b"}", b")", b"N", b"\x94"),
    *(b"\x85", b"\x86", b"\x87", b"q\x00", b"h\x00", b"h\x01", b"K\x05", b"X\x01\x00\x00\x00a", b"U\x01b", b"\x8f"),
    *(b"cnumpy\ndtype\n", b"cnumpy\nndarray\n", b"c_codecs\nencode\n", b"cbuiltins\nbytes\n", b"\x93", b"\x81", b"."),
    *(b"cnumpy.core.multiarray\nscalar\n", b"cnumpy.core.multiarray\n_reconstruct\n", b"r\xff\xff\xff\x7f", b"\x90"),
]
PICKLE = (*ANY, other_opcode, other_opcode, other_opcode)


class _As:
    def __init__(self, function, *arguments, state=None):
        self._reduced = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self._reduced


def array_stream(code="f4", shape=(2,), raw=b"abcdefgh", protocol=4):
    """The pickle of an array that declares anything."""
    dtype = _As(np.dtype, code, False, True, state=(3, "<", None, None, None, -1, -1, 0))
    reconstruct = np.zeros(1).__reduce__()[0]
    return pickle.dumps(_As(reconstruct, np.ndarray, (0,), b"b", state=(1, shape, dtype, False, raw)), protocol)


def hostile_pickles():
    """Pickles made by hand: each is small, and would stop, crash or fill an unpickler that trusts it."""
    start = b"\x80\x04"
    deep, shared = b"N" + b"\x85" * 1_000_000, b")" + b"\x942\x86" * 60
    yield start + deep + b"."
    yield start + b"}" + deep + b"Ns."
    yield start + b"}" + shared + b"Ns."
    yield start + b"}(" + shared + b"Nu."
    yield start + b"(" + shared + b"Nd."
    yield start + shared + b"."
    yield start + b"\x8f(" + shared + b"\x90."
    yield start + b"(" + shared + b"\x91."
    yield start + b"(" * 200_000 + b"."
    yield start + b"]" * 140_000 + b"."
    yield start + b"}" * 140_000 + b"."
    yield start + b"]" + b"\x942a" + b"h\x00" * 10 + b"."  # a list in itself
    yield start + b"]" + b"]a" * 100_000 + b"."
    yield start + b"".join(b"]" for _ in range(100_000)) + b"a" * 99_999 + b"."
    yield start + b"N2" + b"2" * 200_000 + b"t."
    for index in (b"r\xff\xff\xff\xff", b"r\xff\xff\xff\x7f", b"p4000000000\n", b"p" + b"9" * 5000 + b"\n", b"q\xff"):
        yield start + b"N" + index + b"."
        yield start + b"N" + index.lower().replace(b"q", b"h").replace(b"r", b"j").replace(b"p", b"g") + b"."
    yield start + b"\x8b\x00\x00\x10\x00" + bytes(1 << 20) + b"."
    yield start + b"L" + b"9" * 1_000_000 + b"L\n."
    # Whole numbers whose hashes are all the same
    same = [(2**61 - 1) * k for k in range(1, 4_001)]
    yield pickle.dumps(dict.fromkeys(same), 4)
    yield pickle.dumps({(number,): None for number in same[:1500]}, 4)
    yield pickle.dumps([dict.fromkeys(same[:900]), {1: 2, None: 3}], 4)
    huge = 2 ** (1 << 20)
    for shape in ((huge, huge, huge), (huge,) * 30, (0, huge), (2**61,) * 32, (1,) * 100, ("a",), ((2,),), (True,), 2):
        yield array_stream(shape=shape)
        yield array_stream(shape=shape, raw="abcdefgh")
    for code in ("O8", "V8", "f16", "f4,f4", "S8", "M8", "b1", "c8", [1], None, ["a"] * 3, huge):
        yield array_stream(code=code)
    nested = ["a"]
    for _ in range(60):
        nested = [nested, nested]
    yield pickle.dumps(nested, 4)
    for wrong in ({"data": nested, "labels": nested}, [nested] * 10, [nested] * 3, [[["f", nested, True]], nested, []]):
        yield pickle.dumps(wrong, 4)
    yield pickle.dumps([[[nested, [1, 2], nested]], *[[]] * 9], 4)
    yield array_stream(code=nested)
    # One text that becomes bytes again and again
    text = b"X" + struct.pack("<I", 1 << 20) + b"a" * (1 << 20) + b"\x940"
    yield start + text + b"c_codecs\nencode\n\x940(" + b"h\x01h\x00X\x06\x00\x00\x00latin1\x86R" * 5000 + b"t."
