"""Lists: filters, an order and a page become one statement, compiled once per shape."""

from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from typing import Any, TypeAlias
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Integer,
    Select,
    Text,
    Uuid,
    and_,
    bindparam,
    false,
    func,
    literal_column,
    select,
    true,
    tuple_,
)
from sqlalchemy.dialects.postgresql import JSONB

from shared.auth.access import RIGHTS, Scope, reached_by, scope
from shared.auth.caller import Caller
from shared.database.pool import Connection, Record
from shared.database.statement import Statement
from shared.resources.pagination import PAGE_BYTES, Listing, Order, Page, Query
from shared.resources.project_scoped import ProjectScopedTable
from shared.resources.validation import Parsed
from shared.schema import projects

# Answers the rows behind a key and an id, up to a limit.
Batch: TypeAlias = Callable[[tuple[Any, UUID] | None, int], Awaitable[list[Record]]]


class Lister:
    """The lists of one table: `rows` joins it with its projects, each filter is a condition.

    A filter's parameter has the filter's name. Orders map the name of a field to what it orders by,
    and "<name> desc" if the other direction orders by something else. `agent_id` is the column
    with the agent whose row it is (None: an agent has no such list), and `agent_index` repeats
    that condition in the words of an index.

    Rows are fetched in batches of `batch_size`. PostgreSQL measures them, and sends those up to the
    first with which they are more than a page holds: that bounds the memory of a list.
    """

    def __init__(
        self,
        rows: Select[Any],
        row_id: ColumnElement[Any],
        filters: Mapping[str, ColumnElement[bool]],
        orders: Mapping[str, ColumnElement[Any]],
        batch_size: int,
        agent_id: ColumnElement[Any] | None = None,
        agent_index: ColumnElement[bool] | None = None,
    ) -> None:
        self._rows = rows
        self._batch_size = batch_size
        self._row_id = row_id
        self.filters = filters
        self.orders = orders
        self._scopes = _scopes(agent_id, agent_index)
        self.page_statement = lru_cache(maxsize=512)(self._page_statement)
        self.count_statement = lru_cache(maxsize=128)(self._count_statement)

    async def page(
        self,
        connection: Connection,
        caller: Caller,
        parent: ProjectScopedTable,
        parent_id: str,
        query: Parsed[Query],
    ) -> Listing:
        """The page of the rows below one row of `parent`, or below all that the caller reaches.

        Raises a Refusal if the caller does not reach the parent. That is asked only if the query is
        refused or nothing is found: the rows themselves are the caller's in any case.
        """
        listing = await self.run(
            connection, caller, await parent.content(connection, caller, parent_id, query)
        )
        if not listing.rows:
            await parent.require(connection, caller, parent_id)
        return listing

    async def run(self, connection: Connection, caller: Caller, query: Query) -> Listing:
        """The rows that the filters let through and the caller reaches."""
        given = {name: value for name, value in query.filters.items() if value is not None}
        names, within = frozenset(given), scope(caller)
        total = None
        if query.page.include_total:
            counted = await self.count_statement(names, within).row(
                connection, caller.rights, **given
            )
            total = counted[0] if counted else 0

        async def batch(after: tuple[Any, UUID] | None, limit: int) -> list[Record]:
            statement = self.page_statement(names, query.page.order, after is not None, within)
            behind = {"after_key": after[0], "after_id": after[1]} if after else {}
            return await statement.rows(
                connection, caller.rights, **given, **behind, row_limit=limit
            )

        rows, truncated = await self._fetch(query.page, batch)
        return Listing(query, rows, total, truncated)

    async def _fetch(self, page: Page, batch: Batch) -> tuple[list[Record], bool]:
        """The rows of a page and one more, or fewer that are more than a page: truncated."""
        rows: list[Record] = []
        after, size = page.after, 0
        while size <= PAGE_BYTES:
            limit = min(page.size + 1 - len(rows), self._batch_size)
            found = await batch(after, limit)
            rows += found
            if found and len(found) < found[-1]["batch_rows"]:
                return rows, True
            if len(found) < limit or len(rows) > page.size:
                return rows, False
            after = rows[-1]["page_key"], rows[-1]["id"]
            size += sum(map(_text_size, found))
        return rows, True

    def _page_statement(
        self, filters: frozenset[str], order: Order, continued: bool, within: Scope
    ) -> Statement:
        purpose = (
            f"A page of rows by {order.field}{' desc' if order.descending else ''}"
            f"{', continued' if continued else ''}."
        )
        page = _page_of(
            self._rows.where(*self._conditions(filters, within)),
            self._key(order),
            self._row_id,
            descending=order.descending,
            continued=continued,
        )
        return Statement(purpose, page)

    def _key(self, order: Order) -> ColumnElement[Any]:
        key = self.orders[order.field]
        return self.orders.get(f"{order.field} desc", key) if order.descending else key

    def _count_statement(self, filters: frozenset[str], within: Scope) -> Statement:
        found = self._rows.where(*self._conditions(filters, within)).subquery()
        return Statement("How many rows there are.", select(func.count()).select_from(found))

    def _conditions(self, filters: frozenset[str], within: Scope) -> list[ColumnElement[bool]]:
        return [*(self.filters[name] for name in sorted(filters)), self._scopes[within]]


def _scopes(
    agent_id: ColumnElement[Any] | None, agent_index: ColumnElement[bool] | None
) -> Mapping[Scope, ColumnElement[bool]]:
    """The condition of each scope: one by itself can be served by an index."""
    reached = reached_by(RIGHTS, projects.c.owner_id, agent_id)
    agents = reached.get(Scope.AGENT, false())
    return {
        Scope.ALL: true(),
        Scope.PROJECTS: reached[Scope.PROJECTS],
        Scope.AGENT: agents if agent_index is None else and_(agents, agent_index),
    }


def _page_of(
    rows: Select[Any],
    key: ColumnElement[Any],
    row_id: ColumnElement[Any],
    *,
    descending: bool,
    continued: bool,
) -> Select[Any]:
    """A page of `rows`, ordered by `key` and id, with the key as the column `page_key`.

    A continued page begins behind the parameters `after_key` and `after_id`. It has up to
    `row_limit` rows, and `batch_rows` says how many; those behind PAGE_BYTES are left out.
    """
    rows = rows.add_columns(key.label("page_key")).limit(bindparam("row_limit", type_=Integer))
    if continued:
        here = tuple_(key, row_id)
        after = tuple_(bindparam("after_key", type_=key.type), bindparam("after_id", type_=Uuid))
        rows = rows.where(here < after if descending else here > after)
    page = rows.order_by(*_in_order(key, row_id, descending)).subquery("page")
    order = _in_order(page.c.page_key, page.c.id, descending)
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
    return (
        select(literal_column("measured.*"))
        .select_from(measured)
        .where(literal_column("bytes_before") <= PAGE_BYTES)
        .order_by(*_in_order(literal_column("page_key"), literal_column("id"), descending))
    )


def _in_order(
    key: ColumnElement[Any], row_id: ColumnElement[Any], descending: bool
) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    return (key.desc(), row_id.desc()) if descending else (key, row_id)


def size_as_text(rows: FromClause) -> ColumnElement[int]:
    """The bytes of a row as text, without the columns that are small: what is stored says little,
    because it is compressed, and numbers like 1e-300 are written out."""
    return func.octet_length(func.concat(rows.c.id, *filter(is_large, rows.c)))


def is_large(column: ColumnElement[Any]) -> bool:
    """Whether a column can have more than some hundred bytes."""
    return isinstance(column.type, JSONB | Text)


def _text_size(row: Record) -> int:
    return sum(len(value) for value in row.values() if isinstance(value, str | bytes))
