"""A connection to a fresh database, and two projects in it."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.schema.rows import Connection, Project, add_project


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[Connection]:
    opened = await asyncpg.connect(database_url)
    yield opened
    await opened.close()


@pytest.fixture
async def project(connection: Connection) -> Project:
    return await add_project(connection)


@pytest.fixture
async def other(connection: Connection) -> Project:
    return await add_project(connection)
