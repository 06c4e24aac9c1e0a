"""What LLVM does with vectors of sixteen floats, for those who write kernels by its builder."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils

LANES = 16
FLOAT = ir.FloatType()
INT = ir.IntType(64)
VECTOR = ir.VectorType(FLOAT, LANES)


def store_turned(builder, rows, out, to, stride):
    """Stores the columns of sixteen vectors."""
    half = LANES // 2
    while half:  # exchanges the blocks of this size that lie off the diagonal
        low = [lane if not lane & half else LANES + lane - half for lane in range(LANES)]
        high = [lane + half if not lane & half else LANES + lane for lane in range(LANES)]
        for i in range(LANES):
            if not i & half:
                pair = rows[i], rows[i + half]
                rows[i], rows[i + half] = shuffle(builder, *pair, low), shuffle(builder, *pair, high)
        half //= 2
    for j, row in enumerate(rows):
        store(builder, row, builder.gep(out, [builder.add(to, builder.mul(stride, INT(j)))]), 0)


def unpacked(context, builder, signature, arguments):
    """Pointers of arrays, 64-bit integers and 32-bit floats."""
    for kind, value in zip(signature.args, arguments, strict=True):
        if isinstance(kind, types.Array):
            yield context.make_array(kind)(context, builder, value).data
        elif isinstance(kind, types.Float):
            yield context.cast(builder, value, kind, types.float32)
        else:
            yield context.cast(builder, value, kind, types.int64)


def vector_at(builder, pointer, number):
    if number:
        pointer = builder.gep(pointer, [INT(number * LANES)])
    return builder.bitcast(pointer, VECTOR.as_pointer())


def load(builder, pointer, number):
    return builder.load(vector_at(builder, pointer, number), align=4)


def store(builder, vector, pointer, number):
    builder.store(vector, vector_at(builder, pointer, number), align=4)


def fetch(builder, pointer, vectors):
    """Asks for vectors that are needed soon."""
    number = ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [pointer.type, number, number, number])
    fetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    for i in range(vectors):
        builder.call(fetch, [builder.gep(pointer, [INT(i * LANES)]), number(0), number(3), number(1)])


def zeros():
    return ir.Constant(VECTOR, [0.0] * LANES)


def indices(numbers):
    return ir.Constant(ir.VectorType(ir.IntType(32), len(numbers)), list(numbers))


def shuffle(builder, one, other, lanes):
    return builder.shuffle_vector(one, other, indices(lanes))


def spread(builder, number):
    alone = builder.insert_element(ir.Constant(VECTOR, ir.Undefined), number, ir.IntType(32)(0))
    return shuffle(builder, alone, alone, [0] * LANES)


def multiply_add(builder, one, other, added):
    return llvm(builder, "llvm.fmuladd.v16f32", [one, other, added])


def larger(builder, limit, vector):
    """At least the limit; what is no number stays none."""
    return builder.select(builder.fcmp_ordered(">", limit, vector), limit, vector)


def smaller(builder, limit, vector):
    """At most the limit; what is no number stays none."""
    return builder.select(builder.fcmp_ordered("<", limit, vector), limit, vector)


def first_lanes(builder, number):
    """A mask of those before a number."""
    kind = ir.VectorType(ir.IntType(32), LANES)
    limit = builder.insert_element(
        ir.Constant(kind, ir.Undefined), builder.trunc(number, ir.IntType(32)), ir.IntType(32)(0)
    )
    return builder.icmp_signed("<", indices(range(LANES)), shuffle(builder, limit, limit, [0] * LANES))


def masked_load(builder, pointer, mask):
    place = vector_at(builder, pointer, 0)
    return llvm(builder, "llvm.masked.load.v16f32.p0", [place, ir.IntType(32)(4), mask, zeros()])


def llvm(builder, name, arguments):
    kind = ir.FunctionType(VECTOR, [one.type for one in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)


def sums_of_lanes(builder, vectors):
    """The sums of 2^i vectors in one, each at the first of its 16 / 2^i lanes."""
    size = LANES
    while size > 1:
        half = size // 2
        if len(vectors) > 1:
            low = [lane for lane in range(2 * LANES) if lane % size < half]
            high = [lane for lane in range(2 * LANES) if lane % size >= half]
            pairs = list(zip(vectors[::2], vectors[1::2], strict=True))
            vectors = [builder.fadd(shuffle(builder, *pair, low), shuffle(builder, *pair, high)) for pair in pairs]
        else:
            moved = [lane ^ half for lane in range(LANES)]
            vectors = [builder.fadd(vectors[0], shuffle(builder, *vectors * 2, moved))]
        size = half
    return vectors[0]
