"""What the kernels do with whole vectors of sixteen floats, which LLVM lowers to those that a machine has.

Compiled loops of plain Python code reload their sums for every few connections; here they stay in registers.

Numba compiles a kernel anew when its own file is another: after a change here a test says what to write there.
"""

from __future__ import annotations

from itertools import chain

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from tfprune.engine.lanes import (
    FLOAT,
    HALF,
    INT,
    LANES,
    LINE,
    VECTOR,
    fetch,
    first_lanes,
    larger,
    load,
    masked_load,
    multiply_add,
    shuffle,
    spread,
    store,
    sums_of_lanes,
    unpacked,
    vector_of,
    zeros,
)

MOST = 8  # vectors whose sums are in registers at once
MOST_BYTES = 2**15  # whose squares have a sum of 32 bits
AHEAD = 16  # connections whose pieces `add_far_pieces` fetches before their turn; as many starts more may be read
_AT_ONCE = {1: 4, 2: 2, 3: 2}  # connections at once where the sums are few, or each waits for the one before


def _weighted_sum(vectors: int, far: bool):
    """The intrinsic that adds weighted pieces of some vectors.

    Args:
        vectors: in a piece.
        far: whether pieces are fetched before their turn, which pays where they come from beyond a core's second cache.
    """

    @intrinsic
    def weighted_sum(typing, rows, at, values, starts, first, last, out, to, more, begin, least):
        """out[to + j] = begin + Σ_k values[k] · rows[at + starts[k] + j] for k in first .. last − 1, j < 16 · vectors

        Added to what is there, and not to `begin`, if there is `more`; then `least` where that is less.
        """

        def generate(context, builder, signature, arguments):
            rows, at, values, starts, first, last, out, to, more, begin, least = unpacked(
                context, builder, signature, arguments
            )
            target, here = builder.gep(out, [to]), builder.gep(rows, [at])
            at_once = _AT_ONCE.get(vectors, 1)
            sums = [[cgutils.alloca_once(builder, VECTOR) for _ in range(vectors)] for _ in range(at_once)]
            for i, one in enumerate(chain(*sums)):
                builder.store(spread(builder, begin) if i < vectors else zeros(), one)
            with builder.if_then(builder.icmp_signed("!=", more, INT(0))):
                for i, one in enumerate(sums[0]):
                    builder.store(load(builder, target, i), one)

            def add(k, sums):
                if far:
                    later = builder.load(builder.gep(starts, [builder.add(k, INT(AHEAD))]))
                    fetch(builder, builder.gep(here, [builder.sext(later, INT)]), vectors)
                value = spread(builder, builder.load(builder.gep(values, [k])))
                piece = builder.gep(here, [builder.sext(builder.load(builder.gep(starts, [k])), INT)])
                for i, one in enumerate(sums):
                    added = multiply_add(builder, value, load(builder, piece, i), builder.load(one))
                    builder.store(added, one)

            middle = first
            if at_once > 1:
                count = builder.sub(last, first)
                middle = builder.add(first, builder.sub(count, builder.srem(count, INT(at_once))))
                with cgutils.for_range_slice(builder, first, middle, INT(at_once), INT) as (k, _):
                    for i in range(at_once):
                        add(builder.add(k, INT(i)), sums[i])
            with cgutils.for_range_slice(builder, middle, last, INT(1), INT) as (k, _):
                add(k, sums[0])
            floor = spread(builder, least)
            for i in range(vectors):
                parts = [builder.load(one[i]) for one in sums]
                while len(parts) > 1:
                    parts = [builder.fadd(*pair) for pair in zip(parts[::2], parts[1::2], strict=True)]
                store(builder, larger(builder, floor, parts[0]), target, i)
            return context.get_dummy_value()

        given = rows, at, values, starts, first, last, out, to, more, types.float32, types.float32
        return types.void(*given), generate

    return weighted_sum


def _adding(far: bool):
    """The function that adds weighted pieces of up to `MOST` vectors, by the intrinsic for their number."""
    one, two, three, four, five, six, seven, eight = (_weighted_sum(vectors, far) for vectors in range(1, MOST + 1))

    @njit
    def add(rows, at, vectors, *given):
        if vectors == 8:
            eight(rows, at, *given)
        elif vectors == 7:
            seven(rows, at, *given)
        elif vectors == 6:
            six(rows, at, *given)
        elif vectors == 5:
            five(rows, at, *given)
        elif vectors == 4:
            four(rows, at, *given)
        elif vectors == 3:
            three(rows, at, *given)
        elif vectors == 2:
            two(rows, at, *given)
        else:
            one(rows, at, *given)

    return add


add_pieces, add_far_pieces = _adding(False), _adding(True)


def _dots(connections: int):
    """The intrinsic that multiplies a piece with as many others."""

    @intrinsic
    def dots(typing, rows, at, starts, k, last, made, to, length, out):
        """out[k + c] += Σ_j rows[at + starts[k + c] + j] · made[to + j], c < connections, k + c ≤ last, j < length"""

        def generate(context, builder, signature, arguments):
            rows, at, starts, k, last, made, to, length, out = unpacked(context, builder, signature, arguments)
            here, other = builder.gep(rows, [at]), builder.gep(made, [to])
            places = [builder.add(k, INT(c)) for c in range(connections)]
            if connections < LANES:
                places = [builder.select(builder.icmp_signed("<", place, last), place, last) for place in places]
            pieces = [
                builder.gep(here, [builder.sext(builder.load(builder.gep(starts, [place])), INT)]) for place in places
            ]
            sums = [cgutils.alloca_once(builder, VECTOR) for _ in pieces]
            for one in sums:
                builder.store(zeros(), one)

            def add(j, load):
                given = load(builder.gep(other, [j]))
                for piece, one in zip(pieces, sums, strict=True):
                    found = load(builder.gep(piece, [j]))
                    builder.store(multiply_add(builder, given, found, builder.load(one)), one)

            whole = builder.and_(length, INT(-LANES))
            with cgutils.for_range_slice(builder, INT(0), whole, INT(LANES), INT) as (j, _):
                add(j, lambda pointer: load(builder, pointer, 0))
            with builder.if_then(builder.icmp_signed("<", whole, length)):
                mask = first_lanes(builder, builder.sub(length, whole))
                add(whole, lambda pointer: masked_load(builder, pointer, mask))
            found = sums_of_lanes(builder, [builder.load(one) for one in sums])
            step = LANES // connections
            if step == 1:
                target = builder.gep(out, [k])
                store(builder, builder.fadd(load(builder, target, 0), found), target, 0)
            else:
                for c, place in enumerate(places):
                    with builder.if_then(builder.icmp_signed("<=", builder.add(k, INT(c)), last)):
                        target = builder.gep(out, [place])
                        one = builder.extract_element(found, HALF(c * step))
                        builder.store(builder.fadd(builder.load(target), one), target)
            return context.get_dummy_value()

        return types.void(rows, at, starts, k, last, made, to, length, out), generate

    return dots


SIXTEEN_DOTS, FOUR_DOTS = _dots(16), _dots(4)


@intrinsic
def sums_about(typing, rows, at, length, center):
    """Σ_j rows[at + j] − center, and Σ_j of its square, j < length; up to whole vectors more is read."""

    def generate(context, builder, signature, arguments):
        rows, at, length, center = unpacked(context, builder, signature, arguments)
        here, middle = builder.gep(rows, [at]), spread(builder, center)
        sums = [[cgutils.alloca_once(builder, VECTOR) for _ in range(2)] for _ in range(4)]
        for one in chain(*sums):
            builder.store(zeros(), one)

        def add(apart, total, squares):
            builder.store(builder.fadd(builder.load(total), apart), total)
            builder.store(multiply_add(builder, apart, apart, builder.load(squares)), squares)

        whole = builder.and_(length, INT(-4 * LANES))
        with cgutils.for_range_slice(builder, INT(0), whole, INT(4 * LANES), INT) as (j, _):
            for i, pair in enumerate(sums):
                found = load(builder, builder.gep(here, [builder.add(j, INT(i * LANES))]), 0)
                add(builder.fsub(found, middle), *pair)
        with cgutils.for_range_slice(builder, whole, length, INT(LANES), INT) as (j, _):
            mask = first_lanes(builder, builder.sub(length, j))
            apart = builder.fsub(load(builder, builder.gep(here, [j]), 0), middle)
            add(builder.select(mask, apart, zeros()), *sums[0])
        both = [[builder.load(pair[i]) for pair in sums] for i in range(2)]
        both = [builder.fadd(builder.fadd(*four[:2]), builder.fadd(*four[2:])) for four in both]
        found = sums_of_lanes(builder, both)
        found = [builder.extract_element(found, HALF(lane)) for lane in (0, LANES // 2)]
        return context.make_tuple(builder, signature.return_type, found)

    return types.UniTuple(types.float32, 2)(rows, at, length, types.float32), generate


@intrinsic
def take_columns(typing, given, numbers, first, last, step, at, out, to, stride, totals, squares):
    """out[to + j · stride + i] = given[numbers[i] · step + at + j] for i in first .. last − 1, j < 16

    Behind `last`, up to a whole vector, 0; `first` is a multiple of 16. Of bytes their sums over i are added to
    totals[j], those of their squares to squares[j], for at most `MOST_BYTES` rows; of floats nothing.
    """

    def generate(context, builder, signature, arguments):
        given, numbers, first, last, step, at, out, to, stride, totals, squares = unpacked(
            context, builder, signature, arguments
        )
        kind, whole = vector_of(given.type.pointee), vector_of(HALF)
        nothing, is_bytes = ir.Constant(kind, None), given.type.pointee != FLOAT
        here = builder.gep(given, [at])
        sums = [cgutils.alloca_once(builder, whole) for _ in range(2)]
        for one in sums:
            builder.store(ir.Constant(whole, None), one)

        def take(i, is_there):
            rows = []
            for number in range(LANES):
                row = builder.add(i, INT(number))
                place = row if is_there is None else builder.select(is_there(row), row, i)
                example = builder.sext(builder.load(builder.gep(numbers, [place])), INT)
                place = builder.gep(here, [builder.mul(example, step)])
                found = builder.load(builder.bitcast(place, kind.as_pointer()), align=1)
                rows.append(found if is_there is None else builder.select(is_there(row), found, nothing))
                if is_bytes:
                    fetch(builder, builder.gep(place, [INT(LINE)]), 1)
                    value, (total, square) = builder.zext(rows[-1], whole), map(builder.load, sums)
                    builder.store(builder.add(total, value), sums[0])
                    builder.store(builder.add(square, builder.mul(value, value)), sums[1])
            _store_turned(builder, rows, builder.gep(out, [builder.add(to, i)]), stride)

        middle = builder.add(first, builder.and_(builder.sub(last, first), INT(-LANES)))
        with cgutils.for_range_slice(builder, first, middle, INT(LANES), INT) as (i, _):
            take(i, None)
        with builder.if_then(builder.icmp_signed("<", middle, last)):
            take(middle, lambda row: builder.icmp_signed("<", row, last))
        if is_bytes:
            wide = vector_of(INT)
            for one, target in zip(sums, (totals, squares), strict=True):
                place = builder.bitcast(target, wide.as_pointer())
                more = builder.zext(builder.load(one), wide)
                builder.store(builder.add(builder.load(place, align=8), more), place, align=8)
        return context.get_dummy_value()

    return types.void(given, numbers, first, last, step, at, out, to, stride, totals, squares), generate


def _store_turned(builder, rows, out, stride):
    """Stores sixteen vectors, `stride` apart, made of their first lanes, of their second, and so on."""
    half = LANES // 2
    for _ in range(4):  # each time the first half of the rows comes between the second
        pairs = [(rows[i], rows[i + half]) for i in range(half)]
        rows = [
            shuffle(builder, *pair, [i // 2 + side * half + i % 2 * LANES for i in range(LANES)])
            for pair in pairs
            for side in range(2)
        ]
    for j, row in enumerate(rows):
        place = builder.gep(out, [builder.mul(stride, INT(j))])
        builder.store(row, builder.bitcast(place, row.type.as_pointer()), align=1)


@intrinsic
def transpose_block(typing, given, at, step, out, to, stride):
    """out[to + j · stride + i] = given[at + i · step + j] for i, j < 16"""

    def generate(context, builder, signature, arguments):
        given, at, step, out, to, stride = unpacked(context, builder, signature, arguments)
        kind = vector_of(given.type.pointee).as_pointer()
        places = [builder.gep(given, [builder.add(at, builder.mul(step, INT(i)))]) for i in range(LANES)]
        rows = [builder.load(builder.bitcast(place, kind), align=1) for place in places]
        _store_turned(builder, rows, builder.gep(out, [to]), stride)
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
