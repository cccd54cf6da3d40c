"""A migration that is killed at any statement has changed nothing, and can be run again."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager

import asyncpg
import pytest

from local.embedded_postgres import Server, start
from migrations.history import NEWEST
from tests.local.embedded_postgres.folders import reachable_folder, remove
from tests.migrations.database import Database, Everything, everything
from tests.migrations.legacy import Mix, make_legacy
from tests.migrations.migrators import COMMIT, LOCK, Migrator, migrator
from tests.schema.rows import Connection

pytestmark = pytest.mark.long

MIX = Mix(in_keys=3, in_participants=3, in_both=3, in_two_projects=3, alike=3, users=1)
PATIENCE_SECONDS = 60
EVERY = int(os.environ.get("TANDEM_TEST_EVERY", "3"))  # statement; `make interruptions` sets 1
EVERY_OF_POSTGRESQL = 19  # statement; a restart of PostgreSQL takes seconds
WAITING = """
SELECT pid FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database
WHERE locktype = 'advisory' AND objid = $1 AND NOT granted AND datname = current_database()
"""
ALIVE = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1"


def from_nothing(_: Database) -> None:
    """Leave the database empty."""


def from_legacy(database: Database) -> None:
    make_legacy(database, MIX)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        connection.terminate()


async def stopped_backend(connection: Connection, migrator: Migrator) -> int | None:
    """Wait until the migrator has stopped and return its backend; None if it has succeeded."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not migrator.has_ended():
            if found := await connection.fetchval(WAITING, LOCK):
                return int(found)
            await asyncio.sleep(0.02)
    assert migrator.wait() == ""
    return None


async def has_gone(connection: Connection, backend: int) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await connection.fetchval(ALIVE, backend):  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("prepare", [from_nothing, from_legacy])
def test_killed_at_any_statement_it_has_changed_nothing(
    database: Database, prepare: Callable[[Database], None]
) -> None:
    prepare(database)
    kills = asyncio.run(kill_at_every_statement(database.url))
    assert kills > 50 / EVERY
    assert database.current() == NEWEST


async def kill_at_every_statement(url: str) -> int:
    """Kill a migrator at its COMMIT, others at their first statement, and so on, until one
    succeeds; the number of those that were killed.
    """
    async with connected(url) as connection:
        before = await everything(connection)
        for kills, statement in enumerate((COMMIT, *range(1, 1000, EVERY))):
            await connection.execute("SELECT pg_advisory_lock($1)", LOCK)
            with migrator(url, statement) as run:
                backend = await stopped_backend(connection, run)
                if backend is None:
                    return kills
                run.kill()
            # PostgreSQL notices the missing client when the statement ends.
            await connection.execute("SELECT pg_advisory_unlock($1)", LOCK)
            await has_gone(connection, backend)
            assert await everything(connection) == before, statement
    raise AssertionError("no migrator succeeded")


@pytest.fixture
def server() -> Iterator[Server]:
    """A PostgreSQL that the test may kill, which does not wait for the disk when it recovers."""
    folder = reachable_folder()
    started = start(folder / "data")
    asyncio.run(execute(started.url, "ALTER SYSTEM SET fsync = off"))
    asyncio.run(execute(started.url, "SELECT pg_reload_conf()"))
    yield started
    remove(folder / "data")
    folder.rmdir()


def test_if_postgresql_is_killed_at_a_statement_nothing_has_changed(server: Server) -> None:
    """Of an empty database and a legacy one; each start of PostgreSQL serves both."""
    empty, legacy = Database(server.url), Database(f"{server.url}_legacy")
    asyncio.run(execute(empty.url, f"CREATE DATABASE {legacy.name}"))
    from_legacy(legacy)
    kills = asyncio.run(kill_postgresql_at_some_statements(server, [empty.url, legacy.url]))
    assert min(kills.values()) > 3
    assert {empty.current(), legacy.current()} == {NEWEST}


async def execute(url: str, statement: str) -> None:
    async with connected(url) as connection:
        await connection.execute(statement)


async def kill_postgresql_at_some_statements(server: Server, urls: list[str]) -> dict[str, int]:
    """How often each database's migrator was stopped by it, until it succeeded."""
    kills = dict.fromkeys(urls, 0)
    before = {url: await everything_in(url) for url in urls}
    for statement in range(2, 1000, EVERY_OF_POSTGRESQL):
        urls = await kill_postgresql(server, urls, statement)
        if not urls:
            return kills
        server = await asyncio.to_thread(start, server.home.data_dir)
        for url in urls:
            kills[url] += 1
            assert await everything_in(url) == before[url], statement
    raise AssertionError("no migrator succeeded")


async def kill_postgresql(server: Server, urls: list[str], statement: int) -> list[str]:
    """Kill it while migrators wait at a statement; the databases whose migrator did not succeed."""
    async with AsyncExitStack() as stack:
        runs: dict[str, tuple[Connection, Migrator]] = {}
        for url in urls:
            connection = await stack.enter_async_context(connected(url))
            await connection.execute("SELECT pg_advisory_lock($1)", LOCK)
            runs[url] = connection, stack.enter_context(migrator(url, statement))
        stopped = [url for url, run in runs.items() if await stopped_backend(*run)]
        if stopped:
            server.process.kill()
        for url in stopped:
            assert runs[url][1].wait().startswith("The connection to the database was lost.")
    return stopped


async def everything_in(url: str) -> Everything:
    async with connected(url) as connection:
        return await everything(connection)
