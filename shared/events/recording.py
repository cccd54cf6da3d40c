"""How an event comes into the log: in the statement, or at least the transaction, of the change.

A statement that is its own transaction writes its events itself. In a transaction of several, each
tells what it has changed, and a Log appends the events at the end.

Whoever writes to a log locks its head last, when every other lock is held: the head counts what was
changed before, and what rows refer to is locked before they are written (see shared.resources).
Then no two transactions can wait for each other by way of a head.
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar

from sqlalchemy import (
    ARRAY,
    CTE,
    BigInteger,
    ColumnElement,
    FromClause,
    Insert,
    Select,
    String,
    Table,
    Text,
    Update,
    UpdateBase,
    Uuid,
    bindparam,
    case,
    cast,
    column,
    func,
    insert,
    literal,
    literal_column,
    null,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB, array

from shared.database.pool import Connection, Record, UnitOfWork
from shared.database.statement import Statement
from shared.events.retention import stated_days
from shared.events.vocabulary import LARGE, NIL, OLD, READ_AS, kept, kind_of
from shared.schema import event_heads, events, projects, users

T = TypeVar("T")
Type: TypeAlias = str | ColumnElement[str]
# The type of an event, or what decides it from the row that is left.
Happening: TypeAlias = str | Callable[[CTE], ColumnElement[str]]

# Who writes to a log: parameters that are offered to every statement that changes something.
ORIGIN = {
    "actor_type": bindparam("actor_type", type_=String),
    "actor_id": bindparam("actor_id", type_=Uuid),
    "api_key_id": bindparam("actor_api_key_id", type_=Uuid),
    "method": bindparam("called_method", type_=String),
    "request_id": bindparam("called_request_id", type_=String),
}
# No call: Tandem itself, or an operator.
SYSTEM: Mapping[str, Any] = {
    "actor_type": "system",
    "actor_id": None,
    "actor_api_key_id": None,
    "called_method": None,
    "called_request_id": None,
}
# What is told of an event, and the types in which it is handed on.
TOLD = {
    "project_id": Uuid,
    "type": String,
    "resource_type": String,
    "resource_id": Uuid,
    "revision": BigInteger,
    "before": Text,
    "after": Text,
    "changed": Text,
}
IN_TEXT = ("before", "after", "changed")


class Old(NamedTuple):
    """Columns of a row as they were, by the names that `after` has for them."""

    values: Mapping[str, ColumnElement[Any]]

    @classmethod
    def of(cls, row: FromClause, names: Iterable[str]) -> "Old":
        """Of the columns with these names, which a statement is about to change."""
        read = (read for name in names for read in READ_AS.get(name, (name,)))
        return cls({name: row.c[name] for name in read})

    def within(self, cte: CTE) -> "Old":
        """The same, selected by a CTE."""
        return Old({name: cte.c[f"{OLD}{name}"] for name in self.values})

    @property
    def columns(self) -> list[ColumnElement[Any]]:
        """As a statement selects or returns them."""
        return [value.label(f"{OLD}{name}") for name, value in self.values.items()]


NOTHING = Old({})


def told(
    table: Table, event: Type, row: FromClause, old: Old = NOTHING, *, ends: bool = False
) -> list[ColumnElement[Any]]:
    """What is told of a change: columns `told_…`, of the `row` of the table as it is after it.

    The event of a row that `ends` has one revision more than the row.
    """
    kind = kind_of(table)
    revision = row.c.revision if "revision" in row.c else literal_column("1")
    before = {name: value for name, value in old.values.items() if name not in LARGE}
    large = {name: value for name, value in old.values.items() if name in LARGE}
    values: dict[str, ColumnElement[Any]] = {
        "project_id": _project_id(table, row),
        "type": cast(event, String),
        "resource_type": cast(literal(kind), String),
        # Clients know a member by its user.
        "resource_id": row.c.user_id if kind == "member" else row.c.id,
        "revision": revision + 1 if ends else revision,
        "before": _object(before) if before else cast(null(), JSONB),
        "after": _object(kept(row)),
        "changed": _names(large, row),
    }
    return [value.label(f"told_{name}") for name, value in values.items()]


def as_told(told_rows: FromClause) -> list[ColumnElement[Any]]:
    """The columns of `told_rows` in the form in which a Log takes them."""
    found: dict[str, ColumnElement[Any]] = {name: told_rows.c[f"told_{name}"] for name in TOLD}
    found["before"], found["after"] = cast(found["before"], Text), cast(found["after"], Text)
    found["changed"] = func.array_to_string(found["changed"], ",")
    return [value.label(f"told_{name}") for name, value in found.items()]


class Change:
    """A statement that changes one row, or some, in two forms.

    `alone` is its own transaction, and writes the event itself; `within` one of several, it tells a
    Log. Both answer the same columns besides.
    """

    def __init__(
        self,
        purpose: str,
        answer: Sequence[ColumnElement[Any]],
        rows: FromClause,
        told_rows: CTE,
        *,
        begins: bool = False,
        each: ColumnElement[bool] | None = None,
    ) -> None:
        """`begins`: what is created is a project, whose log begins.

        `each` says which of several rows is told of by which of `told_rows`.
        """
        answered = select(*answer).select_from(rows)
        head = _begun(told_rows, 1) if begins else _raised(_counted(told_rows).subquery("numbers"))
        self.alone = Statement(
            purpose, answered.add_cte(_logged(told_rows, head.cte("head")).cte("logged"))
        )
        within = answered.add_columns(*as_told(told_rows))
        within = within.select_from(rows.outerjoin(told_rows, true() if each is None else each))
        if begins:
            within = within.add_cte(_begun(told_rows, 0).cte("head"))
        self.within = Statement(f"{purpose} It tells a Log of it.", within)


class Recorder(ABC):
    """Runs the changes of a unit of work so that their events come into the log."""

    @abstractmethod
    async def run(
        self,
        connection: Connection,
        change: Change,
        offered: Mapping[str, Any],
        parameters: dict[str, Any],
    ) -> Record | None:
        """The first row that the change answers."""

    @abstractmethod
    async def run_all(
        self,
        connection: Connection,
        change: Change,
        offered: Mapping[str, Any],
        parameters: dict[str, Any],
    ) -> list[Record]:
        """Every row that the change answers."""


class Alone(Recorder):
    """A change that is its own transaction."""

    async def run(
        self,
        connection: Connection,
        change: Change,
        offered: Mapping[str, Any],
        parameters: dict[str, Any],
    ) -> Record | None:
        return await change.alone.row(connection, offered, **parameters)

    async def run_all(
        self,
        connection: Connection,
        change: Change,
        offered: Mapping[str, Any],
        parameters: dict[str, Any],
    ) -> list[Record]:
        return await change.alone.rows(connection, offered, **parameters)


ALONE = Alone()


class Log(Recorder):
    """The events of a transaction, in the order in which they were told."""

    def __init__(self) -> None:
        self._told: list[Record] = []
        self._ended: dict[str, Any] | None = None

    async def run(
        self,
        connection: Connection,
        change: Change,
        offered: Mapping[str, Any],
        parameters: dict[str, Any],
    ) -> Record | None:
        row = await change.within.row(connection, offered, **parameters)
        if row is not None:
            self.add([row])
        return row

    async def run_all(
        self,
        connection: Connection,
        change: Change,
        offered: Mapping[str, Any],
        parameters: dict[str, Any],
    ) -> list[Record]:
        rows = await change.within.rows(connection, offered, **parameters)
        self.add(rows)
        return rows

    def add(self, rows: Iterable[Record]) -> None:
        """Take up the events that the rows of a statement tell of."""
        self._told += (row for row in rows if row["told_type"] is not None)

    def end(self, project: Record) -> None:
        """The project is deleted: its log says who owned it, and how long events are kept."""
        settings = project["settings"] and project["settings"].decode()
        owner = {"project_id": project["id"], "owner_id": project["owner_id"]}
        self._ended = {**owner, "settings": settings}

    async def append(self, connection: Connection, offered: Mapping[str, Any]) -> None:
        """Write the events. Nothing may come after it but the COMMIT: it locks the heads."""
        if self._ended:
            await END.run(connection, **self._ended)
        if self._told:
            names = (f"told_{name}" for name in TOLD)
            columns = {name: [row[name] for row in self._told] for name in names}
            await APPEND.run(connection, offered, **columns)


def alone(work: Callable[[Connection, Recorder], Awaitable[T]]) -> UnitOfWork[T]:
    """A unit of work of one change, which is its own transaction."""
    return lambda connection: work(connection, ALONE)


def recorded(
    work: Callable[[Connection, Log], Awaitable[T]], offered: Mapping[str, Any] = SYSTEM
) -> UnitOfWork[T]:
    """A unit of work of several statements, whose events are appended at its end."""

    async def unit_of_work(connection: Connection) -> T:
        log = Log()
        found = await work(connection, log)
        await log.append(connection, offered)
        return found

    return unit_of_work


def changing_rows(
    table: Table,
    event: Happening,
    rows: Select[Any],
    values: Mapping[str, ColumnElement[Any]],
    *conditions: ColumnElement[bool],
    shown: Iterable[ColumnElement[Any]] = (),
) -> Select[Any]:
    """Changes `rows` of a table, which the select locks in its order, and tells a Log of each.

    Only those are changed for which the conditions hold. It answers what is told, and what is
    `shown` of the rows as they are then.
    """
    old, shown = Old.of(table, values), list(shown)
    besides = (each for each in shown if each.name not in table.c)
    locked = rows.with_only_columns(table.c.id, *old.columns).cte("locked")
    updated = (
        update(table)
        .where(table.c.id == locked.c.id, *conditions)
        .values(**values, revision=table.c.revision + 1, updated_at=func.now())
        # With what they were: to join the two afterwards, PostgreSQL may compare each with each.
        .returning(*table.c, *besides, *old.within(locked).columns)
        .cte("updated")
    )
    happened = event if isinstance(event, str) else event(updated)
    return _telling(select(*told(table, happened, updated, old.within(updated))), updated, shown)


def changed_rows(
    table: Table, event: Type, changed: UpdateBase, *, ends: bool = False
) -> Select[Any]:
    """Runs an INSERT or DELETE that returns the rows of a table, and tells a Log of each."""
    rows = changed.cte("changed")
    return _telling(select(*told(table, event, rows, ends=ends)), rows, ())


def _telling(told_rows: Select[Any], rows: CTE, shown: Sequence[ColumnElement[Any]]) -> Select[Any]:
    found = told_rows.add_columns(*(rows.c[each.name] for each in shown)).subquery("told")
    return select(*(found.c[each.name] for each in shown), *as_told(found))


def _project_id(table: Table, row: FromClause) -> ColumnElement[Any]:
    if table is projects:
        return row.c.id
    if table is users:
        return cast(literal(NIL, Uuid), Uuid)
    return row.c.project_id


def _object(values: Mapping[str, ColumnElement[Any]]) -> ColumnElement[Any]:
    pairs = (each for name, value in values.items() for each in (literal(name, String), value))
    return func.jsonb_build_object(*pairs, type_=JSONB)


def _names(large: Mapping[str, ColumnElement[Any]], row: FromClause) -> ColumnElement[Any]:
    """Which of the large columns have changed."""
    if not large:
        return cast(null(), ARRAY(Text))
    differing = (
        case((row.c[name].is_distinct_from(value), cast(name, Text)))
        for name, value in large.items()
    )
    return func.array_remove(array(differing), null())


def _counted(told_rows: CTE) -> Select[Any]:
    """How many events each project has."""
    return select(told_rows.c.told_project_id, func.count().label("number")).group_by(
        told_rows.c.told_project_id
    )


def _raised(number: FromClause) -> Update:
    """The heads of logs, raised by numbers of events, with what they had before."""
    return (
        update(event_heads)
        .where(event_heads.c.project_id == number.c.told_project_id)
        .values(last=event_heads.c.last + number.c.number)
        .returning(event_heads.c.project_id, (event_heads.c.last - number.c.number).label("before"))
    )


def _begun(told_rows: CTE, last: int) -> Insert:
    """The head of the log of a new project, which has so many events."""
    project_id = told_rows.c.told_project_id
    # The id of the project is good for its first log, too: it is no one else's.
    row = select(project_id, project_id, literal(last, BigInteger))
    return (
        insert(event_heads)
        .from_select(["project_id", "log_id", "last"], row, include_defaults=False)
        .returning(event_heads.c.project_id, literal(0, BigInteger).label("before"))
    )


def _logged(told_rows: CTE, head: CTE, *order: ColumnElement[Any]) -> Insert:
    """Writes events after the number that the head had before.

    Without a head there is no number, so that nothing changes without its event.
    """
    found = told_rows.c
    number = func.row_number().over(partition_by=found.told_project_id, order_by=order or None)
    values = {
        "project_id": found.told_project_id,
        "sequence": head.c.before + number,
        "batch": head.c.before + 1,
        **{name: found[f"told_{name}"] for name in TOLD if name != "project_id"},
        **ORIGIN,
    }
    rows = select(*values.values()).select_from(
        told_rows.outerjoin(head, head.c.project_id == found.told_project_id)
    )
    return insert(events).from_select(list(values), rows, include_defaults=False)


_told = (
    func.unnest(*(bindparam(f"told_{name}", type_=ARRAY(kind)) for name, kind in TOLD.items()))
    .table_valued(*(column(name, kind) for name, kind in TOLD.items()), with_ordinality="position")
    .render_derived("told")
)
_told_rows = select(
    *(_told.c[name].label(f"told_{name}") for name in TOLD if name not in IN_TEXT),
    *(cast(_told.c[name], JSONB).label(f"told_{name}") for name in ("before", "after")),
    func.string_to_array(_told.c.changed, ",").label("told_changed"),
    _told.c.position,
).cte("told_rows")
_numbers = _counted(_told_rows).cte("numbers")
_heads = (
    select(_numbers)
    .select_from(_numbers.join(event_heads, event_heads.c.project_id == _numbers.c.told_project_id))
    .order_by(event_heads.c.project_id)
    .with_for_update(of=event_heads)
    .cte("heads")
)
APPEND = Statement(
    "Writes the events of a transaction to the logs of their projects. The heads are locked in the "
    "order of their ids, after everything else.",
    _logged(_told_rows, _raised(_heads).cte("head"), _told_rows.c.position),
)

END = Statement(
    "Says of the log of a project that it is deleted, and who owned it.",
    update(event_heads)
    .where(event_heads.c.project_id == bindparam("project_id", type_=Uuid))
    .values(
        owner_id=bindparam("owner_id", type_=Uuid),
        retention_days=stated_days(cast(bindparam("settings", type_=Text), JSONB)),
        deleted_at=func.now(),
    ),
)
