"""Units of work on the database: attempts, transactions, and what ends them early."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import asyncpg

from shared.database import queries
from shared.database.connector import Url
from shared.database.pool import UNIT_TIMEOUT_SECONDS, Connection, Pool, UnitOfWork
from shared.errors import RETRY_AFTER_SECONDS, Reason, Refusal, conflict

T = TypeVar("T")

ATTEMPTS = 4
PROBE_SECONDS = 3.0

CONFLICTS = (
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.LockNotAvailableError,
    # A migration changed a type. asyncpg has dropped its plans, and runs a statement on its own
    # again by itself; a transaction has to begin again.
    asyncpg.InvalidCachedStatementError,
)
# Caught after the conflicts, some of which are kinds of these.
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


class Database:
    """One PostgreSQL database, and units of work on it."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._units: set[asyncio.Future[Any]] = set()
        self._probe: asyncio.Task[bool] | None = None

    @classmethod
    async def connect(cls, url: Url, size: int, name: str = "tandem") -> "Database":
        """Open a pool of up to `size` connections; `name` is shown in pg_stat_activity.

        Raises Refusal(DATABASE_UNAVAILABLE), and ValueError if the URL makes no sense: its text
        may quote the password.
        """
        try:
            return cls(await Pool.connect(url, size, name))
        except asyncpg.ClientConfigurationError:
            raise
        except OUTAGES as error:
            raise unavailable() from error

    async def close(self) -> None:
        """Wait for the units of work under way, then close every connection."""
        if self._units:
            await asyncio.wait(self._units, timeout=UNIT_TIMEOUT_SECONDS)
        await self._pool.close()

    async def takes_changes(self) -> bool:
        """Whether the database answers and is not read-only; known after PROBE_SECONDS at most.

        If it is read-only, every connection is replaced: another host may be the primary now.
        A pool that is only busy answers as well: its units of work go on ending.
        """
        before = self._pool.completed
        if self._probe is None or self._probe.done():
            self._probe = asyncio.create_task(self._is_writable())
        # A probe that hangs is not cancelled, since that might hang as well: it ends by itself.
        done, _ = await asyncio.wait({self._probe}, timeout=PROBE_SECONDS)
        return self._probe.result() if done else self._pool.completed > before

    async def _is_writable(self) -> bool:
        before = self._pool.completed
        try:
            row = await self._pool.run(queries.READ_ONLY.row)
        except (*OUTAGES, asyncpg.PostgresError):
            return self._pool.completed > before
        if row is None or row["read_only"]:
            await self._pool.replace_connections()
            return False
        return True

    async def read(self, unit_of_work: UnitOfWork[T]) -> T:
        """Run statements that change nothing, each in a transaction of its own.

        Raises Refusal(DATABASE_UNAVAILABLE), and Refusal(CONFLICT) if a migration is in the way.
        """
        try:
            return await self._pool.run(unit_of_work)
        except CONFLICTS:
            raise conflict() from None
        except OUTAGES as error:
            raise unavailable() from error

    async def single(self, unit_of_work: UnitOfWork[T]) -> T:
        """Run a unit of work that changes something by one statement only.

        The statement is its own transaction, which spares BEGIN and COMMIT; otherwise as
        `transaction`.
        """
        return await self._shielded(unit_of_work)

    async def transaction(self, unit_of_work: UnitOfWork[T]) -> T:
        """Run a unit of work that is committed when it returns and undone when it raises.

        It runs to its end even if the caller goes away, because the outcome of
        a cancelled COMMIT is unknown. After a deadlock it is run again from its beginning.

        Raises Refusal(DATABASE_UNAVAILABLE), and Refusal(CONFLICT) if every attempt ended in a
        deadlock or a lock was not free within LOCK_TIMEOUT_SECONDS.
        """

        async def within(connection: Connection) -> T:
            async with connection.transaction():
                return await unit_of_work(connection)

        return await self._shielded(within)

    async def _attempts(self, unit_of_work: UnitOfWork[T]) -> T:
        for attempt in range(ATTEMPTS):
            try:
                return await self._pool.run(unit_of_work)
            except asyncpg.LockNotAvailableError:
                break  # it has waited long enough, and others need the connection
            except CONFLICTS:
                await asyncio.sleep(0.01 * 2**attempt)
            except OUTAGES as error:
                raise unavailable() from error
        raise conflict()

    async def _shielded(self, unit_of_work: UnitOfWork[T]) -> T:
        task = asyncio.ensure_future(self._attempts(unit_of_work))
        self._units.add(task)
        task.add_done_callback(self._finished)
        return await asyncio.shield(task)

    def _finished(self, task: "asyncio.Future[Any]") -> None:
        self._units.discard(task)
        if not task.cancelled():
            task.exception()  # retrieved, also if no caller waits for it any more


@contextmanager
def translate_violations(
    refusals: Mapping[str, Callable[[T], Refusal]], values: T
) -> Iterator[None]:
    """Turn the violation of a constraint, known by its name, into the refusal for these values."""
    try:
        yield
    except asyncpg.IntegrityConstraintViolationError as error:
        refusal = refusals.get(error.constraint_name or "")
        if refusal is None:
            raise
        raise refusal(values) from None  # it is an answer like others: the log needs no cause


def unavailable() -> Refusal:
    """The database is out of reach."""
    message = "The database does not answer; try again."
    return Refusal(Reason.DATABASE_UNAVAILABLE, message, retry_after=RETRY_AFTER_SECONDS)
