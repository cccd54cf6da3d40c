"""Databases that are made for a test, on the PostgreSQL of the run, and dropped after it."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import asyncpg


@contextmanager
def fresh(postgres_url: str, template: str = "template1") -> Iterator[str]:
    """The URL of a copy of the database `template`, to which nothing may be connected."""
    name = f"test_{uuid4().hex}"
    # To copy files is half the work of logging every page.
    create = f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY"
    asyncio.run(execute(postgres_url, create))
    yield sibling(postgres_url, name)
    asyncio.run(execute(postgres_url, f"DROP DATABASE {name} WITH (FORCE)"))


async def execute(url: str, statement: str) -> None:
    """Run a statement on a connection of its own, outside of a transaction."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def sibling(url: str, name: str) -> str:
    """The URL of another database on the same server."""
    return f"{url.rsplit('/', 1)[0]}/{name}"
