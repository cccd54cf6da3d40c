"""Databases of agent_com, each made once and copied for the tests."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from migrations.run import adopt_from_agent_com
from tests.databases import fresh
from tests.migrations.agent_com.origin import make_tables
from tests.migrations.agent_com.origin_rows import fill
from tests.migrations.conftest import a_stranger_in
from tests.migrations.database import Database


@contextmanager
def copied(postgres_url: str, template: Database) -> Iterator[Database]:
    with fresh(postgres_url, template.name) as url:
        yield Database(url)


@pytest.fixture(scope="session")
def filled_template(postgres_url: str) -> Iterator[Database]:
    with fresh(postgres_url) as url:
        database = Database(url)
        make_tables(database)
        fill(database)
        yield database


@pytest.fixture(scope="session")
def adopted_template(postgres_url: str, filled_template: Database) -> Iterator[Database]:
    with copied(postgres_url, filled_template) as database:
        adopt_from_agent_com(database.url, lambda _: None)
        yield database


@pytest.fixture
def origin(postgres_url: str, filled_template: Database) -> Iterator[Database]:
    """A database of agent_com with rows of every kind."""
    with copied(postgres_url, filled_template) as database:
        yield database


@pytest.fixture
def adopted(postgres_url: str, adopted_template: Database) -> Iterator[Database]:
    """The same, after its adoption."""
    with copied(postgres_url, adopted_template) as database:
        yield database


@pytest.fixture
def stranger_here(origin: Database) -> Iterator[Database]:
    """The database of `origin`, for a role that owns nothing in it, but may create tables."""
    with a_stranger_in(origin) as stranger:
        yield stranger
