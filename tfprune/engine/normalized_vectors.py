"""Whole vectors of sixteen, as in `tfprune.engine.vectors`, of rows that are floats or bytes.

Bytes become floats on their way into a register, which takes less time than to fetch four times as much.

Numba compiles a kernel anew when its own file is another: after a change here, touch the files of kernels.
"""

from __future__ import annotations

from itertools import chain

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from tfprune.engine.vectors import _first_lanes, _multiply_add, _shuffle, _spread, _store, _sums_of_lanes, _zeros

LANES = 16
MOST = 8  # vectors whose sums are in registers at once
AHEAD = 16  # connections whose pieces `weighted` fetches before their turn; as many starts more may be read

_FLOAT, _INT, _SHORT = ir.FloatType(), ir.IntType(64), ir.IntType(32)
_VECTOR = ir.VectorType(_FLOAT, LANES)
_LINE = 64  # bytes of a cache's line
_AT_ONCE = {1: 4, 2: 2, 3: 2}  # connections at once where the sums are few, or each waits for the one before


def _weighted(vectors: int):
    """The intrinsic that adds weighted pieces of some vectors."""

    @intrinsic
    def weighted(typing, rows, at, values, starts, first, last, begin, least, out, to):
        """out[to + j] = begin + Σ_k values[k] · rows[at + starts[k] + j] for k in first .. last − 1, j < 16 · vectors

        `least` where that is less.
        """
        signature = types.void(rows, at, values, starts, first, last, types.float32, types.float32, out, to)

        def generate(context, builder, signature, arguments):
            unpacked = _unpacked(context, builder, signature, arguments)
            rows, at, values, starts, first, last, begin, least, out, to = unpacked
            target, here = builder.gep(out, [to]), builder.gep(rows, [at])
            at_once = _AT_ONCE.get(vectors, 1)
            sums = [[cgutils.alloca_once(builder, _VECTOR) for _ in range(vectors)] for _ in range(at_once)]
            for i, one in enumerate(chain(*sums)):
                builder.store(_spread(builder, begin) if i < vectors else _zeros(), one)

            def add(k, sums):
                later = builder.load(builder.gep(starts, [builder.add(k, _INT(AHEAD))]))
                _fetch(builder, builder.gep(here, [builder.sext(later, _INT)]), vectors)
                value = _spread(builder, builder.load(builder.gep(values, [k])))
                piece = builder.gep(here, [builder.sext(builder.load(builder.gep(starts, [k])), _INT)])
                for i, one in enumerate(sums):
                    found = _load(builder, builder.gep(piece, [_INT(i * LANES)]))
                    builder.store(_multiply_add(builder, value, found, builder.load(one)), one)

            count = builder.sub(last, first)
            middle = builder.add(first, builder.sub(count, builder.srem(count, _INT(at_once))))
            with cgutils.for_range_slice(builder, first, middle, _INT(at_once), _INT) as (k, _):
                for i in range(at_once):
                    add(builder.add(k, _INT(i)), sums[i])
            if at_once > 1:
                with cgutils.for_range_slice(builder, middle, last, _INT(1), _INT) as (k, _):
                    add(k, sums[0])
            floor = _spread(builder, least)
            for i in range(vectors):
                parts = [builder.load(one[i]) for one in sums]
                while len(parts) > 1:
                    parts = [builder.fadd(*pair) for pair in zip(parts[::2], parts[1::2], strict=True)]
                # Such that NaN stays.
                made = builder.select(builder.fcmp_ordered("<", parts[0], floor), floor, parts[0])
                _store(builder, made, target, i)
            return context.get_dummy_value()

        return signature, generate

    return weighted


_one, _two, _three, _four, _five, _six, _seven, _eight = (_weighted(vectors) for vectors in range(1, MOST + 1))


@njit
def weighted(rows, at, vectors, values, starts, first, last, begin, least, out, to):
    """The same by the intrinsic for a number of vectors up to `MOST`."""
    if vectors == 8:
        _eight(rows, at, values, starts, first, last, begin, least, out, to)
    elif vectors == 7:
        _seven(rows, at, values, starts, first, last, begin, least, out, to)
    elif vectors == 6:
        _six(rows, at, values, starts, first, last, begin, least, out, to)
    elif vectors == 5:
        _five(rows, at, values, starts, first, last, begin, least, out, to)
    elif vectors == 4:
        _four(rows, at, values, starts, first, last, begin, least, out, to)
    elif vectors == 3:
        _three(rows, at, values, starts, first, last, begin, least, out, to)
    elif vectors == 2:
        _two(rows, at, values, starts, first, last, begin, least, out, to)
    else:
        _one(rows, at, values, starts, first, last, begin, least, out, to)


def _dots(connections: int):
    """The intrinsic that multiplies a piece with as many others."""

    @intrinsic
    def dots(typing, rows, at, starts, k, last, made, to, length, out):
        """out[k + c] += Σ_j rows[at + starts[k + c] + j] · made[to + j], c < connections, k + c ≤ last, j < length

        `length` is a multiple of 16.
        """

        def generate(context, builder, signature, arguments):
            rows, at, starts, k, last, made, to, length, out = _unpacked(context, builder, signature, arguments)
            here, other = builder.gep(rows, [at]), builder.gep(made, [to])
            places = [builder.add(k, _INT(c)) for c in range(connections)]
            if connections < LANES:
                places = [builder.select(builder.icmp_signed("<", place, last), place, last) for place in places]
            pieces = [
                builder.gep(here, [builder.sext(builder.load(builder.gep(starts, [place])), _INT)]) for place in places
            ]
            sums = [cgutils.alloca_once(builder, _VECTOR) for _ in pieces]
            for one in sums:
                builder.store(_zeros(), one)
            with cgutils.for_range_slice(builder, _INT(0), length, _INT(LANES), _INT) as (j, _):
                given = _load(builder, builder.gep(other, [j]))
                for piece, one in zip(pieces, sums, strict=True):
                    found = _load(builder, builder.gep(piece, [j]))
                    builder.store(_multiply_add(builder, given, found, builder.load(one)), one)
            found = _sums_of_lanes(builder, [builder.load(one) for one in sums])
            if connections == LANES:
                target = builder.gep(out, [k])
                _store(builder, builder.fadd(_load(builder, target), found), target, 0)
                return context.get_dummy_value()
            for c, place in enumerate(places):
                with builder.if_then(builder.icmp_signed("<=", builder.add(k, _INT(c)), last)):
                    target = builder.gep(out, [place])
                    one = builder.extract_element(found, _SHORT(c * (LANES // connections)))
                    builder.store(builder.fadd(builder.load(target), one), target)
            return context.get_dummy_value()

        return types.void(rows, at, starts, k, last, made, to, length, out), generate

    return dots


SIXTEEN_DOTS, FOUR_DOTS = _dots(16), _dots(4)


@intrinsic
def sums_about(typing, rows, at, length, center):
    """Σ_j rows[at + j] − center, and Σ_j of its square, j < length; up to whole vectors more is read."""

    def generate(context, builder, signature, arguments):
        rows, at, length, center = _unpacked(context, builder, signature, arguments)
        here, middle = builder.gep(rows, [at]), _spread(builder, center)
        sums = [[cgutils.alloca_once(builder, _VECTOR) for _ in range(2)] for _ in range(4)]
        for one in chain(*sums):
            builder.store(_zeros(), one)

        def add(apart, total, squares):
            builder.store(builder.fadd(builder.load(total), apart), total)
            builder.store(_multiply_add(builder, apart, apart, builder.load(squares)), squares)

        whole = builder.and_(length, _INT(-4 * LANES))
        with cgutils.for_range_slice(builder, _INT(0), whole, _INT(4 * LANES), _INT) as (j, _):
            for i, pair in enumerate(sums):
                found = _load(builder, builder.gep(here, [builder.add(j, _INT(i * LANES))]))
                add(builder.fsub(found, middle), *pair)
        with cgutils.for_range_slice(builder, whole, length, _INT(LANES), _INT) as (j, _):
            mask = _first_lanes(builder, builder.sub(length, j))
            apart = builder.fsub(_load(builder, builder.gep(here, [j])), middle)
            add(builder.select(mask, apart, _zeros()), *sums[0])
        both = [[builder.load(pair[i]) for pair in sums] for i in range(2)]
        both = [builder.fadd(builder.fadd(*four[:2]), builder.fadd(*four[2:])) for four in both]
        found = _sums_of_lanes(builder, both)
        found = [builder.extract_element(found, _SHORT(lane)) for lane in (0, LANES // 2)]
        return context.make_tuple(builder, signature.return_type, found)

    return types.UniTuple(types.float32, 2)(rows, at, length, types.float32), generate


@intrinsic
def transpose_block(typing, given, at, step, out, to, stride):
    """out[to + j · stride + i] = given[at + i · step + j] for i, j < 16"""

    def generate(context, builder, signature, arguments):
        given, at, step, out, to, stride = _unpacked(context, builder, signature, arguments)
        kind = ir.VectorType(given.type.pointee, LANES).as_pointer()
        places = [builder.gep(given, [builder.add(at, builder.mul(step, _INT(i)))]) for i in range(LANES)]
        rows = [builder.load(builder.bitcast(place, kind), align=1) for place in places]
        half = LANES // 2
        for _ in range(4):  # each time the first half of the rows comes between the second
            pairs = [(rows[i], rows[i + half]) for i in range(half)]
            rows = [
                _shuffle(builder, *pair, [i // 2 + side * half + i % 2 * LANES for i in range(LANES)])
                for pair in pairs
                for side in range(2)
            ]
        for j, row in enumerate(rows):
            place = builder.gep(out, [builder.add(to, builder.mul(stride, _INT(j)))])
            builder.store(row, builder.bitcast(place, kind), align=1)
        return context.get_dummy_value()

    return types.void(given, at, step, out, to, stride), generate


@njit
def transpose(given, at, step, out, to, stride, rows, columns):
    """out[to + j · stride + i] = given[at + i · step + j] for i < rows, j < columns"""
    whole_rows, whole_columns = rows // LANES * LANES, columns // LANES * LANES
    for i in range(0, whole_rows, LANES):
        for j in range(0, whole_columns, LANES):
            transpose_block(given, at + i * step + j, step, out, to + j * stride + i, stride)
    for i in range(rows):
        for j in range(0 if i >= whole_rows else whole_columns, columns):
            out[to + j * stride + i] = given[at + i * step + j]


def _unpacked(context, builder, signature, arguments):
    """Pointers of arrays, floats, and 64-bit integers."""
    for kind, value in zip(signature.args, arguments, strict=True):
        if isinstance(kind, types.Array):
            yield context.make_array(kind)(context, builder, value).data
        elif isinstance(kind, types.Float):
            yield value
        else:
            yield context.cast(builder, value, kind, types.int64)


def _load(builder, pointer):
    """A vector of floats, from floats or bytes."""
    kind = ir.VectorType(pointer.type.pointee, LANES).as_pointer()
    if pointer.type.pointee == _FLOAT:
        return builder.load(builder.bitcast(pointer, kind), align=4)
    return builder.uitofp(builder.load(builder.bitcast(pointer, kind), align=1), _VECTOR)


def _fetch(builder, pointer, vectors):
    """Asks for vectors that are needed soon."""
    size = 4 if pointer.type.pointee == _FLOAT else 1
    kind = ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer(), *3 * [_SHORT]])
    fetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    start = builder.bitcast(pointer, ir.IntType(8).as_pointer())
    for byte in range(0, vectors * LANES * size, _LINE):
        builder.call(fetch, [builder.gep(start, [_INT(byte)]), _SHORT(0), _SHORT(3), _SHORT(1)])
