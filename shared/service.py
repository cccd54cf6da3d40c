"""A service as a process: configure, connect, serve until a signal asks to stop."""

import asyncio
import atexit
import contextlib
import gc
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import asyncpg
import structlog
import uvloop

from shared import logging as logs
from shared.auth.caller import log_fields
from shared.auth.issuers import key_problems
from shared.database import queries
from shared.database.connector import Url
from shared.database.transaction import Database
from shared.errors import Refusal
from shared.events.heads import add_missing
from shared.grpc_server.server import Server, StartError, requests_to_stop
from shared.grpc_server.tls import Port, crosses_the_network, require_encryption
from shared.host.embedded_postgres import EmbeddedPostgresError, running_url
from shared.host.private_files import UnsafeFileError
from shared.host.supervision import supervised, watch_supervisor
from shared.metrics.instruments import Source
from shared.resources.retention import sweep_forever
from shared.schema import REVISION
from shared.settings import (
    AGENTS,
    DATABASE_URL_FORM,
    TASKS,
    Settings,
    SettingsError,
    read_settings,
    setting_variables,
)
from shared.settings.listing import usage

log = structlog.get_logger()

READERS = {"agents": AGENTS, "tasks": TASKS}
USAGE_ERROR = 2  # the exit status
MAXIMUM_COLUMNS = 100
CONNECT_ATTEMPTS = 10
CONNECT_PAUSE_SECONDS = 1.0
READINESS_SECONDS = 1.0  # between two looks at the database
NO_TABLES = "The database has no tables of Tandem: run `tandem db upgrade` first."
NO_ANSWER = (
    "The database does not answer: TANDEM_DATABASE_URL names it, or, if that is not set, it is "
    "the embedded PostgreSQL in TANDEM_DATA_DIR."
)
OTHER_SCHEMA = (
    "The database is at revision {found}, and this version of Tandem needs {needed}: {advice}."
)
EXCESS = (
    "the role in TANDEM_DATABASE_URL can do more than read and write rows: `tandem db roles` makes "
    "one that cannot"
)
UPGRADE = "run `tandem db upgrade` first"
USE_ANOTHER = (
    "use the version of Tandem that migrated it, whose `tandem db downgrade {needed}` also leads "
    "back"
)

Build = Callable[[Database, Settings], Server]
# The port of the calls, and the address of the metrics if they are to be published.
Addresses = Callable[[Settings], tuple[Port, str | None]]
# What a process does beside its calls, until it is cancelled.
Beside = Callable[[Database, Settings], Coroutine[Any, Any, NoReturn]]
T = TypeVar("T")


def main(name: str, build: Build, addresses: Addresses, *beside: Beside) -> int:
    """Run a service. Returns the exit status: 1, after a sentence or more, if it cannot start."""
    if arguments := sys.argv[1:]:
        return _answer(READERS[name], arguments)
    try:
        settings = service_settings()
    except SettingsError as error:
        return _refused(error)
    write_out = logs.configure(settings, name, log_fields)
    try:
        watch_supervisor()
        gc.freeze()  # what is imported stays: each full collection would stop all calls for 50 ms
        port, metrics_address = addresses(settings)
        require_encryption(settings, port)
        uvloop.run(_run(name, settings, build, port, metrics_address, beside))
    except (SettingsError, StartError) as error:
        write_out()  # or lines of before the refusal come after it
        return _refused(error)
    return 0


def _refused(error: Exception) -> int:
    sys.stderr.write(f"{error}\n")
    return 1


def service_settings() -> Settings:
    """What a service needs of the environment.

    Raises SettingsError, which says everything that is wrong, but for what the database says.
    """
    settings, found = read_settings()
    problems = found.problems
    if not any(problem.startswith("TANDEM_JWT_") for problem in problems):
        problems += key_problems(settings)
    if problems:
        raise SettingsError("\n".join(problems))
    return settings


def _answer(reader: str, arguments: Sequence[str]) -> int:
    """A service has no arguments, but for one that asks about it."""
    if arguments != ["--help"]:
        sys.stderr.write(f"The {reader} takes no arguments but --help.\n")
        return USAGE_ERROR
    width = min(shutil.get_terminal_size().columns, MAXIMUM_COLUMNS)
    sys.stdout.write(usage(setting_variables(), reader, width))
    return 0


def database_url(settings: Settings) -> Url:
    """The database of the settings, or else the embedded one, which must run.

    Raises SettingsError.
    """
    if settings.database_url:
        return settings.database_url.get_secret_value()
    if _embedded_url(settings.data_dir):
        return lambda: _url_now(settings.data_dir)
    raise SettingsError(
        "TANDEM_DATABASE_URL is not set and no embedded PostgreSQL runs in "
        f"{settings.data_dir}: set it, or start `tandem up`."
    )


def _embedded_url(data_dir: Path) -> str | None:
    try:
        return running_url(data_dir)
    except OSError as error:
        reason = f"{error.filename}: {error.strerror}."
    except (EmbeddedPostgresError, UnsafeFileError) as error:
        reason = str(error)
    raise SettingsError(
        "TANDEM_DATABASE_URL is not set, and the embedded PostgreSQL cannot be used instead. "
        + reason
    )


def _url_now(data_dir: Path) -> str:
    """The embedded PostgreSQL may have another port after a restart. Raises ConnectionError."""
    with contextlib.suppress(SettingsError):
        if url := _embedded_url(data_dir):
            return url
    raise ConnectionError(f"no embedded PostgreSQL runs in {data_dir}")


@asynccontextmanager
async def connected(
    settings: Settings, name: str, beside: Sequence[Beside] = ()
) -> AsyncIterator[Database]:
    """A pool on the database, which is closed at the end.

    Meanwhile old request ids are swept, and `beside` is run. Raises StartError if the database does
    not answer, or its schema is not at REVISION.
    """
    database = await _connect(database_url(settings), settings.pool_size, name)
    try:
        await _require_revision(database)
        await _add_missing_heads(database)
    except BaseException:
        await database.close()
        raise
    work = [sweep_forever(database), *(each(database, settings) for each in beside)]
    tasks = [asyncio.create_task(each) for each in work]
    try:
        yield database
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await database.close()


async def _run(
    name: str,
    settings: Settings,
    build: Build,
    port: Port,
    metrics_address: str | None,
    beside: Sequence[Beside],
) -> NoReturn:
    async with connected(settings, name, beside) as database:
        server = build(database, settings)
        await warn_of_excess(database)
        if metrics_address:
            await _publish(name, metrics_address, [database.samples, *server.sources])
        await server.start(port.address)
        warn_if_exposed(port)
        readiness = asyncio.create_task(_follow(database, server))
        await _until_the_end_is_announced(server, settings.shutdown_delay)
        await server.drain()
        readiness.cancel()
    # The kernel closes the connections. gRPC's own way would fail calls that are on their way.
    atexit._run_exitfuncs()  # the log's last lines
    os._exit(0)


async def _publish(name: str, address: str, sources: Sequence[Source]) -> None:
    """Publish metrics on a port of their own until the process ends. Raises StartError."""
    # Loaded only by a process that needs it: that takes a tenth of a second, and 5 MB.
    from shared.exposition.publishing import Publisher

    try:
        await Publisher(name, sources).start(address)
    except OSError:
        raise StartError(f"Cannot listen on {address}; is it already in use?") from None


async def _add_missing_heads(database: Database) -> None:
    """Give logs without a head one; a database that takes no changes is no reason not to start."""
    try:
        await add_missing(database)
    except (Refusal, asyncpg.PostgresError) as error:
        log.warning("heads of logs not added", cause=repr(error))


async def warn_of_excess(database: Database) -> None:
    """Log a warning if a service that is taken over could do more than read and write rows."""
    with contextlib.suppress(Refusal, asyncpg.PostgresError):  # no reason not to start
        row = await database.read(lambda connection: queries.EXCESS.row(connection, role=None))
        if excess := queries.excess_in(row):
            log.warning(EXCESS, can=excess)


def warn_if_exposed(port: Port) -> None:
    """Log a warning if other machines reach a port that does not encrypt, as was asked for."""
    if crosses_the_network(port.address) and not port.files:
        log.warning("tokens and data cross the network unencrypted", address=port.address)


async def _follow(database: Database, server: Server) -> None:
    """Tell the server, and so its health, whether the database takes changes."""
    was_ready = True
    while True:
        ready = await database.takes_changes()
        if ready != was_ready:
            log.warning("ready" if ready else "not ready: the database takes no changes")
        await server.set_ready(ready=ready)
        was_ready = ready
        await asyncio.sleep(READINESS_SECONDS)


async def _until_the_end_is_announced(server: Server, seconds: int) -> None:
    """Return when calls may be refused: `seconds` after SIGTERM, in which all are served.

    A second signal ends that time. SIGINT comes from a terminal, and `tandem up` has no load
    balancer in front of it: neither needs it.
    """
    requests = requests_to_stop()
    first = await requests.get()
    await server.announce_end()
    if first == signal.SIGTERM and not supervised():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(requests.get(), seconds)


async def _connect(url: Url, size: int, name: str) -> Database:
    try:
        return await _patiently(lambda: Database.connect(url, size, name))
    except ValueError:  # its text may quote the password
        raise StartError(f"TANDEM_DATABASE_URL: {DATABASE_URL_FORM}.") from None


async def _require_revision(database: Database) -> None:
    """Raise StartError if the schema is not the one that this code was made for."""
    try:
        rows = await _patiently(lambda: database.read(queries.REVISIONS.rows))
    except asyncpg.UndefinedTableError:
        raise StartError(NO_TABLES) from None
    found = ", ".join(row["version_num"] for row in rows)
    if not found:
        raise StartError(NO_TABLES)
    if problem := revision_problem(found):
        raise StartError(problem)


def revision_problem(found: str) -> str | None:
    """Why this code does not serve a database that is at the revision `found`, if it does not."""
    if found == REVISION:
        return None
    advice = UPGRADE if found < REVISION else USE_ANOTHER.format(needed=REVISION)
    return OTHER_SCHEMA.format(found=found, needed=REVISION, advice=advice)


async def _patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """What the database answers; StartError if it refuses CONNECT_ATTEMPTS times."""
    for attempt in range(CONNECT_ATTEMPTS):
        try:
            return await ask()
        except Refusal as refusal:
            log.warning("no database yet", attempt=attempt + 1, cause=repr(refusal.__cause__))
            await asyncio.sleep(CONNECT_PAUSE_SECONDS)
    raise StartError(NO_ANSWER)
