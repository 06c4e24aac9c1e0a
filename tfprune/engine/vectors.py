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

LANES = 16
MOST = 8  # vectors whose sums are in registers at once

_FLOAT = ir.FloatType()
_INT = ir.IntType(64)
_VECTOR = ir.VectorType(_FLOAT, LANES)
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
            rows, at, values, starts, first, last, out, to, more = _unpacked(context, builder, signature, arguments)
            target = builder.gep(out, [to])
            here = builder.gep(rows, [at])
            at_once = _AT_ONCE.get(vectors, 1)
            sums = [[cgutils.alloca_once(builder, _VECTOR) for _ in range(vectors)] for _ in range(at_once)]
            for one in chain(*sums):
                builder.store(_zeros(), one)
            with builder.if_then(builder.icmp_signed("!=", more, _INT(0))):
                for i, one in enumerate(sums[0]):
                    builder.store(_load(builder, target, i), one)

            def add(k, sums):
                if far:
                    later = builder.load(builder.gep(starts, [builder.add(k, _INT(AHEAD))]))
                    _fetch(builder, builder.gep(here, [builder.sext(later, _INT)]), vectors)
                value = _spread(builder, builder.load(builder.gep(values, [k])))
                start = builder.sext(builder.load(builder.gep(starts, [k])), _INT)
                piece = builder.gep(here, [start])
                for i, one in enumerate(sums):
                    added = _multiply_add(builder, value, _load(builder, piece, i), builder.load(one))
                    builder.store(added, one)

            middle = first
            if at_once > 1:
                count = builder.sub(last, first)
                middle = builder.add(first, builder.sub(count, builder.srem(count, _INT(at_once))))
                with cgutils.for_range_slice(builder, first, middle, _INT(at_once), _INT) as (k, _):
                    for i in range(at_once):
                        add(builder.add(k, _INT(i)), sums[i])
            with cgutils.for_range_slice(builder, middle, last, _INT(1), _INT) as (k, _):
                add(k, sums[0])
            for i in range(vectors):
                parts = [builder.load(one[i]) for one in sums]
                while len(parts) > 1:
                    parts = [builder.fadd(*pair) for pair in zip(parts[::2], parts[1::2], strict=True)]
                _store(builder, parts[0], target, i)
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

            def add(j, load):
                given = load(builder.gep(other, [j]))
                for piece, one in zip(pieces, sums, strict=True):
                    found = load(builder.gep(piece, [j]))
                    builder.store(_multiply_add(builder, given, found, builder.load(one)), one)

            whole = builder.and_(length, _INT(-LANES))
            with cgutils.for_range_slice(builder, _INT(0), whole, _INT(LANES), _INT) as (j, _):
                add(j, lambda pointer: _load(builder, pointer, 0))
            with builder.if_then(builder.icmp_signed("<", whole, length)):
                mask = _first_lanes(builder, builder.sub(length, whole))
                add(whole, lambda pointer: _masked_load(builder, pointer, mask))
            found = _sums_of_lanes(builder, [builder.load(one) for one in sums])
            step = LANES // connections
            if step == 1:
                target = builder.gep(out, [k])
                _store(builder, builder.fadd(_load(builder, target, 0), found), target, 0)
            else:
                for c, place in enumerate(places):
                    with builder.if_then(builder.icmp_signed("<=", builder.add(k, _INT(c)), last)):
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
        given, at, step, out, to, stride = _unpacked(context, builder, signature, arguments)
        rows = [
            _load(builder, builder.gep(given, [builder.add(at, builder.mul(step, _INT(i)))]), 0) for i in range(LANES)
        ]
        _store_turned(builder, rows, out, to, stride)
        return context.get_dummy_value()

    return types.void(given, at, step, out, to, stride), generate


@intrinsic
def transpose_bytes(typing, given, at, step, mean, scale, first, out, to, stride):
    """out[to + j · stride + i] = (given[at + i · step + j] − mean[first + j]) · scale[first + j] for i, j < 16"""

    def generate(context, builder, signature, arguments):
        given, at, step, mean, scale, first, out, to, stride = _unpacked(context, builder, signature, arguments)
        center, factor = (_load(builder, builder.gep(array, [first]), 0) for array in (mean, scale))
        eight = ir.VectorType(ir.IntType(8), LANES)
        rows = []
        for i in range(LANES):
            place = builder.gep(given, [builder.add(at, builder.mul(step, _INT(i)))])
            found = builder.uitofp(builder.load(builder.bitcast(place, eight.as_pointer()), align=1), _VECTOR)
            rows.append(builder.fmul(builder.fsub(found, center), factor))
        _store_turned(builder, rows, out, to, stride)
        return context.get_dummy_value()

    return types.void(given, at, step, mean, scale, first, out, to, stride), generate


def _store_turned(builder, rows, out, to, stride):
    """Stores the columns of sixteen vectors."""
    half = LANES // 2
    while half:  # exchanges the blocks of this size that lie off the diagonal
        low = [lane if not lane & half else LANES + lane - half for lane in range(LANES)]
        high = [lane + half if not lane & half else LANES + lane for lane in range(LANES)]
        for i in range(LANES):
            if not i & half:
                pair = rows[i], rows[i + half]
                rows[i], rows[i + half] = _shuffle(builder, *pair, low), _shuffle(builder, *pair, high)
        half //= 2
    for j, row in enumerate(rows):
        _store(builder, row, builder.gep(out, [builder.add(to, builder.mul(stride, _INT(j)))]), 0)


def _unpacked(context, builder, signature, arguments):
    """Pointers of arrays, and 64-bit integers."""
    for kind, value in zip(signature.args, arguments, strict=True):
        if isinstance(kind, types.Array):
            yield context.make_array(kind)(context, builder, value).data
        else:
            yield context.cast(builder, value, kind, types.int64)


def _pointer(builder, pointer, number):
    if number:
        pointer = builder.gep(pointer, [_INT(number * LANES)])
    return builder.bitcast(pointer, _VECTOR.as_pointer())


def _load(builder, pointer, number):
    return builder.load(_pointer(builder, pointer, number), align=4)


def _store(builder, vector, pointer, number):
    builder.store(vector, _pointer(builder, pointer, number), align=4)


def _fetch(builder, pointer, vectors):
    """Asks for vectors that are needed soon."""
    number = ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [pointer.type, number, number, number])
    fetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    for i in range(vectors):
        builder.call(fetch, [builder.gep(pointer, [_INT(i * LANES)]), number(0), number(3), number(1)])


def _zeros():
    return ir.Constant(_VECTOR, [0.0] * LANES)


def _indices(numbers):
    return ir.Constant(ir.VectorType(ir.IntType(32), len(numbers)), list(numbers))


def _shuffle(builder, one, other, lanes):
    return builder.shuffle_vector(one, other, _indices(lanes))


def _spread(builder, number):
    alone = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), number, ir.IntType(32)(0))
    return _shuffle(builder, alone, alone, [0] * LANES)


def _multiply_add(builder, one, other, added):
    return _llvm(builder, "llvm.fmuladd.v16f32", [one, other, added])


def _first_lanes(builder, number):
    """A mask of those before a number."""
    kind = ir.VectorType(ir.IntType(32), LANES)
    limit = builder.insert_element(
        ir.Constant(kind, ir.Undefined), builder.trunc(number, ir.IntType(32)), ir.IntType(32)(0)
    )
    return builder.icmp_signed("<", _indices(range(LANES)), _shuffle(builder, limit, limit, [0] * LANES))


def _masked_load(builder, pointer, mask):
    place = _pointer(builder, pointer, 0)
    return _llvm(builder, "llvm.masked.load.v16f32.p0", [place, ir.IntType(32)(4), mask, _zeros()])


def _llvm(builder, name, arguments):
    kind = ir.FunctionType(_VECTOR, [one.type for one in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)


def _sums_of_lanes(builder, vectors):
    """The sums of 2^i vectors in one, each at the first of its 16 / 2^i lanes."""
    size = LANES
    while size > 1:
        half = size // 2
        if len(vectors) > 1:
            low = [lane for lane in range(2 * LANES) if lane % size < half]
            high = [lane for lane in range(2 * LANES) if lane % size >= half]
            pairs = list(zip(vectors[::2], vectors[1::2], strict=True))
            vectors = [builder.fadd(_shuffle(builder, *pair, low), _shuffle(builder, *pair, high)) for pair in pairs]
        else:
            moved = [lane ^ half for lane in range(LANES)]
            vectors = [builder.fadd(vectors[0], _shuffle(builder, *vectors * 2, moved))]
        size = half
    return vectors[0]
