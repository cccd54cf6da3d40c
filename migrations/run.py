"""Moves a database from one revision to another, whole or not at all."""

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.script.revision import RevisionError
from alembic.util import CommandError
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from migrations.adoption import adopt
from migrations.losses import Loss, count_losses, hold_still, log_losses

T = TypeVar("T")

_OLDEST_SERVER = 150000
_CONNECT_SECONDS = 10
_LOST = "The connection to the database was lost. What was not committed is undone: run it again."
_BUSY = (
    "Somebody else kept a table locked for 10 s, so nothing was changed: stop the services and "
    "whatever else uses the database, or try again."
)

# One of them is there since PostgreSQL 17 only.
TAKE_ANY_TIME = """
SELECT set_config(name, '0', true) FROM pg_settings
WHERE name IN ('statement_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout')
"""

# The wait for another migrator and the work itself may take long; only the wait for a table that
# a service holds is bounded, because everybody else queues up behind it. A table whose triggers
# wait for the commit could not be altered.
_BE_ALONE = (
    TAKE_ANY_TIME,
    "SET CONSTRAINTS ALL IMMEDIATE",
    "SET LOCAL lock_timeout = 0",
    "SELECT pg_advisory_xact_lock(x'74616e64656d'::bigint)",  # "tandem"
    "SET LOCAL lock_timeout = '10s'",
)


class MigrationError(Exception):
    """A migration did not happen and nothing was changed; the message is a sentence."""


def upgrade(database_url: str, revision: str = "head") -> None:
    """Move forward to `revision`, in one transaction, after any other migrator has finished.

    A database with base tables that something else made is adopted, where its tables fit.
    `database_url` is a plain `postgresql://user:password@host:port/name`. Blocks; not to be called
    from a running event loop. Raises MigrationError, whose message never has the password.
    """

    def work(connection: Connection) -> None:
        be_alone(connection)
        config = _config(connection)
        adopt(connection, ScriptDirectory.from_config(config))
        command.upgrade(config, revision)

    in_transaction(database_url, work)


def downgrade(
    database_url: str, revision: str, review: Callable[[list[Loss]], None] = log_losses
) -> None:
    """Move back to `revision` (`base`: before the first).

    `review` is told first what the older schema cannot hold, while nobody can change that any more;
    where it raises, nothing is changed. Blocks and raises as `upgrade` does.
    """

    def work(connection: Connection) -> None:
        be_alone(connection)
        undone = _undone(connection, revision)
        hold_still(connection, undone)
        review(count_losses(connection, undone))
        command.downgrade(_config(connection), revision)

    in_transaction(database_url, work)


def losses(database_url: str, revision: str) -> list[Loss]:
    """What `downgrade` would lose if it ran now; keeps nobody waiting. Raises as `upgrade` does."""
    return in_transaction(
        database_url, lambda connection: count_losses(connection, _undone(connection, revision))
    )


def current(database_url: str) -> str | None:
    """The revision that the database is at, None before the first; does not wait for a migrator."""
    return in_transaction(database_url, _revision_of)


def in_transaction(database_url: str, work: Callable[[Connection], T]) -> T:
    """Run `work` in one transaction. Raises MigrationError if it could not, and nothing changed."""
    try:
        return asyncio.run(_in_transaction(database_url, work))
    except (CommandError, RevisionError) as error:
        raise MigrationError(str(error)) from error
    except DBAPIError as error:
        raise MigrationError(_sentence(error)) from error


def _sentence(error: DBAPIError) -> str:
    if error.connection_invalidated:
        return _LOST
    cause = error.orig.__cause__ if error.orig else None
    if isinstance(cause, asyncpg.LockNotAvailableError):
        return _BUSY
    said = f"The database refused it: {error.orig}"
    # Other details may quote rows, which do not belong into a log.
    if isinstance(cause, asyncpg.DependentObjectsStillExistError):
        said = f"{said}: {cause.detail}"
    return said


def be_alone(connection: Connection) -> None:
    """Wait for any other migrator of this database, and keep others waiting until the commit."""
    require_supported_server(connection)
    for statement in _BE_ALONE:
        connection.execute(text(statement))


def require_supported_server(connection: Connection) -> None:
    """Raise MigrationError on a PostgreSQL that is too old."""
    version = connection.scalar(text("SELECT current_setting('server_version_num')::int"))
    if version is None or version < _OLDEST_SERVER:
        raise MigrationError("The database must be PostgreSQL 15 or newer.")


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
    # asyncpg parses the URL here as it does everywhere else, and its complaint about a malformed
    # one may quote a piece of the password: such causes are cut off.
    try:
        return await asyncpg.connect(database_url, timeout=_CONNECT_SECONDS)
    except asyncpg.PostgresError as error:
        raise MigrationError(f"The database refused the connection: {error}") from None
    except OSError:
        raise MigrationError("The database cannot be reached.") from None
    except (ValueError, asyncpg.InterfaceError):
        raise MigrationError("The database URL is not valid.") from None


def _revision_of(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _undone(connection: Connection, revision: str) -> list[Any]:
    """The modules of the revisions that a downgrade to `revision` undoes, the newest first."""
    history = ScriptDirectory.from_config(_config(connection))
    undone = history.iterate_revisions(
        _revision_of(connection), revision, select_for_downgrade=True
    )
    return [script.module for script in undone]


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
