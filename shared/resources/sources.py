"""The ways in which the rows of a page are read, so that a plan reads few others."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, func, literal_column, select, text, union_all

from shared.resources.merging import ROW_LIMIT, Stream, merged
from shared.resources.ordering import in_order


class Source(NamedTuple):
    """Rows with some conditions, which are read in one way: by streams, or sorted, or in order.

    `is_of_project` says whether those of a stream, or all of them, are of one project.
    """

    conditions: Sequence[ColumnElement[bool]]
    streams: Sequence[Stream]
    is_of_project: bool
    is_sorted: bool

    def page(
        self,
        rows: Select[Any],
        key: Sequence[ColumnElement[Any]],
        *,
        is_unique: bool,
        descending: bool,
    ) -> Select[Any]:
        """The first of them; `is_unique` says whether no two of a project have one key."""
        rows = rows.where(*self.conditions)
        is_unique = is_unique and self.is_of_project
        if self.streams:
            return merged(rows, key, self.streams, descending=descending, is_unique=is_unique)
        if self.is_sorted:
            return _sorted(rows, descending)
        order_by = in_order(key[:1] if is_unique else key, descending=descending)
        return rows.order_by(*order_by).limit(ROW_LIMIT)


def first_of(pages: Iterable[Select[Any]], descending: bool) -> Select[Any]:
    """The first rows of several pages that have none in common, in the order of all."""
    both = union_all(*(select(page.subquery()) for page in pages)).subquery("both")
    order = in_order((both.c.page_key, both.c.id), descending=descending)
    return select(*both.c).order_by(*order).limit(ROW_LIMIT)


def by_no_index(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """A condition for rows that another one finds: to the planner, its index may be as good as that
    for the other one, which it is not if these are few."""
    return func.coalesce(condition, text("false"))


def _sorted(rows: Select[Any], descending: bool) -> Select[Any]:
    """The first of all rows: to the planner, an index in this order could have them early."""
    # OFFSET keeps the planner from looking at the order while it looks for the rows.
    every = rows.offset(literal_column("0")).subquery("every")
    order = in_order((every.c.page_key, every.c.id), descending=descending)
    return select(*every.c).order_by(*order).limit(ROW_LIMIT)
