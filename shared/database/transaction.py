"""Units of work on the database: attempts, transactions, and what ends them early."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import asyncpg

from shared.database import queries
from shared.database.connector import Url
from shared.database.pool import UNIT_TIMEOUT_SECONDS, Connection, Pool, UnitOfWork
from shared.errors import RETRY_AFTER_SECONDS, Reason, Refusal, conflict
from shared.metrics.catalog import CONFLICT_CAUSES, DATABASE_UP, OUTAGE_CAUSES
from shared.metrics.catalog import CONFLICTS as CONFLICTS_MET
from shared.metrics.catalog import OUTAGES as OUTAGES_MET
from shared.metrics.instruments import Sample

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
# What metrics call those, if it is not the connection.
CAUSES = (
    (asyncpg.LockNotAvailableError, "lock_timeout"),
    (asyncpg.DeadlockDetectedError, "deadlock"),
    (asyncpg.SerializationError, "serialization"),
    (asyncpg.InvalidCachedStatementError, "changed_plan"),
    (asyncpg.ReadOnlySQLTransactionError, "read_only"),
    (TimeoutError, "timeout"),
)


class Database:
    """One PostgreSQL database, and units of work on it."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._units: set[asyncio.Future[Any]] = set()
        self._probe: asyncio.Task[bool] | None = None
        self._is_up = True
        self._conflicts = Counter(dict.fromkeys(CONFLICT_CAUSES, 0))
        self._outages = Counter(dict.fromkeys(OUTAGE_CAUSES, 0))

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
        self._is_up = self._probe.result() if done else self._pool.completed > before
        return self._is_up

    async def samples(self) -> list[Sample]:
        """How the database is, and who waits for it."""
        return [
            Sample(DATABASE_UP, self._is_up),
            *self._pool.samples(),
            *(Sample(CONFLICTS_MET, number, (cause,)) for cause, number in self._conflicts.items()),
            *(Sample(OUTAGES_MET, number, (cause,)) for cause, number in self._outages.items()),
        ]

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
        except CONFLICTS as error:
            self._conflicts[_cause(error)] += 1
            raise conflict() from None
        except OUTAGES as error:
            self._outages[_cause(error)] += 1
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
            except CONFLICTS as error:
                self._conflicts[_cause(error)] += 1
                if isinstance(error, asyncpg.LockNotAvailableError):
                    break  # it has waited long enough, and others need the connection
                await asyncio.sleep(0.01 * 2**attempt)
            except OUTAGES as error:
                self._outages[_cause(error)] += 1
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


def _cause(error: BaseException) -> str:
    return next((cause for kind, cause in CAUSES if isinstance(error, kind)), "connection")


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
