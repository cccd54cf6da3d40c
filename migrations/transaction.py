"""One transaction on a connection of its own: its locks and limits, its errors as sentences."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import asyncpg
from alembic.script.revision import RevisionError
from alembic.util import CommandError
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

T = TypeVar("T")

LOCK_TIMEOUT_SECONDS = 10

_OLDEST_SERVER = 150000
_CONNECT_SECONDS = 10
_LOST = (
    "The connection to the database was lost. Changes that were not committed are rolled back: "
    "run the command again."
)
_BUSY = (
    f"Another session kept a table locked for {LOCK_TIMEOUT_SECONDS} s, so nothing was changed: "
    "stop the services and all other clients of the database, or try again."
)

# transaction_timeout exists since PostgreSQL 17.
_REMOVE_TIME_LIMITS = """
SELECT set_config(name, '0', true) FROM pg_settings
WHERE name IN ('statement_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout')
"""

# The wait for another migrator and the statements themselves may take long. The wait for a table
# lock is limited, because every other session queues behind it.
_LOCK_OUT_OTHER_MIGRATORS = (
    # ALTER TABLE is not possible while triggers of the table wait for the commit.
    "SET CONSTRAINTS ALL IMMEDIATE",
    "SET LOCAL lock_timeout = 0",
    "SELECT pg_advisory_xact_lock(x'74616e64656d'::bigint)",  # "tandem"
)


class MigrationError(Exception):
    """A migration failed and nothing was changed; the message is a sentence for people."""


def in_transaction(database_url: str, work: Callable[[Connection], T]) -> T:
    """Run `work` in one transaction. Blocks; not to be called from a running event loop.

    `database_url` is a plain `postgresql://user:password@host:port/name`. Raises MigrationError if
    anything fails, after a rollback; its message never has the password.
    """
    try:
        return asyncio.run(_in_transaction(database_url, work))
    except (CommandError, RevisionError) as error:
        raise MigrationError(str(error)) from error
    except DBAPIError as error:
        raise MigrationError(_sentence(error)) from error


def lock_out_other_migrators(connection: Connection) -> None:
    """Wait for another migrator of this database, and make others wait until the commit."""
    remove_time_limits(connection)
    require_supported_server(connection)
    for statement in _LOCK_OUT_OTHER_MIGRATORS:
        connection.execute(text(statement))
    limit_lock_waits(connection)


def require_supported_server(connection: Connection) -> None:
    """Raise MigrationError if PostgreSQL is too old."""
    version = connection.scalar(text("SELECT current_setting('server_version_num')::int"))
    if version is None or version < _OLDEST_SERVER:
        raise MigrationError("The database must be PostgreSQL 15 or newer.")


def remove_time_limits(connection: Connection) -> None:
    """Let statements and this transaction take as long as they need."""
    connection.execute(text(_REMOVE_TIME_LIMITS))


def limit_lock_waits(connection: Connection) -> None:
    """Give up if another session keeps a table locked."""
    connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_SECONDS} s'"))


def _sentence(error: DBAPIError) -> str:
    if error.connection_invalidated:
        return _LOST
    cause = error.orig.__cause__ if error.orig else None
    if isinstance(cause, asyncpg.LockNotAvailableError):
        return _BUSY
    said = f"The database rejected a statement: {error.orig}"
    # Other details may quote rows, which must not appear in a log.
    if isinstance(cause, asyncpg.DependentObjectsStillExistError):
        said = f"{said}: {cause.detail}"
    return said


async def _in_transaction(database_url: str, work: Callable[[Connection], T]) -> T:
    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=partial(_connect, database_url), poolclass=NullPool
    )
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(work)
    finally:
        await engine.dispose()


async def _connect(database_url: str) -> "asyncpg.Connection[asyncpg.Record]":
    # asyncpg parses the URL, as it does in the services. Its errors about a malformed URL may quote
    # a part of the password, so they are not chained.
    try:
        return await asyncpg.connect(database_url, timeout=_CONNECT_SECONDS)
    except asyncpg.PostgresError as error:
        raise MigrationError(f"The database refused the connection: {error}") from None
    except OSError:
        raise MigrationError("The database cannot be reached.") from None
    except (ValueError, asyncpg.InterfaceError):
        raise MigrationError("The database URL is not valid.") from None
