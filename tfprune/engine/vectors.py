"""What the kernels do with whole vectors of sixteen floats, which LLVM lowers to those that a machine has.

Compiled loops of plain Python code reload their sums for every few connections; here they stay in registers.

Numba compiles a kernel anew when its own file is another: after a change here, touch the files of kernels.
"""

from __future__ import annotations

from itertools import chain

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from tfprune.engine.lanes import (
    INT,
    LANES,
    VECTOR,
    fetch,
    first_lanes,
    load,
    masked_load,
    multiply_add,
    spread,
    store,
    store_turned,
    sums_of_lanes,
    unpacked,
    zeros,
)

MOST = 8  # vectors whose sums are in registers at once
AHEAD = 16  # connections whose pieces `add_far_pieces` fetches before their turn; as many starts more may be read
_AT_ONCE = {1: 4, 2: 2, 3: 2}  # connections at once where the sums are few, or each waits for the one before


def _weighted_sum(vectors: int, far: bool):
    """The intrinsic that adds weighted pieces of some vectors.

    Args:
        vectors: in a piece.
        far: whether pieces are fetched before their turn, which pays where they come from beyond a core's second cache.
    """

    @intrinsic
    def weighted_sum(typing, rows, at, values, starts, first, last, out, to, more):
        """out[to + j] = Σ_k values[k] · rows[at + starts[k] + j] for k in first .. last − 1, j < 16 · vectors

        Added to what is there if there is `more`.
        """

        def generate(context, builder, signature, arguments):
            rows, at, values, starts, first, last, out, to, more = unpacked(context, builder, signature, arguments)
            target = builder.gep(out, [to])
            here = builder.gep(rows, [at])
            at_once = _AT_ONCE.get(vectors, 1)
            sums = [[cgutils.alloca_once(builder, VECTOR) for _ in range(vectors)] for _ in range(at_once)]
            for one in chain(*sums):
                builder.store(zeros(), one)
            with builder.if_then(builder.icmp_signed("!=", more, INT(0))):
                for i, one in enumerate(sums[0]):
                    builder.store(load(builder, target, i), one)

            def add(k, sums):
                if far:
                    later = builder.load(builder.gep(starts, [builder.add(k, INT(AHEAD))]))
                    fetch(builder, builder.gep(here, [builder.sext(later, INT)]), vectors)
                value = spread(builder, builder.load(builder.gep(values, [k])))
                start = builder.sext(builder.load(builder.gep(starts, [k])), INT)
                piece = builder.gep(here, [start])
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
            for i in range(vectors):
                parts = [builder.load(one[i]) for one in sums]
                while len(parts) > 1:
                    parts = [builder.fadd(*pair) for pair in zip(parts[::2], parts[1::2], strict=True)]
                store(builder, parts[0], target, i)
            return context.get_dummy_value()

        return types.void(rows, at, values, starts, first, last, out, to, more), generate

    return weighted_sum


_SUMS, _FAR_SUMS = ({vectors: _weighted_sum(vectors, far) for vectors in range(1, MOST + 1)} for far in (False, True))


def _adding(sums: dict):
    """The function that adds weighted pieces of up to `MOST` vectors, by the intrinsic for their number."""
    one, two, three, four, five, six, seven, eight = (sums[vectors] for vectors in range(1, MOST + 1))

    @njit
    def add(rows, at, vectors, values, starts, first, last, out, to, more):
        if vectors == 8:
            eight(rows, at, values, starts, first, last, out, to, more)
        elif vectors == 7:
            seven(rows, at, values, starts, first, last, out, to, more)
        elif vectors == 6:
            six(rows, at, values, starts, first, last, out, to, more)
        elif vectors == 5:
            five(rows, at, values, starts, first, last, out, to, more)
        elif vectors == 4:
            four(rows, at, values, starts, first, last, out, to, more)
        elif vectors == 3:
            three(rows, at, values, starts, first, last, out, to, more)
        elif vectors == 2:
            two(rows, at, values, starts, first, last, out, to, more)
        else:
            one(rows, at, values, starts, first, last, out, to, more)

    return add


add_pieces, add_far_pieces = map(_adding, (_SUMS, _FAR_SUMS))


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
                        one = builder.extract_element(found, ir.IntType(32)(c * step))
                        builder.store(builder.fadd(builder.load(target), one), target)
            return context.get_dummy_value()

        return types.void(rows, at, starts, k, last, made, to, length, out), generate

    return dots


SIXTEEN_DOTS, FOUR_DOTS = _dots(16), _dots(4)


@intrinsic
def transpose_block(typing, given, at, step, out, to, stride):
    """out[to + j · stride + i] = given[at + i · step + j] for i, j < 16"""

    def generate(context, builder, signature, arguments):
        given, at, step, out, to, stride = unpacked(context, builder, signature, arguments)
        rows = [
            load(builder, builder.gep(given, [builder.add(at, builder.mul(step, INT(i)))]), 0) for i in range(LANES)
        ]
        store_turned(builder, rows, out, to, stride)
        return context.get_dummy_value()

    return types.void(given, at, step, out, to, stride), generate


@intrinsic
def transpose_bytes(typing, given, at, step, mean, scale, first, out, to, stride):
    """out[to + j · stride + i] = (given[at + i · step + j] − mean[first + j]) · scale[first + j] for i, j < 16"""

    def generate(context, builder, signature, arguments):
        given, at, step, mean, scale, first, out, to, stride = unpacked(context, builder, signature, arguments)
        center, factor = (load(builder, builder.gep(array, [first]), 0) for array in (mean, scale))
        eight = ir.VectorType(ir.IntType(8), LANES)
        rows = []
        for i in range(LANES):
            place = builder.gep(given, [builder.add(at, builder.mul(step, INT(i)))])
            found = builder.uitofp(builder.load(builder.bitcast(place, eight.as_pointer()), align=1), VECTOR)
            rows.append(builder.fmul(builder.fsub(found, center), factor))
        store_turned(builder, rows, out, to, stride)
        return context.get_dummy_value()

    return types.void(given, at, step, mean, scale, first, out, to, stride), generate
