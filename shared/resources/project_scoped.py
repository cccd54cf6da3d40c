"""Statements on the tables whose rows belong to a project: agents, tasks, rooms.

A statement that changes a row decides by itself whether the caller may, and answers in any case
with what it found, so that one round trip is enough to act or to say why not. Its answer has the
columns `owner_id`, `project_status`, `found_project_id`, `found_agent_id`, `found_revision` and
`found_status` of what it found, and the row as it is afterwards, all NULL where it was not changed.
"""

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CTE,
    BigInteger,
    Column,
    ColumnElement,
    FromClause,
    Table,
    Uuid,
    bindparam,
    case,
    cast,
    false,
    func,
    insert,
    null,
    or_,
    select,
    true,
    tuple_,
    update,
)

from shared.auth.access import require_active, require_reach, writable
from shared.auth.caller import Caller
from shared.database.pool import Connection, Record
from shared.database.statement import Statement
from shared.errors import Reason, not_found, revision_mismatch
from shared.schema import projects

OWNER = projects.c.owner_id, projects.c.status.label("project_status")


class Owned:
    """Statements on one such table; `missing` is the refusal of an id that does not exist.

    `agent_id` is the column with the agent whose row it is; without one, no agent reaches a row.
    """

    def __init__(self, table: Table, missing: Reason, agent_id: Column[Any] | None = None) -> None:
        self.missing = missing
        self.agent_id = agent_id
        self._table = table
        self.with_project: FromClause = table.join(projects, projects.c.id == table.c.project_id)
        by_id = table.c.id == bindparam("id", type_=Uuid)
        found = cast(null(), Uuid) if agent_id is None else agent_id
        found_agent_id = found.label("found_agent_id")
        self._row = select(*table.c, *OWNER, found_agent_id).select_from(self.with_project)
        row = self._row.where(by_id)
        self._get = Statement(row)
        self._locked = row.with_for_update(of=table)
        self._lock = Statement(self._locked)

    async def get(self, connection: Connection, caller: Caller, row_id: UUID) -> Record:
        """The row, where the caller may see it.

        Raises Refusal: …_NOT_FOUND, NOT_PROJECT_OWNER, NOT_ALLOWED_FOR_AGENT.
        """
        return self._seen(await self._get.row(connection, id=row_id), caller, row_id)

    async def lock(self, connection: Connection, caller: Caller, row_id: UUID) -> Record:
        """As `get`, and nobody else changes the row until the end of the transaction."""
        return self._seen(await self._lock.row(connection, id=row_id), caller, row_id)

    def parent(self, parameter: str) -> CTE:
        """The row with the id `parameter`, for a statement that creates a row of another table."""
        by_id = self._table.c.id == bindparam(parameter, type_=Uuid)
        return self._row.where(by_id).cte("parent")

    def insert(self, names: Iterable[str]) -> Statement:
        """Creates a row with these columns in the project `project_id`, where the caller may."""
        project = (
            select(*OWNER, projects.c.id)
            .where(projects.c.id == bindparam("project_id", type_=Uuid))
            .cte("project")
        )
        names = tuple(names)
        values = select(*(bindparam(name, type_=self._table.c[name].type) for name in names))
        created = (
            insert(self._table)
            .from_select(
                names,
                values.select_from(project).where(
                    writable(project.c.owner_id, project.c.project_status)
                ),
            )
            .returning(*self._table.c)
            .cte("created")
        )
        return Statement(
            select(project.c.owner_id, project.c.project_status, *created.c).select_from(
                project.outerjoin(created, true())
            )
        )

    def update(
        self,
        values: Mapping[str, ColumnElement[Any]],
        *conditions: ColumnElement[bool],
        first: CTE | None = None,
    ) -> Statement:
        """Changes the row `id` where the caller may, the `revision` matches (0: any), and so on.

        A row of which nothing new is said stays as it is. No row: no such id. What `first` locks is
        locked before the row.
        """
        table, target = self._table, self._target(first)
        news = self._news(values)
        revision = bindparam("revision", type_=BigInteger)
        updated = (
            update(table)
            .values(
                **values,
                revision=table.c.revision + case((news, 1), else_=0),
                updated_at=case((news, func.now()), else_=table.c.updated_at),
            )
            .where(
                table.c.id == target.c.id,
                writable(target.c.owner_id, target.c.project_status, target.c.found_agent_id),
                or_(revision == 0, target.c.revision == revision),
                *conditions,
            )
            .returning(*table.c)
            .cte("updated")
        )
        return Statement(
            select(*found(target), *updated.c).select_from(target.outerjoin(updated, true()))
        )

    def written(
        self, row: Record | None, caller: Caller, row_id: UUID, revision: int = 0
    ) -> Record:
        """The answer of an update, where it changed the row or found nothing new to say.

        Raises Refusal: …_NOT_FOUND, NOT_PROJECT_OWNER, NOT_ALLOWED_FOR_AGENT, PROJECT_NOT_ACTIVE,
        REVISION_MISMATCH. A row whose id is NULL failed the update's own conditions, and its rule
        has to say so.
        """
        if row is None:
            raise not_found(self.missing, row_id)
        if row["id"] is None:
            require_reach(caller, row["owner_id"], row["found_agent_id"])
            require_active(row["found_project_id"], row["project_status"])
            require_revision(revision, row["found_revision"])
        return row

    def _seen(self, row: Record | None, caller: Caller, row_id: UUID) -> Record:
        if row is None:
            raise not_found(self.missing, row_id)
        require_reach(caller, row["owner_id"], row["found_agent_id"])
        return row

    def _news(self, values: Mapping[str, ColumnElement[Any]]) -> ColumnElement[bool]:
        if not values:
            return false()
        old = tuple_(*(self._table.c[name] for name in values))
        return old.is_distinct_from(tuple_(*values.values()))

    def _target(self, first: CTE | None) -> CTE:
        if first is None:
            return self._locked.cte("target")
        # Always true; what it counts has to be there, and locked, before any row is looked for.
        counted = select(func.count()).select_from(first).scalar_subquery()
        return self._locked.where(counted >= 0).cte("target")


def found(target: CTE) -> tuple[ColumnElement[Any], ...]:
    """What `written` looks at, of the row that a statement found."""
    columns = target.c
    shown = [
        columns.owner_id,
        columns.project_status,
        columns.project_id.label("found_project_id"),
        columns.found_agent_id,
        columns.revision.label("found_revision"),
    ]
    if "status" in columns:
        shown.append(columns.status.label("found_status"))
    return tuple(shown)


def new_values(table: Table, names: Iterable[str]) -> dict[str, ColumnElement[Any]]:
    """The columns of an update, each with the parameter `new_<column>`."""
    return {name: bindparam(f"new_{name}", type_=table.c[name].type) for name in names}


def require_revision(given: int, found: int) -> None:
    """Raise Refusal(REVISION_MISMATCH) where a revision is given and is not the one found."""
    if given not in (0, found):
        raise revision_mismatch(given, found)


def created(row: Record | None, caller: Caller, project_id: UUID) -> Record:
    """The answer of an insert, where it created the row.

    Raises Refusal: PROJECT_NOT_FOUND, NOT_PROJECT_OWNER, PROJECT_NOT_ACTIVE.
    """
    if row is None:
        raise not_found(Reason.PROJECT_NOT_FOUND, project_id)
    if row["id"] is None:
        require_reach(caller, row["owner_id"], project_id=project_id)
        require_active(project_id, row["project_status"])
    return row
