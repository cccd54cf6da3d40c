"""Statements on projects and on the tables whose rows belong to one: agents, tasks, rooms, keys.

A statement that changes a row decides by itself whether the caller may, so that one round trip is
enough. It finds, and so locks, only a row that the caller reaches; if it finds none, a second
statement says why. Its answer has columns `found_…` of the row that it found, and the columns of
the row that it left, which are NULL if it did not act. An Outcome tells the two apart.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple, NoReturn, TypeAlias, TypeVar
from uuid import UUID

from sqlalchemy import (
    CTE,
    BigInteger,
    Column,
    ColumnElement,
    FromClause,
    Select,
    Table,
    Uuid,
    bindparam,
    case,
    cast,
    delete,
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

from shared.auth.access import ACTIVE, is_in_project, require_active, require_reach, visible
from shared.auth.caller import Caller
from shared.database.pool import Connection, Record
from shared.database.statement import Statement
from shared.database.transaction import translate_violations
from shared.errors import (
    Reason,
    Refusal,
    conflict,
    invalid_field,
    not_found,
    revision_mismatch,
)
from shared.resources.validation import Parsed, Stated, as_uuid
from shared.schema import projects

T = TypeVar("T")
Values: TypeAlias = dict[str, Any]
# By the name of a constraint: the refusal of values that violate it.
Refusals: TypeAlias = Mapping[str, Callable[[Values], Refusal]]


# What a row that is read carries besides its own columns: each one costs every read.
DECISIVE = ("found_owner_id", "found_project_status", "found_agent_id")


class Outcome(NamedTuple):
    """What a statement that decides and acts has found, and the row that it left.

    `row` is None if it did not act because a condition of its own does not hold.
    """

    found: Record
    row: Record | None


class ProjectScopedTable:
    """Statements on one such table; `missing` is the refusal of an id that does not exist.

    `agent_id` is the column with the agent whose row it is; without one, no agent reaches a row.
    """

    def __init__(self, table: Table, missing: Reason, agent_id: Column[Any] | None = None) -> None:
        self.missing = missing
        self.kind = missing.name.removesuffix("_NOT_FOUND").replace("_", " ").lower()
        self.table = table
        self._is_root = table is projects
        self._agent_id = agent_id
        self.with_project: FromClause = (
            table if self._is_root else table.join(projects, projects.c.id == table.c.project_id)
        )
        self._found = self._found_columns()
        self.decisive = [column for column in self._found if column.name in DECISIVE]
        self.reached = visible(projects.c.owner_id, agent_id)
        by_id = (
            select(*table.c, *self.decisive)
            .select_from(self.with_project)
            .where(table.c.id == bindparam("id", type_=Uuid))
        )
        reached = by_id.where(self.reached)
        self._reached = reached.with_only_columns(*self._found)
        self.get_by_id = Statement(f"One {self.kind}, and what decides who reaches it.", by_id)
        self.lock_by_id = Statement(
            f"One {self.kind}, locked, if the caller reaches it.",
            reached.with_for_update(of=table),
        )
        self.delete_by_id = Statement(
            f"Deletes one {self.kind}, and what its foreign keys delete with it.",
            delete(table).where(table.c.id == bindparam("id", type_=Uuid)),
        )
        self.insert_columns = lru_cache(maxsize=64)(self._insert_columns)
        self.update_columns = lru_cache(maxsize=512)(self._update_columns)

    async def get(self, connection: Connection, caller: Caller, row_id: UUID) -> Record:
        """The row, if the caller may see it.

        Raises Refusal: …_NOT_FOUND, NOT_PROJECT_OWNER, NOT_ALLOWED_FOR_AGENT.
        """
        row = await self.get_by_id.row(connection, id=row_id)
        if row is None:
            raise not_found(self.missing, row_id)
        named = row_id if self._is_root else None
        require_reach(caller, row["found_owner_id"], row["found_agent_id"], project_id=named)
        return row

    async def require(self, connection: Connection, caller: Caller, row_id: str) -> Record | None:
        """As `get`; None for a malformed id, which is refused with the rest of the content.

        Also None for the project of an agent: it does not reach that, but may look in it for what
        is its own.
        """
        known = as_uuid(row_id)
        if known is None or (self._is_root and is_in_project(caller, known)):
            return None
        return await self.get(connection, caller, known)

    async def content(
        self, connection: Connection, caller: Caller, row_id: str, parsed: Parsed[T]
    ) -> T:
        """What a request about a row says.

        If that is refused, a refusal of access comes first. If not, the statement that does the
        work decides access.
        """
        if parsed.refusal is not None:
            await self.require(connection, caller, row_id)
        return parsed.value

    async def lock(self, connection: Connection, caller: Caller, row_id: UUID) -> Record:
        """As `get`; nothing else changes the row until the end of the transaction."""
        row = await self.lock_by_id.row(connection, caller.rights, id=row_id)
        return row or await self._refuse(connection, caller, row_id)

    async def lock_to_delete(
        self, connection: Connection, caller: Caller, row_id: str, revision: Parsed[int]
    ) -> Record:
        """As `lock`, if the revision matches (0: any)."""
        given = await self.content(connection, caller, row_id, revision)
        row = await self.lock(connection, caller, UUID(row_id))
        require_revision(given, row["revision"])
        return row

    async def insert(
        self, connection: Connection, caller: Caller, values: Values, refusals: Refusals
    ) -> Record:
        """Create a row with these columns; in the project `project_id`, unless it is one.

        Raises Refusal: PROJECT_NOT_FOUND, NOT_PROJECT_OWNER, PROJECT_NOT_ACTIVE, and the refusal
        that a constraint stands for.
        """
        statement = self.insert_columns(frozenset(values))
        with translate_violations(refusals, values):
            row = await statement.row(connection, caller.rights, **values)
        return require_inserted(row, caller, values.get("project_id"))

    async def update(
        self,
        connection: Connection,
        caller: Caller,
        row_id: str,
        revision: int,
        parsed: Parsed[Values],
        refusals: Refusals,
    ) -> Record:
        """Change these columns if the revision matches (0: any).

        Columns that no update changes must be what they are. A row of which nothing new is said
        stays as it is. Raises Refusal: see `decide`, INVALID_FIELD, and the refusal that a
        constraint stands for.
        """
        values = await self.content(connection, caller, row_id, parsed)
        if stated := {n: v.value for n, v in values.items() if isinstance(v, Stated)}:
            self._require_stated(stated, await self.get(connection, caller, UUID(row_id)))
            values = {name: value for name, value in values.items() if name not in stated}
        statement = self.update_columns(frozenset(values))
        with translate_violations(refusals, values):
            return await self.change(
                connection, caller, statement, UUID(row_id), revision=revision, **as_new(values)
            )

    async def change(
        self,
        connection: Connection,
        caller: Caller,
        statement: Statement,
        row_id: UUID,
        **parameters: Any,
    ) -> Record:
        """As `decide`, for a statement that has no conditions of its own."""
        outcome = await self.decide(connection, caller, statement, row_id, **parameters)
        assert outcome.row is not None, "it acts whenever the caller may"
        return outcome.row

    async def decide(
        self,
        connection: Connection,
        caller: Caller,
        statement: Statement,
        row_id: UUID,
        **parameters: Any,
    ) -> Outcome:
        """Run a statement that decides and acts on the row `id`.

        Raises Refusal: …_NOT_FOUND, NOT_PROJECT_OWNER, NOT_ALLOWED_FOR_AGENT, PROJECT_NOT_ACTIVE,
        REVISION_MISMATCH.
        """
        row = await statement.row(connection, caller.rights, id=row_id, **parameters)
        if row is None:
            await self._refuse(connection, caller, row_id)
        elif row["id"] is None:
            self._require_updatable(row, parameters.get("revision", 0))
            return Outcome(row, None)
        return Outcome(row, row)

    def changing(
        self,
        purpose: str,
        values: Mapping[str, ColumnElement[Any]],
        *conditions: ColumnElement[bool],
        first: CTE | None = None,
    ) -> Statement:
        """A statement that changes the row `id` if the `revision` matches (0: any), and so on.

        It answers as `decide` needs it. What `first` locks is locked before the row.
        """
        table, target = self.table, self._target(first)
        differs = self._differs(values)
        revision = bindparam("revision", type_=BigInteger)
        updated = (
            update(table)
            .values(
                **values,
                revision=table.c.revision + case((differs, 1), else_=0),
                updated_at=case((differs, func.now()), else_=table.c.updated_at),
            )
            .where(
                table.c.id == target.c.found_id,
                self._is_active(target),
                or_(revision == 0, target.c.found_revision == revision),
                *conditions,
            )
            .returning(*table.c)
            .cte("updated")
        )
        return Statement(purpose, _found_and_left(target, updated))

    def creating_below(
        self,
        purpose: str,
        column: Column[Any],
        names: Iterable[str],
        shown: Iterable[ColumnElement[Any]],
        *conditions: ColumnElement[bool],
    ) -> Statement:
        """A statement that creates a row whose `column` refers to the row `id`, in its project.

        `names` are the columns whose values are given, as parameters `new_<column>`, and `shown`
        what is shown of the row. It answers as `decide` needs it.
        """
        parent = self._reached.cte("parent")
        values = new_values(column.table, names)
        created = (
            insert(column.table)
            .from_select(
                ["project_id", column.name, *values],
                select(parent.c.found_project_id, parent.c.found_id, *values.values()).where(
                    self._is_active(parent), *conditions
                ),
            )
            .returning(*shown)
            .cte("created")
        )
        return Statement(purpose, _found_and_left(parent, created))

    def _insert_columns(self, names: frozenset[str]) -> Statement:
        table, purpose = self.table, f"Creates one {self.kind}."
        values = {name: bindparam(name, type_=table.c[name].type) for name in sorted(names)}
        if self._is_root:
            return Statement(purpose, insert(table).values(**values).returning(*table.c))
        project = (
            select(*_found_of_project())
            .where(projects.c.id == bindparam("project_id", type_=Uuid))
            .cte("project")
        )
        allowed = visible(project.c.found_owner_id), self._is_active(project)
        created = (
            insert(table)
            .from_select(list(values), select(*values.values()).where(*allowed))
            .returning(*table.c)
            .cte("created")
        )
        return Statement(purpose, _found_and_left(project, created))

    def _update_columns(self, names: frozenset[str]) -> Statement:
        purpose = f"Changes these columns of one {self.kind}."
        return self.changing(purpose, new_values(self.table, sorted(names)))

    def _found_columns(self) -> list[ColumnElement[Any]]:
        agent_id = cast(null(), Uuid) if self._agent_id is None else self._agent_id
        found = [
            self.table.c.id.label("found_id"),
            *_found_of_project(),
            agent_id.label("found_agent_id"),
            self.table.c.revision.label("found_revision"),
        ]
        if "status" in self.table.c:
            found.append(self.table.c.status.label("found_status"))
        return found

    def _target(self, first: CTE | None) -> CTE:
        target = self._reached.with_for_update(of=self.table)
        if first is not None:
            # Always true; what it counts has to be there, and locked, before any row is looked for.
            counted = select(func.count()).select_from(first).scalar_subquery()
            target = target.where(counted >= 0)
        return target.cte("target")

    def _differs(self, values: Mapping[str, ColumnElement[Any]]) -> ColumnElement[bool]:
        if not values:
            return false()
        old = tuple_(*(self.table.c[name] for name in values))
        return old.is_distinct_from(tuple_(*values.values()))

    def _is_active(self, found: CTE) -> ColumnElement[bool]:
        # A project that is not active is made active again by changing it.
        return true() if self._is_root else found.c.found_project_status == ACTIVE

    def _require_stated(self, stated: Values, found: Record) -> None:
        for name, value in stated.items():
            if found[name] != value:
                raise invalid_field(f"{self.kind}.{name}", "cannot be changed by an update")

    def _require_updatable(self, found: Record, revision: int) -> None:
        if not self._is_root:
            require_active(found["found_project_id"], found["found_project_status"])
        require_revision(revision, found["found_revision"])

    async def _refuse(self, connection: Connection, caller: Caller, row_id: UUID) -> NoReturn:
        """Say why a statement did not find the row."""
        await self.get(connection, caller, row_id)
        raise conflict()  # the caller reaches it only since then


def new_values(table: FromClause, names: Iterable[str]) -> dict[str, ColumnElement[Any]]:
    """Columns with their new values, the parameters `new_<column>`."""
    return {name: bindparam(f"new_{name}", type_=table.c[name].type) for name in names}


def as_new(values: Values) -> Values:
    """Values as the parameters that `new_values` names."""
    return {f"new_{name}": value for name, value in values.items()}


def require_revision(given: int, found: int) -> None:
    """Raise Refusal(REVISION_MISMATCH) if a revision is given and is not the one found."""
    if given not in (0, found):
        raise revision_mismatch(given, found)


def require_inserted(row: Record | None, caller: Caller, project_id: UUID | None) -> Record:
    """The row that an insert created.

    Raises Refusal: PROJECT_NOT_FOUND, NOT_PROJECT_OWNER, PROJECT_NOT_ACTIVE.
    """
    if row is not None and row["id"] is not None:
        return row
    assert project_id is not None, "the insert of a project has no conditions"
    if row is None:
        raise not_found(Reason.PROJECT_NOT_FOUND, project_id)
    require_reach(caller, row["found_owner_id"], project_id=project_id)
    require_active(project_id, row["found_project_status"])
    raise conflict()  # the caller may do it only since then


def _found_of_project() -> tuple[ColumnElement[Any], ...]:
    return (
        projects.c.id.label("found_project_id"),
        projects.c.owner_id.label("found_owner_id"),
        projects.c.status.label("found_project_status"),
    )


def _found_and_left(found: CTE, left: CTE) -> Select[Any]:
    columns = (column for column in found.c if column.name.startswith("found_"))
    return select(*columns, *left.c).select_from(found.outerjoin(left, true()))


PROJECTS = ProjectScopedTable(projects, Reason.PROJECT_NOT_FOUND)
