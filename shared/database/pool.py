"""The pool of connections to PostgreSQL, and how one is leased from it.

Nothing is kept in a connection between two leases, so it needs no reset.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias, TypeVar

import asyncpg
import orjson

from shared.database.connector import Connector, Url
from shared.metrics.catalog import (
    POOL_CONNECTIONS,
    POOL_SIZE,
    POOL_WAIT,
    POOL_WAITING,
    WAIT_SECONDS,
)
from shared.metrics.instruments import Histogram, Sample

Record: TypeAlias = asyncpg.Record
Connection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
T = TypeVar("T")
UnitOfWork: TypeAlias = Callable[[Connection], Awaitable[T]]

STATEMENT_TIMEOUT_SECONDS = 20
LOCK_TIMEOUT_SECONDS = 5
CONNECT_TIMEOUT_SECONDS = 5
UNIT_TIMEOUT_SECONDS = 30
QUEUE_TIMEOUT_SECONDS = 10


class Pool:
    """Connections to one PostgreSQL database, each leased to one unit of work at a time."""

    def __init__(self, connections: "asyncpg.Pool[Record]") -> None:
        self._pool = connections
        self._slots = asyncio.Semaphore(connections.get_max_size())
        self._idle: list[Connection] = []
        self._leased: dict[Connection, float] = {}
        self._generation = 0
        self.completed = 0
        """How many units of work have ended well: while this grows, the database answers."""
        self._waiting = 0
        self._waited = Histogram(WAIT_SECONDS)
        self._watch = asyncio.create_task(self._end_what_hangs())

    @classmethod
    async def connect(cls, url: Url, size: int, name: str) -> "Pool":
        """Open a pool of up to `size` connections; `name` is shown in pg_stat_activity.

        Raises what asyncpg and `url` raise, and ValueError if the URL makes no sense: its text may
        quote the password.
        """
        connections = await asyncpg.create_pool(
            connect=Connector(url),
            min_size=1,
            max_size=size,
            timeout=CONNECT_TIMEOUT_SECONDS,
            init=_set_up_connection,
            reset=_leave_as_it_is,
            max_cacheable_statement_size=0,  # any: a claim has 13 KB, and is costly to plan
            server_settings={
                "application_name": name,
                "jit": "off",
                "statement_timeout": f"{STATEMENT_TIMEOUT_SECONDS}s",
                "lock_timeout": f"{LOCK_TIMEOUT_SECONDS}s",
                "idle_in_transaction_session_timeout": f"{STATEMENT_TIMEOUT_SECONDS}s",
                "timezone": "UTC",
            },
        )
        return cls(connections)

    async def close(self) -> None:
        """Close every connection; those that do not close in time are cut."""
        self._watch.cancel()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
                while self._idle:
                    await self._pool.release(self._idle.pop())
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()

    async def run(self, unit_of_work: UnitOfWork[T]) -> T:
        """Run a unit of work on a connection of its own.

        Raises TimeoutError if no connection gets free in QUEUE_TIMEOUT_SECONDS.
        """
        connection, generation = await self._lease(), self._generation
        self._leased[connection] = time.monotonic()
        try:
            answer = await unit_of_work(connection)
        except asyncpg.ReadOnlySQLTransactionError:
            if generation == self._generation:  # else another unit has met the same server
                await self.replace_connections()
            await self._end(connection)
            raise
        except BaseException:
            # asyncpg's own release ends what was cut off midway.
            await self._pool.release(connection)
            raise
        else:
            self.completed += 1
            if generation == self._generation:
                self._idle.append(connection)
            else:
                await self._end(connection)
            return answer
        finally:
            del self._leased[connection]
            self._slots.release()

    async def replace_connections(self) -> None:
        """Close every connection, those that are leased when they come back.

        A connection to a server that has become a standby answers reads for ever, with old rows.
        """
        self._generation += 1
        await self._pool.expire_connections()
        while self._idle:
            await self._end(self._idle.pop())

    async def _end(self, connection: Connection) -> None:
        if _is_open(connection):
            connection.terminate()
        await self._pool.release(connection)

    async def _lease(self) -> Connection:
        """An idle connection, without the task that asyncpg makes at each acquire and release."""
        if self._slots.locked():
            await self._wait_for_a_slot()
        else:
            await self._slots.acquire()
        try:
            while self._idle:
                connection = self._idle.pop()
                if _is_open(connection):
                    return connection
                await self._pool.release(connection)
            return await self._pool.acquire()
        except BaseException:
            self._slots.release()
            raise

    async def _wait_for_a_slot(self) -> None:
        began = time.monotonic()
        self._waiting += 1
        try:
            async with asyncio.timeout(QUEUE_TIMEOUT_SECONDS):
                await self._slots.acquire()
        finally:
            self._waiting -= 1
            self._waited.observe(time.monotonic() - began)

    def samples(self) -> list[Sample]:
        """Who has connections, and who waits for one."""
        return [
            Sample(POOL_SIZE, self._pool.get_max_size()),
            Sample(POOL_CONNECTIONS, len(self._leased), ("leased",)),
            Sample(POOL_CONNECTIONS, len(self._idle), ("idle",)),
            Sample(POOL_WAITING, self._waiting),
            Sample(POOL_WAIT, self._waited),
        ]

    async def _end_what_hangs(self) -> None:
        """Cut connections on which a unit of work takes too long: the server's host may be gone.

        One task for all: a timer for each statement costs a twentieth of a Get.
        """
        while True:
            await asyncio.sleep(1)
            started_before = time.monotonic() - UNIT_TIMEOUT_SECONDS
            for connection, started in list(self._leased.items()):
                if started < started_before:
                    connection.terminate()


def _is_open(connection: Connection) -> bool:
    try:
        return not connection.is_closed()
    except asyncpg.InterfaceError:  # asyncpg has found it closed, and taken it back already
        return False


async def _set_up_connection(connection: Any) -> None:
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        format="binary",
        encoder=lambda value: b"\x01" + orjson.dumps(value),
        decoder=_decode_json,
    )


def _decode_json(data: bytes) -> Any:
    """A list, or the text of an object: those can be large, and are decoded one row at a time."""
    text = data[1:]  # behind the version of the format
    return orjson.loads(text) if text.startswith(b"[") else text


async def _leave_as_it_is(_connection: object) -> None:
    """No unit of work changes a connection's state: a reset would be a wasted round trip."""
