"""Lists: filters, an order and a page become one statement, compiled once per shape."""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache
from typing import Any, TypeAlias

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Column,
    ColumnElement,
    FromClause,
    Select,
    String,
    Table,
    and_,
    any_,
    bindparam,
    cast,
    exists,
    false,
    func,
    literal,
    not_,
    or_,
    select,
    true,
    union_all,
)
from sqlalchemy.dialects.postgresql import array

from shared.auth.access import (
    RIGHTS,
    Reach,
    allowed,
    joined_projects,
    reach,
    reached_projects,
    role_in,
)
from shared.auth.caller import Caller
from shared.auth.permissions import Permission
from shared.database.pool import Connection, Record
from shared.database.statement import Statement
from shared.resources.elsewhere import in_named, in_unreached
from shared.resources.measuring import fitted, light, text_size
from shared.resources.merging import Stream
from shared.resources.ordering import Parts, Position, behind, parameters, position_of
from shared.resources.pagination import PAGE_BYTES, Listing, Order, Page, Query
from shared.resources.project_scoped import ProjectScopedTable
from shared.resources.sources import Source, by_no_index, first_of
from shared.resources.validation import Parsed
from shared.schema import projects

# Answers the rows at a position, up to a limit, and whether they are to be measured.
Batch: TypeAlias = Callable[[Position, int, bool], Awaitable[list[Record]]]
# Whether rows with a status can pass a filter.
OfStatus: TypeAlias = Callable[[ColumnElement[str]], ColumnElement[bool]]

# Not `false()`, with which SQLAlchemy would drop the other conditions, and their parameters.
NONE: ColumnElement[bool] = literal(False)


class Lister:
    """The lists of one table: the columns that they show, and a condition for each filter.

    A filter's parameter has the filter's name. Orders map the name of a field to what it orders by,
    and "<name> desc" if the other direction orders by something else; the first is that in which
    indexes have the rows of a parent or an assignee. `project_of` has, by filter, the one project
    in which its rows are.

    Rows are shown to a caller that has the `permission` for their project, or whose `own` they are,
    or if what a filter names is the caller's own (`own_named`). `user_id` is the column that makes
    rows a user's own. An index begins with `assignee`, which has the value of the filter
    `assigned_to`, and the id of those whose own a row is.

    `statuses` are all values of the column `status`, if indexes have it before the time of
    creation. The orders `by_status` have no indexes without it. `of_status` has, by filter, what
    that says of the status alone, which is how a list leaves out what cannot pass. The filters
    `by_id` say the ids of the rows, of which there may be none or many: these are sorted.

    Rows are fetched in batches of `batch_size`. If one of them is so large that they may be more
    than a page holds, PostgreSQL measures them, and sends those up to the first with which they
    are: that bounds the memory of a list. To measure takes as long again as to find them.
    """

    def __init__(
        self,
        table: Table,
        shown: Iterable[ColumnElement[Any]],
        filters: Mapping[str, ColumnElement[bool]],
        orders: Mapping[str, Parts],
        batch_size: int,
        permission: Permission,
        project_of: Mapping[str, Any] | None = None,
        own: ColumnElement[bool] | None = None,
        own_named: ColumnElement[bool] | None = None,
        user_id: Column[Any] | None = None,
        assignee: ColumnElement[Any] | None = None,
        statuses: Sequence[str] = (),
        by_status: Collection[str] = (),
        of_status: Mapping[str, OfStatus] | None = None,
        by_id: AbstractSet[str] = frozenset(),
    ) -> None:
        self.table = table
        self._rows = select(*shown).select_from(table)
        self._batch_size = batch_size
        self._project_of = project_of or {}
        self._assignee = assignee
        self.statuses = statuses
        self.by_status = by_status
        self._of_status = of_status or {}
        self._by_id = by_id
        self.filters = filters
        self.orders = orders
        self.permission = permission
        self._own = NONE if own is None else own
        self._user_id = user_id
        self._own_named = false() if own_named is None else own_named
        self._order_of_parents = next(iter(orders))
        self.page_statement = lru_cache(maxsize=512)(self._page_statement)
        self.count_statement = lru_cache(maxsize=128)(self._count_statement)
        self.counts_statement = lru_cache(maxsize=128)(self._counts_statement)

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
        given = await parent.content(connection, caller, parent_id, query, self.permission)
        listing = await self.run(connection, caller, given)
        if not listing.rows:
            await parent.require(connection, caller, parent_id, self.permission)
        return listing

    async def run(self, connection: Connection, caller: Caller, query: Query) -> Listing:
        """The rows that the filters let through and the caller reaches."""
        given = _given(query.filters)
        names, parts = frozenset(given), self.parts(query.page.order)
        within = reach(caller, self.permission)
        total = None
        if query.page.include_total:
            counted = await self.count_statement(names, within).row(
                connection, caller.rights, **given
            )
            total = counted[0] if counted else 0

        async def batch(at: Position, limit: int, measured: bool) -> list[Record]:
            continued, order = at.after is not None, query.page.order
            statement = self.page_statement(names, order, continued, within, at.part, measured)
            after = parameters(parts[at.part], at.after)
            return await statement.rows(
                connection, caller.rights, **given, **after, row_limit=limit
            )

        rows, truncated = await self._fetch(query.page, parts, batch)
        return Listing(query, rows, total, truncated)

    async def counts(
        self,
        connection: Connection,
        caller: Caller,
        parent: ProjectScopedTable,
        parent_id: str,
        filters: Parsed[dict[str, Any]],
    ) -> list[Record]:
        """How many of the rows that `page` would list have each `status`, as `number`.

        Raises a Refusal as `page`.
        """
        asked = await parent.content(connection, caller, parent_id, filters, self.permission)
        given = _given(asked)
        statement = self.counts_statement(frozenset(given), reach(caller, self.permission))
        rows = await statement.rows(connection, caller.rights, **given)
        if not rows:
            await parent.require(connection, caller, parent_id, self.permission)
        return rows

    def parts(self, order: Order) -> Parts:
        """What an order is made of, one part behind the other."""
        parts = self.orders[order.field]
        return self.orders.get(f"{order.field} desc", parts) if order.descending else parts

    async def _fetch(self, page: Page, parts: Parts, batch: Batch) -> tuple[list[Record], bool]:
        """The rows of a page and one more, or fewer that are more than a page: truncated."""
        rows: list[Record] = []
        at, size, measured = position_of(parts, page.after), 0, False
        while True:
            # Rows that fill a page may be the last of their part: are there any behind it?
            most = self._batch_size if size <= PAGE_BYTES else 1
            limit = min(page.size + 1 - len(rows), most)
            found = await batch(at, limit, measured)
            if not measured and any(row["is_large"] for row in found):
                measured = True
                found = await batch(at, limit, measured)
            rows += found
            size += sum(map(text_size, found))
            if measured and found and len(found) < found[-1]["batch_rows"]:
                return rows, True
            if len(rows) > page.size:
                return rows, False
            if len(found) < limit:
                if at.part + 1 == len(parts):
                    return rows, False
                at = Position(at.part + 1)
            elif size > PAGE_BYTES:
                return rows, True
            else:
                at = Position(at.part, (rows[-1]["page_key"], rows[-1]["id"]))

    def _page_statement(
        self,
        filters: frozenset[str],
        order: Order,
        continued: bool,
        within: Reach,
        part: int = 0,
        measured: bool = False,
    ) -> Statement:
        purpose = (
            f"A page of rows by {order.field}{' desc' if order.descending else ''}"
            f"{', those that come last' if part else ''}{', continued' if continued else ''}"
            f"{', as far as a message takes large rows' if measured else ''}."
        )
        wanted, descending = self.parts(order)[part], order.descending
        rows = self._rows.add_columns(wanted.page_key.label("page_key")).where(wanted.where)
        if continued:
            rows = rows.where(behind(wanted, self.table.c.id, descending=descending))
        key = (wanted.key, self.table.c.id)
        pages = [
            source.page(rows, key, is_unique=wanted.is_unique, descending=descending)
            for source in self._sources(filters, order, within)
        ]
        page = pages[0] if len(pages) == 1 else first_of(pages, descending)
        batch = fitted(page, descending) if measured else light(page, self._batch_size, descending)
        return Statement(purpose, batch)

    def _count_statement(self, filters: frozenset[str], within: Reach) -> Statement:
        rows = select(self.table.c.id).where(*self._named(filters))
        every = union_all(*map(rows.where, self._all(filters, within))).subquery("every")
        return Statement("How many rows there are.", select(func.count()).select_from(every))

    def _counts_statement(self, filters: frozenset[str], within: Reach) -> Statement:
        status, number = self.table.c.status, func.count().label("number")
        rows = select(status, number).where(*self._named(filters)).group_by(status)
        first, *others = self._all(filters, within)
        counts = [rows.where(each) for each in others]
        if self._is_by_status(filters, Order("created_at", descending=False), within):
            counts.append(self._counts_one_by_one(filters, first))
        else:
            counts.append(rows.where(first))
        each = union_all(*counts).subquery("each")
        total = cast(func.sum(each.c.number), BigInteger)
        return Statement(
            "How many rows there are with each status.",
            select(each.c.status, total.label("number")).group_by(each.c.status).having(total > 0),
        )

    def _counts_one_by_one(
        self, filters: frozenset[str], where: ColumnElement[bool]
    ) -> Select[Any]:
        """How many rows have each wanted status, each counted by itself by an index."""
        wanted = self._wanted(filters)
        of_status = self.table.c.status == wanted.c.status
        number = (
            select(func.count())
            .select_from(self.table)
            .where(*self._named(filters - {"statuses"}), where, of_status)
            .correlate(wanted)
        )
        return select(wanted.c.status, number.scalar_subquery().label("number"))

    def _all(self, filters: frozenset[str], within: Reach) -> list[ColumnElement[bool]]:
        """What is said of the rows that a caller is shown, in each of the ways of `_sources`."""
        shown = self._within(filters, within)
        if self._is_by_project(filters, within):
            reached = reached_projects(self.permission).scalar_subquery()
            shown = self.table.c.project_id == any_(func.array(reached))
        elsewhere = self._elsewhere(filters) if within is Reach.PROJECTS else None
        return [shown] if elsewhere is None else [shown, elsewhere]

    def _conditions(
        self, filters: frozenset[str], order: Order, within: Reach
    ) -> list[ColumnElement[bool]]:
        """What the filters say, so far as the streams do not."""
        if by_id := filters & self._by_id:
            others = map(by_no_index, self._named(filters - by_id))
            return [*self._named(by_id), *others]
        # A stream is of one status, and need not say so again.
        said = {"statuses"} if self._is_by_status(filters, order, within) else set()
        if not self._is_of_assignee(filters, within) or "project_id" not in filters:
            return self._named(filters - said)
        in_project = by_no_index(self.filters["project_id"])
        return [*self._named(filters - said - {"project_id"}), in_project]

    def _named(self, filters: Collection[str]) -> list[ColumnElement[bool]]:
        return [self.filters[name] for name in sorted(filters)]

    def _is_shown(self) -> ColumnElement[bool]:
        """Whether a caller that does not reach all rows is shown a row, said row by row."""
        own = or_(self._own, self._own_named)
        project_id = self.table.c.id if self.table is projects else self.table.c.get("project_id")
        if project_id is None:
            return own
        return or_(project_id.in_(reached_projects(self.permission)), own)

    def _sources(self, filters: frozenset[str], order: Order, within: Reach) -> list[Source]:
        """The ways in which the rows are read that a caller is shown."""
        found = Source(
            [*self._conditions(filters, order, within), self._within(filters, within)],
            self._streams(filters, order, within),
            is_of_project="project_id" in filters or self._is_by_project(filters, within),
            is_sorted=self._is_sorted(filters, order, within),
        )
        if within is not Reach.PROJECTS:
            return [found]
        elsewhere = self._elsewhere(filters)
        return [found] if elsewhere is None else [found, self._few(filters, elsewhere)]

    def _few(self, filters: frozenset[str], where: ColumnElement[bool]) -> Source:
        """The rows with a condition that few have."""
        conditions = [where, *map(by_no_index, self._named(filters))]
        return Source(conditions, (), is_of_project=False, is_sorted=True)

    def _elsewhere(self, filters: frozenset[str]) -> ColumnElement[bool] | None:
        """The rows that a caller is shown besides those that an index has together."""
        if self.table is projects:
            return projects.c.id.in_(joined_projects(self.permission))
        if self._user_id is None:
            return None
        named = self._named_project(filters)
        if named is not None:
            return in_named(self._user_id, named, not_(self._permits(named)))
        if "assigned_to" in filters:  # which is said of each row, with all that it may be
            return None
        return in_unreached(self._user_id, reached_projects(self.permission))

    def _within(self, filters: frozenset[str], within: Reach) -> ColumnElement[bool]:
        """The rows that the caller reaches, unless streams are only of projects that it reaches.

        Nothing is joined, since a plan could then begin with the projects, and sort.
        """
        if within is Reach.ALL or self._is_by_project(filters, within):
            return true()
        if within is Reach.OWN:
            if self._assignee is None:
                return self._own
            assigned = self._assignee == RIGHTS["caller_agent_id"]
            return and_(by_no_index(self._own), assigned)
        if self.table is projects:
            is_owner: ColumnElement[bool] = projects.c.owner_id == RIGHTS["caller_id"]
            return is_owner
        named = self._named_project(filters)
        if named is not None:
            return or_(self._permits(named), self._own_named)
        return self._is_shown()

    def _named_project(self, filters: frozenset[str]) -> Any:
        """The one project in which the rows are, if a filter says so."""
        return next((self._project_of[name] for name in self._project_of if name in filters), None)

    def _permits(self, project_id: Any) -> ColumnElement[bool]:
        """Whether the caller is permitted to read the rows of a project, decided once."""
        role = role_in(projects.c.id, projects.c.owner_id)
        may = allowed(self.permission, projects.c.id, role)
        found: ColumnElement[bool] = exists().where(projects.c.id == project_id, may)
        return found

    def _streams(self, filters: frozenset[str], order: Order, within: Reach) -> list[Stream]:
        """What the columns of an index are before those of an order, if they have many values."""
        streams: list[Stream] = []
        if self._is_by_project(filters, within):
            reached = reached_projects(self.permission).subquery("reached")
            streams.append(Stream(reached, self.table.c.project_id))
        if self._is_by_status(filters, order, within):
            streams.append(Stream(self._wanted(filters), self.table.c.status))
        return streams

    def _wanted(self, filters: frozenset[str]) -> FromClause:
        """The statuses that rows can have to pass the filters."""
        values: ColumnElement[Any] = array(self.statuses)
        if "statuses" in filters:
            values = bindparam("statuses", type_=ARRAY(String))
        status = func.unnest(values).column_valued("status")
        said = [self._of_status[name](status) for name in sorted(filters & self._of_status.keys())]
        return select(status).distinct().where(*said).subquery("wanted")

    def _is_by_project(self, filters: frozenset[str], within: Reach) -> bool:
        if within is not Reach.PROJECTS or "project_id" not in self.table.c:
            return False
        return not self._is_of_assignee(filters, within) and filters.isdisjoint(self._project_of)

    def _is_by_status(self, filters: frozenset[str], order: Order, within: Reach) -> bool:
        if not filters.isdisjoint(self._by_id):
            return False
        is_of_parent = not filters.isdisjoint(self._project_of.keys() - {"project_id"})
        is_of_assignee = self._is_of_assignee(filters, within)
        if order.field in self.by_status:
            return not is_of_parent and not is_of_assignee
        if not self.statuses or order.field != "created_at":
            return False
        if not filters.isdisjoint({"statuses", *self._of_status}):
            return not is_of_parent
        # The indexes for these have the status in any case.
        is_of_all = within is Reach.ALL and filters.isdisjoint(self._project_of)
        return is_of_all or is_of_assignee

    def _is_sorted(self, filters: frozenset[str], order: Order, within: Reach) -> bool:
        """Whether the rows of a parent or an assignee are asked for in an order of no index."""
        if not filters.isdisjoint(self._by_id):
            return True
        if order.field == self._order_of_parents:
            return False
        is_of_parent = not filters.isdisjoint(self._project_of.keys() - {"project_id"})
        return is_of_parent or self._is_of_assignee(filters, within)

    def _is_of_assignee(self, filters: frozenset[str], within: Reach) -> bool:
        if self._assignee is None:
            return False
        return within is Reach.OWN or "assigned_to" in filters


def _given(filters: Mapping[str, Any]) -> dict[str, Any]:
    """The filters that filter something."""
    return {name: value for name, value in filters.items() if value is not None}
