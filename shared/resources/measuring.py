"""How large the rows of a list are, which PostgreSQL finds out before it sends them."""

from typing import Any

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    Text,
    case,
    false,
    func,
    literal_column,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import JSONB

from shared.database.pool import Record
from shared.resources.ordering import in_order
from shared.resources.pagination import PAGE_BYTES

# How much larger JSON is as text than as it is stored: numbers like 1e-300 are 25 times as large,
# and a batch of nothing else may be three times as large as a page.
JSON_EXPANSION = 8


def light(rows: Select[Any], batch_size: int, descending: bool) -> Select[Any]:
    """A batch of rows, without the values that are large; `is_large` if a row has one."""
    page, limit = rows.subquery("page"), PAGE_BYTES // batch_size
    large = {column: is_heavy(column, limit) for column in page.c if is_large(column)}
    columns = (
        case((~large[column], column)).label(column.name) if column in large else column
        for column in page.c
    )
    return select(*columns, or_(false(), *large.values()).label("is_large")).order_by(
        *in_order((page.c.page_key, page.c.id), descending=descending)
    )


def is_heavy(column: ColumnElement[Any], limit: int) -> ColumnElement[bool]:
    """Whether a value can have more than `limit` bytes as text; nothing of it is read for that.

    JSON that is compressed can have any number.
    """
    if not isinstance(column.type, JSONB):
        heavy: ColumnElement[bool] = func.octet_length(column) > limit
        return heavy
    is_compressed = func.pg_column_compression(column).is_not(None)
    return is_compressed | (func.pg_column_size(column) > limit // JSON_EXPANSION)


def fitted(rows: Select[Any], descending: bool) -> Select[Any]:
    """A page of rows that are ordered by their column `page_key` and id, as far as it is sent.

    `batch_rows` says how many rows it has; those behind PAGE_BYTES are left out.
    """
    page = rows.subquery("page")
    order = in_order((page.c.page_key, page.c.id), descending=descending)
    sizes = func.sum(size_as_text(page)).over(order_by=order, rows=(None, -1))
    measured = (
        select(
            literal_column("page.*"),
            func.count().over().label("batch_rows"),
            func.coalesce(sizes, 0).label("bytes_before"),
        )
        .select_from(page)
        .subquery("measured")
    )
    key: list[ColumnElement[Any]] = [literal_column("page_key"), literal_column("id")]
    return (
        select(literal_column("measured.*"))
        .select_from(measured)
        .where(literal_column("bytes_before") <= PAGE_BYTES)
        .order_by(*in_order(key, descending=descending))
    )


def size_as_text(rows: FromClause) -> ColumnElement[int]:
    """The bytes of a row as text, without the columns that are small: what is stored says little,
    because it is compressed, and numbers like 1e-300 are written out."""
    return func.octet_length(func.concat(rows.c.id, *filter(is_large, rows.c)))


def is_large(column: ColumnElement[Any]) -> bool:
    """Whether a column can have more than some hundred bytes."""
    return isinstance(column.type, JSONB | Text)


def text_size(row: Record) -> int:
    """The characters of a row that was read, without the columns that are small."""
    return sum(len(value) for value in row.values() if isinstance(value, str | bytes))
