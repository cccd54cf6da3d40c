"""A service as a process: configured, connected, served until told to stop."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import asyncpg
import structlog
import uvloop

from local.embedded_postgres import EmbeddedPostgresError, running_url
from shared import logging as logs
from shared.database.transaction import Database
from shared.errors import Refusal
from shared.grpc_server.server import Server, StartError, until_told_to_stop
from shared.host.supervision import watch_parent
from shared.resources.idempotency import sweep, sweep_forever
from shared.settings import DATABASE_URL_FORM, Settings, SettingsError, load_settings

log = structlog.get_logger()

CONNECT_ATTEMPTS = 10
CONNECT_PAUSE_SECONDS = 1.0
NO_TABLES = "The database has no tables of Tandem: run `tandem db upgrade` first."

Build = Callable[[Database, Settings], Server]


def main(name: str, build: Build, address: Callable[[Settings], str]) -> int:
    """Run a service. Answers the exit status: 1 with a sentence where it cannot start."""
    try:
        settings = load_settings()
        logs.configure(settings, name)
        watch_parent()
        uvloop.run(_run(name, settings, build, address(settings)))
    except (SettingsError, StartError, EmbeddedPostgresError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def database_url(settings: Settings) -> str:
    """The database of the settings, or the embedded one where it runs.

    Raises SettingsError.
    """
    if settings.database_url:
        return settings.database_url.get_secret_value()
    url = running_url(settings.data_dir)
    if url is None:
        raise SettingsError(
            "TANDEM_DATABASE_URL is not set and no embedded PostgreSQL runs in "
            f"{settings.data_dir}: set it, or start `tandem up`."
        )
    return url


@asynccontextmanager
async def connected(settings: Settings, name: str) -> AsyncIterator[Database]:
    """The database, opened and closed, with old request ids swept meanwhile.

    Raises StartError where it does not answer, or has no tables.
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
        except ValueError:  # it may quote the password
            raise StartError(f"TANDEM_DATABASE_URL: {DATABASE_URL_FORM}.") from None
    raise StartError("The database of TANDEM_DATABASE_URL does not answer.")


async def _require_tables(database: Database) -> None:
    try:
        with contextlib.suppress(Refusal):  # it is there, but busy: calls can say so
            await sweep(database)
    except asyncpg.UndefinedTableError:
        raise StartError(NO_TABLES) from None
