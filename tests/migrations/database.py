"""A database that a test migrates, with a view of its structure and its rows."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

import asyncpg

from migrations import run
from tests.schema.rows import Connection

T = TypeVar("T")

COLUMNS = """
SELECT format('%s.%s %s null:%s default:%s generated:%s', table_name, column_name,
              udt_name || COALESCE(character_maximum_length::text, ''), is_nullable,
              column_default, generation_expression)
FROM information_schema.columns WHERE table_schema = 'public'
"""

# NOT NULL, which PostgreSQL 18 stores as a constraint ('n'), is among the columns.
CONSTRAINTS = """
SELECT format('%s %s %s', conrelid::regclass, conname, pg_get_constraintdef(oid))
FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype <> 'n'
"""

INDEXES = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'"


class Database:
    def __init__(self, url: str) -> None:
        self.url = url
        parts = urlsplit(url)
        self.role, self.name = parts.username, parts.path.removeprefix("/")

    def upgrade(self, revision: str = "head") -> None:
        run.upgrade(self.url, revision)

    def downgrade(self, revision: str) -> None:
        run.downgrade(self.url, revision)

    def current(self) -> str | None:
        return run.current(self.url)

    def make(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """What `work` does on a connection, committed at its end."""

        async def connected() -> T:
            connection = await asyncpg.connect(self.url)
            try:
                async with connection.transaction():
                    return await work(connection)
            finally:
                await connection.close()

        return asyncio.run(connected())

    def rows(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        found = self.make(lambda connection: connection.fetch(sql, *parameters))
        return [tuple(row) for row in found]

    def values(self, sql: str, *parameters: object) -> list[Any]:
        return [row[0] for row in self.rows(sql, *parameters)]

    def structure(self) -> set[str]:
        """Every column, constraint and index, as PostgreSQL itself describes it."""
        described = [self.values(sql) for sql in (COLUMNS, CONSTRAINTS, INDEXES)]
        return {line for lines in described for line in lines if "alembic_version" not in line}

    def everything(self) -> tuple[set[str], list[str], list[str]]:
        """The structure, every row, and every name, such as that of a table of revisions."""
        tables = self.values("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        rows = [
            f"{table} {row}"
            for table in tables
            for row in self.values(f'SELECT to_jsonb(t)::text FROM "{table}" AS t')  # noqa: S608
        ]
        names = self.values(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        )
        return self.structure(), sorted(rows), sorted(names)
