"""A service as a process: configure, connect, serve until a signal asks to stop."""

import asyncio
import contextlib
import gc
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import structlog
import uvloop

from shared import logging as logs
from shared.database.transaction import Database
from shared.errors import Refusal
from shared.grpc_server.server import Server, StartError, until_told_to_stop
from shared.host.embedded_postgres import EmbeddedPostgresError, running_url
from shared.host.supervision import watch_supervisor
from shared.resources.idempotency import sweep, sweep_forever
from shared.settings import DATABASE_URL_FORM, Settings, SettingsError, load_settings

log = structlog.get_logger()

CONNECT_ATTEMPTS = 10
CONNECT_PAUSE_SECONDS = 1.0
NO_TABLES = "The database has no tables of Tandem: run `tandem db upgrade` first."

Build = Callable[[Database, Settings], Server]


def main(name: str, build: Build, address: Callable[[Settings], str]) -> int:
    """Run a service. Returns the exit status: 1, after a sentence, if it cannot start."""
    try:
        settings = load_settings()
        logs.configure(settings, name)
        watch_supervisor()
        gc.freeze()  # what is imported stays: each full collection would stop all calls for 50 ms
        uvloop.run(_run(name, settings, build, address(settings)))
    except (SettingsError, StartError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def database_url(settings: Settings) -> str:
    """The database of the settings, or else the embedded one, if that runs.

    Raises SettingsError.
    """
    if settings.database_url:
        return settings.database_url.get_secret_value()
    if url := _embedded_url(settings.data_dir):
        return url
    raise SettingsError(
        "TANDEM_DATABASE_URL is not set and no embedded PostgreSQL runs in "
        f"{settings.data_dir}: set it, or start `tandem up`."
    )


def _embedded_url(data_dir: Path) -> str | None:
    try:
        return running_url(data_dir)
    except OSError as error:
        reason = f"{error.filename}: {error.strerror}."
    except EmbeddedPostgresError as error:
        reason = str(error)
    raise SettingsError(
        "TANDEM_DATABASE_URL is not set, and the embedded PostgreSQL cannot be used instead. "
        + reason
    )


@asynccontextmanager
async def connected(settings: Settings, name: str) -> AsyncIterator[Database]:
    """A pool on the database, which is closed at the end; meanwhile old request ids are swept.

    Raises StartError if the database does not answer or has no tables.
    """
    database = await _connect(database_url(settings), settings.pool_size, name)
    sweeper = asyncio.create_task(sweep_forever(database))
    try:
        await _require_tables(database)
        yield database
    finally:
        sweeper.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sweeper
        await database.close()


async def _run(name: str, settings: Settings, build: Build, address: str) -> None:
    async with connected(settings, name) as database:
        server = build(database, settings)
        await server.start(address)
        await until_told_to_stop()
        await server.stop()


async def _connect(url: str, size: int, name: str) -> Database:
    for attempt in range(CONNECT_ATTEMPTS):
        try:
            return await Database.connect(url, size, name)
        except Refusal as refusal:
            log.warning("no database yet", attempt=attempt + 1, cause=repr(refusal.__cause__))
            await asyncio.sleep(CONNECT_PAUSE_SECONDS)
        except ValueError:  # its text may quote the password
            raise StartError(f"TANDEM_DATABASE_URL: {DATABASE_URL_FORM}.") from None
    raise StartError(
        "The database does not answer: TANDEM_DATABASE_URL names it, or, if that is not set, it is "
        "the embedded PostgreSQL in TANDEM_DATA_DIR."
    )


async def _require_tables(database: Database) -> None:
    try:
        with contextlib.suppress(Refusal):  # the database is busy, which calls can report
            await sweep(database)
    except asyncpg.UndefinedTableError:
        raise StartError(NO_TABLES) from None
