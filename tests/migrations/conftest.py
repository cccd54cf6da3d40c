"""Databases to migrate: empty, at a revision, or with tables of another program."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from uuid import uuid4

import pytest

from migrations.history import BASE_WITH_CREATORS
from migrations.run import upgrade
from tests.databases import fresh
from tests.migrations import foreign
from tests.migrations.database import Database


@pytest.fixture
def database(empty_database_url: str) -> Database:
    return Database(empty_database_url)


@pytest.fixture(scope="session")
def template_at(postgres_url: str) -> Iterator[Callable[[str], str]]:
    """Names an empty database at a revision; each is made once, to be copied."""
    with ExitStack() as stack:

        @cache
        def made(revision: str) -> str:
            url = stack.enter_context(fresh(postgres_url))
            if revision != "base":
                upgrade(url, revision)
            return Database(url).name

        yield made


@pytest.fixture
def database_at(
    postgres_url: str, template_at: Callable[[str], str]
) -> Iterator[Callable[[str], Database]]:
    """Makes an empty database at a revision."""
    with ExitStack() as stack:
        yield lambda revision: Database(
            stack.enter_context(fresh(postgres_url, template_at(revision)))
        )


@pytest.fixture
def legacy(database_at: Callable[[str], Database]) -> Database:
    """An empty database from before there were agents."""
    return database_at(BASE_WITH_CREATORS)


@pytest.fixture
def unversioned(database: Database) -> Database:
    """Empty base tables of another program."""
    foreign.make_tables(database)
    return database


@pytest.fixture
def stranger(database: Database) -> Iterator[Database]:
    """The same database, for a role that owns nothing in it, but may create tables."""
    with a_stranger_in(database) as stranger:
        yield stranger


@contextmanager
def a_stranger_in(database: Database) -> Iterator[Database]:
    """A database for such a role."""
    role = f"stranger_{uuid4().hex}"
    database.rows(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
    database.rows(f"GRANT ALL ON SCHEMA public TO {role}")
    place = database.url.split("@")[1]
    yield Database(f"postgresql://{role}:x@{place}")
    database.make(lambda connection: connection.execute(CLEAN_UP.format(role)))


CLEAN_UP = "SET LOCAL transaction_read_only = off; DROP OWNED BY {0}; DROP ROLE {0}"
