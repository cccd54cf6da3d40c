"""Another server becomes the primary, or a server stops taking changes."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from shared.database import pool, transaction
from shared.database.connector import rotations
from shared.database.pool import Connection
from shared.database.transaction import PROBE_SECONDS, Database
from shared.errors import Reason, Refusal
from shared.service import READINESS_SECONDS
from tests.local.embedded_postgres.folders import reachable_folder
from tests.shared.database.pair import Pair

# A server that takes no changes any more says so on connections that it had before, too.
TAKE_NO_CHANGES = "SET default_transaction_read_only = on"
CREATE = "CREATE TABLE rows (n int)"
INSERT = "INSERT INTO rows SELECT 1"
PORT = "SELECT inet_server_port()"
FRESH = "SELECT pg_backend_pid()"


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A pool of three connections, all of them open, and a table."""
    database = await Database.connect(database_url, size=3)
    await database.single(lambda c: c.execute(CREATE))
    await on_every_connection(database, "SELECT 1")
    yield database
    await database.close()


async def on_every_connection(database: Database, statement: str) -> None:
    all_leased = asyncio.Barrier(3)

    async def unit(connection: Connection) -> None:
        async with asyncio.timeout(20):
            await all_leased.wait()
        await connection.execute(statement)

    await asyncio.gather(*(database.read(unit) for _ in range(3)))


async def insert(database: Database) -> None:
    await database.single(lambda c: c.execute(INSERT))


@pytest.mark.parametrize("how", ["single", "transaction"])
async def test_the_first_refused_change_ends_every_connection_to_that_server(
    database: Database, how: str
) -> None:
    await on_every_connection(database, TAKE_NO_CHANGES)
    with pytest.raises(Refusal) as refused:
        await getattr(database, how)(lambda c: c.execute(INSERT))
    assert refused.value.reason is Reason.DATABASE_UNAVAILABLE
    for _ in range(3):
        await insert(database)


async def test_a_connection_in_use_meanwhile_is_not_used_again(database: Database) -> None:
    leased, go_on = asyncio.Event(), asyncio.Event()

    async def reading(connection: Connection) -> int:
        leased.set()
        await go_on.wait()
        pid: int = await connection.fetchval(FRESH)
        return pid

    await on_every_connection(database, TAKE_NO_CHANGES)
    read = asyncio.create_task(database.read(reading))
    await leased.wait()
    with pytest.raises(Refusal):
        await insert(database)
    go_on.set()
    old = await read
    later = [await database.read(lambda c: c.fetchval(FRESH)) for _ in range(3)]
    assert old not in later


async def test_a_server_that_takes_no_changes_is_left_even_if_none_is_tried(
    database: Database,
) -> None:
    assert await database.takes_changes()
    await on_every_connection(database, TAKE_NO_CHANGES)
    assert not await database.takes_changes()
    assert await database.takes_changes()
    await insert(database)


async def test_a_pool_that_is_busy_answers_as_long_as_its_units_end(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transaction, "PROBE_SECONDS", 0.5)
    database = await Database.connect(database_url, size=1)
    go_on = [asyncio.Event(), asyncio.Event()]
    units = [asyncio.create_task(database.read(lambda _, e=event: e.wait())) for event in go_on]  # type: ignore[misc]
    await asyncio.sleep(0)
    asking = asyncio.create_task(database.takes_changes())
    go_on[0].set()
    assert await asking
    assert not await database.takes_changes()  # the second unit ends no more than the first does
    go_on[1].set()
    await asyncio.gather(*units)
    assert await database.takes_changes()
    await database.close()


def test_readiness_follows_the_database_within_five_seconds() -> None:
    assert READINESS_SECONDS + PROBE_SECONDS < 5


async def test_a_host_that_does_not_answer_at_all_is_left_out(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if its machine were off: it takes connections, and says nothing on them."""
    monkeypatch.setattr(pool, "CONNECT_TIMEOUT_SECONDS", 2)
    asked: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(lambda _, w: asked.append(w), "127.0.0.1", 0)
    address = f"127.0.0.1:{silent.sockets[0].getsockname()[1]}"
    database = await Database.connect(database_url.replace("@", f"@{address},"), size=3)
    await on_every_connection(database, "SELECT 1")
    assert len(asked) == 1
    await database.close()
    asked[0].close()
    silent.close()


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("postgresql:///d?host=/tmp", ["postgresql:///d?host=/tmp"]),
        ("postgresql://u%2C@a:1/d", ["postgresql://u%2C@a:1/d"]),
        (
            "postgresql://u%2C@a:1,b,c:3/d?x=y",
            [f"postgresql://u%2C@{h}/d?x=y" for h in ("a:1,b,c:3", "b,c:3,a:1", "c:3,a:1,b")],
        ),
    ],
)
def test_each_host_comes_first_once(url: str, found: list[str]) -> None:
    assert rotations(url) == found


@pytest.fixture
def pair() -> Iterator[Pair]:
    folder = reachable_folder()
    pair = Pair(folder)
    yield pair
    pair.remove()


async def test_a_pool_follows_the_primary_to_another_host(pair: Pair) -> None:
    database = await Database.connect(pair.url, size=3)
    await database.single(lambda c: c.execute(CREATE))
    assert await database.read(lambda c: c.fetchval(PORT)) == pair.port(0)
    await pair.swap()
    deadline = time.monotonic() + 30
    while not await database.takes_changes():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    await insert(database)
    assert await database.read(lambda c: c.fetchval(PORT)) == pair.port(1)
    standby = await Database.connect(pair.url_of(0), size=1)
    assert not await standby.takes_changes()
    await standby.close()
    await database.close()
