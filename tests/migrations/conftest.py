"""An empty database to migrate."""

from collections.abc import Iterator
from uuid import uuid4

import pytest

from tests.migrations import foreign
from tests.migrations.database import Database


@pytest.fixture
def database(empty_database_url: str) -> Database:
    return Database(empty_database_url)


@pytest.fixture
def unversioned(database: Database) -> Database:
    """Empty base tables that something else made."""
    foreign.make_tables(database)
    return database


@pytest.fixture
def stranger(database: Database) -> Iterator[Database]:
    """The same database for a role that owns nothing in it, but may make tables."""
    role = f"stranger_{uuid4().hex}"
    database.rows(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
    database.rows(f"GRANT ALL ON SCHEMA public TO {role}")
    place = database.url.split("@")[1]
    yield Database(f"postgresql://{role}:x@{place}")
    database.make(lambda connection: connection.execute(CLEAN_UP.format(role)))


CLEAN_UP = "SET LOCAL transaction_read_only = off; DROP OWNED BY {0}; DROP ROLE {0}"
