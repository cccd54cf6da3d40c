"""The way to PostgreSQL: one pool, and units of work on its connections.

Nothing is kept in a connection between two units of work, so that it needs no reset.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias, TypeVar

import asyncpg
import orjson

from shared.errors import Reason, Refusal

Record: TypeAlias = asyncpg.Record
Connection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
T = TypeVar("T")
Work: TypeAlias = Callable[[Connection], Awaitable[T]]

STATEMENT_TIMEOUT_SECONDS = 20
LOCK_TIMEOUT_SECONDS = 5
CONNECT_TIMEOUT_SECONDS = 5
UNIT_TIMEOUT_SECONDS = 30
QUEUE_TIMEOUT_SECONDS = 10
ATTEMPTS = 4
RETRY_AFTER_SECONDS = 1.0

CONFLICTS = (
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.LockNotAvailableError,
)
OUTAGES = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.InvalidCatalogNameError,
)
# Kinds of the above that say something else: what it is to be tried again, or corrected.
NO_OUTAGES = (*CONFLICTS, asyncpg.ClientConfigurationError)


class Database:
    """A pool of connections to one PostgreSQL database, and units of work on it."""

    def __init__(self, pool: "asyncpg.Pool[Record]") -> None:
        self._pool = pool
        self._slots = asyncio.Semaphore(pool.get_max_size())
        self._idle: list[Connection] = []
        self._leased: dict[Connection, float] = {}
        self._units: set[asyncio.Future[Any]] = set()
        self._watch = asyncio.create_task(self._end_what_hangs())

    @classmethod
    async def connect(cls, url: str, size: int, name: str = "tandem") -> "Database":
        """Open a pool of up to `size` connections; `name` is shown in pg_stat_activity.

        Raises Refusal(DATABASE_UNAVAILABLE), and ValueError where the URL makes no sense: its text
        may quote the password.
        """
        with OUTAGE:
            pool = await cls._pool_of(url, size, name)
        return cls(pool)

    @staticmethod
    async def _pool_of(url: str, size: int, name: str) -> "asyncpg.Pool[Record]":
        return await asyncpg.create_pool(
            url,
            min_size=1,
            max_size=size,
            timeout=CONNECT_TIMEOUT_SECONDS,
            init=_set_up_connection,
            reset=_leave_as_it_is,
            server_settings={
                "application_name": name,
                "jit": "off",
                "statement_timeout": f"{STATEMENT_TIMEOUT_SECONDS}s",
                "lock_timeout": f"{LOCK_TIMEOUT_SECONDS}s",
                "idle_in_transaction_session_timeout": f"{STATEMENT_TIMEOUT_SECONDS}s",
                "timezone": "UTC",
            },
        )

    async def close(self) -> None:
        """Wait for the units of work under way, then close every connection."""
        if self._units:
            await asyncio.wait(self._units, timeout=UNIT_TIMEOUT_SECONDS)
        self._watch.cancel()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
                while self._idle:
                    await self._pool.release(self._idle.pop())
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()

    async def read(self, work: Work[T]) -> T:
        """Run statements that change nothing, each in a transaction of its own.

        Raises Refusal(DATABASE_UNAVAILABLE), and Refusal(CONFLICT) where a migration is in the way.
        """
        try:
            with OUTAGE:
                return await self._with_connection(work)
        except CONFLICTS:
            raise _conflict() from None

    async def single(self, work: Work[T]) -> T:
        """Run a unit of work that changes something by one statement only.

        The statement is its own transaction, which spares BEGIN and COMMIT; else as `transaction`.
        """
        return await self._shielded(self._attempts(work))

    async def transaction(self, work: Work[T]) -> T:
        """Run a unit of work that is committed when it returns and undone when it raises.

        It goes on to its end when the caller goes away, because a cancelled COMMIT leaves nobody
        who knows what happened. It is run again, from its beginning, after a deadlock.

        Raises Refusal(DATABASE_UNAVAILABLE), and Refusal(CONFLICT) where every attempt ended so, or
        a lock was not to be had in LOCK_TIMEOUT_SECONDS.
        """

        async def within(connection: Connection) -> T:
            async with connection.transaction():
                return await work(connection)

        return await self._shielded(self._attempts(within))

    async def _attempts(self, work: Work[T]) -> T:
        for attempt in range(ATTEMPTS):
            try:
                with OUTAGE:
                    return await self._with_connection(work)
            except asyncpg.LockNotAvailableError:
                break  # it has waited long enough, and others need the connection
            except CONFLICTS:
                await asyncio.sleep(0.01 * 2**attempt)
        raise _conflict()

    async def _with_connection(self, work: Work[T]) -> T:
        connection = await self._lease()
        self._leased[connection] = time.monotonic()
        try:
            answer = await work(connection)
            self._idle.append(connection)
            return answer
        except BaseException:
            # asyncpg's own release ends what was cut off midway.
            await self._pool.release(connection)
            raise
        finally:
            del self._leased[connection]
            self._slots.release()

    async def _lease(self) -> Connection:
        """An idle connection, without the task that asyncpg makes at each acquire and release."""
        if self._slots.locked():
            async with asyncio.timeout(QUEUE_TIMEOUT_SECONDS):
                await self._slots.acquire()
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

    async def _shielded(self, unit: Awaitable[T]) -> T:
        task = asyncio.ensure_future(unit)
        self._units.add(task)
        task.add_done_callback(self._finished)
        return await asyncio.shield(task)

    def _finished(self, task: "asyncio.Future[Any]") -> None:
        self._units.discard(task)
        if not task.cancelled():
            task.exception()  # seen, also where nobody waits for it any more


def _is_open(connection: Connection) -> bool:
    try:
        return not connection.is_closed()
    except asyncpg.InterfaceError:  # asyncpg has found it closed, and taken it back already
        return False


def _conflict() -> Refusal:
    message = "Concurrent changes got in each other's way; try again."
    return Refusal(Reason.CONFLICT, message, retry_after=RETRY_AFTER_SECONDS)


@contextmanager
def refusing(refusals: Mapping[str, Refusal]) -> Iterator[None]:
    """Turn the violation of a constraint, known by its name, into what it stands for."""
    try:
        yield
    except asyncpg.IntegrityConstraintViolationError as error:
        refusal = refusals.get(error.constraint_name or "")
        if refusal is None:
            raise
        raise refusal from None  # it is an answer like others: the log needs no cause


class _Outage:
    """Turns what asyncpg raises where the database is out of reach into a refusal."""

    def __enter__(self) -> None:
        """Nothing to prepare; a generator would cost more than the work around it."""

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, OUTAGES) and not isinstance(error, NO_OUTAGES):
            raise Refusal(
                Reason.DATABASE_UNAVAILABLE,
                "The database does not answer; try again.",
                retry_after=RETRY_AFTER_SECONDS,
            ) from error


OUTAGE = _Outage()


async def _set_up_connection(connection: Any) -> None:
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        format="binary",
        encoder=lambda value: b"\x01" + orjson.dumps(value),
        decoder=lambda data: orjson.loads(data[1:]),
    )


async def _leave_as_it_is(_connection: object) -> None:
    """No unit of work changes a connection's state: a reset would be a wasted round trip."""
