"""Statements: built by SQLAlchemy Core from `shared.schema`, run by asyncpg.

Each is compiled once to the text that asyncpg prepares: running it costs what asyncpg costs.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Integer,
    Select,
    Uuid,
    and_,
    bindparam,
    func,
    or_,
    tuple_,
)
from sqlalchemy.dialects.postgresql.asyncpg import dialect as asyncpg_dialect
from sqlalchemy.sql import ClauseElement

from shared.database import Connection, Record
from shared.schema import agent_api_keys

DIALECT = asyncpg_dialect()  # type: ignore[no-untyped-call]


class Statement:
    """SQL text and the order of its parameters, which are given by name at each run."""

    __slots__ = ("_constants", "_names", "sql")

    def __init__(self, construct: ClauseElement) -> None:
        compiled = construct.compile(dialect=DIALECT)
        self.sql = str(compiled)
        self._names: tuple[str, ...] = tuple(compiled.positiontup or ())  # type: ignore[attr-defined]
        self._constants: Mapping[str, Any] = compiled.params

    async def row(self, connection: Connection, **parameters: Any) -> Record | None:
        """The first row, or None."""
        return await connection.fetchrow(self.sql, *self._arguments(parameters))

    async def rows(self, connection: Connection, **parameters: Any) -> list[Record]:
        """Every row: the statement itself has to bound them."""
        return await connection.fetch(self.sql, *self._arguments(parameters))

    async def run(self, connection: Connection, **parameters: Any) -> None:
        """Run it for its effect."""
        await connection.execute(self.sql, *self._arguments(parameters))

    def _arguments(self, parameters: dict[str, Any]) -> list[Any]:
        constants = self._constants
        return [parameters[n] if n in parameters else constants[n] for n in self._names]


def visible(
    owner_id: ColumnElement[Any], agent_id: ColumnElement[Any] | None = None
) -> ColumnElement[bool]:
    """Whether the caller may see a row: see require_reach. `agent_id` None: of no agent."""
    reached = [
        bindparam("superuser", type_=Boolean),
        owner_id == bindparam("caller_id", type_=Uuid),
    ]
    if agent_id is not None:
        reached.append(agent_id == bindparam("caller_agent_id", type_=Uuid))
    return or_(*reached)


def writable(
    owner_id: ColumnElement[Any],
    status: ColumnElement[Any],
    agent_id: ColumnElement[Any] | None = None,
) -> ColumnElement[bool]:
    """Whether the caller may change a row that is in a project with this owner and this status."""
    return and_(visible(owner_id, agent_id), status == "active")


def usable(at: ColumnElement[Any] | None = None) -> ColumnElement[bool]:
    """Whether an API key can prove who an agent is, when the transaction began or `at` a time."""
    keys = agent_api_keys.c
    ends_later = keys.expires_at > (func.now() if at is None else at)
    return and_(keys.status == "active", or_(keys.expires_at.is_(None), ends_later))


def page_of(
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
