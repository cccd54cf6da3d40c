"""Lists: filters, an order and a page become one statement, compiled once per shape."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Select, func, select

from shared.caller import Caller
from shared.database import Connection, Record
from shared.paging import Order, Page
from shared.schema import projects
from shared.statements import Statement, page_of, visible


@dataclass(frozen=True, slots=True)
class Query:
    """What a list is asked for. A filter that is None filters nothing."""

    filters: Mapping[str, Any]
    page: Page


@dataclass(frozen=True, slots=True)
class Listing:
    """What a list has found: one row more than its page where more follow."""

    query: Query
    rows: list[Record]
    total: int | None


class Lister:
    """The lists of one table: `rows` joins it with its projects, each filter is a condition.

    A filter's parameter has the filter's name. Orders map the name of a field to what it orders by.
    """

    def __init__(
        self,
        rows: Select[Any],
        row_id: ColumnElement[Any],
        filters: Mapping[str, ColumnElement[bool]],
        orders: Mapping[str, ColumnElement[Any]],
    ) -> None:
        self._rows = rows
        self._row_id = row_id
        self._filters = filters
        self._orders = orders
        self._page = lru_cache(maxsize=512)(self._build_page)
        self._count = lru_cache(maxsize=128)(self._build_count)

    async def run(self, connection: Connection, caller: Caller, query: Query) -> Listing:
        """The rows that the filters let through and the caller may see."""
        parameters = {k: v for k, v in query.filters.items() if v is not None}
        names = frozenset(parameters)
        parameters |= caller.rights
        total = None
        if query.page.include_total:
            counted = await self._count(names, caller.is_superuser).row(connection, **parameters)
            total = counted[0] if counted else 0
        page = query.page
        statement = self._page(names, page.order, page.after is not None, caller.is_superuser)
        after_key, after_id = page.after or (None, None)
        rows = await statement.rows(
            connection,
            **parameters,
            after_key=after_key,
            after_id=after_id,
            row_limit=page.size + 1,
        )
        return Listing(query, rows, total)

    def _build_page(
        self, filters: frozenset[str], order: Order, continued: bool, everything: bool
    ) -> Statement:
        return Statement(
            page_of(
                self._rows.where(*self._conditions(filters, everything)),
                self._orders[order.field],
                self._row_id,
                descending=order.descending,
                continued=continued,
            )
        )

    def _build_count(self, filters: frozenset[str], everything: bool) -> Statement:
        found = self._rows.where(*self._conditions(filters, everything)).subquery()
        return Statement(select(func.count()).select_from(found))

    def _conditions(self, filters: frozenset[str], everything: bool) -> list[ColumnElement[bool]]:
        conditions = [self._filters[name] for name in sorted(filters)]
        return conditions if everything else [*conditions, visible(projects.c.owner_id)]
