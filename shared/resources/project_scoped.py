"""Statements on projects and on the tables whose rows belong to one: agents, tasks, rooms, keys.

A statement that changes a row decides by itself whether the caller may, so that one round trip is
enough. It finds, and so locks, only a row that the caller reaches; if it finds none, a second
statement says why. Its answer has columns `found_…` of the row that it found, and the columns of
the row that it left, which are NULL if it did not act. An Outcome tells the two apart.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, NoReturn, TypeAlias, TypeVar
from uuid import UUID

from sqlalchemy import (
    CTE,
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    DateTime,
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

from shared.auth.access import (
    ACTIVE,
    Standing,
    allowed,
    may,
    require,
    require_active,
    role_in,
)
from shared.auth.caller import Agent, Caller, offered
from shared.auth.permissions import Permission
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
from shared.events import vocabulary
from shared.events.recording import NOTHING, Change, Log, Old, Recorder, changed_rows, told
from shared.resources.locking import after, referenced
from shared.resources.validation import Parsed, Stated, as_uuid
from shared.schema import projects

T = TypeVar("T")
Values: TypeAlias = dict[str, Any]
# By the name of a constraint: the refusal of values that violate it.
Refusals: TypeAlias = Mapping[str, Callable[[Values], Refusal]]
# A condition of a statement about a project, whose id it is given.
Condition: TypeAlias = Callable[[ColumnElement[Any]], ColumnElement[bool]]
# The type of an event, or what decides it from the row that was found and the one that is left.
Event: TypeAlias = str | Callable[[CTE, CTE], ColumnElement[str]]


class Outcome(NamedTuple):
    """What a statement that decides and acts has found, and the row that it left.

    `row` is None if it did not act because a condition of its own does not hold.
    """

    found: Record
    row: Record | None


class InsertIf(NamedTuple):
    """What creates a row under a condition, see `creating`, and why it did not if all else is
    right."""

    create: Callable[[frozenset[str]], Change]
    refuse: Callable[[Connection, Values], Awaitable[Refusal]]


class ProjectScopedTable:
    """Statements on one such table; `missing` is the refusal of an id that does not exist.

    `read`, `write` and `create` are what a caller must be permitted to read, to change or delete,
    and to create rows; a method that takes a permission can ask for another one. `own` says whether
    a row is the caller's own. Rows have the columns of the table, and what is `shown` besides.
    `seen` are columns of a row that say why a statement did not act on it, as `found_<column>`.
    """

    def __init__(
        self,
        table: Table,
        missing: Reason,
        read: Permission,
        write: Permission,
        create: Permission | None = None,
        own: ColumnElement[bool] | None = None,
        shown: Sequence[ColumnElement[Any]] = (),
        seen: Sequence[ColumnElement[Any]] = (),
    ) -> None:
        self.missing = missing
        self.kind = missing.name.removesuffix("_NOT_FOUND").replace("_", " ").lower()
        self.table = table
        self.read, self.write, self.create = read, write, create or write
        self.shown = (*table.c, *shown)
        self._seen = [each.label(f"found_{each.name}") for each in seen]
        self._is_root = table is projects
        self._own = cast(null(), Boolean) if own is None else own
        self._role = role_in(projects.c.id, projects.c.owner_id)
        self.with_project: FromClause = (
            table if self._is_root else table.join(projects, projects.c.id == table.c.project_id)
        )
        self.decisive = (
            self._role.label("found_role"),
            self._own.label("found_is_own"),
            projects.c.status.label("found_project_status"),
        )
        self._by_id = (
            select(*self.shown, *self.decisive)
            .select_from(self.with_project)
            .where(table.c.id == bindparam("id", type_=Uuid))
        )
        self.get_by_id = Statement(
            f"One {self.kind}, and what decides who may do what with it.", self._by_id
        )
        self.delete_by_id = Statement(
            f"Deletes one {self.kind}, and what its foreign keys delete with it.",
            changed_rows(
                table,
                vocabulary.deleted(table),
                delete(table)
                .where(table.c.id == bindparam("id", type_=Uuid))
                .returning(*self.shown),
                ends=True,
            ),
        )
        self.lock_by_id = lru_cache(maxsize=8)(self._lock_by_id)
        self.insert_columns = lru_cache(maxsize=64)(self._insert_columns)
        self.update_columns = lru_cache(maxsize=512)(self._update_columns)

    async def get(
        self,
        connection: Connection,
        caller: Caller,
        row_id: UUID,
        permission: Permission | None = None,
    ) -> Record:
        """The row, if the caller may read it, or has the permission.

        Raises Refusal: …_NOT_FOUND, and those of `access.require`.
        """
        row = await self.get_by_id.row(connection, caller.rights, id=row_id)
        if row is None:
            raise not_found(self.missing, row_id)
        self.require_permitted(caller, row, permission or self.read)
        return row

    def require_permitted(self, caller: Caller, row: Record, permission: Permission) -> None:
        """Raise a Refusal unless the caller has the permission for a row of `get_by_id`."""
        require(caller, permission, self._standing(row), named=self._is_root)

    def is_permitted(self, caller: Caller, row: Record, permission: Permission) -> bool:
        """Whether the caller has the permission for a row of `get_by_id`."""
        return may(caller, permission, self._standing(row))

    async def require(
        self,
        connection: Connection,
        caller: Caller,
        row_id: str,
        permission: Permission | None = None,
    ) -> Record | None:
        """As `get`; None for a malformed id, which is refused with the rest of the content.

        Also None for the project of an agent that may look in it for what is its own.
        """
        known, needed = as_uuid(row_id), permission or self.read
        if known is None or (self._is_root and _looks_for_own(caller, known, needed)):
            return None
        return await self.get(connection, caller, known, needed)

    async def content(
        self,
        connection: Connection,
        caller: Caller,
        row_id: str,
        parsed: Parsed[T],
        permission: Permission | None = None,
    ) -> T:
        """What a request says that changes a row, or does with it what needs the permission.

        If that is refused, a refusal of access comes first. If not, the statement that does the
        work decides access.
        """
        if parsed.refusal is not None:
            await self.require(connection, caller, row_id, permission or self.write)
        return parsed.value

    async def lock(
        self,
        connection: Connection,
        caller: Caller,
        row_id: UUID,
        permission: Permission | None = None,
    ) -> Record:
        """The row, if the caller may change it, or has the permission.

        Nothing else changes it until the end of the transaction. Raises Refusal as `get`.
        """
        needed = permission or self.write
        row = await self.lock_by_id(needed).row(connection, caller.rights, id=row_id)
        return row or await self._refuse(connection, caller, row_id, needed)

    async def lock_to_delete(
        self,
        connection: Connection,
        caller: Caller,
        row_id: str,
        revision: Parsed[int],
        permission: Permission | None = None,
    ) -> Record:
        """As `lock`, if the revision matches (0: any)."""
        given = await self.content(connection, caller, row_id, revision, permission)
        row = await self.lock(connection, caller, UUID(row_id), permission)
        require_revision(given, row["revision"])
        return row

    async def delete(self, connection: Connection, log: Log, row_id: UUID) -> None:
        """Delete a row that is locked."""
        log.add(await self.delete_by_id.rows(connection, id=row_id))

    async def insert(
        self,
        connection: Connection,
        log: Recorder,
        caller: Caller,
        values: Values,
        refusals: Refusals,
        condition: InsertIf | None = None,
    ) -> Record:
        """Create a row with these columns; in the project `project_id`, unless it is one.

        Raises Refusal: PROJECT_NOT_FOUND, PROJECT_NOT_ACTIVE, those of `access.require`, the
        refusal that a constraint stands for, and that of a condition that does not hold.
        """
        change = (condition.create if condition else self.insert_columns)(frozenset(values))
        project_id = values.get("project_id")
        with translate_violations(refusals, values):
            row = await log.run(connection, change, offered(caller), values)
        if condition and row is not None and row["id"] is None:
            require_insertable(row, caller, self.create, project_id)
            raise await condition.refuse(connection, values)
        return require_inserted(row, caller, self.create, project_id)

    async def update(
        self,
        connection: Connection,
        log: Recorder,
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
            found = await self.get(connection, caller, UUID(row_id), self.write)
            self._require_stated(stated, found)
            values = {name: value for name, value in values.items() if name not in stated}
        change = self.update_columns(frozenset(values))
        new = as_new(values)
        with translate_violations(refusals, values):
            return await self.change(
                connection, log, caller, change, UUID(row_id), revision=revision, **new
            )

    async def change(
        self,
        connection: Connection,
        log: Recorder,
        caller: Caller,
        change: Change,
        row_id: UUID,
        permission: Permission | None = None,
        **parameters: Any,
    ) -> Record:
        """As `decide`, for a change that has no conditions of its own."""
        outcome = await self.decide(
            connection, log, caller, change, row_id, permission, **parameters
        )
        assert outcome.row is not None, "it acts whenever the caller may"
        return outcome.row

    async def decide(
        self,
        connection: Connection,
        log: Recorder,
        caller: Caller,
        change: Change,
        row_id: UUID,
        permission: Permission | None = None,
        **parameters: Any,
    ) -> Outcome:
        """Run a change that decides, by the same permission, and acts on the row `id`.

        Raises Refusal: …_NOT_FOUND, PROJECT_NOT_ACTIVE, REVISION_MISMATCH, and those of
        `access.require`.
        """
        row = await log.run(connection, change, offered(caller), {"id": row_id, **parameters})
        if row is None:
            await self._refuse(connection, caller, row_id, permission or self.write)
        elif row["id"] is None:
            self._require_updatable(row, parameters.get("revision", 0))
            return Outcome(row, None)
        return Outcome(row, row)

    def changing(
        self,
        purpose: str,
        values: Mapping[str, ColumnElement[Any]],
        *conditions: ColumnElement[bool],
        event: Event,
        first: CTE | None = None,
        then: Callable[[CTE], CTE] | None = None,
        permission: Permission | None = None,
    ) -> Change:
        """Changes the row `id` if the `revision` matches (0: any), and so on.

        It answers as `decide` needs it. What `first` locks is locked before the row, and what
        `then` changes, given the changed row, is changed before its event is written.
        """
        table, old = self.table, Old.of(self.table, values)
        target = self._target(first, permission or self.write, old)
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
            .returning(*self.shown)
            .cte("updated")
        )
        happened = event if isinstance(event, str) else event(target, updated)
        told_rows = (
            select(*told(table, happened, updated, old.within(target)))
            .select_from(updated.join(target, target.c.found_revision != updated.c.revision))
            .where(after(then(updated) if then else None))
            .cte("told")
        )
        return Change(purpose, *_found_and_left(target, updated), told_rows)

    def creating_below(
        self,
        purpose: str,
        column: Column[Any],
        names: Iterable[str],
        shown: Iterable[ColumnElement[Any]],
        condition: Condition | None = None,
    ) -> Change:
        """Creates a row whose `column` refers to the row `id`, in its project.

        `names` are the columns whose values are given, as parameters `new_<column>`, and `shown`
        what is shown of the row. The condition is about the project, NULL if the caller may not.
        It answers as `decide` needs it.
        """
        parent = self._permitted(self.write).cte("parent")
        values = new_values(column.table, names)
        of_project = select(parent.c.found_project_id).scalar_subquery()
        keys = {"project_id": of_project, column.name: bindparam("id", type_=Uuid), **values}
        row = select(parent.c.found_project_id, parent.c.found_id, *values.values())
        row = row.where(self._is_active(parent), after(referenced(column.table, keys, of_project)))
        if condition is not None:
            row = row.where(condition(of_project))
        created = (
            insert(column.table)
            .from_select(["project_id", column.name, *values], row)
            .returning(*shown)
            .cte("created")
        )
        return _creation(purpose, column.table, parent, created)

    def creating(
        self, purpose: str, names: Iterable[str], condition: Condition | None = None
    ) -> Change:
        """Creates a row with these columns, in the project `project_id`.

        The condition is about the project, NULL if the caller may not. It answers as `insert` needs
        it.
        """
        table = self.table
        values = {name: _created_value(table.c[name]) for name in sorted(names)}
        if self._is_root:
            root = insert(table).values(**values).returning(*self.shown).cte("created")
            return _creation(purpose, table, None, root)
        project = (
            select(*_found_of_project(), PROJECTS.decisive[0])
            .where(projects.c.id == bindparam("project_id", type_=Uuid))
            .cte("project")
        )
        permitted = allowed(self.create, project.c.found_project_id, project.c.found_role)
        permitted_in = select(project.c.found_project_id).where(permitted).cte("permitted")
        of_project = select(permitted_in.c.found_project_id).scalar_subquery()
        row = select(*values.values()).where(
            permitted, self._is_active(project), after(referenced(table, values, of_project))
        )
        if condition is not None:
            row = row.where(condition(of_project))
        created = insert(table).from_select(list(values), row).returning(*self.shown).cte("created")
        return _creation(purpose, table, project, created)

    def _insert_columns(self, names: frozenset[str]) -> Change:
        return self.creating(f"Creates one {self.kind}.", names)

    def _update_columns(self, names: frozenset[str]) -> Change:
        values = new_values(self.table, sorted(names))
        of_project = self._permitted(self.write).with_only_columns(projects.c.id)
        return self.changing(
            f"Changes these columns of one {self.kind}.",
            values,
            event=vocabulary.updated(self.table),
            first=referenced(self.table, values, of_project.scalar_subquery()),
        )

    def _lock_by_id(self, permission: Permission) -> Statement:
        return Statement(
            f"One {self.kind}, locked, if the caller may {_in_words(permission)}.",
            self._by_id.where(self.permits(permission)).with_for_update(of=self.table),
        )

    def permits(self, permission: Permission) -> ColumnElement[bool]:
        """Whether the caller has the permission for a row, as a condition on `with_project`."""
        return allowed(permission, projects.c.id, self._role, self._own)

    def _permitted(self, permission: Permission, old: Old = NOTHING) -> Select[Any]:
        """What is found of the row `id`, if the caller has the permission for it."""
        found = [
            self.table.c.id.label("found_id"),
            *_found_of_project(),
            self.table.c.revision.label("found_revision"),
            *self._seen,
        ]
        if "status" in self.table.c:
            found.append(self.table.c.status.label("found_status"))
        found_and_old = (*found, *old.columns)
        return self._by_id.where(self.permits(permission)).with_only_columns(*found_and_old)

    def _target(self, first: CTE | None, permission: Permission, old: Old) -> CTE:
        target = self._permitted(permission, old).with_for_update(of=self.table)
        return target.where(after(first)).cte("target")

    def _standing(self, row: Record) -> Standing:
        project_id = row["id" if self._is_root else "project_id"]
        return Standing(project_id, row["found_role"], bool(row["found_is_own"]))

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

    async def _refuse(
        self, connection: Connection, caller: Caller, row_id: UUID, permission: Permission
    ) -> NoReturn:
        """Say why a statement did not find the row."""
        await self.get(connection, caller, row_id, permission)
        raise conflict()  # the caller may only since then


def new_values(table: FromClause, names: Iterable[str]) -> dict[str, ColumnElement[Any]]:
    """Columns with their new values, the parameters `new_<column>`; a time that is required and not
    given is now."""
    return {name: _new_value(table.c[name]) for name in names}


def _new_value(column: ColumnElement[Any]) -> ColumnElement[Any]:
    value: ColumnElement[Any] = bindparam(f"new_{column.name}", type_=column.type)
    return func.coalesce(value, func.now()) if _is_required_time(column) else value


def _created_value(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """The parameter with the name of the column; of a required time that is past or NULL, now."""
    value: ColumnElement[Any] = bindparam(column.name, type_=column.type)
    return func.greatest(value, func.now()) if _is_required_time(column) else value


def _is_required_time(column: ColumnElement[Any]) -> bool:
    is_required = isinstance(column, Column) and not column.nullable
    return is_required and isinstance(column.type, DateTime)


def as_new(values: Values) -> Values:
    """Values as the parameters that `new_values` names."""
    return {f"new_{name}": value for name, value in values.items()}


def require_revision(given: int, found: int) -> None:
    """Raise Refusal(REVISION_MISMATCH) if a revision is given and is not the one found."""
    if given not in (0, found):
        raise revision_mismatch(given, found)


def require_inserted(
    row: Record | None, caller: Caller, permission: Permission, project_id: UUID | None
) -> Record:
    """The row that an insert created.

    Raises Refusal: PROJECT_NOT_FOUND, PROJECT_NOT_ACTIVE, and those of `access.require`.
    """
    if row is not None and row["id"] is not None:
        return row
    require_insertable(row, caller, permission, project_id)
    raise conflict()  # the caller may do it only since then


def require_insertable(
    row: Record | None, caller: Caller, permission: Permission, project_id: UUID | None
) -> None:
    """Say what of the project keeps an insert from creating a row, if anything does."""
    assert project_id is not None, "the insert of a project has no conditions"
    if row is None:
        raise not_found(Reason.PROJECT_NOT_FOUND, project_id)
    standing = Standing(project_id, row["found_role"], is_own=False)
    require(caller, permission, standing, named=True)
    require_active(project_id, row["found_project_status"])


def _looks_for_own(caller: Caller, project_id: UUID, permission: Permission) -> bool:
    is_in_project = isinstance(caller, Agent) and caller.project_id == project_id
    return permission.own_suffices and is_in_project


def _in_words(permission: Permission) -> str:
    return permission.name.lower().replace("_", " ")


def _found_of_project() -> tuple[ColumnElement[Any], ...]:
    return (
        projects.c.id.label("found_project_id"),
        projects.c.status.label("found_project_status"),
    )


def _found_and_left(found: CTE, left: CTE) -> tuple[list[ColumnElement[Any]], FromClause]:
    columns = [column for column in found.c if column.name.startswith("found_")]
    return [*columns, *left.c], found.outerjoin(left, true())


def _creation(purpose: str, table: Table, found: CTE | None, created: CTE) -> Change:
    """What creates a row; in a project that was found, unless it is one, whose log so begins."""
    told_rows = select(*told(table, vocabulary.created(table), created)).cte("told")
    if found is None:
        return Change(purpose, list(created.c), created, told_rows, begins=True)
    return Change(purpose, *_found_and_left(found, created), told_rows)


PROJECTS = ProjectScopedTable(
    projects, Reason.PROJECT_NOT_FOUND, Permission.READ_PROJECT, Permission.ADMINISTER
)
