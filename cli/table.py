"""Tables as plain text."""

import textwrap
from collections.abc import Iterator, Sequence
from itertools import zip_longest

BETWEEN = "   "


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> Iterator[str]:
    """The lines of a table, of at most `width` characters each, if that is possible.

    A cell may have several lines. A line too long for its column is wrapped rather than truncated,
    because names and ids are there to be copied.
    """
    cells = [[_visible(cell) for cell in row] for row in (headings, *rows)]
    columns = _shrunk([_widest(column) for column in zip(*cells, strict=True)], width)
    head, *body = (_row(row, columns) for row in cells)
    yield from head
    yield " " + "─" * (sum(columns) + len(BETWEEN) * (len(columns) - 1))
    for lines in body:
        yield from lines


def _visible(cell: str) -> str:
    """The text with its line breaks, but without control characters that a terminal would obey."""
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in cell)


def _widest(column: Sequence[str]) -> int:
    return max(1, *(len(line) for cell in column for line in cell.split("\n")))


def _shrunk(columns: list[int], width: int) -> list[int]:
    """The widths of columns that fit together; those of the widest columns are reduced."""
    excess = sum(columns) + len(BETWEEN) * (len(columns) - 1) + 1 - width
    while excess > 0 and max(columns) > 1:
        columns[columns.index(max(columns))] -= 1
        excess -= 1
    return columns


def _row(cells: Sequence[str], columns: Sequence[int]) -> Iterator[str]:
    wrapped = (_wrap(cell, column) for cell, column in zip(cells, columns, strict=True))
    for line in zip_longest(*wrapped, fillvalue=""):
        padded = (part.ljust(column) for part, column in zip(line, columns, strict=True))
        yield f" {BETWEEN.join(padded)}".rstrip()


def _wrap(cell: str, column: int) -> list[str]:
    wrapper = textwrap.TextWrapper(column, break_on_hyphens=False)
    return [part for line in cell.split("\n") for part in wrapper.wrap(line) or [""]]
