"""An empty database to migrate."""

import pytest

from tests.migrations.database import Database


@pytest.fixture
def database(empty_database_url: str) -> Database:
    return Database(empty_database_url)
