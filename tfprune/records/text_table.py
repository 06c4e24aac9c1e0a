"""Tables for people who look at a terminal."""

from __future__ import annotations

from collections.abc import Mapping


def text_table(rows: Mapping[str, Mapping[str, object]]) -> str:
    """Lines with a column for each key, as wide as it has to be: integers in groups of three digits, other numbers with
    six decimals.

    Args:
        rows: name of a row -> column -> number or text; all rows have the columns of the first.
    """
    columns = list(next(iter(rows.values())))
    cells = [["", *columns], *([name, *(_shown(row[key]) for key in columns)] for name, row in rows.items())]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = (
        [cell.ljust(width) if place == 0 else cell.rjust(width) for place, (cell, width) in enumerate(pairs)]
        for pairs in (list(zip(line, widths, strict=True)) for line in cells)
    )
    return "\n".join(" ".join(line) for line in lines)


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
