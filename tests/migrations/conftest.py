"""An empty database to migrate."""

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
