"""One PostgreSQL for all tests, a database of its own for each, and both services before it."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from uuid import uuid4

import asyncpg
import pytest

from local.embedded_postgres import start
from migrations.run import upgrade
from shared.database.transaction import Database
from shared.settings import SecretStr, Settings
from tests.cleanup import Cleanup
from tests.world import SECRET, World

URL_VARIABLE = "TANDEM_TEST_POSTGRES_URL"
TEMPLATE = "tandem_template"
_cleanup: Cleanup | None = None


def pytest_addoption(parser: pytest.Parser) -> None:
    """Races are won by chance now and then: run a test more than once to trust it."""
    parser.addoption("--times", type=int, default=1, help="run each test this many times")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test as often as asked for."""
    times = metafunc.config.getoption("times")
    if times > 1:
        metafunc.fixturenames.append("time_number")
        metafunc.parametrize("time_number", range(times))


def pytest_configure(config: pytest.Config) -> None:
    """Start PostgreSQL once, or take the one that is named: the processes in parallel inherit it.

    A PostgreSQL of one's own is given as the URL of a superuser; the template stays on it.
    """
    global _cleanup
    if hasattr(config, "workerinput") or config.option.collectonly:
        return
    _cleanup = Cleanup()
    if URL_VARIABLE not in os.environ:
        os.environ[URL_VARIABLE] = start(_cleanup.folder / "postgres").url
        asyncio.run(_hasten(os.environ[URL_VARIABLE]))
    asyncio.run(_make_template(os.environ[URL_VARIABLE]))
    upgrade(_sibling(os.environ[URL_VARIABLE], TEMPLATE))


def pytest_unconfigure() -> None:
    """Leave nothing behind."""
    if _cleanup:
        os.environ.pop(URL_VARIABLE)
        _cleanup.run()


@pytest.fixture(scope="session")
def postgres_url() -> str:
    """The server's own database, for what works on the server as a whole."""
    return os.environ[URL_VARIABLE]


@pytest.fixture
def database_url(postgres_url: str) -> Iterator[str]:
    """A fresh database at the newest revision."""
    yield from _fresh(postgres_url, f"TEMPLATE {TEMPLATE}")


@pytest.fixture
def empty_database_url(postgres_url: str) -> Iterator[str]:
    """A fresh database with nothing in it."""
    yield from _fresh(postgres_url, "")


@pytest.fixture
def settings(database_url: str) -> Settings:
    """What a service with a database of its own is configured by."""
    return Settings(database_url=SecretStr(database_url), jwt_secret=SECRET)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A pool on the fresh database."""
    database = await Database.connect(database_url, size=10)
    yield database
    await database.close()


@pytest.fixture
async def world(database: Database, settings: Settings) -> AsyncIterator[World]:
    """Both services on real sockets, in this process, and whoever calls them."""
    async with World.built(database, settings) as world:
        yield world


def _fresh(postgres_url: str, how: str) -> Iterator[str]:
    name = f"test_{uuid4().hex}"
    asyncio.run(_execute(postgres_url, f"CREATE DATABASE {name} {how}"))
    yield _sibling(postgres_url, name)
    asyncio.run(_execute(postgres_url, f"DROP DATABASE {name} WITH (FORCE)"))


async def _hasten(url: str) -> None:
    # Tests kill services and postmasters, never the machine: the disk need not be waited for.
    await _execute(url, "ALTER SYSTEM SET fsync = off")
    await _execute(url, "SELECT pg_reload_conf()")


async def _make_template(url: str) -> None:
    with suppress(asyncpg.DuplicateDatabaseError):
        await _execute(url, f"CREATE DATABASE {TEMPLATE}")


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def _sibling(url: str, name: str) -> str:
    return f"{url.rsplit('/', 1)[0]}/{name}"
