"""One PostgreSQL for all tests, and for each process of tests both services on a database of it.

`world` is those services, for tests that only call them: its database is emptied for each test, and
they connect to it with a role that reads and writes rows, and does nothing else. A test that alters
tables, ends connections, fills the database or has API keys rejected by the dozen takes
`fresh_world`, and one that is about a database by itself `database` or `database_url`: these are
made for the one test.
"""

import asyncio
import gc
import os
import sys
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import hypothesis
import pytest
import structlog
from structlog.typing import EventDict

from local.embedded_postgres import start
from migrations.run import upgrade
from shared.database.transaction import Database
from shared.settings import SecretStr, Settings
from tests import as_service
from tests.cleanup import Cleanup
from tests.databases import execute, fresh, sibling
from tests.log_lines import against_schema
from tests.measured import VARIABLE, collecting, measuring, pause
from tests.scheduling import Scheduling
from tests.world import SECRET, World

URL_VARIABLE = "TANDEM_TEST_POSTGRES_URL"
TEMPLATE = "tandem_template"
POOL_SIZE = 10
_cleanup: Cleanup | None = None
_unlike_the_schema: list[str] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    """Races are won by chance now and then: run a test more than once to trust it."""
    parser.addoption("--times", type=int, default=1, help="run each test this many times")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test as often as asked for."""
    times = metafunc.config.getoption("times")
    if times > 1:
        metafunc.fixturenames.append("time_number")
        metafunc.parametrize("time_number", range(times))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    """Keep tests together that share what is slow to start."""
    return Scheduling(config, log)


def pytest_xdist_setupnodes(config: pytest.Config) -> None:
    """Let only pytest-cov measure the processes of tests: it can pause, and once is enough.

    From here on this process only hands tests out.
    """
    os.environ.pop(VARIABLE, None)
    pause(config)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Let no test depend on the speed of the machine, nor take what it can do without."""
    if hasattr(session.config, "workerinput"):
        # pytest-cov has begun, and is about to begin again: the first would go on in each pause.
        pause(session.config)
    hypothesis.settings.register_profile(
        "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
    )
    hypothesis.settings.load_profile("any machine")
    # structlog's own choice, tracebacks with every variable, takes seconds to draw one.
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            _compare_with_schema,
            structlog.processors.format_exc_info,
            structlog.processors.LogfmtRenderer(key_order=["level", "event"]),
        ]
    )


def pytest_configure(config: pytest.Config) -> None:
    """Start PostgreSQL once, or take the one that is named: the processes in parallel inherit it.

    A PostgreSQL of one's own is given as the URL of a superuser; the template stays on it.
    """
    global _cleanup
    if hasattr(config, "workerinput") or config.option.collectonly:
        return
    _cleanup = Cleanup()
    if sys.dont_write_bytecode and config.cache:
        _keep_bytecode(config.cache.mkdir("bytecode"))
    if URL_VARIABLE not in os.environ:
        os.environ[URL_VARIABLE] = start(_cleanup.folder / "postgres").url
        asyncio.run(_hasten(os.environ[URL_VARIABLE]))
    asyncio.run(_make_template(os.environ[URL_VARIABLE]))
    upgrade(template := sibling(os.environ[URL_VARIABLE], TEMPLATE))
    asyncio.run(as_service.divide(template))


def _keep_bytecode(folder: Path) -> None:
    """Let the processes that tests start share bytecode: without it a service starts in seconds."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = str(folder)


def pytest_unconfigure() -> None:
    """Leave nothing behind."""
    if _cleanup:
        os.environ.pop(URL_VARIABLE)
        _cleanup.run()


@pytest.hookimpl(trylast=True)  # after they were put into random order
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start long tests first: at the end one process would run them, and the others wait."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Measure it once, and look for garbage neither in it nor, later on, in what it has made."""
    gc.disable()
    try:
        with collecting(session.config):
            return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Measure only what counts for coverage."""
    with measuring(item.nodeid, item.config):
        return (yield)


def _compare_with_schema(_logger: object, _method: str, said: EventDict) -> EventDict:
    _unlike_the_schema.extend(against_schema({n: v for n, v in said.items() if n != "exc_info"}))
    return said


@pytest.fixture(autouse=True)
def log_lines_are_those_of_the_schema() -> Iterator[None]:
    """Every line that services of this process log in a test is checked."""
    yield
    wrong = [*_unlike_the_schema]
    _unlike_the_schema.clear()
    assert not wrong


@pytest.fixture(scope="session")
def postgres_url() -> str:
    """The server's own database, for what works on the server as a whole."""
    return os.environ[URL_VARIABLE]


@pytest.fixture
def database_url(postgres_url: str) -> Iterator[str]:
    """A fresh database at the newest revision."""
    with fresh(postgres_url, TEMPLATE) as url:
        yield url


@pytest.fixture
def empty_database_url(postgres_url: str) -> Iterator[str]:
    """A fresh database with nothing in it."""
    with fresh(postgres_url) as url:
        yield url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A pool on the fresh database."""
    database = await Database.connect(database_url, size=POOL_SIZE)
    yield database
    await database.close()


@pytest.fixture
async def fresh_world(database: Database, database_url: str) -> AsyncIterator[World]:
    """Both services on the fresh database, for a test that spoils it or them for others."""
    async with World.built(database, _settings(database_url)) as world:
        yield world


@pytest.fixture
async def world(shared_world: World, request: pytest.FixtureRequest) -> World:
    """Both services on real sockets, in this process, with nothing in their database."""
    assert "database_url" not in request.fixturenames, "it names another database: use world.url"
    await shared_world.clear()
    return shared_world


@pytest.fixture(scope="session")
async def shared_world(shared_database_url: str) -> AsyncIterator[World]:
    """What each `world` of this process is: tests take `world`."""
    owner = await Database.connect(shared_database_url, size=POOL_SIZE)
    database = await Database.connect(as_service.url_for(shared_database_url), size=POOL_SIZE)
    async with World.built(database, _settings(shared_database_url), owner) as world:
        yield world
    await database.close()
    await owner.close()


@pytest.fixture(scope="session")
def shared_database_url(postgres_url: str) -> Iterator[str]:
    """The database of `world`."""
    with fresh(postgres_url, TEMPLATE) as url:
        yield url


def _settings(database_url: str) -> Settings:
    return Settings(database_url=SecretStr(database_url), jwt_secret=SECRET)


async def _hasten(url: str) -> None:
    # Tests kill services and postmasters, never the machine: the disk need not be waited for, nor
    # need a page be repaired that was written in part.
    await execute(url, "ALTER SYSTEM SET fsync = off")
    await execute(url, "ALTER SYSTEM SET full_page_writes = off")
    await execute(url, "SELECT pg_reload_conf()")
    # To derive a key from the password by 4,096 rounds is half of what a connection costs us.
    password = urlsplit(url).password
    await execute(url, f"SET scram_iterations = 1; ALTER ROLE CURRENT_USER PASSWORD '{password}'")


async def _make_template(url: str) -> None:
    with suppress(asyncpg.DuplicateDatabaseError):
        await execute(url, f"CREATE DATABASE {TEMPLATE}")
