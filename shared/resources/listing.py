"""Lists: filters, an order and a page become one statement, compiled once per shape."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache, partial
from typing import Any, TypeAlias
from uuid import UUID

from sqlalchemy import ColumnElement, Integer, Select, Uuid, bindparam, false, func, select, tuple_

from shared.auth.caller import Caller, User
from shared.database.pool import Connection, Record
from shared.database.statement import Statement
from shared.database.transaction import Database
from shared.resources.pagination import PAGE_BYTES, Order, Page
from shared.resources.validation import read_after_access
from shared.schema import projects

NO_AGENTS: ColumnElement[bool] = false()
# Answers the rows behind a key and an id, up to a limit.
Portion: TypeAlias = Callable[[tuple[Any, UUID] | None, int], Awaitable[list[Record]]]


@dataclass(frozen=True, slots=True)
class Query:
    """What a list is asked for. A filter that is None filters nothing."""

    filters: Mapping[str, Any]
    page: Page


@dataclass(frozen=True, slots=True)
class Listing:
    """What a list has found: one row more than its page where more follow.

    `cut`: more follow, but no more were fetched, because these are more than a page holds.
    """

    query: Query
    rows: list[Record]
    total: int | None
    cut: bool


class Reach(Enum):
    """Whose rows a list has."""

    ALL = auto()
    PROJECTS = auto()
    AGENT = auto()


class Lister:
    """The lists of one table: `rows` joins it with its projects, each filter is a condition.

    `agents_own` says of a row whether it is of the agent `caller_agent_id`; no agent sees others. A
    filter's parameter has the filter's name. Orders map the name of a field to what it orders by,
    and "<name> desc" where the other direction orders by something else.

    `weight` says about how many bytes a row has. Rows are fetched in portions of `portion`, and no
    more of them when they are more than a page holds: that bounds the memory of a list.
    """

    def __init__(
        self,
        rows: Select[Any],
        row_id: ColumnElement[Any],
        filters: Mapping[str, ColumnElement[bool]],
        orders: Mapping[str, ColumnElement[Any]],
        weight: Callable[[Record], int],
        portion: int,
        agents_own: ColumnElement[bool] = NO_AGENTS,
    ) -> None:
        self._rows = rows
        self._agents_own = agents_own
        self._weight = weight
        self._portion = portion
        self._row_id = row_id
        self._filters = filters
        self._orders = orders
        self._page = lru_cache(maxsize=512)(self._build_page)
        self._count = lru_cache(maxsize=128)(self._build_count)

    async def page(
        self,
        database: Database,
        caller: Caller,
        read: Callable[[], Query],
        access: Callable[[Connection], Awaitable[object]],
    ) -> Listing:
        """What the request that `read` reads asks for.

        `access` refuses a project, or whatever the rows are of, that is not the caller's. It is
        asked only where nothing is found: the rows themselves are the caller's in any case.
        """

        async def work(connection: Connection) -> Listing:
            check = partial(access, connection)
            listing = await self.run(connection, caller, await read_after_access(read, check))
            if not listing.rows:
                await check()
            return listing

        return await database.read(work)

    async def run(self, connection: Connection, caller: Caller, query: Query) -> Listing:
        """The rows that the filters let through and the caller may see."""
        parameters = {k: v for k, v in query.filters.items() if v is not None}
        names = frozenset(parameters)
        parameters |= caller.rights
        reach = _reach(caller)
        total = None
        if query.page.include_total:
            counted = await self._count(names, reach).row(connection, **parameters)
            total = counted[0] if counted else 0

        async def portion(after: tuple[Any, UUID] | None, limit: int) -> list[Record]:
            continued = after is not None
            statement = self._page(names, query.page.order, continued, reach)
            key, row_id = after or (None, None)
            return await statement.rows(
                connection, **parameters, after_key=key, after_id=row_id, row_limit=limit
            )

        rows, cut = await self._fetch(query.page, portion)
        return Listing(query, rows, total, cut)

    async def _fetch(self, page: Page, portion: Portion) -> tuple[list[Record], bool]:
        """The rows of a page and one more, or fewer that are heavier than a page: they are cut."""
        rows: list[Record] = []
        after, weight = page.after, 0
        while weight <= PAGE_BYTES:
            limit = min(page.size + 1 - len(rows), self._portion)
            found = await portion(after, limit)
            rows += found
            if len(found) < limit or len(rows) > page.size:
                return rows, False
            after = rows[-1]["page_key"], rows[-1]["id"]
            weight += sum(map(self._weight, found))
        return rows, True

    def _build_page(
        self, filters: frozenset[str], order: Order, continued: bool, reach: Reach
    ) -> Statement:
        return Statement(
            _page_of(
                self._rows.where(*self._conditions(filters, reach)),
                self._key(order),
                self._row_id,
                descending=order.descending,
                continued=continued,
            )
        )

    def _key(self, order: Order) -> ColumnElement[Any]:
        key = self._orders[order.field]
        return self._orders.get(f"{order.field} desc", key) if order.descending else key

    def _build_count(self, filters: frozenset[str], reach: Reach) -> Statement:
        found = self._rows.where(*self._conditions(filters, reach)).subquery()
        return Statement(select(func.count()).select_from(found))

    def _conditions(self, filters: frozenset[str], reach: Reach) -> list[ColumnElement[bool]]:
        conditions = [self._filters[name] for name in sorted(filters)]
        return conditions + self._reached(reach)

    def _reached(self, reach: Reach) -> list[ColumnElement[bool]]:
        """As `visible` says; one condition by itself can be served by an index."""
        if reach is Reach.ALL:
            return []
        if reach is Reach.PROJECTS:
            return [projects.c.owner_id == bindparam("caller_id", type_=Uuid)]
        return [self._agents_own]


def _reach(caller: Caller) -> Reach:
    if isinstance(caller, User):
        return Reach.ALL if caller.is_superuser else Reach.PROJECTS
    return Reach.AGENT


def _page_of(
    rows: Select[Any],
    key: ColumnElement[Any],
    row_id: ColumnElement[Any],
    *,
    descending: bool,
    continued: bool,
) -> Select[Any]:
    """A page of `rows`, ordered by `key` and id, with the key as the column `page_key`.

    Where it is continued it begins behind the parameters `after_key` and `after_id`. It has up to
    `row_limit` rows.
    """
    rows = rows.add_columns(key.label("page_key")).limit(bindparam("row_limit", type_=Integer))
    if continued:
        here = tuple_(key, row_id)
        after = tuple_(bindparam("after_key", type_=key.type), bindparam("after_id", type_=Uuid))
        rows = rows.where(here < after if descending else here > after)
    if descending:
        return rows.order_by(key.desc(), row_id.desc())
    return rows.order_by(key, row_id)
