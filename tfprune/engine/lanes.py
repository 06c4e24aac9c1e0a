"""What LLVM does with vectors of sixteen floats, for those who write kernels by its builder."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils

LANES = 16
FLOAT = ir.FloatType()
INT, HALF, _BYTE = ir.IntType(64), ir.IntType(32), ir.IntType(8)
VECTOR = ir.VectorType(FLOAT, LANES)
LINE = 64  # bytes of a cache's line


def unpacked(context, builder, signature, arguments):
    """Pointers of arrays, 64-bit integers and 32-bit floats."""
    for kind, value in zip(signature.args, arguments, strict=True):
        if isinstance(kind, types.Array):
            yield context.make_array(kind)(context, builder, value).data
        elif isinstance(kind, types.Float):
            yield context.cast(builder, value, kind, types.float32)
        else:
            yield context.cast(builder, value, kind, types.int64)


def load(builder, pointer, number):
    """The vector of floats so many vectors on, from floats or bytes."""
    place = _vector_at(builder, pointer, number)
    if pointer.type.pointee == FLOAT:
        return builder.load(place, align=4)
    return builder.uitofp(builder.load(place, align=1), VECTOR)


def store(builder, vector, pointer, number):
    builder.store(vector, _vector_at(builder, pointer, number), align=4)


def fetch(builder, pointer, vectors):
    """Asks for vectors that are needed soon, of floats or bytes."""
    kind = ir.FunctionType(ir.VoidType(), [_BYTE.as_pointer(), *3 * [HALF]])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    size = 4 if pointer.type.pointee == FLOAT else 1
    start = builder.bitcast(pointer, _BYTE.as_pointer())
    for byte in range(0, vectors * LANES * size, LINE):
        builder.call(function, [builder.gep(start, [INT(byte)]), HALF(0), HALF(3), HALF(1)])


def at_once(builder, pointer):
    """The pointer, computed here and now: Intel's processors split what reads from a sum of two registers."""
    kind = ir.FunctionType(pointer.type, [pointer.type])
    return builder.asm(kind, "", "=r,0", [pointer], False)


def vector_of(kind):
    """The type of sixteen of a type."""
    return ir.VectorType(kind, LANES)


def zeros():
    return ir.Constant(VECTOR, [0.0] * LANES)


def indices(numbers):
    return ir.Constant(ir.VectorType(HALF, len(numbers)), list(numbers))


def shuffle(builder, one, other, lanes):
    return builder.shuffle_vector(one, other, indices(lanes))


def spread(builder, number):
    alone = builder.insert_element(ir.Constant(VECTOR, ir.Undefined), number, HALF(0))
    return shuffle(builder, alone, alone, [0] * LANES)


def multiply_add(builder, one, other, added):
    return llvm(builder, "llvm.fmuladd.v16f32", [one, other, added])


def larger(builder, limit, vector):
    """At least the limit; what is no number stays none."""
    return builder.select(builder.fcmp_ordered(">", limit, vector), limit, vector)


def maximum(builder, one, other):
    """The larger of two; what is no number in either stays none."""
    is_larger = builder.fcmp_ordered(">", one, other)
    return builder.select(builder.or_(is_larger, builder.fcmp_unordered("uno", one, one)), one, other)


def smaller(builder, limit, vector):
    """At most the limit; what is no number stays none."""
    return builder.select(builder.fcmp_ordered("<", limit, vector), limit, vector)


def first_lanes(builder, number):
    """A mask of those before a number."""
    kind = ir.VectorType(HALF, LANES)
    limit = builder.insert_element(ir.Constant(kind, ir.Undefined), builder.trunc(number, HALF), HALF(0))
    return builder.icmp_signed("<", indices(range(LANES)), shuffle(builder, limit, limit, [0] * LANES))


def masked_load(builder, pointer, mask):
    """As `load` of the first vector; 0 in lanes that are masked out, which are not read."""
    if pointer.type.pointee == FLOAT:
        return llvm(builder, "llvm.masked.load.v16f32.p0", [_vector_at(builder, pointer, 0), HALF(4), mask, zeros()])
    kind = vector_of(_BYTE)
    arguments = [_vector_at(builder, pointer, 0), HALF(1), mask, ir.Constant(kind, [0] * LANES)]
    return builder.uitofp(llvm(builder, "llvm.masked.load.v16i8.p0", arguments, kind), VECTOR)


def llvm(builder, name, arguments, made=VECTOR):
    kind = ir.FunctionType(made, [one.type for one in arguments])
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


def _vector_at(builder, pointer, number):
    if number:
        pointer = builder.gep(pointer, [INT(number * LANES)])
    return builder.bitcast(pointer, vector_of(pointer.type.pointee).as_pointer())
