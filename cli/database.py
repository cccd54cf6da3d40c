"""The database that a command works on."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias, TypeVar

import asyncpg

from cli.console import CommandError
from cli.extra import needed_for
from shared.host.embedded_postgres import OWNER, SERVICE, Login
from shared.settings import DATABASE_URL_FORM, SecretStr, Settings

T = TypeVar("T")
Work: TypeAlias = Callable[["asyncpg.Connection[asyncpg.Record]"], Awaitable[T]]

CONNECT_SECONDS = 10.0


class NotMigratedError(CommandError):
    """The database has no tables of Tandem."""

    def __init__(self) -> None:
        super().__init__("The database has no tables of Tandem: run `tandem db upgrade` first.")


@contextmanager
def database_url(settings: Settings) -> Iterator[str]:
    """The URL of the configured database, or of the embedded one, which runs in the meantime.

    Its role has the privileges of the services: it reads and writes rows.
    """
    with _url(settings, settings.database_url, SERVICE) as url:
        yield url


@contextmanager
def owner_url(settings: Settings) -> Iterator[str]:
    """The same for the role that owns the tables and migrates them."""
    with _url(settings, settings.database_owner_url or settings.database_url, OWNER) as url:
        yield url


@contextmanager
def _url(settings: Settings, configured: SecretStr | None, login: Login) -> Iterator[str]:
    if configured:
        yield configured.get_secret_value()
    else:
        with needed_for("TANDEM_DATABASE_URL is not set, and the embedded PostgreSQL"):
            from local.embedded_postgres import server_for_command
        with server_for_command(settings.data_dir, login) as url:
            yield url


def run(url: str, work: Work[T]) -> T:
    """Run one statement or a few. Raises CommandError if the database cannot be used."""
    try:
        return asyncio.run(_run(url, work))
    except asyncpg.UniqueViolationError:
        raise  # only the caller knows what it means
    except asyncpg.UndefinedTableError:
        raise NotMigratedError from None
    except ValueError:  # its text may quote the password
        raise CommandError(f"TANDEM_DATABASE_URL: {DATABASE_URL_FORM}.") from None
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise CommandError(f"The database cannot be used ({type(error).__name__}).") from None


async def _run(url: str, work: Work[T]) -> T:
    connection = await asyncpg.connect(url, timeout=CONNECT_SECONDS)
    try:
        return await work(connection)
    finally:
        await connection.close()
