"""The pool and its units of work, in good times and in bad."""

import asyncio
import time
from collections.abc import AsyncIterator

import asyncpg
import pytest

from shared.database.pool import Connection
from shared.database.transaction import Database
from shared.errors import Reason, Refusal
from tests.locks import under_way
from tests.waiting import until


async def refusal(unit: object) -> Refusal:
    """What a unit of work is refused with."""
    with pytest.raises(Refusal) as raised:
        await unit  # type: ignore[misc]
    return raised.value


@pytest.fixture
async def single(database_url: str) -> AsyncIterator[Database]:
    """A pool of one connection."""
    database = await Database.connect(database_url, size=1)
    yield database
    await database.close()


async def one(connection: Connection) -> int:
    found: int = await connection.fetchval("SELECT 1")
    return found


async def test_a_mistake_in_an_argument_is_no_outage(database: Database) -> None:
    with pytest.raises(asyncpg.DataError, match="x"):
        await database.read(lambda c: c.fetchval("SELECT $1::int", "x"))


async def test_a_long_statement_is_prepared_once(single: Database) -> None:
    long = f"SELECT {' + '.join(['$1::int'] * 2_000)}"
    prepared = "SELECT count(*) FROM pg_prepared_statements WHERE statement = $1"
    assert await single.read(lambda c: c.fetchval(long, 1)) == 2_000
    assert await single.read(lambda c: c.fetchval(prepared, long)) == 1


@pytest.mark.parametrize("setting", ["statement_timeout", "idle_in_transaction_session_timeout"])
async def test_what_takes_too_long_is_an_outage(single: Database, setting: str) -> None:
    async def slow(connection: Connection) -> None:
        await connection.execute(f"SET LOCAL {setting} = 50")
        if setting.startswith("idle"):
            await until(connection.is_closed)
        await connection.execute("SELECT pg_sleep(60)")

    found = await refusal(single.transaction(slow))
    assert (found.reason, found.retry_after) == (Reason.DATABASE_UNAVAILABLE, 1.0)
    assert await single.read(one) == 1


async def test_waiting_for_a_connection_is_bounded(
    single: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.database.pool.QUEUE_TIMEOUT_SECONDS", 0.3)
    leased, over = asyncio.Event(), asyncio.Event()

    async def hold(_: Connection) -> None:
        leased.set()
        await over.wait()

    busy = asyncio.create_task(single.read(hold))
    await leased.wait()
    started = time.monotonic()
    found = await asyncio.gather(*(refusal(single.read(one)) for _ in range(200)))
    assert {each.reason for each in found} == {Reason.DATABASE_UNAVAILABLE}
    # They wait, and side by side: one after the other they would take a minute.
    assert 0.3 <= time.monotonic() - started < 30
    over.set()
    await busy
    assert await single.read(one) == 1


async def test_many_take_turns_on_few_connections(single: Database) -> None:
    assert await asyncio.gather(*(single.read(one) for _ in range(200))) == [1] * 200


async def test_what_hangs_is_cut(single: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.database.pool.UNIT_TIMEOUT_SECONDS", 0.1)
    found = await refusal(single.read(lambda c: c.execute("SELECT pg_sleep(60)")))
    assert found.reason is Reason.DATABASE_UNAVAILABLE
    monkeypatch.undo()
    assert await single.read(one) == 1


async def test_a_read_behind_a_migration_may_be_tried_again(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.database.pool.LOCK_TIMEOUT_SECONDS", 0.1)
    database = await Database.connect(database_url, size=2)
    async with under_way(database_url, "LOCK TABLE users IN ACCESS EXCLUSIVE MODE"):
        for run in (database.read, database.single):
            found = await refusal(run(lambda c: c.fetchval("SELECT count(*) FROM users")))
            assert (found.reason, found.retry_after) == (Reason.CONFLICT, 1.0)
    assert await database.read(lambda c: c.fetchval("SELECT count(*) FROM users")) == 0
    await database.close()


async def test_a_lock_that_is_not_to_be_had_is_not_waited_for_again(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.database.pool.LOCK_TIMEOUT_SECONDS", 0.1)
    database = await Database.connect(database_url, size=1)
    runs: list[int] = []

    async def wait(connection: Connection) -> None:
        runs.append(1)
        await connection.execute("LOCK TABLE users")

    async with under_way(database_url, "LOCK TABLE users"):
        assert (await refusal(database.transaction(wait))).reason is Reason.CONFLICT
    assert len(runs) == 1
    await database.close()


async def test_a_deadlock_is_run_again(database: Database) -> None:
    await database.read(
        lambda c: c.execute("CREATE TABLE t AS SELECT n, 0 AS v FROM generate_series(1, 2) n")
    )
    both = asyncio.Barrier(2)
    runs: list[int] = []

    async def swap(connection: Connection, first: int) -> None:
        runs.append(first)
        await connection.execute("UPDATE t SET v = v + 1 WHERE n = $1", first)
        if len(runs) <= 2:
            await both.wait()
        await connection.execute("UPDATE t SET v = v + 1 WHERE n = $1", 3 - first)

    await asyncio.gather(
        *(database.transaction(lambda c, first=n: swap(c, first)) for n in (1, 2))  # type: ignore[misc]
    )
    assert len(runs) == 3
    assert await database.read(lambda c: c.fetchval("SELECT array_agg(v) FROM t")) == [2, 2]


async def test_a_unit_meets_a_changed_type_and_is_run_again_once(
    database: Database, database_url: str
) -> None:
    """A migration under running services: the connections have plans for the type of before."""
    await database.read(lambda c: c.execute("CREATE TABLE t AS SELECT 1 AS n, 2 AS m"))
    runs: list[int] = []

    async def both(connection: Connection) -> list[int]:
        runs.append(1)
        return [
            await connection.fetchval("SELECT n FROM t"),
            await connection.fetchval("SELECT m FROM t"),
        ]

    every = asyncio.gather(*(database.transaction(both) for _ in range(10)))
    assert await every == [[1, 2]] * 10
    connection = await asyncpg.connect(database_url)
    await connection.execute("ALTER TABLE t ALTER n TYPE bigint, ALTER m TYPE bigint")
    await connection.close()
    runs.clear()
    assert await database.transaction(both) == [1, 2]
    assert len(runs) == 2
    assert await database.read(both) == [1, 2]


async def test_a_unit_goes_on_when_its_caller_goes_away(
    database: Database, database_url: str
) -> None:
    await database.read(lambda c: c.execute("CREATE TABLE t (n int)"))

    async def both(connection: Connection) -> None:
        await connection.execute("INSERT INTO t VALUES (1)")
        await connection.execute("INSERT INTO t VALUES (2)")

    async with under_way(database_url, "LOCK TABLE t") as blocked:
        call = asyncio.create_task(database.transaction(both))
        await blocked.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    await database.close()
    connection = await asyncpg.connect(database_url)
    assert await connection.fetchval("SELECT count(*) FROM t") == 2
    await connection.close()


async def test_a_read_that_is_cancelled_gives_its_connection_back(
    single: Database, database_url: str
) -> None:
    for _ in range(5):
        async with under_way(database_url, "LOCK TABLE users") as blocked:
            read = asyncio.create_task(single.read(lambda c: c.execute("SELECT * FROM users")))
            await blocked.wait()
            read.cancel()
            with pytest.raises(asyncio.CancelledError):
                await read
        assert await single.read(one) == 1


async def test_a_unit_that_fails_leaves_nothing(single: Database) -> None:
    async def fail(connection: Connection) -> None:
        await connection.execute("CREATE TABLE t (n int)")
        raise Refusal(Reason.CONFLICT, "No.")

    await refusal(single.transaction(fail))
    assert await single.read(lambda c: c.fetchval("SELECT to_regclass('t')")) is None


async def test_a_database_that_is_not_there_is_an_outage(postgres_url: str) -> None:
    for url in (f"{postgres_url}_none", "postgresql://u:p@127.0.0.1:1/d"):
        found = await refusal(Database.connect(url, size=1))
        assert found.reason is Reason.DATABASE_UNAVAILABLE
