"""Groups of patterns by their definition, index by index: shares no code with the package."""

from itertools import product


def matrix(shape):
    """Rows of a dense kernel (in, out) or a convolution's (height, width, in, out): lists of full indices."""
    *above, outputs = shape
    return [[(*row, column) for column in range(outputs)] for row in product(*map(range, above))]


def groups(pattern, shape):
    """(lists of indices that are groups, indices that are in none)."""
    rows = matrix(shape)
    found = []
    if ":" in pattern:
        size = int(pattern.split(":")[1])
        *places, inputs, outputs = shape
        for place, column, first in product(product(*map(range, places)), range(outputs), range(0, inputs, size)):
            found.append([(*place, first + step, column) for step in range(size) if first + step < inputs])
        found = [group for group in found if len(group) == size]
    elif pattern == "row":
        found = rows
    elif pattern == "column":
        found = [list(column) for column in zip(*rows, strict=True)]
    elif pattern == "kernel":
        if len(shape) == 4:
            for inner in product(range(shape[2]), range(shape[3])):
                found.append([(*place, *inner) for place in product(range(shape[0]), range(shape[1]))])
    else:
        high, wide = map(int, pattern.split("x"))
        for top, left in product(range(0, len(rows) - high + 1, high), range(0, shape[-1] - wide + 1, wide)):
            found.append([rows[top + down][left + right] for down in range(high) for right in range(wide)])
    inside = {index for group in found for index in group}
    return found, [index for row in rows for index in row if index not in inside]


def values(array, group):
    """Entries of a group."""
    return [array[index] for index in group]
