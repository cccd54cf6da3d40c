"""Lists of rows that an index has in order only below each project, or with each status.

Each project with each status is a stream of rows in order. The first row of each stream is looked
up, and only the streams that begin first, as many as the rows that are asked for, can have one of
those rows. Of these, the stream that begins first can have all of them, the next one all but one,
and so on: what is read is bounded by the number of streams and the size of a page, not by the rows.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Integer,
    Select,
    bindparam,
    func,
    literal_column,
    select,
    true,
)

from shared.resources.ordering import in_order

ROW_LIMIT: ColumnElement[int] = bindparam("row_limit", type_=Integer)


class Stream(NamedTuple):
    """Rows by the value of a column: one stream for each of the values that a source has."""

    values: FromClause
    column: ColumnElement[Any]


def merged(
    rows: Select[Any],
    by: Sequence[ColumnElement[Any]],
    streams: Sequence[Stream],
    *,
    descending: bool,
    is_unique: bool = False,
) -> Select[Any]:
    """The first `row_limit` of the rows, which are ordered by a key of an index and an id.

    There is a stream for each combination of the values of `streams`. If the key `is_unique` in
    each of them, the index does not need the id.
    """
    sources = [stream.values for stream in streams]
    named = [next(iter(source.c)) for source in sources]
    order = in_order(by[:1] if is_unique else by, descending=descending)
    # A limit of 1 that the planner knew would be as cheap to it by an index that has the rows of
    # all streams, in which it may have to pass most of them.
    one = select(literal_column("1")).scalar_subquery()
    first = _of_stream(rows.with_only_columns(*by), streams, named).order_by(*order).limit(one)
    head = first.lateral("head")
    firsts = (
        select(*named, *head.c)
        .select_from(_joined([*sources, head]))
        .order_by(*in_order(head.c, descending=descending))
        .limit(ROW_LIMIT)
        .subquery("firsts")
    )
    keys = list(firsts.c)[len(named) :]
    place = func.row_number().over(order_by=in_order(keys, descending=descending)).label("place")
    begun = select(*firsts.c, place).subquery("begun")
    most = ROW_LIMIT + 1 - begun.c.place
    few = _of_stream(rows, streams, list(begun.c)[: len(named)]).order_by(*order).limit(most)
    found = few.lateral("found")
    return (
        select(*found.c)
        .select_from(_joined([begun, found]))
        .order_by(*in_order((found.c.page_key, found.c.id), descending=descending))
        .limit(ROW_LIMIT)
    )


def _of_stream(
    rows: Select[Any],
    streams: Sequence[Stream],
    values: Sequence[ColumnElement[Any]],
) -> Select[Any]:
    pairs = zip(streams, values, strict=True)
    return rows.where(*(stream.column == value for stream, value in pairs))


def _joined(sources: Sequence[FromClause]) -> FromClause:
    joined, *others = sources
    for source in others:
        joined = joined.join(source, true())
    return joined
