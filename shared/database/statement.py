"""Statements: built by SQLAlchemy Core from `shared.schema`, run by asyncpg.

Each is compiled once to the text that asyncpg prepares: running it costs what asyncpg costs.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.dialects.postgresql.asyncpg import dialect as asyncpg_dialect
from sqlalchemy.sql import ClauseElement

from shared.database.pool import Connection, Record

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
