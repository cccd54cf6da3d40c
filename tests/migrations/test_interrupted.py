"""A migration that is killed at any statement has changed nothing, and can be run again."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from local.embedded_postgres import Server, start
from migrations.run import current
from tests.local.embedded_postgres.folders import reachable_folder, remove
from tests.migrations.database import COLUMNS, CONSTRAINTS, INDEXES, Database
from tests.migrations.legacy import Mix, make_legacy
from tests.migrations.stopping_migrator import COMMIT, LOCK
from tests.migrations.test_drift import REVISIONS
from tests.schema.rows import Connection

MIX = Mix(in_keys=3, in_participants=3, in_both=3, in_two_projects=3, alike=3, users=1)
PATIENCE_SECONDS = 20
EVERY = int(os.environ.get("TANDEM_TEST_EVERY", "3"))  # statement; `make interruptions` says 1
EVERY_OF_POSTGRESQL = (
    19  # starting PostgreSQL again takes a second, so not every statement has its turn
)
WAITING = """
SELECT pid FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database
WHERE locktype = 'advisory' AND objid = $1 AND NOT granted AND datname = current_database()
"""
ALIVE = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1"
TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"


def from_nothing(_: Database) -> None:
    """Leave the database empty."""


def from_legacy(database: Database) -> None:
    make_legacy(database, MIX)


class Migrator:
    """Migrators, one after the other, each of which stops at a statement."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin
        assert process.stdout
        self._orders, self._answers = process.stdin, process.stdout

    async def begin(self, statement: int) -> None:
        """Start one that stops in front of this statement."""
        self._orders.write(f"{statement}\n".encode())
        self.pid = int(await self._answers.readline())
        self.ended = asyncio.ensure_future(self._answers.readline())

    async def stopped_backend(self, connection: Connection) -> int | None:
        """Wait until it has stopped: the process that serves it, None where it came to its end."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not self.ended.done():
                if found := await connection.fetchval(WAITING, LOCK):
                    return int(found)
                await asyncio.sleep(0.005)
        assert await self.ended == b"ended 0\n"
        return None

    async def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        assert await self.ended == b"ended -9\n"


@asynccontextmanager
async def migrator(url: str) -> AsyncIterator[Migrator]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.migrations.stopping_migrator", url),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    try:
        yield Migrator(process)
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        connection.terminate()


async def state(connection: Connection) -> dict[str, list[str]]:
    """Everything there is: structure and rows, the revision among them."""
    described = {sql: await connection.fetch(sql) for sql in (COLUMNS, CONSTRAINTS, INDEXES)}
    for (table,) in await connection.fetch(TABLES):
        described[table] = await connection.fetch(f"SELECT t::text FROM {table} AS t")  # noqa: S608
    return {name: sorted(row[0] for row in rows) for name, rows in described.items()}


@pytest.mark.parametrize("prepare", [from_nothing, from_legacy])
def test_killed_at_any_statement_it_has_changed_nothing(
    database: Database, prepare: Callable[[Database], None]
) -> None:
    prepare(database)
    kills = asyncio.run(kill_at_every_statement(database.url))
    assert kills > 50 / EVERY
    assert database.current() == REVISIONS[-1]


async def kill_at_every_statement(url: str) -> int:
    """Kill a migrator at its COMMIT, others at their first statement, their second and so on, until
    one gets through; how many were killed.
    """
    async with migrator(url) as runs, connected(url) as connection:
        before = await state(connection)
        for kills, statement in enumerate((COMMIT, *range(1, 1000, EVERY))):
            await connection.execute("SELECT pg_advisory_lock($1)", LOCK)
            await runs.begin(statement)
            backend = await runs.stopped_backend(connection)
            if backend is None:
                return kills
            await runs.kill()
            # PostgreSQL notices at the end of a statement that nobody is there for its answer.
            await connection.execute("SELECT pg_advisory_unlock($1)", LOCK)
            await has_gone(connection, backend)
            assert await state(connection) == before, statement
    raise AssertionError("no migrator came to its end")


async def has_gone(connection: Connection, backend: int) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await connection.fetchval(ALIVE, backend):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.005)


@pytest.fixture
def server() -> Iterator[Server]:
    """A PostgreSQL of the test's own, to be killed."""
    folder = reachable_folder()
    yield start(folder / "data")
    remove(folder / "data")
    folder.rmdir()


@pytest.mark.parametrize("prepare", [from_nothing, from_legacy])
def test_if_postgresql_is_killed_at_a_statement_nothing_has_changed(
    server: Server, prepare: Callable[[Database], None], capfd: pytest.CaptureFixture[str]
) -> None:
    prepare(Database(server.url))
    kills = asyncio.run(kill_postgresql_at_some_statements(server))
    assert kills > 3
    assert current(server.url) == REVISIONS[-1]
    assert capfd.readouterr().err.count("The connection to the database was lost.") == kills


async def kill_postgresql_at_some_statements(server: Server) -> int:
    async with connected(server.url) as connection:
        before = await state(connection)
    async with migrator(server.url) as runs:
        for kills in range(100):
            async with connected(server.url) as connection:
                assert await state(connection) == before
                await connection.execute("SELECT pg_advisory_lock($1)", LOCK)
                await runs.begin(2 + kills * EVERY_OF_POSTGRESQL)
                if await runs.stopped_backend(connection) is None:
                    return kills
                server.process.kill()
                assert await runs.ended == b"ended 1\n"
            server = start(server.home.data_dir)
    raise AssertionError("no migrator came to its end")
