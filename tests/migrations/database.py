"""A database that a test migrates, with a view of its structure and its rows."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Any, TypeAlias, TypeVar
from urllib.parse import urlsplit

import asyncpg

from migrations import run
from tests.schema.rows import Connection

T = TypeVar("T")
Everything: TypeAlias = tuple[set[str], dict[str, list[str]], list[str]]

# Of the catalog itself: the views of information_schema cost ten times as much.
COLUMNS = """
SELECT format('%s.%s %s null:%s default:%s generated:%s', relname, attname, typname
              || COALESCE(information_schema._pg_char_max_length(atttypid, atttypmod)::text, ''),
              CASE WHEN attnotnull THEN 'NO' ELSE 'YES' END,
              CASE WHEN attgenerated = '' THEN pg_get_expr(adbin, adrelid) END,
              CASE WHEN attgenerated <> '' THEN pg_get_expr(adbin, adrelid) END)
FROM pg_attribute
JOIN pg_class ON pg_class.oid = attrelid AND relkind IN ('r', 'p', 'v', 'f')
JOIN pg_type ON pg_type.oid = atttypid
LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE relnamespace = 'public'::regnamespace AND attnum > 0 AND NOT attisdropped
"""

# NOT NULL, which PostgreSQL 18 stores as a constraint ('n'), is among the columns.
CONSTRAINTS = """
SELECT format('%s %s %s', conrelid::regclass, conname, pg_get_constraintdef(oid))
FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype <> 'n'
"""

INDEXES = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'"

TABLES = "SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = 'public'"

NAMES = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"

# The keys of jsonb are sorted, so a column that is dropped and added again does not matter.
ROWS = "SELECT (to_jsonb(t) - $1::text[])::text FROM {} AS t"


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
        """Every column, constraint and index, as PostgreSQL describes it."""
        return self.make(_structure)

    def contents(self, without: Collection[str] = ()) -> dict[str, list[str]]:
        """Every row as JSON, sorted, by table; `without` names tables and `table.column`s."""
        parts = [*without, "alembic_version"]
        return self.make(lambda connection: _contents(connection, parts))

    def everything(self) -> Everything:
        """The structure, every row, and every name."""
        return self.make(everything)


async def _structure(connection: Connection) -> set[str]:
    described = [await _values(connection, sql) for sql in (COLUMNS, CONSTRAINTS, INDEXES)]
    return {line for lines in described for line in lines if "alembic_version" not in line}


async def _contents(connection: Connection, without: Collection[str]) -> dict[str, list[str]]:
    return {
        table: sorted(await _values(connection, ROWS.format(table), _columns(table, without)))
        for table in await _values(connection, TABLES)
        if table not in without
    }


def _columns(table: str, parts: Collection[str]) -> list[str]:
    return [part.partition(".")[2] for part in parts if part.startswith(f"{table}.")]


async def everything(connection: Connection) -> Everything:
    """The structure, every row, and every name, such as that of the table of revisions."""
    return (
        await _structure(connection),
        await _contents(connection, ()),
        sorted(await _values(connection, NAMES)),
    )


async def _values(connection: Connection, sql: str, *parameters: object) -> list[Any]:
    return [row[0] for row in await connection.fetch(sql, *parameters)]
